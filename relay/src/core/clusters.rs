//! From the ids in a hint to the address of a shard's tunnel, without ever trusting an id.
//!
//! - `table`: the address is looked up. What is listed may be reached.
//! - `ipv4`: the transceiver's id *is* its address, so anything that can mint a hint could name any
//!   host. It is therefore accepted only inside the cluster's networks, only at the ports of its
//!   shards, and never where no transceiver can be, unless that is listed explicitly too.

use super::limits::SHARDS_MAX;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use thiserror::Error;
use wire::address::{Address, Scope};
use wire::hint::{ClusterId, Hint, ShardId, TransceiverId};

/// Which shard a flow goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Which routing table.
    pub cluster: ClusterId,
    /// Which transceiver in it.
    pub transceiver: TransceiverId,
    /// Which of its threads.
    pub shard: ShardId,
}

impl From<&Hint> for Route {
    fn from(hint: &Hint) -> Self {
        Self { cluster: hint.cluster, transceiver: hint.transceiver, shard: hint.shard }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, transceiver, shard } = self;
        write!(f, "cluster {} transceiver {} shard {}", cluster.0, transceiver.0, shard.0)
    }
}

/// A cluster as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id in hints.
    pub id: ClusterId,
    /// How its transceivers are found.
    pub resolve: Resolve,
}

/// How the transceivers of a cluster are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolve {
    /// By an explicit list.
    Table(Vec<Transceiver>),
    /// By the id, which is the IPv4 address.
    Ipv4(Ipv4Rule),
}

/// A listed transceiver. Its shards' tunnels are at `port_base`, `port_base + 1`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transceiver {
    /// Its id in hints.
    pub id: TransceiverId,
    /// Where it is.
    pub ip: IpAddr,
    /// The tunnel port of shard 0.
    pub port_base: u16,
    /// How many shards it has.
    pub shards: u16,
}

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

/// Why a set of clusters cannot be used. The configuration has its own, friendlier words for these;
/// this is the last line of defence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClustersError {
    /// Two clusters have one id.
    #[error("there are two clusters with id {}", .0.0)]
    ClusterTwice(ClusterId),
    /// Two transceivers of a cluster have one id.
    #[error("cluster {} has two transceivers with id {}", .0.0, .1.0)]
    TransceiverTwice(ClusterId, TransceiverId),
    /// Two shards have one tunnel address.
    #[error("{0} is the tunnel address of two shards")]
    AddressTwice(Address),
    /// The shards' ports do not exist.
    #[error("cluster {id}: {shards} shards from port {port_base} on are not ports 1 to 65535", id = id.0)]
    Ports {
        /// Whose.
        id: ClusterId,
        /// The first.
        port_base: u16,
        /// How many.
        shards: u16,
    },
    /// No transceiver can be at this address.
    #[error("cluster {}: no transceiver can be at {}", .0.0, .1)]
    Address(ClusterId, IpAddr),
    /// There are more shards than the router has room for.
    #[error("{0} shards are listed, and there is room for {1}")]
    TooManyShards(usize, u16),
}

/// Why a route leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResolveError {
    ClusterUnknown,
    TransceiverUnknown,
    ShardUnknown,
    Forbidden,
}

/// All clusters, checked and ready for lookups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clusters {
    /// Sorted by id, and the transceivers of each by theirs.
    sorted: Vec<Cluster>,
}

