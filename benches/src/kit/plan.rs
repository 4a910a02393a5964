//! The addresses of the benchmark's little network.
//!
//! ```text
//!  namespace client             namespace relay                 namespace shard
//!  10.128.0.0/9  clients
//!  c0 10.76.1.2 ───veth─── r0 10.76.1.1:3478
//!                               r1 10.76.2.1:3500 ───veth─── s0 10.76.2.2:3600 … 3603
//! ```
//!
//! All of it exists inside namespaces that the program made, so it can collide with nothing.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Shards that the flows are spread over.
pub const SHARDS: u16 = 4;

/// The client side of the first pair, next hop for all clients.
pub const CLIENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 76, 1, 2);
/// Where clients send to.
pub const PUBLIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 76, 1, 1), 3478);
/// Where shards send to: worker 0's tunnel socket.
pub const TUNNEL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 76, 2, 1), 3500);
/// Where the shards are.
pub const SHARD_IP: Ipv4Addr = Ipv4Addr::new(10, 76, 2, 2);
/// The first shard's port.
pub const SHARD_PORT: u16 = 3600;
/// Every client's port.
pub const CLIENT_PORT: u16 = 40_000;
/// The network that clients are in.
pub const CLIENT_NETWORK: &str = "10.128.0.0/9";

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Of `c0`.
pub const CLIENT_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 1];
/// Of `r0`.
pub const PUBLIC_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 2];
/// Of `r1`.
pub const TUNNEL_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 3];
/// Of `s0`.
pub const SHARD_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 4];
/// Of nobody: frames for it are counted by the device they arrive at and then dropped at once.
pub const NOBODY_MAC: Mac = [0x02, 0x52, 0x57, 0, 0, 0x99];

/// A client's address; there are two million.
pub fn client(index: u32) -> SocketAddrV4 {
    let ip = u32::from(Ipv4Addr::new(10, 128, 0, 1)) + index / 250 * 256 + index % 250;
    SocketAddrV4::new(Ipv4Addr::from(ip), CLIENT_PORT)
}

/// The shard that a client's session is on.
pub const fn shard_of(client: u32) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "below SHARDS")]
    let shard = (client % SHARDS as u32) as u16;
    shard
}

/// A shard's address.
pub const fn shard(index: u16) -> SocketAddrV4 {
    SocketAddrV4::new(SHARD_IP, SHARD_PORT + index)
}

/// As `ip` writes it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_client_has_an_address_of_its_own_in_the_network() {
        let all: BTreeSet<_> = (0..200_000).map(client).collect();
        assert_eq!(all.len(), 200_000);
        for address in all {
            let [ten, network, _, host] = address.ip().octets();
            assert!(ten == 10 && network >= 128, "{address}");
            assert!((1..=250).contains(&host), "{address}");
        }
    }
}
