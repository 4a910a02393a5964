//! Clusters: how (cluster, transceiver, shard) of a hint becomes an address.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use service::network::{Cidr, Special, refused};

use super::limits;

/// Transceivers that share a routing table.
///
/// The keys of both ways to resolve are beside each other, as in the file; that only those of the
/// chosen way are set is checked. [`Cluster::resolution`] is the view to work with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// What hints call it.
    pub id: u16,
    /// What people and metrics call it.
    pub name: String,
    /// How an id becomes an address.
    pub resolve: Resolve,
    /// The first tunnel port of each transceiver that names none of its own.
    #[serde(default = "port_base")]
    pub port_base: u16,
    /// For `table`: who is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transceivers: Vec<Transceiver>,
    /// For `ipv4`: the most shards that a transceiver may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// For `ipv4`: the networks that ids may lie in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<Cidr>,
    /// Special addresses (loopback, link-local, metadata) that are meant nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_special: Vec<Cidr>,
}

fn port_base() -> u16 {
    limits::TRANSCEIVER_PORT_BASE
}

/// How an id becomes an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// By a list.
    Table,
    /// The id is the address.
    Ipv4,
}

/// One transceiver of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transceiver {
    /// What hints call it.
    pub id: u32,
    /// Where it is.
    pub address: IpAddr,
    /// Its first tunnel port, if not the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_base: Option<u16>,
    /// How many shards it has: shard n is at the first port plus n.
    pub shards: u16,
}

/// A cluster's way to resolve, with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution<'a> {
    /// By a list.
    Table(&'a [Transceiver]),
    /// The id is an IPv4 address in one of the networks.
    Ipv4 {
        /// The networks.
        cidrs: &'a [Cidr],
        /// The most shards that a transceiver may have.
        shards: u16,
    },
}

impl Cluster {
    /// How this cluster resolves.
    #[must_use]
    pub fn resolution(&self) -> Resolution<'_> {
        match self.resolve {
            Resolve::Table => Resolution::Table(&self.transceivers),
            Resolve::Ipv4 => Resolution::Ipv4 {
                cidrs: &self.cidrs,
                shards: self.shards.unwrap_or(limits::SHARDS_MAX),
            },
        }
    }

    /// The first tunnel port of one of its transceivers.
    #[must_use]
    pub fn port_base_of(&self, transceiver: &Transceiver) -> u16 {
        transceiver.port_base.unwrap_or(self.port_base)
    }

    /// Why the relay must not send to an address of this cluster; none if it may. The one rule for
    /// addresses from the file and for those learned later.
    #[must_use]
    pub fn refuses(&self, address: IpAddr) -> Option<Special> {
        refused(address, &self.allow_special)
    }
}