impl Clusters {
    /// Checks the clusters and sorts them for lookups.
    pub fn new(mut clusters: Vec<Cluster>) -> Result<Self, ClustersError> {
        clusters.sort_by_key(|cluster| cluster.id);
        if let Some(two) = clusters.array_windows().find(|[a, b]| a.id == b.id) {
            return Err(ClustersError::ClusterTwice(two[0].id));
        }
        for cluster in &mut clusters {
            let id = cluster.id;
            match &mut cluster.resolve {
                Resolve::Table(transceivers) => {
                    transceivers.sort_by_key(|transceiver| transceiver.id);
                    let twice = transceivers.array_windows().find(|[a, b]| a.id == b.id);
                    if let Some([transceiver, _]) = twice {
                        return Err(ClustersError::TransceiverTwice(id, transceiver.id));
                    }
                    for transceiver in transceivers {
                        check_ports(id, transceiver.port_base, transceiver.shards)?;
                        check_listed(id, transceiver.ip)?;
                    }
                }
                Resolve::Ipv4(rule) => check_ports(id, rule.port_base, rule.shards)?,
            }
        }
        let clusters = Self { sorted: clusters };
        let mut addresses: Vec<_> = clusters.listed().map(|(_, address)| address).collect();
        addresses.sort_unstable();
        match addresses.array_windows().find(|[a, b]| a == b) {
            Some([address, _]) => Err(ClustersError::AddressTwice(*address)),
            None => Ok(clusters),
        }
    }

    /// The clusters, sorted by id.
    pub fn as_slice(&self) -> &[Cluster] {
        &self.sorted
    }

    /// Every shard that is listed by name. Those of `ipv4` clusters are not.
    pub(super) fn listed(&self) -> impl Iterator<Item = (Route, Address)> {
        self.sorted.iter().flat_map(|cluster| {
            let transceivers = match &cluster.resolve {
                Resolve::Table(transceivers) => transceivers.as_slice(),
                Resolve::Ipv4(_) => &[],
            };
            transceivers.iter().flat_map(|transceiver| {
                (0..=u8::MAX).take(usize::from(transceiver.shards)).map(|shard| {
                    let shard = ShardId(shard);
                    let route = Route { cluster: cluster.id, transceiver: transceiver.id, shard };
                    (route, at(transceiver.ip, transceiver.port_base, shard))
                })
            })
        })
    }

    /// The tunnel address of a shard.
    pub(super) fn resolve(&self, route: Route) -> Result<Address, ResolveError> {
        let cluster = self
            .sorted
            .binary_search_by_key(&route.cluster, |cluster| cluster.id)
            .map(|position| &self.sorted[position])
            .map_err(|_| ResolveError::ClusterUnknown)?;
        match &cluster.resolve {
            Resolve::Table(transceivers) => {
                let transceiver = transceivers
                    .binary_search_by_key(&route.transceiver, |transceiver| transceiver.id)
                    .map(|position| &transceivers[position])
                    .map_err(|_| ResolveError::TransceiverUnknown)?;
                if u16::from(route.shard.0) >= transceiver.shards {
                    return Err(ResolveError::ShardUnknown);
                }
                Ok(at(transceiver.ip, transceiver.port_base, route.shard))
            }
            Resolve::Ipv4(rule) => rule.resolve(route),
        }
    }

    /// The shard of an `ipv4` cluster whose tunnel is at this address.
    pub(super) fn shard_at(&self, address: &Address) -> Option<Route> {
        self.sorted.iter().find_map(|cluster| match &cluster.resolve {
            Resolve::Table(_) => None,
            Resolve::Ipv4(rule) => {
                let IpAddr::V4(ip) = address.ip() else { return None };
                let shard = u8::try_from(address.port().checked_sub(rule.port_base)?).ok()?;
                let transceiver = TransceiverId(u32::from(ip));
                let route = Route { cluster: cluster.id, transceiver, shard: ShardId(shard) };
                rule.resolve(route).is_ok().then_some(route)
            }
        })
    }
}

