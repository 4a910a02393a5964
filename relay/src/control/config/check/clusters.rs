//! The checks on clusters: where clients' packets may go at all.

use std::collections::BTreeMap;
use std::net::IpAddr;

use service::config::Problems;
use service::network::{Cidr, Special};

use super::super::{Cluster, Config, Resolution, Transceiver};
use crate::control::config::limits::*;

pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    let clusters = &config.clusters;
    if clusters.len() > CLUSTERS_MAX {
        let count = clusters.len();
        problems.add("clusters", format!("at most {CLUSTERS_MAX} are possible, there are {count}"));
    }
    let mut ids = BTreeMap::new();
    let mut ports = Ports::new();
    let mut names = BTreeMap::new();
    for (index, cluster) in clusters.iter().enumerate() {
        let key = format!("clusters[{index}]");
        if let Some(first) = ids.insert(cluster.id, index) {
            let id = cluster.id;
            problems.add(format!("{key}.id"), format!("{id} is that of clusters[{first}] too"));
        }
        if let Some(first) = names.insert(&cluster.name, index) {
            let name = &cluster.name;
            problems
                .add(format!("{key}.name"), format!("\"{name}\" is that of clusters[{first}] too"));
        }
        check_cluster(config, cluster, &mut ports, &key, problems);
    }
}

/// For each address the ranges of tunnel ports in use, by first port: the last one and whose. The
/// range that begins last before another's end tells whether the two overlap.
type Ports<'a> = BTreeMap<(IpAddr, u16), (u16, u32, &'a str)>;

fn check_cluster<'a>(
    config: &Config,
    cluster: &'a Cluster,
    ports: &mut Ports<'a>,
    key: &str,
    problems: &mut Problems<'_>,
) {
    let name = &cluster.name;
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > CLUSTER_NAME_MAX || !name.chars().all(sound) {
        problems.add(
            format!("{key}.name"),
            format!("must be 1..={CLUSTER_NAME_MAX} of a-z, 0-9 and \"-\" (it becomes a metric label), is \"{name}\""),
        );
    }
    for (list, networks) in [("cidrs", &cluster.cidrs), ("allow_special", &cluster.allow_special)] {
        if networks.len() > NETWORKS_MAX {
            let count = networks.len();
            problems.add(
                format!("{key}.{list}"),
                format!("at most {NETWORKS_MAX} are possible, there are {count}"),
            );
        }
    }
    for (index, network) in cluster.allow_special.iter().enumerate() {
        check_allowed(*network, &format!("{key}.allow_special[{index}]"), problems);
    }
    match cluster.resolution() {
        Resolution::Table(transceivers) => {
            if !cluster.cidrs.is_empty() {
                problems.add(
                    format!("{key}.cidrs"),
                    "belongs to resolve = \"ipv4\"; here transceivers says who is there",
                );
            }
            if cluster.shards.is_some() {
                problems.add(
                    format!("{key}.shards"),
                    "belongs to resolve = \"ipv4\"; here each transceiver has its own",
                );
            }
            check_table(config, cluster, transceivers, ports, key, problems);
        }
        Resolution::Ipv4 { cidrs, shards } => {
            if !cluster.transceivers.is_empty() {
                problems.add(
                    format!("{key}.transceivers"),
                    "belongs to resolve = \"table\"; here the id is the address",
                );
            }
            problems.range(&format!("{key}.shards"), shards, 1, SHARDS_MAX);
            check_ports(cluster.port_base, shards, &format!("{key}.port_base"), problems);
            check_networks(config, cluster, cidrs, key, problems);
        }
    }
}

