//! Every metric there is: its name, kind, labels and help, once. The registry, the text and the
//! table in the documentation follow from here.

use crate::core::{Counters, SeriesKind};
use engine::Statistics;
use service::metrics::{Declaration, Kind, Row};

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row::counter(name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    Row::gauge(name, labels, help)
}

const fn histogram(name: &'static str, help: &'static str) -> Row {
    Row::histogram(name, WORKER, help)
}

const WORKER: &[&str] = &["worker"];
const SHARD: &[&str] = &["cluster", "transceiver", "shard"];

pub(super) const CPU: Row =
    counter("relay_worker_cpu_seconds_total", WORKER, "CPU time of the worker's thread.");
pub(super) const BUSY: Row = gauge(
    "relay_worker_busy_ratio",
    WORKER,
    "CPU time over wall time of the worker's thread in the last five to ten seconds: 1 is a full \
     core.",
);
pub(super) const TICK_AGE: Row = gauge(
    "relay_worker_tick_age_seconds",
    WORKER,
    "Time since the worker's last tick. Above five seconds, /live fails.",
);
pub(super) const COALESCE_WAIT: Row = counter(
    "relay_worker_coalesce_wait_seconds_total",
    WORKER,
    "Time that batches were given to fill.",
);
pub(super) const COALESCE: Row = gauge(
    "relay_worker_coalesce_seconds",
    WORKER,
    "How long the next batch may fill: zero while the worker is quiet.",
);
pub(super) const ALLOCATIONS: Row = counter(
    "relay_worker_allocations_after_ready_total",
    WORKER,
    "Heap allocations on the worker's thread after it was ready, other than for an operator. Zero \
     is the promise.",
);
pub(super) const KERNEL_DROPS: Row = counter(
    "relay_kernel_drops_total",
    &["worker", "socket"],
    "Datagrams that the kernel dropped because the socket's receive buffer was full; socket is \
     public or tunnel.",
);
pub(super) const OUTBOX_FULL: Row = counter(
    "relay_outbox_full_total",
    WORKER,
    "Datagrams that found no room to be sent even after a flush.",
);
pub(super) const BATCH: Row =
    histogram("relay_batch_datagrams", "Datagrams for each wake-up that brought any.");
pub(super) const TURN: Row =
    histogram("relay_turn_seconds", "Time from a wake-up to the flush behind it.");
pub(super) const LATENCY: Row = histogram(
    "relay_latency_seconds",
    "Time from the kernel's receive timestamp to the flush, for a sample of datagrams.",
);
pub(super) const PEER_UP: Row = gauge(
    "relay_peer_up",
    SHARD,
    "1 if the shard answers the pings of at least one worker, 0 if of none. Not there before \
     anyone could tell.",
);
pub(super) const PEER_ROUND_TRIP: Row = gauge(
    "relay_peer_round_trip_seconds",
    SHARD,
    "The shortest of the workers' latest round trips to the shard, while it is up.",
);
pub(super) const PEERS_NOT_SHOWN: Row = gauge(
    "relay_peers_not_shown",
    &[],
    "Shards that have no relay_peer_ series because there are too many; those with the most flows \
     have one.",
);
pub(super) const DIRECTORY: Row =
    gauge("relay_directory_flows", &[], "Assured flows in the directory of all workers' flows.");
pub(super) const MISSES: Row = counter(
    "relay_flow_misses_total",
    &["outcome"],
    "Packets of clients that no flow of their worker knew, by what came of looking elsewhere: \
     directory (another worker had it), cache (Redis had it), nowhere, repeated (looked for within \
     the second), limited (too many at once), busy (the worker or the cache had too much to do).",
);
pub(super) const CACHE: Row = counter(
    "relay_cache_operations_total",
    &["operation", "outcome"],
    "What the flow cache was asked, and how that went. Writes: done, failed, skipped. Reads: found, \
     absent, garbage (what was there is no flow), failed, skipped (it did not answer lately, or \
     there was too much to do).",
);
pub(super) const CACHE_CONNECTIONS: Row = gauge(
    "relay_cache_connections",
    &[],
    "Connections to the flow cache: one for reading, one for writing, made when needed.",
);
pub(super) const PARKED_SOCKETS: Row = gauge(
    "relay_parked_sockets",
    &[],
    "Sockets that were given to the service manager for the next process. Zero if it keeps none.",
);
pub(super) const PARKED_FLOWS: Row = gauge(
    "relay_parked_flows",
    &[],
    "Flows that were given to it, when each worker's were parked last.",
);
pub(super) const PARKED_FLOWS_AGE: Row = gauge(
    "relay_parked_flows_age_seconds",
    &[],
    "Time since that, of the worker for which it is longest: some seconds. Zero while nothing is \
     parked.",
);
pub(super) const PARKING_FAILURES: Row = counter(
    "relay_parking_failures_total",
    &[],
    "Rounds, one every three seconds or less often, in which sockets or flows could not be parked \
     although the service manager keeps descriptors.",
);
pub(super) const GENERATION: Row = gauge(
    "relay_config_generation",
    &[],
    "How often the configuration was taken: 1 at start, one more with each reload that was good.",
);
pub(super) const UPTIME: Row = gauge("relay_uptime_seconds", &[], "Time since the relay started.");
pub(super) const BUILD: Row = gauge(
    "relay_build_info",
    &["version", "revision", "rustc", "kernel", "engine"],
    "Always 1; the labels say what is running, on which kernel, with which engine.",
);
pub(super) const ENGINE: Row = gauge(
    "relay_engine_info",
    &["engine", "reason"],
    "Always 1; the labels say which engine was taken and why.",
);

