//! Datagrams arrive as they were sent.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::sockets::{self, SocketSettings};
use engine::{Engine, Link, LinkSettings, Settings, Wait};

use crate::harness::{Harness, PATIENCE};

pub(crate) fn replies_reach_the_sender(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    for round in 0..100u8 {
        peer.send(rig.address(), &[round; 100]);
        let got = rig.collect(1).remove(0);
        assert_eq!((got.link, got.source), (Link(0), peer.address()));
        rig.send(0, got.source, &got.bytes);
        assert_eq!(peer.receive(), (rig.address(), vec![round; 100]));
    }
    let statistics = rig.engine.statistics();
    assert_eq!((statistics.datagrams_in, statistics.bytes_in), (100, 10_000));
    assert_eq!((statistics.datagrams_out, statistics.bytes_out), (100, 10_000));
    assert_eq!(statistics.send_errors + statistics.receive_errors, 0);
}

pub(crate) fn datagrams_of_one_source_keep_their_order(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    for burst in 0..20u16 {
        let numbers: Vec<u16> = (burst * 100..(burst + 1) * 100).collect();
        for number in &numbers {
            peer.send(rig.address(), &number.to_be_bytes());
        }
        let seen: Vec<u16> = rig
            .collect(100)
            .iter()
            .map(|got| u16::from_be_bytes([got.bytes[0], got.bytes[1]]))
            .collect();
        assert_eq!(seen, numbers);
    }
}

pub(crate) fn many_sources_are_told_apart(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peers: Vec<_> = (0..50).map(|_| harness.peer("127.0.0.1")).collect();
    for (number, peer) in (0..).zip(&mut peers) {
        peer.send(rig.address(), &[number]);
    }
    let by_source: HashMap<_, _> =
        rig.collect(50).into_iter().map(|got| (got.source, got.bytes)).collect();
    for (number, peer) in (0..).zip(&mut peers) {
        assert_eq!(by_source[&peer.address()], [number]);
        rig.engine.halves().1.push(Link(0), peer.address(), &[number, number]).unwrap();
    }
    rig.settle();
    for (number, peer) in (0..).zip(&mut peers) {
        assert_eq!(peer.receive().1, [number, number]);
    }
}

pub(crate) fn ipv6_works(harness: &Harness) {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("skipped: no IPv6 here");
    }
    let mut rig = harness.engine_with(&[("::1", LinkSettings::default())], Settings::default());
    let mut peer = harness.peer("::1");
    peer.send(rig.address(), b"six");
    let got = rig.collect(1).remove(0);
    assert_eq!((got.source, got.bytes.as_slice()), (peer.address(), &b"six"[..]));
    for _ in 0..3 {
        rig.engine.halves().1.push(Link(0), got.source, b"back").unwrap();
    }
    rig.settle();
    for _ in 0..3 {
        assert_eq!(peer.receive(), (rig.address(), b"back".to_vec()));
    }
}

