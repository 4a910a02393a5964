//! From the ids in a hint to the address of a shard's tunnel, without ever trusting an id.
//!
//! - `table`: the address is looked up. What is listed may be reached.
//! - `ipv4`: the transceiver's id *is* its address, so anything that can mint a hint could name any
//!   host. It is therefore accepted only inside the cluster's networks, only at the ports of its
//!   shards, and never where no transceiver can be, unless that is listed explicitly too.

mod ipv4;

pub use ipv4::{Ipv4Network, Ipv4Rule, NotANetwork};

use super::limits::SHARDS_MAX;
use std::fmt;
use std::net::IpAddr;
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
            Resolve::Ipv4(rule) => rule.shard_at(cluster.id, address),
        })
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

    fn transceiver(id: u32, ip: &str, port_base: u16, shards: u16) -> Transceiver {
        Transceiver { id: TransceiverId(id), ip: ip.parse().unwrap(), port_base, shards }
    }

    fn table(transceivers: Vec<Transceiver>) -> Result<Clusters, ClustersError> {
        Clusters::new(vec![Cluster { id: ClusterId(1), resolve: Resolve::Table(transceivers) }])
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
}
