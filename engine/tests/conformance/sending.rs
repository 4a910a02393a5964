//! What leaves, how, and what happens when it cannot.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use engine::sockets::{self, SocketSettings};
use engine::{Full, Link, LinkSettings, OutboxSettings, Settings, Wait};

use crate::harness::{Harness, PATIENCE};

/// Bursts to several destinations, with lengths that merge and such that do not.
pub(crate) fn bursts_to_one_destination_arrive_as_they_were_queued(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peers = [harness.peer("127.0.0.1"), harness.peer("127.0.0.1")];
    let lengths = [160, 160, 160, 160, 90, 160, 1200, 1200, 0, 0, 1, 1, 2, 1400, 1400, 1400, 3];
    let mut sent: [Vec<Vec<u8>>; 2] = Default::default();
    for round in 0..10u8 {
        for (index, length) in (0u8..).zip(lengths) {
            let to = usize::from((index / 5 + round) % 2);
            let bytes = vec![round.wrapping_mul(31) ^ index; length];
            rig.engine.halves().1.push(Link(0), peers[to].address(), &bytes).unwrap();
            sent[to].push(bytes);
        }
        rig.settle();
        for (peer, sent) in peers.iter_mut().zip(&mut sent) {
            for bytes in sent.drain(..) {
                assert_eq!(peer.receive(), (rig.address(), bytes));
            }
        }
    }
    let statistics = rig.engine.statistics();
    assert_eq!(statistics.datagrams_out, 170);
    assert_eq!(statistics.send_errors + statistics.send_refused + statistics.gso_fallbacks, 0);
}

pub(crate) fn bursts_leave_as_gso_sends(harness: &Harness) {
    if harness.is_sim("no kernel to segment anything") {
        return;
    }
    if !engine::probe().gso {
        return eprintln!("skipped: no UDP GSO here");
    }
    for ip in ["127.0.0.1", "::1"] {
        if std::net::UdpSocket::bind((ip, 0)).is_err() {
            eprintln!("skipped: no {ip} here");
            continue;
        }
        let mut rig = harness.engine_with(&[(ip, LinkSettings::default())], Settings::default());
        let mut peer = harness.peer(ip);
        for number in 0..100u8 {
            rig.engine.halves().1.push(Link(0), peer.address(), &[number; 300]).unwrap();
        }
        rig.settle();
        for number in 0..100u8 {
            assert_eq!(peer.receive(), (rig.address(), vec![number; 300]));
        }
        let statistics = rig.engine.statistics();
        assert_eq!((statistics.sends, statistics.gso_sends), (2, 2), "64 and 36");
        assert_eq!((statistics.datagrams_out, statistics.bytes_out), (100, 30_000));
    }
}

