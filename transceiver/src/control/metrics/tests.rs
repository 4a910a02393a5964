//! The text of a scrape, read by strict rules.

use super::*;
use service::metrics::strict::{Family, parse};
use std::collections::BTreeMap;

const REASON: &str = "io_uring is \"forbidden\" here:\n sysctl kernel.io_uring_disabled is 2";

fn rendered(numbers: &[Numbers]) -> BTreeMap<String, Family> {
    let build =
        Build { version: "0.1.0", revision: "abc", compiler: "rustc", kernel: "6.12".into() };
    let busy = vec![0.25; numbers.len()];
    let loads = vec![7; numbers.len()];
    let scrape = Scrape {
        numbers,
        busy: &busy,
        loads: &loads,
        calls_max: 2_000,
        draining: true,
        signaling: &signaling::Counters::default(),
        engine: ("mmsg", REASON),
        build: &build,
        identity: (1, 9),
        generation: 3,
        uptime: Duration::from_millis(1_500),
        now_us: 10_000_000,
    };
    let first = parse(&render(&scrape));
    assert_eq!(first, parse(&render(&scrape)), "a scrape changes nothing");
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
fn a_fresh_transceiver_shows_every_series_with_zero() {
    let families = rendered(&[Numbers::new(), Numbers::new()]);
    let declared = all();
    let mut names: Vec<_> = declared.iter().map(|metric| metric.name.clone()).collect();
    names.sort();
    assert_eq!(
        families.keys().cloned().collect::<Vec<_>>(),
        names,
        "what is shown is what is declared"
    );
    // Facts, and what the sample above says of the whole.
    let not_zero =
        ["_info", "_calls", "_max", "_draining", "_generation", "_uptime_seconds", "_busy_ratio"];
    for metric in &declared {
        let family = &families[&metric.name];
        assert_eq!(family.kind, metric.kind.as_str(), "{}", metric.name);
        assert_eq!(family.help, metric.help, "{}", metric.name);
        assert!(!family.samples.is_empty(), "{}", metric.name);
        for series in family.samples.keys() {
            for label in &metric.labels {
                assert!(series.contains(&format!("\"{label}\": ")), "{series} lacks {label}");
            }
        }
        if !not_zero.iter().any(|suffix| metric.name.ends_with(suffix)) {
            assert!(family.samples.values().all(|value| *value == 0.0), "{family:?}");
        }
    }
    for shard in ["0", "1"] {
        for (reason, _) in Counters::DROPS {
            let labels = [("shard", shard), ("reason", reason)];
            assert_eq!(value(&families, "transceiver_drops_total", &labels), 0.0);
        }
    }
}

#[test]
fn numbers_appear_where_they_belong() {
    let mut numbers = Numbers::new();
    for (position, series) in Counters::series().enumerate() {
        numbers.counters[position] = match series.label {
            Some((_, "no_session")) => u64::from(u32::MAX) + 1,
            Some((_, "connected")) => 5,
            _ => 0,
        };
    }
    let mut histogram = Histogram::new();
    histogram.record(100);
    for (written, series) in numbers.histograms.iter_mut().zip(Counters::histograms()) {
        if series.label == Some(("step", "dtls")) {
            histogram.write(written);
        }
    }
    numbers.engine[0] = 6;
    numbers.own.cpu_ns = 1_500_000_000;
    numbers.own.kernel_drops = 4;
    numbers.own.ticked_at_us = 7_500_000;
    let families = rendered(&[Numbers::new(), numbers]);
    let shard = ("shard", "1");
    let dtls = ("step", "dtls");
    for (name, labels, expected) in [
        ("transceiver_drops_total", &[shard, ("reason", "no_session")][..], 4_294_967_296.0),
        ("transceiver_sessions", &[shard, ("state", "connected")], 5.0),
        ("transceiver_sessions", &[("shard", "0"), ("state", "connected")], 0.0),
        ("transceiver_setup_seconds_bucket", &[shard, dtls, ("le", "0.000064")], 0.0),
        ("transceiver_setup_seconds_bucket", &[shard, dtls, ("le", "0.000128")], 1.0),
        ("transceiver_setup_seconds_sum", &[shard, dtls], 0.0001),
        ("transceiver_setup_seconds_count", &[shard, ("step", "ice")], 0.0),
        ("transceiver_engine_waits_total", &[shard, ("engine", "mmsg")], 6.0),
        ("transceiver_shard_cpu_seconds_total", &[shard], 1.5),
        ("transceiver_shard_busy_ratio", &[shard], 0.25),
        ("transceiver_shard_tick_age_seconds", &[shard], 2.5),
        ("transceiver_kernel_drops_total", &[shard], 4.0),
        ("transceiver_calls", &[shard], 7.0),
        ("transceiver_calls_per_shard_max", &[], 2_000.0),
        ("transceiver_draining", &[], 1.0),
        ("transceiver_config_generation", &[], 3.0),
        ("transceiver_uptime_seconds", &[], 1.5),
        ("transceiver_engine_info", &[("engine", "mmsg"), ("reason", REASON)], 1.0),
        ("transceiver_identity_info", &[("cluster", "1"), ("transceiver", "9")], 1.0),
    ] {
        assert_eq!(value(&families, name, labels), expected, "{name} {labels:?}");
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
    samples.take(&at(10, 100));
    samples.take(&at(60, 200));
    assert_eq!(samples.busy(&at(110, 300)), [0.5], "since the last but one");
}
