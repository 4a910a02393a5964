//! Routes in people's words: a cluster by its name, a transceiver by its address where its id is
//! one.

use super::config::{Config, Resolve};
use crate::core::Route;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

/// A route as people and metrics name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedRoute {
    /// The cluster's name; its number if it is not configured.
    pub cluster: String,
    /// The transceiver's number, or its address in clusters where that is the number.
    pub transceiver: String,
    /// Which of the transceiver's threads.
    pub shard: u8,
}

impl fmt::Display for NamedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.transceiver, self.shard)
    }
}

/// What the configuration calls its clusters.
#[derive(Debug, Clone, Default)]
pub struct Names {
    clusters: HashMap<u16, (String, Resolve)>,
}

impl Names {
    /// The names in a configuration.
    pub fn of(config: &Config) -> Self {
        let named = |cluster: &super::config::Cluster| {
            (cluster.id, (cluster.name.clone(), cluster.resolve))
        };
        Self { clusters: config.clusters.iter().map(named).collect() }
    }

    /// A route by its names.
    pub fn route(&self, route: Route) -> NamedRoute {
        let id = route.transceiver.0;
        let (cluster, transceiver) = match self.clusters.get(&route.cluster.0) {
            Some((name, Resolve::Table)) => (name.clone(), id.to_string()),
            Some((name, Resolve::Ipv4)) => (name.clone(), Ipv4Addr::from(id).to_string()),
            None => (route.cluster.0.to_string(), id.to_string()),
        };
        NamedRoute { cluster, transceiver, shard: route.shard.0 }
    }

    /// Whether a cluster is configured.
    pub fn knows(&self, cluster: u16) -> bool {
        self.clusters.contains_key(&cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::config::Sources;
    use wire::hint::{ClusterId, ShardId, TransceiverId};

    #[test]
    fn a_route_has_the_names_of_its_cluster() {
        let text = "\
            [[clusters]]\nid = 1\nname = \"voice\"\nresolve = \"ipv4\"\ncidrs = [\"10.0.0.0/8\"]\n\
            [[clusters]]\nid = 2\nname = \"lab\"\nresolve = \"table\"\n\
            transceivers = [{ id = 7, address = \"10.1.1.1\", shards = 1 }]\n";
        let config = Sources::default().parse::<Config>(text).unwrap().config;
        let names = Names::of(&config);
        let named = |cluster, transceiver| {
            let cluster = ClusterId(cluster);
            let transceiver = TransceiverId(transceiver);
            names.route(Route { cluster, transceiver, shard: ShardId(3) }).to_string()
        };
        assert_eq!(named(1, 0x0a00_0102), "voice/10.0.1.2/3");
        assert_eq!(named(2, 7), "lab/7/3");
        assert_eq!(named(9, 7), "9/7/3");
        assert!(names.knows(2) && !names.knows(9));
    }
}
