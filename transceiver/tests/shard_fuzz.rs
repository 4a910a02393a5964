//! The fuzz target's body on random bytes and on the committed corpus.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::path::Path;
use transceiver::shard::{Counters, fuzz};

#[test]
fn random_sequences_go_everywhere() {
    // Always the same sequences: whether they went everywhere must not depend on luck.
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let sum = RefCell::new([0; Counters::LEN]);
    runner
        .run(&prop::collection::vec(any::<u8>(), 0..1_500), |bytes| {
            let numbers = fuzz::sequence(&bytes);
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
        "transceiver_checks_total",
        "transceiver_ice_restarts_total",
        "transceiver_address_changes_total",
        "transceiver_gone_sent_total",
        "hung_up",
        "client_lost",
        "check_forged",
        "check_unknown_session",
        "no_session",
        "not_ours",
        "tunnel_too_short",
        "tunnel_unknown_version_or_kind",
    ] {
        assert!(!never.contains(&name), "{name} never happened; nor did {never:?}");
    }
}

#[test]
fn the_committed_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/transceiver_shard");
    // The corpus is grown elsewhere; before its first commit there is nothing to replay.
    let Ok(files) = std::fs::read_dir(corpus) else { return };
    for file in files {
        fuzz::sequence(&std::fs::read(file.unwrap().path()).unwrap());
    }
}
