//! What strangers, networks and operators do to a socket.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use engine::sockets::{self, SocketSettings};
use engine::{Link, LinkSettings, Settings, UringSettings, Wait};

use crate::harness::{Harness, PATIENCE, Subject};

pub(crate) fn empty_datagrams_are_normal(harness: &Harness) {
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    for round in 0..50u8 {
        peer.send(rig.address(), &[]);
        peer.send(rig.address(), &[round]);
        peer.send(rig.address(), &[]);
        let lengths: Vec<usize> = rig.collect(3).iter().map(|got| got.bytes.len()).collect();
        assert_eq!(lengths, [0, 1, 0]);
        rig.send(0, peer.address(), &[]);
        assert_eq!(peer.receive(), (rig.address(), vec![]));
    }
    assert_eq!(rig.engine.statistics().zero_length, 100);
    assert_eq!(rig.engine.statistics().datagrams_out, 50);
}

pub(crate) fn truncated_datagrams_are_counted_and_never_delivered(harness: &Harness) {
    let link = LinkSettings { datagram_bytes_max: 100, buffers: 4, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    // More than there are buffers: each must come back.
    for round in 0..20 {
        peer.send(rig.address(), &[7; 101]);
        peer.send(rig.address(), &[8; 100]);
        peer.send(rig.address(), &[9; 5000]);
        let got = rig.collect(1);
        assert_eq!(got[0].bytes, [8; 100], "round {round}");
        let start = Instant::now();
        while rig.engine.statistics().truncated < 2 * (round + 1) {
            assert!(rig.look().is_empty());
            assert!(start.elapsed() < PATIENCE, "{:?}", rig.engine.statistics());
        }
    }
    assert_eq!(rig.engine.statistics().truncated, 40);
}

pub(crate) fn ring_starvation_leaves_nothing_stuck(harness: &Harness) {
    let link = LinkSettings { buffers: 4, ..LinkSettings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", link)], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    for burst in 0..100u32 {
        for number in 0..100u32 {
            peer.send(rig.address(), &(burst * 100 + number).to_be_bytes());
        }
        let got = rig.collect(100);
        let first = u32::from_be_bytes(got[0].bytes[..].try_into().unwrap());
        assert_eq!(first, burst * 100, "nothing was stuck from before");
    }
    let statistics = *rig.engine.statistics();
    assert_eq!(statistics.datagrams_in, 10_000);
    if matches!(harness.subject, Subject::Uring(_)) {
        assert!(statistics.buffers_exhausted > 0, "the test starves the ring: {statistics:?}");
        assert!(statistics.rearms >= statistics.buffers_exhausted);
    }
}

pub(crate) fn a_full_receive_buffer_is_counted_by_the_kernel(harness: &Harness) {
    if harness.is_sim("has a test of its own") {
        return;
    }
    let address = "127.0.0.1:0".parse().unwrap();
    let settings =
        SocketSettings { receive_buffer_bytes: Some(20_000), ..SocketSettings::tunnel(address) };
    let socket = sockets::bind(&settings).unwrap().socket;
    let mut rig = harness.engine_on(vec![(socket, LinkSettings::default())], Settings::default());
    assert_eq!(rig.engine.link_drops(Link(0)).unwrap(), 0);
    let mut peer = harness.peer("127.0.0.1");
    for _ in 0..500 {
        peer.send(rig.address(), &[0; 1000]);
    }
    let drops = usize::try_from(rig.engine.link_drops(Link(0)).unwrap()).unwrap();
    assert!(drops > 0 && drops < 500, "{drops} drops");
    rig.collect(500 - drops);
}

/// The address of a port that is closed.
fn closed_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn icmp_errors_stop_nothing_on_an_unconnected_link(harness: &Harness) {
    if harness.is_sim("no ICMP") {
        return;
    }
    let mut rig = harness.engine();
    let mut peer = harness.peer("127.0.0.1");
    let nobody = closed_port();
    for round in 0..50u8 {
        for _ in 0..3 {
            rig.send(0, nobody, b"anybody there?");
        }
        peer.send(rig.address(), &[round]);
        assert_eq!(rig.collect(1)[0].bytes, [round]);
        rig.send(0, peer.address(), &[round]);
        assert_eq!(peer.receive().1, [round], "an old error costs no new datagram");
        // Loopback answers at once: the error is there when the second send of a flush begins.
        rig.engine.halves().1.push(Link(0), nobody, b"anybody there?").unwrap();
        rig.engine.halves().1.push(Link(0), peer.address(), &[round; 2]).unwrap();
        rig.settle();
        assert_eq!(peer.receive().1, [round; 2], "nor in the same flush");
    }
    assert!(rig.engine.statistics().icmp_errors > 0, "the socket has IP_RECVERR");
    assert_sleeps(&mut rig);
}

/// Errors queue up in the receive buffer, so an engine that leaves them there goes deaf.
pub(crate) fn many_icmp_errors_leave_room_for_datagrams(harness: &Harness) {
    if harness.is_sim("no ICMP") {
        return;
    }
    let address = "127.0.0.1:0".parse().unwrap();
    let settings =
        SocketSettings { receive_buffer_bytes: Some(20_000), ..SocketSettings::tunnel(address) };
    let socket = sockets::bind(&settings).unwrap().socket;
    let mut rig = harness.engine_on(vec![(socket, LinkSettings::default())], Settings::default());
    let mut peer = harness.peer("127.0.0.1");
    let nobody = closed_port();
    for round in 0..20u8 {
        for number in 0..100usize {
            // Lengths that differ do not merge, so that each gets an answer of its own.
            rig.engine.halves().1.push(Link(0), nobody, &vec![0; 1 + number % 2]).unwrap();
        }
        rig.settle();
        for _ in 0..5 {
            assert!(rig.look().is_empty());
        }
        peer.send(rig.address(), &[round]);
        assert_eq!(rig.collect(1)[0].bytes, [round]);
    }
    assert_eq!(rig.engine.link_drops(Link(0)).unwrap(), 0);
    assert_sleeps(&mut rig);
}

pub(crate) fn icmp_errors_stop_nothing_on_a_connected_link(harness: &Harness) {
    if harness.is_sim("no ICMP") {
        return;
    }
    // A peer that goes away and comes back, like a transceiver that restarts.
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer_address = peer.local_addr().unwrap();
    let socket = sockets::bind(&SocketSettings::tunnel("127.0.0.1:0".parse().unwrap())).unwrap();
    sockets::connect(&socket.socket, peer_address).unwrap();
    let link = LinkSettings::default();
    let mut rig = harness.engine_on(vec![(socket.socket, link)], Settings::default());
    drop(peer);
    for _ in 0..20 {
        rig.send(0, peer_address, b"anybody there?");
        assert!(rig.look().is_empty());
    }
    assert!(rig.engine.statistics().icmp_errors > 0);
    let peer = UdpSocket::bind(peer_address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.send_to(b"back again", rig.address()).unwrap();
    assert_eq!(rig.collect(1)[0].bytes, b"back again");
    rig.send(0, peer_address, b"welcome");
    let mut bytes = [0; 20];
    assert_eq!(peer.recv(&mut bytes).unwrap(), 7);
    assert_sleeps(&mut rig);
}

/// Waits really sleep: nothing that happened before makes them return at once.
fn assert_sleeps(rig: &mut crate::harness::Rig) {
    let before = rig.engine.statistics().waits;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        rig.engine.wait(Wait { timeout: Duration::from_millis(20), ..Wait::default() }).unwrap();
        assert!(rig.read().is_empty());
    }
    let waits = rig.engine.statistics().waits - before;
    assert!(waits <= 30, "{waits} waits of 20 ms in 200 ms: a busy loop");
}

pub(crate) fn a_socket_shut_down_is_an_error_and_no_busy_loop(harness: &Harness) {
    use nix::sys::socket::{Shutdown, shutdown};
    if harness.is_sim("no sockets") {
        return;
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let handle = socket.try_clone().unwrap();
    let link = LinkSettings::default();
    let mut rig = harness.engine_on(vec![(OwnedFd::from(socket), link)], Settings::default());
    assert!(rig.look().is_empty());
    // It reports that the socket is not connected, and shuts it down all the same.
    let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&handle), Shutdown::Both);
    let failed = (0..10).find_map(|_| {
        let wait = Wait { timeout: Duration::from_millis(100), ..Wait::default() };
        rig.engine.wait(wait).err()
    });
    let text = failed.expect("an error within ten waits").to_string();
    assert!(text.contains("link 0"), "{text}");
}