pub(crate) fn gso_that_is_refused_is_repeated_and_then_left(harness: &Harness) {
    if harness.is_sim("no kernel to refuse anything") {
        return;
    }
    let socket = sockets::bind(&SocketSettings::tunnel("127.0.0.1:0".parse().unwrap())).unwrap();
    // GSO without checksums is EINVAL, every time.
    without_checksums(&socket.socket);
    let link = LinkSettings::default();
    let mut rig = harness.engine_on(vec![(socket.socket, link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    for round in 0..20u8 {
        for number in 0..10 {
            rig.engine.halves().1.push(Link(0), peer.address(), &[round, number]).unwrap();
        }
        rig.settle();
        for number in 0..10 {
            assert_eq!(peer.receive().1, [round, number]);
        }
    }
    let statistics = rig.engine.statistics();
    assert_eq!(statistics.datagrams_out, 200);
    assert_eq!(statistics.gso_sends, 0);
    if engine::probe().gso {
        assert_eq!(statistics.gso_fallbacks, 8, "then it is left alone");
    }
}

/// SO_NO_CHECK: sends without UDP checksums.
fn without_checksums(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: the value is described by its address and length and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            std::ptr::from_ref(&on).cast(),
            libc::socklen_t::try_from(size_of_val(&on)).unwrap(),
        )
    };
    assert_eq!(result, 0);
}

pub(crate) fn one_unreachable_destination_harms_no_other(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    // A socket bound to loopback cannot send elsewhere, nor to the other family.
    let unreachable: [SocketAddr; 2] =
        ["192.0.2.1:9".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()];
    for round in 0..10u8 {
        for to in [unreachable[0], peer.address(), unreachable[1], peer.address()] {
            rig.engine.halves().1.push(Link(0), to, &[round]).unwrap();
        }
        rig.settle();
        assert_eq!(peer.receive().1, [round]);
        assert_eq!(peer.receive().1, [round]);
    }
    if !harness.is_sim("sends nowhere without an error, as the internet does") {
        let statistics = rig.engine.statistics();
        assert_eq!((statistics.datagrams_out, statistics.send_errors), (20, 20));
    }
}

/// A namespace of our own in which loopback sends as slowly as we like: only then does a socket's
/// send buffer fill, because loopback and veth take every datagram off it at once.
pub(crate) fn a_full_send_buffer_is_counted_and_passes(harness: &Harness) {
    if harness.is_sim("no send buffer") {
        return;
    }
    let subject = harness.subject;
    let thread = std::thread::spawn(move || match slow_loopback() {
        Ok(()) => full_send_buffer(subject),
        Err(why) => eprintln!("skipped: {why}"),
    });
    thread.join().unwrap();
}

/// Moves this thread into a network namespace with a slow loopback.
fn slow_loopback() -> Result<(), String> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("no network namespace: {error}"))?;
    let commands =
        ["ip link set lo up", "tc qdisc add dev lo root tbf rate 400kbit burst 2000 limit 1000000"];
    for command in commands {
        let mut words = command.split(' ');
        let output = std::process::Command::new(words.next().unwrap_or_default())
            .args(words)
            .output()
            .map_err(|error| format!("{command}: {error}"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{command}: {error}"));
        }
    }
    Ok(())
}

