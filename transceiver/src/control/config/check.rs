//! What types cannot say about a configuration: ranges, and how keys relate to each other.
//!
//! Every check names the key, what is wrong, and what would be right. All of them run; whoever
//! edits the file sees the whole list at once.

use std::net::IpAddr;

use service::config::Problems;
use service::config::sections::{self, check_listener, unbindable};

use super::limits::*;
use super::{Config, Identity};
use crate::signaling::Origins;

pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    ingress(config, problems);
    identity(config, problems);
    config.shards.check("shards", "shard", &config.cpus, problems);
    tunnel(config, problems);
    signaling(config, problems);
    calls(config, problems);
    rest(config, problems);
}

fn ingress(config: &Config, problems: &mut Problems<'_>) {
    let addresses = &config.ingress;
    if addresses.is_empty() {
        problems.add(
            "ingress",
            "must name the relays that clients are told, by their public addresses, such as \
             [\"203.0.113.7:3478\"]: without one no client can be reached",
        );
    }
    if addresses.len() > INGRESS_MAX {
        let count = addresses.len();
        problems.add("ingress", format!("must name 1..={INGRESS_MAX} addresses, names {count}"));
    }
    for (index, address) in addresses.iter().enumerate() {
        let key = format!("ingress[{index}]");
        let address = address.address;
        if let Some(reason) = unreachable(address.ip()) {
            problems.add(&key, format!("{address} {reason}"));
        }
        if address.port() == 0 {
            problems.add(&key, format!("{address} has no port: that of the relay's `listen`"));
        }
        if addresses[..index].iter().any(|other| other.address == address) {
            problems.add(&key, format!("{address} is listed twice"));
        }
    }
}

/// Why no client can send to an address.
fn unreachable(address: IpAddr) -> Option<String> {
    if address.is_unspecified() {
        return Some(
            "is where a relay listens, not where clients can send: write the relay's own address"
                .to_owned(),
        );
    }
    unbindable(address)
}

fn identity(config: &Config, problems: &mut Problems<'_>) {
    match config.transceiver {
        Identity::Auto if config.tunnel.address.is_ipv6() => problems.add(
            "transceiver",
            "\"auto\" is an IPv4 address, and the tunnel is IPv6: write the id that the relays' \
             table has",
        ),
        Identity::Address(address) => {
            let reason = unreachable(IpAddr::V4(address));
            if let Some(reason) = reason {
                problems.add("transceiver", format!("{address} {reason}"));
            }
        }
        Identity::Auto | Identity::Number(_) => {}
    }
}

fn tunnel(config: &Config, problems: &mut Problems<'_>) {
    let tunnel = &config.tunnel;
    if let Some(reason) = unbindable(tunnel.address) {
        problems.add("tunnel.address", format!("{} {reason}", tunnel.address));
    }
    problems.range("tunnel.mtu", tunnel.mtu, TUNNEL_MTU_MIN, TUNNEL_MTU_MAX);
    let last_base = u16::MAX - config.shards.count_max() + 1;
    problems.range("tunnel.port_base", tunnel.port_base, PORT_MIN, last_base);
    problems.size_range(
        "tunnel.receive_socket_bytes",
        tunnel.receive_socket_bytes,
        SOCKET_BYTES_MIN,
        SOCKET_BYTES_MAX,
    );
}

fn signaling(config: &Config, problems: &mut Problems<'_>) {
    let signaling = &config.signaling;
    check_listener("signaling.listen", signaling.listen, "clients", problems);
    if signaling.api_keys.as_os_str().is_empty() && !signaling.open {
        problems.add(
            "signaling.api_keys",
            "must be the path of the file of API keys; for a demo, let everybody call by \
             signaling.open = true",
        );
    }
    let lists = [
        ("signaling.origins", signaling.origins.len(), ORIGINS_MAX),
        ("signaling.proxies", signaling.proxies.len(), PROXIES_MAX),
    ];
    for (key, count, most) in lists {
        if count > most {
            problems.add(key, format!("must name at most {most}, names {count}"));
        }
    }
    if let Err(reason) = Origins::parse(&signaling.origins) {
        problems.add("signaling.origins", reason);
    }
    let rates = &config.rates;
    for (key, number, most) in [
        ("signaling.connections_max", signaling.connections_max, CONNECTIONS_MAX),
        (
            "signaling.connections_per_address_max",
            signaling.connections_per_address_max,
            CONNECTIONS_MAX,
        ),
        ("rates.address_per_second", rates.address_per_second, RATE_MAX),
        ("rates.address_burst", rates.address_burst, RATE_MAX),
        ("rates.key_per_second", rates.key_per_second, RATE_MAX),
        ("rates.key_burst", rates.key_burst, RATE_MAX),
        ("rates.secret_per_second", rates.secret_per_second, RATE_MAX),
        ("rates.secret_burst", rates.secret_burst, RATE_MAX),
    ] {
        problems.range(key, number, 1, most);
    }
}

fn calls(config: &Config, problems: &mut Problems<'_>) {
    let calls = &config.calls;
    problems.range("calls.per_shard_max", calls.per_shard_max, 1, CALLS_PER_SHARD_MAX);
    problems.duration_range("calls.time_max", calls.time_max, CALL_TIME_MIN, CALL_TIME_MAX);
    problems.duration_range("calls.lost_after", calls.lost_after, LOST_AFTER_MIN, LOST_AFTER_MAX);
}

fn rest(config: &Config, problems: &mut Problems<'_>) {
    sections::check_keys(&config.keys, problems);
    sections::check_admin(&config.admin.socket, config.admin.group.as_deref(), problems);
    check_listener("http.listen", config.http.listen, "scrapers", problems);
    if config.http.listen == config.signaling.listen {
        problems.add("http.listen", "must not be signaling.listen: a flood there would hide it");
    }
    config.drain.check(problems);
}
