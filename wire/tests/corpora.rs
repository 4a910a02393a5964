//! Replays the committed corpora of the fuzz targets, and holds our STUN parser against the one
//! that terminates the sessions behind us.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod captures;

use std::cell::Cell;
use std::path::Path;
use wire::stun::{Kind, Message, StunError};

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{target}: only {} inputs in the corpus", inputs.len());
    inputs
}

#[test]
fn stun() {
    for (_, input) in corpus("stun") {
        wire::fuzz::stun(&input);
    }
}

#[test]
fn hint() {
    for (_, input) in corpus("hint") {
        wire::fuzz::hint(&input);
    }
}

#[test]
fn tunnel() {
    for (_, input) in corpus("tunnel") {
        wire::fuzz::tunnel(&input);
    }
}

#[test]
fn keyring() {
    for (_, input) in corpus("keyring") {
        wire::fuzz::keyring_text(&input);
    }
}

/// Whatever str0m takes as a check, we must route, and by the same name. Two exceptions, both on
/// purpose: a second USERNAME, and a USERNAME longer than RFC 8489 allows.
///
/// Returns whether str0m took it.
fn agrees_with_str0m(name: &str, input: &[u8]) -> bool {
    let Ok(theirs) = str0m::ice::StunMessage::parse(input) else {
        return false;
    };
    if !theirs.is_binding_request() {
        return false;
    }
    let Some((ufrag, _)) = theirs.split_username() else {
        return false;
    };
    match Message::parse(input) {
        Ok(ours) => {
            assert_eq!(ours.kind(), Kind::BindingRequest, "{name}");
            assert_eq!(ours.ufrag(), Some(ufrag.as_bytes()), "{name}");
            assert_eq!(ours.use_candidate(), theirs.use_candidate(), "{name}");
            assert!(ours.has_integrity(), "{name}");
        }
        Err(StunError::TwoUsernames) => {}
        Err(StunError::AttributeLength) => {
            assert!(theirs.username().is_some_and(|name| name.len() > 508), "{name}");
        }
        Err(error) => panic!("{name}: str0m takes it, we refuse it: {error}"),
    }
    true
}

#[test]
fn our_parser_agrees_with_str0m_on_real_packets_and_the_corpus() {
    let real = captures::captures();
    for capture in real.iter().filter(|capture| capture.is_check()) {
        assert!(agrees_with_str0m(&capture.name, &capture.bytes), "{}", capture.name);
    }
    for (name, input) in corpus("stun").iter().chain(&corpus("stun_differential")) {
        agrees_with_str0m(name, input);
    }
}

#[test]
fn our_parser_agrees_with_str0m_on_changed_packets() {
    use proptest::prelude::*;
    use proptest::sample::Index;

    let checks: Vec<_> =
        captures::captures().into_iter().filter(captures::Capture::is_check).collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let edits = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let taken = Cell::new(0);
    runner
        .run(&(0..checks.len(), edits), |(which, edits)| {
            let mut bytes = checks[which].bytes.clone();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            taken.set(taken.get() + u32::from(agrees_with_str0m(&checks[which].name, &bytes)));
            Ok(())
        })
        .unwrap();
    let taken = taken.get();
    assert!(taken > 20, "str0m took only {taken} of the changed packets: this tests nothing");
}
