//! The rule `ipv4`: a transceiver's id is its address, within limits.

use super::{ResolveError, Route, at};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use thiserror::Error;
use wire::address::{Address, Scope};
use wire::hint::{ClusterId, ShardId, TransceiverId};

/// Which addresses may be transceivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Rule {
    /// Where transceivers are.
    pub networks: Vec<Ipv4Network>,
    /// Loopback, link-local and metadata addresses in `networks` that are accepted all the same.
    pub allowed_special: Vec<Ipv4Network>,
    /// The tunnel port of shard 0 of every transceiver.
    pub port_base: u16,
    /// How many shards a transceiver may have.
    pub shards: u16,
}

/// An IPv4 network: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Network {
    network: u32,
    mask: u32,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an IPv4 network such as 10.0.0.0/8 (bits behind the prefix must be zero)")]
pub struct NotANetwork;

impl Ipv4Network {
    /// A network; `None` if the prefix is longer than 32 bits or the address has bits behind it.
    pub fn new(address: Ipv4Addr, prefix_bits: u8) -> Option<Self> {
        let host_bits = 32u32.checked_sub(u32::from(prefix_bits))?;
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        let network = u32::from(address);
        (network & !mask == 0).then_some(Self { network, mask })
    }

    /// Whether it is one address.
    const fn is_single(&self) -> bool {
        self.mask == u32::MAX
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask == self.network
    }
}

impl FromStr for Ipv4Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix_bits) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.parse().map_err(|_| NotANetwork)?;
        let prefix_bits = prefix_bits.parse().map_err(|_| NotANetwork)?;
        Self::new(address, prefix_bits).ok_or(NotANetwork)
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.mask.count_ones())
    }
}

/// Instance metadata services and host agents of the larger clouds, which tell secrets to whoever
/// asks. Listing a network around one is not meant for it: it must be listed by itself.
const METADATA: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),   // AWS, containers
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud
];

impl Ipv4Rule {
    pub(super) fn resolve(&self, route: Route) -> Result<Address, ResolveError> {
        let ip = Ipv4Addr::from(route.transceiver.0);
        if !self.networks.iter().any(|network| network.contains(ip)) {
            return Err(ResolveError::TransceiverUnknown);
        }
        let metadata = METADATA.contains(&ip);
        let meant = || {
            let mut special = self.allowed_special.iter();
            special.any(|network| network.contains(ip) && (!metadata || network.is_single()))
        };
        let address = at(ip.into(), self.port_base, route.shard);
        let allowed = match address.scope() {
            Scope::Unicast => !metadata || meant(),
            Scope::Loopback | Scope::LinkLocal => meant(),
            Scope::Multicast | Scope::Broadcast | Scope::Unspecified | Scope::Reserved => false,
        };
        if !allowed {
            return Err(ResolveError::Forbidden);
        }
        if u16::from(route.shard.0) >= self.shards {
            return Err(ResolveError::ShardUnknown);
        }
        Ok(address)
    }

    /// The shard of this rule whose tunnel is at this address.
    pub(super) fn shard_at(&self, cluster: ClusterId, address: &Address) -> Option<Route> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let shard = ShardId(u8::try_from(address.port().checked_sub(self.port_base)?).ok()?);
        let route = Route { cluster, transceiver: TransceiverId(u32::from(ip)), shard };
        self.resolve(route).is_ok().then_some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cluster, Clusters, Resolve};
    use super::*;

    fn route(transceiver: u32, shard: u8) -> Route {
        let transceiver = TransceiverId(transceiver);
        Route { cluster: ClusterId(1), transceiver, shard: ShardId(shard) }
    }

    fn ipv4(networks: &[&str], allowed_special: &[&str]) -> Clusters {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let rule = Ipv4Rule {
            networks: parse(networks),
            allowed_special: parse(allowed_special),
            port_base: 7000,
            shards: 4,
        };
        let cluster = Cluster { id: ClusterId(1), resolve: Resolve::Ipv4(rule) };
        Clusters::new(vec![cluster]).unwrap()
    }

    #[test]
    fn an_ipv4_id_is_an_address_only_where_transceivers_are() {
        let everywhere = ipv4(&["0.0.0.0/0"], &[]);
        let home = ipv4(&["10.1.0.0/16", "192.0.2.7/32"], &[]);
        let special =
            ipv4(&["0.0.0.0/0"], &["127.0.0.1", "169.254.0.0/16", "224.0.0.0/4", "168.63.129.16"]);
        let cases: [(&Clusters, &str, u8, Result<(), ResolveError>); 21] = [
            (&home, "10.1.2.3", 0, Ok(())),
            (&home, "10.1.2.3", 3, Ok(())),
            (&home, "10.1.2.3", 4, Err(ResolveError::ShardUnknown)),
            (&home, "192.0.2.7", 0, Ok(())),
            (&home, "192.0.2.8", 0, Err(ResolveError::TransceiverUnknown)),
            (&home, "10.2.0.0", 0, Err(ResolveError::TransceiverUnknown)),
            (&home, "127.0.0.1", 0, Err(ResolveError::TransceiverUnknown)),
            (&everywhere, "8.8.8.8", 0, Ok(())),
            (&everywhere, "127.0.0.1", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "169.254.169.254", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "168.63.129.16", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "224.0.0.1", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "255.255.255.255", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "0.0.0.0", 0, Err(ResolveError::Forbidden)),
            (&everywhere, "240.0.0.1", 0, Err(ResolveError::Forbidden)),
            (&special, "127.0.0.1", 0, Ok(())),
            (&special, "127.0.0.2", 0, Err(ResolveError::Forbidden)),
            (&special, "169.254.1.9", 0, Ok(())),
            (&special, "169.254.169.254", 0, Err(ResolveError::Forbidden)),
            (&special, "168.63.129.16", 0, Ok(())),
            (&special, "224.0.0.1", 0, Err(ResolveError::Forbidden)),
        ];
        for (clusters, ip, shard, want) in cases {
            let id = u32::from(ip.parse::<Ipv4Addr>().unwrap());
            let got = clusters.resolve(route(id, shard));
            assert_eq!(got.map(|_| ()), want, "{ip} shard {shard}");
            if let Ok(address) = got {
                assert_eq!(address.to_string(), format!("{ip}:{}", 7000 + u16::from(shard)));
                assert_eq!(clusters.shard_at(&address), Some(route(id, shard)), "and back");
            }
        }
    }

    #[test]
    fn no_shard_is_at_a_port_of_none() {
        let clusters = ipv4(&["10.0.0.0/8"], &[]);
        for (text, want) in [
            ("10.0.0.1:7000", true),
            ("10.0.0.1:7003", true),
            ("10.0.0.1:6999", false),
            ("10.0.0.1:7004", false),
            ("10.0.0.1:7256", false),
            ("11.0.0.1:7000", false),
            ("[2001:db8::1]:7000", false),
        ] {
            let address = text.parse::<std::net::SocketAddr>().unwrap().into();
            assert_eq!(clusters.shard_at(&address).is_some(), want, "{text}");
        }
    }

    #[test]
    fn networks() {
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::/0", ""] {
            assert_eq!(text.parse::<Ipv4Network>(), Err(NotANetwork), "{text}");
        }
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Ipv4Network>().unwrap().to_string(), text);
        }
    }
}
