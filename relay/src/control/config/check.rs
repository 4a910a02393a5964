//! What types cannot say about a configuration: ranges, and how keys relate to each other.
//!
//! Every check names the key, what is wrong, and what would be right. All of them run; whoever
//! edits the file sees the whole list at once.

mod clusters;

use service::config::sections::{self, unbindable};
use service::config::{Problems, duration, size};

use super::limits::*;
use super::{Config, DirectEgress, redis_url};

pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    listen(config, problems);
    config.workers.check("workers", "worker", &config.cpus, problems);
    direct(config, problems);
    tunnel(config, problems);
    flows(config, problems);
    buffers(config, problems);
    clusters::check(config, problems);
    rest(config, problems);
}

fn listen(config: &Config, problems: &mut Problems<'_>) {
    let addresses = &config.listen;
    if addresses.is_empty() || addresses.len() > LISTEN_MAX {
        let count = addresses.len();
        problems.add("listen", format!("must name 1..={LISTEN_MAX} addresses, names {count}"));
    }
    for (index, address) in addresses.iter().enumerate() {
        let key = format!("listen[{index}]");
        if address.port() == 0 {
            problems.add(
                &key,
                format!("{address} has no port: clients are told one, such as {STUN_PORT}"),
            );
        }
        if let Some(reason) = unbindable(address.ip()) {
            problems.add(&key, format!("{address} {reason}"));
        }
        if addresses[..index].contains(address) {
            problems.add(&key, format!("{address} is listed twice"));
        }
    }
}

fn direct(config: &Config, problems: &mut Problems<'_>) {
    let wildcard = config.listen.iter().find(|address| address.ip().is_unspecified());
    if let (DirectEgress::Require, Some(wildcard)) = (config.direct.egress, wildcard) {
        problems.add(
            "direct.egress",
            format!(
                "\"require\" needs addresses to send from, and listen has {wildcard}: write this \
                 host's own address there"
            ),
        );
    }
}

fn tunnel(config: &Config, problems: &mut Problems<'_>) {
    let tunnel = &config.tunnel;
    if let Some(reason) = unbindable(tunnel.address) {
        problems.add("tunnel.address", format!("{} {reason}", tunnel.address));
    }
    problems.range("tunnel.mtu", tunnel.mtu, TUNNEL_MTU_MIN, TUNNEL_MTU_MAX);

    let count = config.workers.count_max();
    let last_base = u16::MAX - count + 1;
    problems.range("tunnel.port_base", tunnel.port_base, PORT_MIN, last_base);
    let ports = u32::from(tunnel.port_base)..u32::from(tunnel.port_base) + u32::from(count);
    for address in &config.listen {
        if ports.contains(&u32::from(address.port())) {
            let last = ports.end - 1;
            problems.add(
                "tunnel.port_base",
                format!("ports {}..={last} are the workers' (at most {count}), and listen has {address}", ports.start),
            );
        }
    }
}

fn flows(config: &Config, problems: &mut Problems<'_>) {
    let flows = &config.flows;
    problems.range(
        "flows.per_worker",
        flows.per_worker,
        FLOWS_PER_WORKER_MIN,
        FLOWS_PER_WORKER_MAX,
    );
    problems.range("flows.new_max", flows.new_max, FLOWS_NEW_MIN, FLOWS_NEW_MAX);
    if flows.new_max > flows.per_worker {
        let (new, all) = (flows.new_max, flows.per_worker);
        problems
            .add("flows.new_max", format!("must be at most flows.per_worker ({all}), is {new}"));
    }
    problems.duration_range("flows.idle_new", flows.idle_new, IDLE_NEW_MIN, IDLE_NEW_MAX);
    problems.duration_range(
        "flows.idle_assured",
        flows.idle_assured,
        IDLE_ASSURED_MIN,
        IDLE_ASSURED_MAX,
    );
    if flows.idle_assured < flows.idle_new {
        let [assured, new] = [flows.idle_assured, flows.idle_new].map(duration::format);
        problems.add(
            "flows.idle_assured",
            format!("must be at least flows.idle_new ({new}), is {assured}"),
        );
    }
    problems.range("flows.new_flow_rate", flows.new_flow_rate, 1, NEW_FLOW_RATE_MAX);
    problems.range("flows.per_shard_max", flows.per_shard_max, 1, FLOWS_PER_WORKER_MAX);
    problems.range(
        "flows.addresses_per_session_max",
        flows.addresses_per_session_max,
        1,
        ADDRESSES_PER_SESSION_MAX,
    );
}

fn buffers(config: &Config, problems: &mut Problems<'_>) {
    let buffers = &config.buffers;
    problems.size_range(
        "buffers.receive_socket_bytes",
        buffers.receive_socket_bytes,
        SOCKET_BYTES_MIN,
        SOCKET_BYTES_MAX,
    );
    problems.range(
        "buffers.ring_buffers",
        buffers.ring_buffers,
        RING_BUFFERS_MIN,
        RING_BUFFERS_MAX,
    );
    if !buffers.ring_buffers.is_power_of_two() {
        // Saturates for what the range has refused already.
        let next = buffers.ring_buffers.checked_next_power_of_two().unwrap_or(RING_BUFFERS_MAX);
        problems.add(
            "buffers.ring_buffers",
            format!("must be a power of two, such as {next}, is {}", buffers.ring_buffers),
        );
    }
    let least = u64::from(config.tunnel.mtu) + BUFFER_OVERHEAD_BYTES;
    if buffers.buffer_bytes < least || buffers.buffer_bytes > BUFFER_BYTES_MAX {
        let [least, most, is] = [least, BUFFER_BYTES_MAX, buffers.buffer_bytes].map(size::format);
        problems.add(
            "buffers.buffer_bytes",
            format!(
                "must be from {least} (tunnel.mtu and {BUFFER_OVERHEAD_BYTES}) to {most}, is {is}"
            ),
        );
    }
    if !buffers.buffer_bytes.is_multiple_of(64) {
        let is = buffers.buffer_bytes;
        problems.add(
            "buffers.buffer_bytes",
            format!(
                "must be a multiple of 64, a cache line, such as {}, is {is}",
                is.next_multiple_of(64)
            ),
        );
    }
}

fn redis(config: &Config, problems: &mut Problems<'_>) {
    let redis = &config.redis;
    problems.duration_range("redis.timeout", redis.timeout, REDIS_TIMEOUT_MIN, REDIS_TIMEOUT_MAX);
    if redis.prefix.len() > REDIS_PREFIX_BYTES_MAX {
        let is = redis.prefix.len();
        problems.add(
            "redis.prefix",
            format!("must be at most {REDIS_PREFIX_BYTES_MAX} bytes, is {is}"),
        );
    }
    if !redis.url.is_empty()
        && let Err(problem) = redis_url::parse(&redis.url)
    {
        problems.add("redis.url", problem);
    }
}

fn rest(config: &Config, problems: &mut Problems<'_>) {
    problems.range("coalesce_us_max", config.coalesce_us_max, 0, COALESCE_US_MAX);
    sections::check_keys(&config.keys, problems);

    redis(config, problems);
    sections::check_admin(&config.admin.socket, config.admin.group.as_deref(), problems);
    sections::check_listener("http.listen", config.http.listen, "scrapers", problems);
    config.drain.check(problems);
}
