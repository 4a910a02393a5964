//! From the configuration's words to the core's.

use super::config::{Cluster, Config, Resolution};
use crate::core::{
    self, ClientScopes, Clusters, ClustersError, Family, Ipv4Network, Ipv4Rule, Resolve, Settings,
};
use service::network::Cidr;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::hint::{ClusterId, TransceiverId};

/// What a router is built with.
pub(super) fn settings(config: &Config) -> Settings {
    let flows = &config.flows;
    Settings {
        listeners: config.listen.iter().map(family).collect(),
        client_scopes: ClientScopes {
            // Whoever listens on loopback means clients there.
            loopback: config.allow_loopback_clients
                || config.listen.iter().any(|listen| listen.ip().is_loopback()),
            link_local: config.listen.iter().any(|listen| is_link_local(listen.ip())),
        },
        flows_max: flows.per_worker,
        new_flows_max: flows.new_max,
        flow_idle_ms: millis(flows.idle_assured),
        new_flow_idle_ms: millis(flows.idle_new),
        new_flow_rate: flows.new_flow_rate,
        session_addresses_max: u8::try_from(flows.addresses_per_session_max).unwrap_or(u8::MAX),
        flows_per_shard_max: flows.per_shard_max,
        tunnel_datagram_bytes: config.tunnel.mtu,
        packet_bytes_max: packet_bytes_max(config),
        ..Settings::default()
    }
}

/// The longest client packet: whatever fits a receive buffer.
fn packet_bytes_max(config: &Config) -> u16 {
    let buffer = u16::try_from(config.buffers.buffer_bytes).unwrap_or(u16::MAX);
    buffer.min(core::limits::PACKET_BYTES_MAX)
}

/// IPv6 sockets take IPv6 only, so every listener has one family.
fn family(listen: &SocketAddr) -> Family {
    if listen.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Where hints lead.
pub(super) fn clusters(config: &Config) -> Result<Clusters, ClustersError> {
    Clusters::new(config.clusters.iter().map(cluster).collect())
}

fn cluster(cluster: &Cluster) -> core::Cluster {
    let resolve = match cluster.resolution() {
        Resolution::Table(transceivers) => {
            let listed = transceivers.iter().map(|transceiver| core::Transceiver {
                id: TransceiverId(transceiver.id),
                ip: transceiver.address,
                port_base: cluster.port_base_of(transceiver),
                shards: transceiver.shards,
            });
            Resolve::Table(listed.collect())
        }
        Resolution::Ipv4 { cidrs, shards } => Resolve::Ipv4(Ipv4Rule {
            networks: networks(cidrs),
            allowed_special: networks(&cluster.allow_special),
            port_base: cluster.port_base,
            shards,
        }),
    };
    core::Cluster { id: ClusterId(cluster.id), resolve }
}

/// The IPv4 networks among these; `ipv4` clusters have no use for others.
fn networks(cidrs: &[Cidr]) -> Vec<Ipv4Network> {
    let ipv4 = cidrs.iter().filter_map(|cidr| match cidr.network() {
        IpAddr::V4(network) => Ipv4Network::new(network, cidr.length()),
        IpAddr::V6(_) => None,
    });
    ipv4.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_on_this_host_call_where_that_is_meant() {
        let table = [
            ("0.0.0.0:3478", false, false),
            ("0.0.0.0:3478", true, true),
            ("127.0.0.1:3478", false, true),
            ("[::1]:3478", false, true),
        ];
        for (listen, allowed, expected) in table {
            let config = Config {
                listen: vec![listen.parse().unwrap()],
                allow_loopback_clients: allowed,
                ..Config::default()
            };
            assert_eq!(settings(&config).client_scopes.loopback, expected, "{listen} {allowed}");
        }
    }
}