pub(super) const DIRECT: Row = gauge(
    "relay_direct_info",
    &["state", "reason"],
    "Always 1; the labels say whether packets to clients leave past their sockets (off, on, partly, \
     unavailable), and by which devices or why not.",
);
pub(super) const DIRECT_PACKETS: Row = counter(
    "relay_direct_packets_total",
    WORKER,
    "Packets to clients that left as frames made here, past their sockets.",
);
pub(super) const DIRECT_BY_SOCKET: Row = counter(
    "relay_direct_by_socket_total",
    &["worker", "reason"],
    "Packets to clients that left by their socket although there is direct egress: wildcard (the \
     listener has no address of its own), route (none, or not to one next hop on an Ethernet \
     device), neighbour (nobody has answered for the next hop yet), refresh (one every ten seconds \
     for each next hop, so that the kernel goes on asking), size (an IP packet of more than 1,280 \
     bytes), run (several at once to one client, sent as one), no_ring (this worker has none to that \
     device), ring_full (all that it holds was still on its way).",
);
pub(super) const DIRECT_KICK_FAILURES: Row = counter(
    "relay_direct_kick_failures_total",
    WORKER,
    "Times a device did not take the frames that were queued for it; they stay queued.",
);
pub(super) const DIRECT_RINGS: Row =
    gauge("relay_direct_rings", WORKER, "Devices that the worker sends to past its sockets.");

const BY_HAND: [Row; 31] = [
    CPU,
    BUSY,
    TICK_AGE,
    COALESCE_WAIT,
    COALESCE,
    ALLOCATIONS,
    KERNEL_DROPS,
    OUTBOX_FULL,
    BATCH,
    TURN,
    LATENCY,
    PEER_UP,
    PEER_ROUND_TRIP,
    PEERS_NOT_SHOWN,
    DIRECTORY,
    MISSES,
    CACHE,
    CACHE_CONNECTIONS,
    PARKED_SOCKETS,
    PARKED_FLOWS,
    PARKED_FLOWS_AGE,
    PARKING_FAILURES,
    GENERATION,
    UPTIME,
    BUILD,
    ENGINE,
    DIRECT,
    DIRECT_PACKETS,
    DIRECT_BY_SOCKET,
    DIRECT_KICK_FAILURES,
    DIRECT_RINGS,
];

/// What an engine's counter is called.
pub(super) fn engine_name(field: &str) -> String {
    format!("relay_engine_{field}_total")
}

/// Every metric, in the order of the documentation.
pub fn all() -> Vec<Declaration> {
    let mut all: Vec<Declaration> = Vec::new();
    for series in Counters::series() {
        // The values of a label follow each other.
        if all.last().is_some_and(|last| last.name == series.name) {
            continue;
        }
        let kind = match series.kind {
            SeriesKind::Counter => Kind::Counter,
            SeriesKind::Gauge => Kind::Gauge,
        };
        let labels = ["worker"].into_iter().chain(series.label.map(|(label, _)| label)).collect();
        let name = series.name.to_owned();
        all.push(Declaration { name, kind, labels, help: series.help.to_owned() });
    }
    all.extend(BY_HAND.iter().map(Declaration::from));
    all.extend(Statistics::ROWS.iter().map(|(field, help)| Declaration {
        name: engine_name(field),
        kind: Kind::Counter,
        labels: vec!["worker", "engine"],
        help: help.trim().to_owned(),
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_follow_the_rules() {
        service::metrics::strict::check_declarations("relay_", &all());
    }
}