fn check_table<'a>(
    config: &Config,
    cluster: &'a Cluster,
    transceivers: &[Transceiver],
    ports: &mut Ports<'a>,
    key: &str,
    problems: &mut Problems<'_>,
) {
    if transceivers.len() > TRANSCEIVERS_MAX {
        let count = transceivers.len();
        problems.add(
            format!("{key}.transceivers"),
            format!(
                "at most {TRANSCEIVERS_MAX} are possible, there are {count}: split the cluster"
            ),
        );
        return;
    }
    let mut ids = BTreeMap::new();
    for (index, transceiver) in transceivers.iter().enumerate() {
        let Transceiver { id, address, shards, .. } = transceiver;
        let key = format!("{key}.transceivers[{index}]");
        if let Some(first) = ids.insert(id, index) {
            problems.add(format!("{key}.id"), format!("{id} is that of transceivers[{first}] too"));
        }
        problems.range(&format!("{key}.shards"), *shards, 1, SHARDS_MAX);
        let base = cluster.port_base_of(transceiver);
        check_ports(base, *shards, &format!("{key}.port_base"), problems);

        check_address(config, cluster, *address, &format!("{key}.address"), problems);

        let last = base.saturating_add(shards.saturating_sub(1));
        let before = ports.range(..=(*address, last)).next_back();
        if let Some((&(other, _), &(other_last, other_id, name))) = before
            && other == *address
            && other_last >= base
        {
            problems.add(
                format!("{key}.port_base"),
                format!(
                    "{address} ports {base}..={last} overlap with those of transceiver {other_id} \
                     of cluster \"{name}\""
                ),
            );
        }
        ports.insert((*address, base), (last, *id, &cluster.name));
    }
}

fn check_address(
    config: &Config,
    cluster: &Cluster,
    address: IpAddr,
    key: &str,
    problems: &mut Problems<'_>,
) {
    if let Some(reason) = super::unbindable(address) {
        problems.add(key, format!("{address} {reason}; no transceiver can be there"));
    } else if let Some(special) = cluster.refuses(address) {
        let exception = Cidr::from(address).to_string();
        problems.add(key, refusal(&address.to_string(), special, &exception));
    } else if address.is_ipv4() != config.tunnel.address.is_ipv4() {
        let tunnel = config.tunnel.address;
        problems.add(key, format!("{address} is of another family than tunnel.address ({tunnel})"));
    }
}

fn check_networks(
    config: &Config,
    cluster: &Cluster,
    cidrs: &[Cidr],
    key: &str,
    problems: &mut Problems<'_>,
) {
    if cidrs.is_empty() {
        problems.add(
            format!("{key}.cidrs"),
            "resolve = \"ipv4\" needs the networks that transceivers are in, such as [\"10.1.0.0/16\"]",
        );
    }
    if !config.tunnel.address.is_ipv4() {
        problems.add(
            format!("{key}.resolve"),
            format!(
                "\"ipv4\" needs an IPv4 tunnel, and tunnel.address is {}",
                config.tunnel.address
            ),
        );
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        let key = format!("{key}.cidrs[{index}]");
        if !cidr.network().is_ipv4() {
            problems.add(key, format!("{cidr} is not IPv4; an id has room for no more"));
        } else if cidr.length() < NETWORK_LENGTH_MIN {
            problems.add(
                key,
                format!(
                    "{cidr} is wider than /{NETWORK_LENGTH_MIN}: name the networks that are yours"
                ),
            );
        } else if let Some(special) = cluster.refuses(cidr.network()) {
            problems.add(key, refusal(&cidr.to_string(), special, &cidr.to_string()));
        }
    }
}

/// An exception for what is no exception, or cannot be one, is a misunderstanding.
fn check_allowed(network: Cidr, key: &str, problems: &mut Problems<'_>) {
    match Special::of(network.network()) {
        Some(special) if !special.can_be_allowed() => problems.add(
            key,
            format!("{network} is {}: nothing can be meant by sending there", special.as_str()),
        ),
        Some(_) => {}
        None => problems
            .add(key, format!("{network} is not special, and needs no exception: leave it out")),
    }
}

fn check_ports(base: u16, shards: u16, key: &str, problems: &mut Problems<'_>) {
    let shards = shards.clamp(1, SHARDS_MAX);
    let last_base = u16::MAX - shards + 1;
    if base < PORT_MIN || base > last_base {
        problems.add(
            key,
            format!(
                "must be {PORT_MIN}..={last_base} to leave room for {shards} shards, is {base}"
            ),
        );
    }
}

fn refusal(what: &str, special: Special, exception: &str) -> String {
    let name = special.as_str();
    if special.can_be_allowed() {
        format!(
            "{what} is {name}; if that is meant, add allow_special = [\"{exception}\"] to the cluster"
        )
    } else {
        format!("{what} is {name}: no transceiver can be there")
    }
}