fn full_send_buffer(subject: crate::harness::Subject) {
    let harness = Harness::new(subject).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let settings =
        SocketSettings { send_buffer_bytes: Some(10_000), ..SocketSettings::public(address) };
    let socket = sockets::bind(&settings).unwrap().socket;
    // Every second length differs, so that nothing merges.
    let mut rig = harness.engine_on(vec![(socket, LinkSettings::default())], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    for number in 0..100u8 {
        let bytes = vec![number; 700 + usize::from(number % 2)];
        rig.engine.halves().1.push(Link(0), peer.address(), &bytes).unwrap();
    }
    let start = Instant::now();
    rig.settle();
    let statistics = *rig.engine.statistics();
    assert!(statistics.send_refused > 0, "{statistics:?}");
    assert_eq!(statistics.datagrams_out + statistics.send_refused, 100, "{statistics:?}");
    assert!(start.elapsed() < PATIENCE, "a flush never blocks");
    // What the kernel took arrives, whole and in order, and the rest never does.
    let mut last = None;
    for _ in 0..statistics.datagrams_out {
        let bytes = peer.receive().1;
        assert_eq!(bytes, vec![bytes[0]; 700 + usize::from(bytes[0] % 2)]);
        assert!(Some(bytes[0]) > last, "in order");
        last = Some(bytes[0]);
    }
    // And then there is room again.
    rig.send(0, peer.address(), b"again");
    assert_eq!(peer.receive().1, b"again");
}

pub(crate) fn a_full_outbox_is_flushed_and_goes_on(harness: &Harness) {
    let outbox = OutboxSettings { datagrams_max: 8, bytes_max: 1000 };
    let settings = Settings { outbox, ..Settings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", LinkSettings::default())], settings);
    let mut peer = harness.peer("127.0.0.1");
    let mut full = 0;
    for number in 0..200u8 {
        let bytes = vec![number; usize::from(number) + 100];
        for attempt in 0.. {
            match rig.engine.halves().1.push(Link(0), peer.address(), &bytes) {
                Ok(()) => break,
                Err(Full) => {
                    assert!(attempt < 1, "after a flush there is room");
                    full += 1;
                    rig.engine.flush().unwrap();
                }
            }
        }
        if number % 50 == 49 {
            rig.settle();
            for earlier in number - 49..=number {
                let expected = vec![earlier; usize::from(earlier) + 100];
                assert_eq!(peer.receive().1, expected);
            }
        }
    }
    assert!(full > 20);
    let too_long = vec![0; 1001];
    assert_eq!(rig.engine.halves().1.push(Link(0), peer.address(), &too_long), Err(Full));
}

pub(crate) fn what_was_flushed_leaves_even_if_the_engine_goes(harness: &Harness) {
    let mut peer = harness.peer("127.0.0.1");
    let mut rig = harness.engine();
    for number in 0..20u8 {
        rig.engine.halves().1.push(Link(0), peer.address(), &[number]).unwrap();
    }
    rig.engine.flush().unwrap();
    drop(rig);
    for number in 0..20u8 {
        assert_eq!(peer.receive().1, [number]);
    }
}

pub(crate) fn connected_links_send_to_their_peer(harness: &Harness) {
    if harness.is_sim("no connected links") {
        return;
    }
    let mut peer = harness.peer("127.0.0.1");
    let socket = sockets::bind(&SocketSettings::tunnel("127.0.0.1:0".parse().unwrap())).unwrap();
    sockets::connect(&socket.socket, peer.address()).unwrap();
    let link = LinkSettings::default();
    let mut rig = harness.engine_on(vec![(socket.socket, link)], Settings::default());
    let elsewhere = "127.0.0.1:9".parse().unwrap();
    for number in 0..10u8 {
        rig.engine.halves().1.push(Link(0), elsewhere, &[number; 10]).unwrap();
    }
    rig.send(0, elsewhere, &[10; 20]);
    for number in 0..10u8 {
        assert_eq!(peer.receive(), (rig.address(), vec![number; 10]));
    }
    assert_eq!(peer.receive().1, [10; 20]);
    // And hear of nobody else.
    harness.peer("127.0.0.1").send(rig.address(), b"stranger");
    peer.send(rig.address(), b"friend");
    assert_eq!(rig.collect(1)[0].bytes, b"friend");
    rig.engine.wait(Wait { timeout: Duration::from_millis(20), ..Wait::default() }).unwrap();
    assert!(rig.read().is_empty());
}

/// All of 127.0.0.0/8 is this host's: one link, many clients.
pub(crate) fn datagrams_leave_from_the_address_that_is_asked_for(harness: &Harness) {
    let mut rig = harness.engine_with(&[("0.0.0.0", LinkSettings::default())], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    // Two in a row of one length and one source: a GSO send with a source, where there is GSO.
    let sources = [3, 3, 4, 5, 5, 5, 3].map(|last| Ipv4Addr::new(127, 64, 0, last));
    for (number, source) in (0u8..).zip(sources) {
        let (_, outbox) = rig.engine.halves();
        let mut slot = outbox.reserve(Link(0), peer.address(), 40).unwrap().leaving_from(source);
        slot.bytes().fill(number);
        slot.commit(40);
    }
    rig.settle();
    for (number, source) in (0u8..).zip(sources) {
        let from = SocketAddr::new(source.into(), rig.address().port());
        assert_eq!(peer.receive(), (from, vec![number; 40]));
    }
    let stranger = Ipv4Addr::new(192, 0, 2, 1);
    let (_, outbox) = rig.engine.halves();
    outbox.reserve(Link(0), peer.address(), 40).unwrap().leaving_from(stranger).commit(40);
    rig.send(0, peer.address(), b"from wherever");
    if harness.is_sim("no kernel to refuse a source that is not this host's") {
        return;
    }
    assert_eq!(rig.engine.statistics().send_errors, 1);
    assert_eq!(peer.receive().1, b"from wherever");
}
