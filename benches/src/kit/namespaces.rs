//! The benchmark's network: three namespaces and two veth pairs, made at start, removed at the end.
//!
//! See `plan` for the addresses.

use anyhow::{Result, ensure};
use testbed::Host;

use crate::plan::{
    CLIENT_GATEWAY, CLIENT_MAC, CLIENT_NETWORK, NOBODY_MAC, PUBLIC, PUBLIC_MAC, SHARD_IP,
    SHARD_MAC, TUNNEL, TUNNEL_MAC, mac_text,
};

/// What becomes of the packets that the process under test sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// They reach the sink's sockets.
    Delivered,
    /// They are counted by the sink's device and dropped by the first line of its IP layer: the
    /// sender, who pays for the receiver's work on a veth pair, pays as little as can be.
    Dropped,
}

/// The whole network. Dropping it removes it.
#[derive(Debug)]
pub struct Topology {
    /// Where the clients are.
    pub client: Host,
    /// Where the process under test runs.
    pub relay: Host,
    /// Where the shards are.
    pub shard: Host,
}

impl Topology {
    /// Builds it. Needs root.
    pub fn build() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and raw injection need root: run it with sudo"
        );
        let topology = Self {
            client: Host::make("client")?,
            relay: Host::make("relay")?,
            shard: Host::make("shard")?,
        };
        topology.wire()?;
        topology.arrivals(Arrival::Delivered)?;
        Ok(topology)
    }

    fn wire(&self) -> Result<()> {
        let relay = self.relay.name();
        let [client_mac, public_mac, tunnel_mac, shard_mac] =
            [CLIENT_MAC, PUBLIC_MAC, TUNNEL_MAC, SHARD_MAC].map(mac_text);
        let [public, tunnel] = [PUBLIC.ip(), TUNNEL.ip()];
        // `addrgenmode none`: no IPv6 addresses, hence no IPv6 chatter among the packets counted.
        self.client.configure(&format!(
            "link add c0 address {client_mac} type veth peer name r0 address {public_mac} netns {relay}\n\
             link set c0 addrgenmode none up\n\
             address add {CLIENT_GATEWAY}/24 dev c0\n\
             neighbour add {public} lladdr {public_mac} dev c0 nud permanent\n\
             route add local {CLIENT_NETWORK} dev lo\n"
        ))?;
        self.shard.configure(&format!(
            "link add s0 address {shard_mac} type veth peer name r1 address {tunnel_mac} netns {relay}\n\
             link set s0 addrgenmode none up\n\
             address add {SHARD_IP}/24 dev s0\n\
             neighbour add {tunnel} lladdr {tunnel_mac} dev s0 nud permanent\n"
        ))?;
        Ok(self.relay.configure(&format!(
            "link set r0 addrgenmode none up\n\
             link set r1 addrgenmode none up\n\
             address add {public}/24 dev r0\n\
             address add {tunnel}/24 dev r1\n\
             route add {CLIENT_NETWORK} via {CLIENT_GATEWAY}\n"
        ))?)
    }

    /// Turns delivery on or off, by what the relay's neighbour table says.
    pub fn arrivals(&self, arrival: Arrival) -> Result<()> {
        let [client, shard] = match arrival {
            Arrival::Delivered => [CLIENT_MAC, SHARD_MAC],
            Arrival::Dropped => [NOBODY_MAC; 2],
        }
        .map(mac_text);
        Ok(self.relay.configure(&format!(
            "neighbour replace {CLIENT_GATEWAY} lladdr {client} dev r0 nud permanent\n\
             neighbour replace {SHARD_IP} lladdr {shard} dev r1 nud permanent\n"
        ))?)
    }
}
