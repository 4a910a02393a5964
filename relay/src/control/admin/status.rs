//! A status from two readings of the workers' numbers.
//!
//! Rates are over the time between a worker's own two publications, not between the readings: a
//! worker publishes ten times a second, which would otherwise be an error of ten percent.

use super::protocol::{Drops, Status, WorkerStatus};
use crate::control::peers::Peer;
use crate::control::relay::Relay;
use crate::core::{Counters, DropReason};
use crate::worker::Numbers;
use service::build::{self, Build};
use service::metrics::ratio;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The status of a relay between two readings.
pub(super) fn of(relay: &Relay, before: &[Numbers], after: &[Numbers], peers: Vec<Peer>) -> Status {
    let engine = relay.engine();
    let now_us = engine::clock::monotonic_ns() / 1_000;
    Status {
        version: build::VERSION.to_owned(),
        kernel: Build::current().kernel,
        uptime_seconds: relay.uptime().as_secs(),
        engine: engine.name.to_owned(),
        engine_reason: engine.reason.clone(),
        direct: relay.direct(),
        parking: relay.parking_state(),
        generation: relay.generation(),
        draining: relay.is_draining(),
        workers: workers(before, after, now_us),
        drops: drops(before, after),
        peers,
    }
}

fn workers(before: &[Numbers], after: &[Numbers], now_us: u64) -> Vec<WorkerStatus> {
    let pairs = before.iter().zip(after).enumerate();
    pairs.map(|(worker, (before, after))| one(worker, before, after, now_us)).collect()
}

fn one(worker: usize, before: &Numbers, after: &Numbers, now_us: u64) -> WorkerStatus {
    let rate = |name| rate(before, after, |numbers| sum(numbers, name));
    let wall_ns = after.own.wall_ns.saturating_sub(before.own.wall_ns);
    let cpu_ns = after.own.cpu_ns.saturating_sub(before.own.cpu_ns);
    WorkerStatus {
        worker,
        received_packets: rate("relay_client_received_packets_total"),
        received_bits: rate("relay_client_received_bytes_total") * 8.0,
        sent_packets: rate("relay_client_sent_packets_total"),
        sent_bits: rate("relay_client_sent_bytes_total") * 8.0,
        drops: rate("relay_drops_total"),
        busy: ratio(cpu_ns, wall_ns),
        flows_new: sum(after, "relay_flows_new"),
        flows_assured: sum(after, "relay_flows_assured"),
        coalesce_us: after.own.coalesce_now_us,
        kernel_drops_public: after.own.kernel_drops_public,
        kernel_drops_tunnel: after.own.kernel_drops_tunnel,
        allocations: after.own.allocations,
        tick_age_ms: now_us.saturating_sub(after.own.ticked_at_us) / 1_000,
    }
}

/// The reasons that ever occurred: those that occur now first, then by how often they did.
fn drops(before: &[Numbers], after: &[Numbers]) -> Vec<Drops> {
    let drop = |reason: DropReason| {
        let of = |numbers: &Numbers| value(numbers, "relay_drops_total", reason.as_str());
        let pairs = before.iter().zip(after);
        Drops {
            reason: reason.as_str().to_owned(),
            meaning: reason.meaning().to_owned(),
            rate: pairs.map(|(before, after)| rate(before, after, of)).sum(),
            total: after.iter().map(of).sum(),
        }
    };
    let mut drops: Vec<_> = DropReason::ALL.into_iter().map(drop).collect();
    drops.retain(|drop| drop.total > 0);
    drops.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.total.cmp(&a.total)));
    drops
}

/// How fast a number grew between two publications of one worker; zero if there was only one.
fn rate(before: &Numbers, after: &Numbers, of: impl Fn(&Numbers) -> u64) -> f64 {
    let wall_ns = after.own.wall_ns.saturating_sub(before.own.wall_ns);
    ratio(of(after).saturating_sub(of(before)).saturating_mul(NS_PER_SECOND), wall_ns)
}

/// A metric of one worker, over all values of its label.
fn sum(numbers: &Numbers, name: &str) -> u64 {
    let named = Counters::series().zip(numbers.counters).filter(|(series, _)| series.name == name);
    named.map(|(_, number)| number).sum()
}

/// A metric of one worker with one value of its label.
fn value(numbers: &Numbers, name: &str, label: &str) -> u64 {
    let is_it = |series: &crate::core::Series| {
        series.name == name && series.label.is_some_and(|(_, value)| value == label)
    };
    let mut all = Counters::series().zip(numbers.counters);
    all.find(|(series, _)| is_it(series)).map_or(0, |(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that were published at a time.
    fn numbers(wall_ms: u64, set: &[(&str, &str, u64)]) -> Numbers {
        let mut numbers = Numbers::new();
        numbers.own.wall_ns = wall_ms * 1_000_000;
        for (name, label, number) in set {
            let is_it = |series: &crate::core::Series| {
                series.name == *name && series.label.map_or("", |(_, value)| value) == *label
            };
            let position = Counters::series().position(|series| is_it(&series)).expect(name);
            numbers.counters[position] = *number;
        }
        numbers
    }

    #[test]
    fn rates_are_over_the_workers_own_time() {
        let packets = "relay_client_received_packets_total";
        let bytes = "relay_client_received_bytes_total";
        let before = numbers(1_000, &[(packets, "rtp", 100), (packets, "stun", 1)]);
        let mut after =
            numbers(1_500, &[(packets, "rtp", 190), (packets, "stun", 11), (bytes, "rtp", 1_000)]);
        after.own.cpu_ns = 125_000_000;
        after.own.ticked_at_us = 7_000;
        let [worker] = &workers(&[before], &[after], 107_000)[..] else { panic!("one worker") };
        assert_eq!((worker.received_packets, worker.received_bits), (200.0, 16_000.0));
        assert_eq!((worker.busy, worker.tick_age_ms), (0.25, 100));
        assert_eq!((worker.sent_packets, worker.drops), (0.0, 0.0));
    }

    #[test]
    fn a_worker_that_published_nothing_new_has_no_rates() {
        let still = numbers(1_000, &[("relay_flows_assured", "", 7)]);
        let [worker] = &workers(std::slice::from_ref(&still), std::slice::from_ref(&still), 0)[..]
        else {
            panic!("one worker")
        };
        assert_eq!((worker.received_packets, worker.busy, worker.flows_assured), (0.0, 0.0, 7));
    }

    #[test]
    fn drops_of_now_come_first_then_the_most_frequent() {
        let drop = |wall_ms, counts: [u64; 3]| {
            let [forged, unknown, empty] = counts;
            let name = "relay_drops_total";
            let set = [
                (name, "hint_forged", forged),
                (name, "flow_unknown", unknown),
                (name, "empty", empty),
            ];
            numbers(wall_ms, &set)
        };
        let before = [drop(0, [900, 10, 5]), drop(0, [0, 10, 0])];
        let after = [drop(1_000, [900, 13, 5]), drop(2_000, [0, 20, 0])];
        let drops = drops(&before, &after);
        let shown: Vec<_> =
            drops.iter().map(|drop| (drop.reason.as_str(), drop.rate, drop.total)).collect();
        assert_eq!(
            shown,
            [("flow_unknown", 8.0, 33), ("hint_forged", 0.0, 900), ("empty", 0.0, 5)]
        );
    }
}
