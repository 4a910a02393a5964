//! The fuzz target's body on random requests and on the committed corpus.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use transceiver::signaling::fuzz;

#[test]
fn random_requests_are_answered_in_every_way() {
    // Always the same requests: whether they went everywhere must not depend on luck.
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let statuses = RefCell::new(BTreeSet::new());
    runner
        .run(&prop::collection::vec(any::<u8>(), 4..400), |bytes| {
            statuses.borrow_mut().insert(fuzz::request(&bytes));
            Ok(())
        })
        .unwrap();
    let statuses = statuses.into_inner();
    for status in [200, 204, 400, 405, 415] {
        assert!(statuses.contains(&status), "{status} never came: {statuses:?}");
    }
}

#[test]
fn known_requests_have_known_answers() {
    // POST, calls, application/sdp, the sample offer.
    assert_eq!(fuzz::request(&[0, 0, 0, 2]), 201);
    // The same as a form, with a session.
    assert_eq!(fuzz::request(b"\x00\x00\x01\x04{\"model\": \"parrot\"}"), 201);
    // PATCH of a live call.
    assert_eq!(fuzz::request(&[1, 1, 0, 2]), 200);
    // An offer of nothing.
    assert_eq!(fuzz::request(b"\x00\x00\x00\x00v=0\r\n"), 422);
    // A restart by a fragment.
    let fragment = b"\x01\x06\x03\x01a=ice-ufrag:fresh\r\na=ice-pwd:freshfreshfreshfreshfresh\r\n";
    assert_eq!(fuzz::request(fragment), 200);
}

#[test]
fn the_committed_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/transceiver_signaling");
    // The corpus is grown elsewhere; before its first commit there is nothing to replay.
    let Ok(files) = std::fs::read_dir(corpus) else { return };
    for file in files {
        fuzz::request(&std::fs::read(file.unwrap().path()).unwrap());
    }
}