impl Ipv4Rule {
    fn resolve(&self, route: Route) -> Result<Address, ResolveError> {
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
}

fn check_ports(id: ClusterId, port_base: u16, shards: u16) -> Result<(), ClustersError> {
    let last = u32::from(port_base) + u32::from(shards).saturating_sub(1);
    let right = (1..=SHARDS_MAX).contains(&shards) && port_base != 0 && last <= u32::from(u16::MAX);
    if right { Ok(()) } else { Err(ClustersError::Ports { id, port_base, shards }) }
}

/// A listed address is explicit, so loopback and link-local are the operator's choice.
fn check_listed(id: ClusterId, ip: IpAddr) -> Result<(), ClustersError> {
    match Address::new(ip, 1).scope() {
        Scope::Unicast | Scope::Loopback | Scope::LinkLocal => Ok(()),
        Scope::Multicast | Scope::Broadcast | Scope::Unspecified | Scope::Reserved => {
            Err(ClustersError::Address(id, ip))
        }
    }
}

/// The ports have been checked: the sum never wraps.
fn at(ip: IpAddr, port_base: u16, shard: ShardId) -> Address {
    Address::new(ip, port_base.wrapping_add(u16::from(shard.0)))
}

#[cfg(test)]
mod tests {
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

    fn transceiver(id: u32, ip: &str, port_base: u16, shards: u16) -> Transceiver {
        Transceiver { id: TransceiverId(id), ip: ip.parse().unwrap(), port_base, shards }
    }

    fn table(transceivers: Vec<Transceiver>) -> Result<Clusters, ClustersError> {
        Clusters::new(vec![Cluster { id: ClusterId(1), resolve: Resolve::Table(transceivers) }])
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
    fn a_table_leads_only_to_what_it_lists() {
        let listed = vec![transceiver(9, "127.0.0.1", 7000, 2), transceiver(3, "::1", 8000, 1)];
        let clusters = table(listed).unwrap();
        let resolve = |id, shard| clusters.resolve(route(id, shard)).map(|a| a.to_string());
        assert_eq!(resolve(9, 1), Ok("127.0.0.1:7001".into()));
        assert_eq!(resolve(3, 0), Ok("[::1]:8000".into()));
        assert_eq!(resolve(9, 2), Err(ResolveError::ShardUnknown));
        assert_eq!(resolve(4, 0), Err(ResolveError::TransceiverUnknown));
        let elsewhere = Route { cluster: ClusterId(2), ..route(9, 0) };
        assert_eq!(clusters.resolve(elsewhere), Err(ResolveError::ClusterUnknown));
        assert_eq!(clusters.listed().count(), 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let id = ClusterId(1);
        for (transceivers, want) in [
            (
                vec![transceiver(1, "10.0.0.1", 7000, 1), transceiver(1, "10.0.0.2", 7000, 1)],
                ClustersError::TransceiverTwice(id, TransceiverId(1)),
            ),
            (
                vec![transceiver(1, "10.0.0.1", 7000, 2), transceiver(2, "10.0.0.1", 7001, 1)],
                ClustersError::AddressTwice(Address::new([10, 0, 0, 1].into(), 7001)),
            ),
            (
                vec![transceiver(1, "10.0.0.1", 0, 1)],
                ClustersError::Ports { id, port_base: 0, shards: 1 },
            ),
            (
                vec![transceiver(1, "10.0.0.1", 65535, 2)],
                ClustersError::Ports { id, port_base: 65535, shards: 2 },
            ),
            (
                vec![transceiver(1, "10.0.0.1", 7000, 0)],
                ClustersError::Ports { id, port_base: 7000, shards: 0 },
            ),
            (
                vec![transceiver(1, "10.0.0.1", 7000, 257)],
                ClustersError::Ports { id, port_base: 7000, shards: 257 },
            ),
            (
                vec![transceiver(1, "224.0.0.1", 7000, 1)],
                ClustersError::Address(id, [224, 0, 0, 1].into()),
            ),
        ] {
            assert_eq!(table(transceivers), Err(want));
        }
        assert!(table(vec![transceiver(1, "10.0.0.1", 65280, 256)]).is_ok());
        let twice = Cluster { id, resolve: Resolve::Table(Vec::new()) };
        let got = Clusters::new(vec![twice.clone(), twice]);
        assert_eq!(got, Err(ClustersError::ClusterTwice(id)));
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
