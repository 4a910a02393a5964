//! The text of a scrape, read by strict rules.

use super::*;
use crate::control::parking::Parking;
use crate::control::peers::{merge, tests::info};
use crate::core::{Counters, DropReason};
use service::metrics::strict::{Family, parse};
use std::collections::BTreeMap;

const REASON: &str = "io_uring is \"forbidden\" here:\n sysctl kernel.io_uring_disabled is 2";

fn build() -> Build {
    Build { version: "0.1.0", revision: "abc", compiler: "rustc 1.95.0", kernel: "6.12".into() }
}

fn rendered(numbers: &[Numbers], peers: &[Peer]) -> BTreeMap<String, Family> {
    rendered_with(numbers, peers, &Parking::default().state())
}

fn rendered_with(
    numbers: &[Numbers],
    peers: &[Peer],
    parking: &ParkingState,
) -> BTreeMap<String, Family> {
    let exposition = Exposition::new(numbers.len(), "mmsg", REASON, &build());
    let busy = vec![0.25; numbers.len()];
    let scrape = Scrape {
        numbers,
        busy: &busy,
        peers,
        recall: &RecallCounters::default(),
        cache: &CacheCounters::default(),
        direct: &DirectState { state: "off".into(), reason: "as configured".into() },
        parking,
        generation: 3,
        uptime: Duration::from_millis(1_500),
        now_us: 10_000_000,
    };
    let first = parse(&exposition.render(&scrape));
    assert_eq!(first, parse(&exposition.render(&scrape)), "a scrape changes nothing");
    first
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let family = families.get(name).or_else(|| families.get(base?)).expect(name);
    let series = format!("{name}{labels:?}");
    *family.samples.get(&series).unwrap_or_else(|| panic!("{series} in {family:?}"))
}

#[test]
fn a_fresh_relay_shows_every_series_with_zero() {
    let families = rendered(&[Numbers::new(), Numbers::new()], &[]);
    let declared = all();
    assert_eq!(
        families.keys().cloned().collect::<Vec<_>>(),
        {
            let mut names: Vec<_> = declared.iter().map(|metric| metric.name.clone()).collect();
            names.sort();
            names
        },
        "what is shown is what is declared"
    );
    for metric in &declared {
        let family = &families[&metric.name];
        assert_eq!(family.kind, metric.kind.as_str(), "{}", metric.name);
        assert_eq!(family.help, metric.help, "{}", metric.name);
        for series in family.samples.keys() {
            for label in &metric.labels {
                assert!(series.contains(&format!("\"{label}\": ")), "{series} lacks {label}");
            }
        }
        // Shards come and go; all else is there.
        let is_of_shards = metric.labels.contains(&"shard");
        assert_eq!(family.samples.is_empty(), is_of_shards, "{}", metric.name);
        let is_fact = [
            "relay_build_info",
            "relay_engine_info",
            "relay_direct_info",
            "relay_config_generation",
        ];
        if !is_fact.contains(&metric.name.as_str())
            && !["relay_uptime_seconds", "relay_worker_busy_ratio"].contains(&metric.name.as_str())
        {
            assert!(family.samples.values().all(|value| *value == 0.0), "{family:?}");
        }
    }
    for worker in ["0", "1"] {
        for reason in DropReason::ALL {
            let labels = [("worker", worker), ("reason", reason.as_str())];
            assert_eq!(value(&families, "relay_drops_total", &labels), 0.0);
        }
        let labels = [("worker", worker), ("le", "+Inf")];
        assert_eq!(value(&families, "relay_turn_seconds_bucket", &labels), 0.0);
    }
}

