//! Replays the committed corpora of the fuzz targets, and holds our STUN parser against the one
//! that terminates the sessions behind us.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod captures;
mod differential;

use differential::agrees_with_str0m;
use std::cell::Cell;
use std::path::Path;

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

#[test]
fn our_parser_agrees_with_str0m_on_real_packets_and_the_corpus() {
    let real = captures::captures();
    for capture in real.iter().filter(|capture| capture.is_check()) {
        assert!(agrees_with_str0m(&capture.bytes), "{}", capture.name);
    }
    for (_, input) in corpus("stun").iter().chain(&corpus("stun_differential")) {
        agrees_with_str0m(input);
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
            taken.set(taken.get() + u32::from(agrees_with_str0m(&bytes)));
            Ok(())
        })
        .unwrap();
    let taken = taken.get();
    assert!(taken > 20, "str0m took only {taken} of the changed packets: this tests nothing");
}
