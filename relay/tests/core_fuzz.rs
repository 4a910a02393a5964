//! The fuzz target's body on random bytes and on the committed corpus.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use relay::core::{Counters, fuzz};
use std::cell::RefCell;
use std::path::Path;

#[test]
fn random_sequences_go_everywhere() {
    // Always the same sequences: whether they went everywhere must not depend on luck.
    let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let sum = RefCell::new([0; Counters::LEN]);
    runner
        .run(&prop::collection::vec(any::<u8>(), 0..1_500), |bytes| {
            let mut numbers = [0; Counters::LEN];
            fuzz::sequence(&bytes).write(&mut numbers);
            for (sum, number) in sum.borrow_mut().iter_mut().zip(numbers) {
                *sum += number;
            }
            Ok(())
        })
        .unwrap();
    let sum = sum.into_inner();
    let never: Vec<_> = Counters::series()
        .zip(sum)
        .filter(|(_, number)| *number == 0)
        .map(|(series, _)| series.label.map_or(series.name, |(_, value)| value))
        .collect();
    for name in [
        "relay_flows_answered_total",
        "relay_flows_learned_total",
        "relay_flows_repointed_total",
        "relay_flows_adopted_total",
        "relay_flows_evicted_total",
        "relay_flows_expired_new_total",
        "relay_flows_expired_assured_total",
        "relay_flows_gone_total",
        "relay_flows_forgotten_total",
        "relay_under_flood_total",
        "relay_routed_beside_flow_total",
        "relay_delivered_beside_flow_total",
        "relay_flows_assured_full_total",
        "relay_tunnel_peers_dropped_total",
    ] {
        assert!(!never.contains(&name), "{name}");
    }
}

#[test]
fn the_committed_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/relay_core");
    // The corpus is grown elsewhere; before its first commit there is nothing to replay.
    let Ok(files) = std::fs::read_dir(corpus) else { return };
    for file in files {
        fuzz::sequence(&std::fs::read(file.unwrap().path()).unwrap());
    }
}
