//! A status from two readings of the shards' numbers.
//!
//! Rates are over the time between a shard's own two publications, not between the readings: a
//! shard publishes ten times a second, which would otherwise be an error of ten percent.

use super::protocol::{Drops, Ended, ShardStatus, Status};
use crate::call::EndReason;
use crate::control::transceiver::Transceiver;
use crate::shard::{Counters, Numbers, Series};
use service::build::{self, Build};
use service::metrics::ratio;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The status of a transceiver between two readings.
pub(super) fn of(transceiver: &Transceiver, before: &[Numbers], after: &[Numbers]) -> Status {
    let engine = transceiver.engine();
    let calls = transceiver.calls();
    let policy = calls.policy();
    let now_us = engine::clock::monotonic_ns() / 1_000;
    Status {
        version: build::VERSION.to_owned(),
        kernel: Build::current().kernel,
        uptime_seconds: transceiver.uptime().as_secs(),
        cluster: policy.cluster.0,
        transceiver: policy.transceiver.0,
        engine: engine.name.to_owned(),
        engine_reason: engine.reason.clone(),
        generation: transceiver.generation(),
        draining: calls.is_draining(),
        calls_per_shard_max: policy.calls_per_shard_max,
        shards: shards(before, after, &calls.loads(), now_us),
        drops: drops(before, after),
        ended: ended(after),
    }
}

fn shards(before: &[Numbers], after: &[Numbers], loads: &[u32], now_us: u64) -> Vec<ShardStatus> {
    let pairs = before.iter().zip(after).zip(loads).enumerate();
    pairs
        .map(|(shard, ((before, after), calls))| one(shard, before, after, *calls, now_us))
        .collect()
}

fn one(shard: usize, before: &Numbers, after: &Numbers, calls: u32, now_us: u64) -> ShardStatus {
    let rate = |name| rate(before, after, |numbers| sum(numbers, name));
    let grown = |name| sum(after, name).saturating_sub(sum(before, name));
    let wall_ns = after.own.wall_ns.saturating_sub(before.own.wall_ns);
    let cpu_ns = after.own.cpu_ns.saturating_sub(before.own.cpu_ns);
    let lost = grown("transceiver_audio_lost_packets_total");
    let arrived = grown("transceiver_audio_received_packets_total");
    ShardStatus {
        shard,
        calls,
        connected: value(after, "transceiver_sessions", "connected"),
        opened: rate("transceiver_sessions_opened_total"),
        audio_in: rate("transceiver_audio_received_packets_total"),
        audio_out: rate("transceiver_audio_sent_packets_total"),
        received_bits: rate("transceiver_tunnel_received_bytes_total") * 8.0,
        sent_bits: rate("transceiver_tunnel_sent_bytes_total") * 8.0,
        drops: rate("transceiver_drops_total"),
        loss: ratio(lost, lost + arrived),
        busy: ratio(cpu_ns, wall_ns),
        wakes: self::rate(before, after, |numbers| numbers.own.wakes),
        relays: sum(after, "transceiver_relays"),
        kernel_drops: after.own.kernel_drops,
        panics: sum(after, "transceiver_panics_total"),
        tick_age_ms: now_us.saturating_sub(after.own.ticked_at_us) / 1_000,
    }
}

/// The reasons that ever occurred: those that occur now first, then by how often they did.
fn drops(before: &[Numbers], after: &[Numbers]) -> Vec<Drops> {
    let drop = |&(reason, meaning): &(&str, &str)| {
        let of = |numbers: &Numbers| value(numbers, "transceiver_drops_total", reason);
        let pairs = before.iter().zip(after);
        Drops {
            reason: reason.to_owned(),
            meaning: meaning.to_owned(),
            rate: pairs.map(|(before, after)| rate(before, after, of)).sum(),
            total: after.iter().map(of).sum(),
        }
    };
    let mut drops: Vec<_> = Counters::DROPS.iter().map(drop).collect();
    drops.retain(|drop| drop.total > 0);
    drops.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.total.cmp(&a.total)));
    drops
}