pub(crate) fn links_are_told_apart(harness: &Harness) {
    let link = LinkSettings { buffers: 16, ..LinkSettings::default() };
    let links = [("127.0.0.1", link), ("127.0.0.2", link), ("127.0.0.3", link)];
    let mut rig = harness.engine_with(&links, Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    for (index, address) in (0..).zip(rig.addresses.clone()) {
        peer.send(address, &[index]);
    }
    for got in rig.collect(3) {
        assert_eq!(got.bytes, [got.link.0]);
        rig.engine.halves().1.push(got.link, got.source, &got.bytes).unwrap();
    }
    rig.settle();
    for _ in 0..3 {
        let (source, bytes) = peer.receive();
        assert_eq!(source, rig.addresses[usize::from(bytes[0])]);
    }
}

pub(crate) fn long_datagrams_arrive_whole(harness: &Harness) {
    let link = LinkSettings { datagram_bytes_max: 9000, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    let long: Vec<u8> = (0..9000u32).map(|index| (index % 251) as u8).collect();
    for length in [9000, 1, 8999, 1472, 1473] {
        peer.send(rig.address(), &long[..length]);
        let got = rig.collect(1).remove(0);
        assert!(got.bytes == long[..length], "{length} bytes");
        rig.send(0, got.source, &got.bytes);
        assert!(peer.receive().1 == long[..length], "{length} bytes");
    }
}

pub(crate) fn arrivals_can_be_changed_in_place(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    peer.send(rig.address(), b"sealed");
    rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
    let (arrivals, outbox) = rig.engine.halves();
    let arrival = arrivals.pop().unwrap();
    arrival.bytes.make_ascii_uppercase();
    let mut slot = outbox.reserve(arrival.link, arrival.source, 100).unwrap();
    slot.bytes()[..4].copy_from_slice(&arrival.bytes[2..]);
    slot.commit(4);
    rig.settle();
    assert_eq!(peer.receive().1, b"ALED");
}

pub(crate) fn what_is_not_read_stays(harness: &Harness) {
    fn read_one(rig: &mut crate::harness::Rig) -> Option<u8> {
        // An early return in the middle of a batch.
        rig.engine.halves().0.pop().map(|arrival| arrival.bytes[0])
    }
    let link = LinkSettings { buffers: 8, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    let mut seen = Vec::new();
    for round in 0..50u8 {
        for number in 0..4 {
            peer.send(rig.address(), &[round * 4 + number]);
        }
        // Reads three, leaves the rest for later, so that unread ones pile up to the last buffer.
        for _ in 0..3 {
            rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
            seen.extend(read_one(&mut rig));
        }
        assert!(rig.engine.halves().0.outstanding() <= 8);
    }
    while seen.len() < 200 {
        rig.engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
        seen.push(read_one(&mut rig).expect("the rest"));
    }
    assert_eq!(seen, (0..200).collect::<Vec<u8>>());
    assert_eq!(rig.engine.halves().0.outstanding(), 0);
}

pub(crate) fn kernel_timestamps_come_and_go(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    let mut stamps = Vec::new();
    for on in [false, true, false, true] {
        rig.engine.timestamps(Link(0), on).unwrap();
        peer.send(rig.address(), &[1; 10]);
        let got = rig.collect(1).remove(0);
        assert_eq!(got.bytes, [1; 10]);
        assert_eq!(got.received_at_ns.is_some(), on);
        stamps.extend(got.received_at_ns);
    }
    assert!(stamps[0] <= stamps[1]);
    if !harness.is_sim("stamps are virtual time") {
        let age_ns = engine::clock::realtime_ns().saturating_sub(stamps[1]);
        assert!(age_ns < 60_000_000_000, "a stamp of the real-time clock");
    }
}

pub(crate) fn a_glued_run_arrives_split(harness: &Harness) {
    if harness.is_sim("no kernel to glue anything") {
        return;
    }
    let link = LinkSettings { gro: true, buffers: 16, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut sender = harness.engine();
    let payload = |number: u8| vec![number; if number == 9 { 33 } else { 100 }];
    for number in 0..10 {
        sender.engine.halves().1.push(Link(0), rig.address(), &payload(number)).unwrap();
    }
    sender.settle();
    let got = rig.collect(10);
    for (number, got) in (0..).zip(&got) {
        assert_eq!((got.source, &got.bytes), (sender.address(), &payload(number)));
    }
    assert_eq!(rig.engine.statistics().datagrams_in, 10);
    if sender.engine.statistics().gso_sends == 0 {
        return eprintln!("not glued: no UDP GSO here");
    }
    assert_eq!(rig.engine.statistics().gro_runs, 1);
}

/// As at a hot upgrade: engines take turns on one socket, while somebody sends to it all the time.
/// Each datagram is seen once, and those sent while all pause by the next engine.
pub(crate) fn nothing_is_lost_between_two_engines_on_one_socket(harness: &Harness) {
    if harness.is_sim("an address belongs to one engine") {
        return;
    }
    const TURNS: u32 = 40;
    const SENT_IN_BETWEEN: u32 = 20;
    let settings = SocketSettings {
        receive_buffer_bytes: Some(4 << 20),
        ..SocketSettings::tunnel("127.0.0.1:0".parse().unwrap())
    };
    let socket = sockets::bind(&settings).unwrap().socket;
    let rig = || {
        let link = (socket.try_clone().unwrap(), LinkSettings::default());
        harness.engine_on(vec![link], Settings::default())
    };
    let mut rigs = [rig(), rig()];
    let address = rigs[0].address();
    let replies = |socket: &UdpSocket, mut count: u32| {
        while count > 0 {
            match socket.recv(&mut [0; 4]) {
                Ok(_) => count -= 1,
                // io_uring interrupts the thread to run completions, on one of its ways.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
            }
        }
    };
    let stop = AtomicBool::new(false);
    let mut seen = Vec::new();
    let mut take = |engine: &mut dyn Engine| {
        let (arrivals, outbox) = engine.halves();
        while let Some(arrival) = arrivals.pop() {
            seen.push(u32::from_be_bytes((*arrival.bytes).try_into().unwrap()));
            outbox.push(arrival.link, arrival.source, arrival.bytes).unwrap();
        }
    };
    let sent = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut sent = 0u32;
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stop.load(Ordering::Relaxed) {
                sender.send_to(&sent.to_be_bytes(), address).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_micros(20));
            }
            sent
        });
        let steady = UdpSocket::bind("127.0.0.1:0").unwrap();
        steady.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        for turn in 0..TURNS {
            let engine = &mut *rigs[usize::from(turn % 2 == 1)].engine;
            for _ in 0..10 {
                let timeout = Duration::from_millis(1);
                engine.wait(Wait { timeout, ..Wait::default() }).unwrap();
                take(engine);
            }
            engine.pause().unwrap();
            take(engine);
            // The replies to those leave with the next.
            engine.pause().unwrap();
            assert!(engine.halves().0.is_empty(), "nothing more after the first pause");
            if turn > 0 {
                replies(&steady, SENT_IN_BETWEEN);
            }
            for number in 0..SENT_IN_BETWEEN {
                let number = 1 << 31 | (turn * SENT_IN_BETWEEN + number);
                steady.send_to(&number.to_be_bytes(), address).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let sent = busy.join().unwrap();
        let engine = &mut *rigs[0].engine;
        for _ in 0..100 {
            engine.wait(Wait { timeout: Duration::from_millis(1), ..Wait::default() }).unwrap();
            take(engine);
        }
        engine.pause().unwrap();
        replies(&steady, SENT_IN_BETWEEN);
        sent
    });
    seen.sort_unstable();
    let steady = (0..TURNS * SENT_IN_BETWEEN).map(|number| 1 << 31 | number);
    let expected: Vec<u32> = (0..sent).chain(steady).collect();
    assert!(seen == expected, "{} seen, {} sent", seen.len(), expected.len());
}

pub(crate) fn an_engine_may_move_before_its_first_wait(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    peer.send(rig.address(), b"moved");
    std::thread::scope(|scope| {
        let engine = &mut rig.engine;
        scope.spawn(move || {
            engine.wait(Wait { timeout: Duration::from_secs(5), ..Wait::default() }).unwrap();
            assert_eq!(engine.halves().0.pop().unwrap().bytes, b"moved");
        });
    });
}

pub(crate) fn an_engine_may_be_dropped_by_another_thread(harness: &Harness) {
    let mut peer = harness.peer("127.0.0.1");
    for _ in 0..20 {
        let mut rig = harness.engine();
        let address = rig.address();
        peer.send(address, b"x");
        rig.collect(1);
        std::thread::spawn(move || drop(rig)).join().unwrap();
        // Whatever was armed is gone: nothing writes into memory that is no more.
        if let crate::harness::Peer::Socket(socket) = &peer {
            let _ = socket.send_to(b"late", address);
        }
    }
}
