//! The addresses of the benchmark's little network.
//!
//! ```text
//!  namespace client             namespace relay                 namespace shard
//!  10.77.x.y  2,000 clients
//!  c0 10.76.1.2 ───veth─── r0 10.76.1.1:3478
//!                               r1 10.76.2.1:3500 ───veth─── s0 10.76.2.2:3600 … 3603
//! ```
//!
//! All of it exists inside namespaces that the program made, so it can collide with nothing.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Clients with a flow each.
pub(crate) const CLIENTS: u32 = 2_000;
/// Shards that the flows are spread over.
pub(crate) const SHARDS: u16 = 4;
/// Bytes of a client packet: voice at 20 ms with its SRTP tag.
pub(crate) const PAYLOAD_BYTES: usize = 120;

/// The client side of the first pair, next hop for all clients.
pub(crate) const CLIENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 76, 1, 2);
/// Where clients send to.
pub(crate) const PUBLIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 76, 1, 1), 3478);
/// Where shards send to: worker 0's tunnel socket.
pub(crate) const TUNNEL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 76, 2, 1), 3500);
/// Where the shards are.
pub(crate) const SHARD_IP: Ipv4Addr = Ipv4Addr::new(10, 76, 2, 2);
/// The first shard's port.
pub(crate) const SHARD_PORT: u16 = 3600;
/// Every client's port.
pub(crate) const CLIENT_PORT: u16 = 40_000;
/// The network that clients are in.
pub(crate) const CLIENT_NETWORK: &str = "10.77.0.0/16";

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// Of `c0`.
pub(crate) const CLIENT_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 1];
/// Of `r0`.
pub(crate) const PUBLIC_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 2];
/// Of `r1`.
pub(crate) const TUNNEL_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 3];
/// Of `s0`.
pub(crate) const SHARD_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 4];
/// Of nobody: frames for it are counted by the device they arrive at and then dropped at once.
pub(crate) const NOBODY_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 0x99];

/// A client's address.
pub(crate) fn client(index: u32) -> SocketAddrV4 {
    let ip = u32::from(Ipv4Addr::new(10, 77, 0, 1)) + index / 250 * 256 + index % 250;
    SocketAddrV4::new(Ipv4Addr::from(ip), CLIENT_PORT)
}

/// The shard that a client's session is on.
pub(crate) const fn shard_of(client: u32) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "below SHARDS")]
    let shard = (client % SHARDS as u32) as u16;
    shard
}

/// A shard's address.
pub(crate) const fn shard(index: u16) -> SocketAddrV4 {
    SocketAddrV4::new(SHARD_IP, SHARD_PORT + index)
}

/// As `ip` writes it.
pub(crate) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_client_has_an_address_of_its_own_in_the_network() {
        let all: BTreeSet<_> = (0..CLIENTS).map(client).collect();
        assert_eq!(all.len(), CLIENTS as usize);
        for address in all {
            let [ten, network, _, host] = address.ip().octets();
            assert_eq!((ten, network), (10, 77));
            assert!((1..=250).contains(&host), "{address}");
        }
    }
}