pub(crate) fn a_tiny_completion_queue_loses_nothing(harness: &Harness) {
    if !matches!(harness.subject, Subject::Uring(_)) {
        return eprintln!("skipped: no completion queue");
    }
    let uring = UringSettings { completions: Some(8), ..UringSettings::default() };
    let settings = Settings { uring, ..Settings::default() };
    let mut rig = harness.engine_with(&[("127.0.0.1", LinkSettings::default())], settings);
    let mut peer = harness.peer("127.0.0.1");
    for round in 0..20u8 {
        for number in 0..100 {
            peer.send(rig.address(), &[round, number]);
        }
        // Refused sends complete too, and must be told from those that left.
        let unreachable = "[2001:db8::1]:9".parse().unwrap();
        for _ in 0..20 {
            rig.engine.halves().1.push(Link(0), unreachable, &[round]).unwrap();
        }
        let got = rig.collect(100);
        for (number, got) in (0..).zip(&got) {
            assert_eq!(got.bytes, [round, number]);
            rig.engine.halves().1.push(Link(0), got.source, &got.bytes).unwrap();
        }
        rig.settle();
        for number in 0..100 {
            assert_eq!(peer.receive().1, [round, number]);
        }
    }
    let statistics = rig.engine.statistics();
    assert_eq!((statistics.datagrams_out, statistics.send_errors), (2000, 400));
    assert!(statistics.completion_overflows > 0, "the test overflows the queue: {statistics:?}");
}
