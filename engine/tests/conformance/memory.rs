//! Memory: none taken in steady state, none given back too early.

use engine::{Link, LinkSettings, Settings, Wait, heap};

use crate::harness::{Harness, PATIENCE, Subject};

/// One turn of an echo server.
fn turn(rig: &mut crate::harness::Rig) -> usize {
    let mut count = 0;
    rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
    let (arrivals, outbox) = rig.engine.halves();
    while let Some(arrival) = arrivals.pop() {
        outbox.push(arrival.link, arrival.source, arrival.bytes).unwrap();
        outbox.push(arrival.link, arrival.source, arrival.bytes).unwrap();
        count += 1;
    }
    rig.engine.flush().unwrap();
    count
}

pub(crate) fn steady_state_allocates_nothing(harness: &Harness) {
    let link = LinkSettings { buffers: 64, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    let nobody = "127.0.0.1:1".parse().unwrap();
    let mut allocations = 0;
    for round in 0..100usize {
        for length in 0..10 {
            peer.send(rig.address(), &vec![1; length * round % 1400]);
        }
        // Errors allocate nothing either: ICMP, and a destination of the wrong family.
        let unreachable = "[2001:db8::1]:9".parse().unwrap();
        rig.engine.halves().1.push(Link(0), nobody, b"x").unwrap();
        rig.engine.halves().1.push(Link(0), unreachable, b"x").unwrap();
        let before = heap::allocations();
        let mut seen = 0;
        while seen < 10 {
            seen += turn(&mut rig);
        }
        rig.engine.wait(Wait::default()).unwrap();
        if round > 0 {
            allocations += heap::allocations() - before;
        }
        for _ in 0..20 {
            peer.receive();
        }
    }
    assert!(heap::allocations() > 0, "the counter counts");
    assert_eq!(allocations, 0);
}

pub(crate) fn dropping_an_engine_with_unread_arrivals_is_fine(harness: &Harness) {
    let mut peer = harness.peer("127.0.0.1");
    for _ in 0..20 {
        let mut rig = harness.engine();
        peer.send(rig.address(), b"unread");
        rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
        assert_eq!(rig.engine.halves().0.len(), 1);
        rig.engine.halves().1.push(Link(0), peer.address(), b"unsent").unwrap();
        // Datagrams that would arrive while the engine goes.
        for _ in 0..50 {
            peer.send(rig.address(), b"late");
        }
        drop(rig);
    }
}

pub(crate) fn engines_whose_halves_were_swapped_refuse_to_run(harness: &Harness) {
    if !matches!(harness.subject, Subject::Uring(_)) {
        return eprintln!("skipped: no kernel writes to its buffers between two calls");
    }
    let (mut first, mut second) = (harness.engine(), harness.engine());
    first.look();
    second.look();
    let swap = |first: &mut crate::harness::Rig, second: &mut crate::harness::Rig| {
        std::mem::swap(first.engine.halves().0, second.engine.halves().0);
        std::mem::swap(first.engine.halves().1, second.engine.halves().1);
    };
    swap(&mut first, &mut second);
    for rig in [&mut first, &mut second] {
        let wait = std::panic::AssertUnwindSafe(|| rig.engine.wait(Wait::default()));
        assert!(std::panic::catch_unwind(wait).is_err());
    }
    // Back in order, or dropping them would end this process.
    swap(&mut first, &mut second);
    first.look();
    second.look();
}