fn ended(after: &[Numbers]) -> Vec<Ended> {
    let of = |reason: EndReason| {
        let reason = reason.as_str();
        let total = |numbers| value(numbers, "transceiver_sessions_ended_total", reason);
        Ended { reason: reason.to_owned(), total: after.iter().map(total).sum() }
    };
    EndReason::ALL.into_iter().map(of).filter(|ended| ended.total > 0).collect()
}

/// How fast a number grew between two publications of one shard; zero if there was only one.
fn rate(before: &Numbers, after: &Numbers, of: impl Fn(&Numbers) -> u64) -> f64 {
    let wall_ns = after.own.wall_ns.saturating_sub(before.own.wall_ns);
    ratio(of(after).saturating_sub(of(before)).saturating_mul(NS_PER_SECOND), wall_ns)
}

/// A metric of one shard, over all values of its label.
fn sum(numbers: &Numbers, name: &str) -> u64 {
    let named = Counters::series().zip(numbers.counters).filter(|(series, _)| series.name == name);
    named.map(|(_, number)| number).sum()
}

/// A metric of one shard with one value of its label.
fn value(numbers: &Numbers, name: &str, label: &str) -> u64 {
    let is_it = |series: &Series| {
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
            let is_it = |series: &Series| {
                series.name == *name && series.label.map_or("", |(_, value)| value) == *label
            };
            let position = Counters::series().position(|series| is_it(&series)).expect(name);
            numbers.counters[position] = *number;
        }
        numbers
    }

    #[test]
    fn rates_are_over_the_shards_own_time() {
        let (received, lost) =
            ("transceiver_audio_received_packets_total", "transceiver_audio_lost_packets_total");
        let bytes = "transceiver_tunnel_sent_bytes_total";
        let before = numbers(1_000, &[(received, "", 100), (lost, "", 5)]);
        let mut after = numbers(
            1_500,
            &[
                (received, "", 190),
                (lost, "", 15),
                (bytes, "", 1_000),
                ("transceiver_sessions", "connected", 3),
            ],
        );
        after.own.cpu_ns = 125_000_000;
        after.own.ticked_at_us = 7_000;
        let [shard] = &shards(&[before], &[after], &[4], 107_000)[..] else { panic!("one shard") };
        assert_eq!((shard.calls, shard.connected), (4, 3));
        assert_eq!((shard.audio_in, shard.sent_bits, shard.loss), (180.0, 16_000.0, 0.1));
        assert_eq!((shard.busy, shard.tick_age_ms), (0.25, 100));
        assert_eq!((shard.audio_out, shard.drops), (0.0, 0.0));
    }

    #[test]
    fn a_shard_that_published_nothing_new_has_no_rates() {
        let still = [numbers(1_000, &[("transceiver_audio_sent_packets_total", "", 7)])];
        let [shard] = &shards(&still, &still, &[0], 0)[..] else { panic!("one shard") };
        assert_eq!((shard.audio_out, shard.busy, shard.loss), (0.0, 0.0, 0.0));
    }

    #[test]
    fn drops_of_now_come_first_and_ends_that_happened_are_told() {
        let drop = |wall_ms, [forged, none]: [u64; 2]| {
            let name = "transceiver_drops_total";
            let ended = ("transceiver_sessions_ended_total", "hung_up", 2);
            [numbers(wall_ms, &[(name, "check_forged", forged), (name, "no_session", none), ended])]
        };
        let (before, after) = (drop(0, [900, 10]), drop(1_000, [900, 13]));
        let drops = drops(&before, &after);
        let shown: Vec<_> =
            drops.iter().map(|drop| (drop.reason.as_str(), drop.rate, drop.total)).collect();
        assert_eq!(shown, [("no_session", 3.0, 13), ("check_forged", 0.0, 900)]);
        assert_eq!(ended(&after), [Ended { reason: "hung_up".into(), total: 2 }]);
    }

    #[test]
    fn every_metric_that_is_asked_for_is_counted() {
        let known: Vec<_> = Counters::series().map(|series| series.name).collect();
        let prefix = concat!("transceiver", "_");
        let names = include_str!("status.rs").split('"').filter(|text| text.starts_with(prefix));
        for name in names {
            assert!(known.contains(&name), "{name}");
        }
    }
}
