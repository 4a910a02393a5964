//! When a wait ends. Only lower bounds of time are asserted: this may be a busy machine.

use std::time::{Duration, Instant};

use engine::{Settings, Wait};

use crate::harness::{Harness, PATIENCE, Subject};

const SHORT: Duration = Duration::from_millis(50);

pub(crate) fn a_timeout_ends_a_wait(harness: &Harness) {
    let mut rig = harness.engine();
    for coalesce in [Duration::ZERO, SHORT / 5, SHORT * 5] {
        let before_ns = rig.engine.now_ns();
        rig.engine.wait(Wait { timeout: SHORT, coalesce }).unwrap();
        let passed = Duration::from_nanos(rig.engine.now_ns() - before_ns);
        assert!(passed >= SHORT, "{passed:?} with coalescing of {coalesce:?}");
        assert!(rig.read().is_empty());
    }
    assert_eq!(rig.engine.statistics().waits_timed_out, 3);
}

pub(crate) fn no_timeout_looks_once(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    assert!(rig.look().is_empty());
    peer.send(rig.address(), b"there");
    // Loopback delivers before the send returns.
    assert_eq!(rig.look().len(), 1);
    assert!(rig.look().is_empty());
}

pub(crate) fn one_wait_brings_a_whole_batch(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    let batch = usize::from(Settings::default().batch);
    rig.look();
    for _ in 0..10 {
        for _ in 0..batch {
            peer.send(rig.address(), b"x");
        }
        rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
        assert_eq!(rig.read().len(), batch);
    }
}

pub(crate) fn a_wake_ends_a_wait(harness: &Harness) {
    if harness.is_sim("waiting does not sleep") {
        return;
    }
    let mut rig = harness.engine();
    for round in 1..=3 {
        let waker = rig.engine.waker();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            waker.wake();
        });
        let start = Instant::now();
        while rig.engine.statistics().waker_wakes < round {
            rig.engine.wait(Wait { timeout: PATIENCE * 10, ..Wait::default() }).unwrap();
        }
        assert!(start.elapsed() < PATIENCE);
        thread.join().unwrap();
    }
}

pub(crate) fn a_wake_before_the_wait_counts(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    for round in 1..=3 {
        for _ in 0..100 {
            rig.engine.waker().wake();
        }
        let start = Instant::now();
        let before_ns = rig.engine.now_ns();
        rig.engine.wait(Wait { timeout: PATIENCE * 10, ..Wait::default() }).unwrap();
        assert!(start.elapsed() < PATIENCE);
        assert!(rig.engine.now_ns() - before_ns < 10_000_000_000);
        assert_eq!(rig.engine.statistics().waker_wakes, round, "many wakes are one");
        // And the engine still hears of datagrams.
        peer.send(rig.address(), b"x");
        rig.collect(1);
    }
}

pub(crate) fn coalescing_gathers_a_batch(harness: &Harness) {
    if harness.is_sim("has tests of its own, in virtual time") {
        return;
    }
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    let address = rig.address();
    peer.send(address, b"first");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(SHORT);
        peer.send(address, b"second");
    });
    // Long enough for the other thread even on a busy machine; a failure means that the wait
    // ended with the first datagram.
    let coalesce = Duration::from_secs(1);
    let start = Instant::now();
    rig.engine.wait(Wait { timeout: PATIENCE, coalesce }).unwrap();
    assert_eq!(rig.read().len(), 2);
    assert!(start.elapsed() >= SHORT);
    thread.join().unwrap();
}

pub(crate) fn a_full_batch_ends_coalescing(harness: &Harness) {
    let settings = Settings { batch: 16, ..Settings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", engine::LinkSettings::default())], settings);
    let mut peer = harness.peer("127.0.0.1");
    let mut seen = 0;
    let start = Instant::now();
    // The first batch of an engine that sleeps by itself may come late; none after it.
    for _ in 0..100 {
        peer.send(rig.address(), b"x");
    }
    while seen < 80 {
        let coalesce = if seen == 0 { Duration::ZERO } else { PATIENCE * 10 };
        rig.engine.wait(Wait { timeout: PATIENCE * 10, coalesce }).unwrap();
        seen += rig.read().len();
    }
    assert!(start.elapsed() < PATIENCE);
}

/// Told to gather a batch, a kernel may hand out everything that is queued; the first of them would
/// then wait for the last to be handled.
pub(crate) fn coalescing_does_not_swallow_all_there_is(harness: &Harness) {
    if harness.is_sim("takes what is due at once") {
        return;
    }
    if matches!(harness.subject, Subject::Uring(Some(_))) {
        return eprintln!("skipped: only deferred completions can be had in portions");
    }
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    for _ in 0..200 {
        peer.send(rig.address(), b"x");
    }
    let batch = usize::from(Settings::default().batch);
    let mut seen = 0;
    while seen < 200 {
        let coalesce = if seen == 0 { Duration::ZERO } else { Duration::from_millis(1) };
        rig.engine.wait(Wait { timeout: PATIENCE, coalesce }).unwrap();
        let arrived = rig.read().len();
        assert!(arrived <= 2 * batch, "{arrived} at once");
        seen += arrived;
    }
}