#[test]
fn numbers_appear_where_they_belong() {
    let mut numbers = Numbers::new();
    for (position, series) in Counters::series().enumerate() {
        if series.label == Some(("reason", "hint_forged")) {
            numbers.counters[position] = u64::from(u32::MAX) + 1;
        }
    }
    numbers.engine[0] = 5;
    numbers.own.cpu_ns = 1_500_000_000;
    numbers.own.coalesce_us = 250_000;
    numbers.own.coalesce_now_us = 100;
    numbers.own.kernel_drops_tunnel = 4;
    numbers.own.ticked_at_us = 7_500_000;
    let mut batch = Histogram::new();
    batch.record(3);
    batch.write(&mut numbers.batch);
    let peers = merge(
        &Names::default(),
        [vec![info(0, Some(true), Some(200)), info(1, Some(false), None), info(2, None, None)]],
    );
    let families = rendered(&[Numbers::new(), numbers], &peers);
    let worker = ("worker", "1");
    let shard = |shard| [("cluster", "1"), ("transceiver", "2"), ("shard", shard)];
    for (name, labels, expected) in [
        ("relay_drops_total", &[worker, ("reason", "hint_forged")][..], 4_294_967_296.0),
        ("relay_engine_waits_total", &[worker, ("engine", "mmsg")], 5.0),
        ("relay_worker_cpu_seconds_total", &[worker], 1.5),
        ("relay_worker_coalesce_wait_seconds_total", &[worker], 0.25),
        ("relay_worker_coalesce_seconds", &[worker], 0.0001),
        ("relay_worker_busy_ratio", &[worker], 0.25),
        ("relay_worker_tick_age_seconds", &[worker], 2.5),
        ("relay_kernel_drops_total", &[worker, ("socket", "tunnel")], 4.0),
        ("relay_batch_datagrams_bucket", &[worker, ("le", "2")], 0.0),
        ("relay_batch_datagrams_bucket", &[worker, ("le", "4")], 1.0),
        ("relay_batch_datagrams_sum", &[worker], 3.0),
        ("relay_peer_up", &shard("0"), 1.0),
        ("relay_peer_up", &shard("1"), 0.0),
        ("relay_peer_round_trip_seconds", &shard("0"), 0.0002),
        ("relay_config_generation", &[], 3.0),
        ("relay_uptime_seconds", &[], 1.5),
        ("relay_engine_info", &[("engine", "mmsg"), ("reason", REASON)], 1.0),
    ] {
        assert_eq!(value(&families, name, labels), expected, "{name} {labels:?}");
    }
    assert_eq!(families["relay_peer_up"].samples.len(), 2, "nobody knows about the third yet");
    assert_eq!(families["relay_peer_round_trip_seconds"].samples.len(), 1);
}

#[test]
fn too_many_shards_are_counted_instead() {
    let peer = |number: usize| Peer {
        route: crate::control::names::NamedRoute {
            cluster: "voice".into(),
            transceiver: number.to_string(),
            shard: 0,
        },
        tunnel: ([10, 0, 0, 1], 1).into(),
        listed: false,
        up: Some(true),
        draining: false,
        legs: 1,
        legs_up: 1,
        round_trip_us: None,
        flows: number as u64,
    };
    let peers: Vec<_> = (0..PEERS_SHOWN_MAX + 3).map(peer).collect();
    let families = rendered(&[Numbers::new()], &peers);
    assert_eq!(families["relay_peer_up"].samples.len(), PEERS_SHOWN_MAX);
    assert_eq!(value(&families, "relay_peers_not_shown", &[]), 3.0);
    let busiest = (PEERS_SHOWN_MAX + 2).to_string();
    let labels = [("cluster", "voice"), ("transceiver", busiest.as_str()), ("shard", "0")];
    assert_eq!(value(&families, "relay_peer_up", &labels), 1.0);
}

#[test]
fn what_is_parked_is_shown() {
    let parking = ParkingState {
        state: "failing".into(),
        reason: "the flows of worker 1: full".into(),
        sockets: 6,
        flows: 200,
        flows_age_ms: 9_500,
        failures: 2,
    };
    let families = rendered_with(&[Numbers::new()], &[], &parking);
    for (name, expected) in [
        ("relay_parked_sockets", 6.0),
        ("relay_parked_flows", 200.0),
        ("relay_parked_flows_age_seconds", 9.5),
        ("relay_parking_failures_total", 2.0),
    ] {
        assert_eq!(value(&families, name, &[]), expected, "{name}");
    }
}

#[test]
fn busy_is_measured_over_the_last_two_samples() {
    let at = |cpu_ns, wall_ns| {
        let mut numbers = Numbers::new();
        numbers.own.cpu_ns = cpu_ns;
        numbers.own.wall_ns = wall_ns;
        [numbers]
    };
    let mut samples = Samples::default();
    assert_eq!(samples.busy(&at(0, 0)), [0.0], "nothing has passed yet");
    assert_eq!(samples.busy(&at(10, 100)), [0.1], "since the start");
    samples.take(&at(10, 100), Vec::new());
    samples.take(&at(60, 200), Vec::new());
    assert_eq!(samples.busy(&at(110, 300)), [0.5], "since the last but one");
}
