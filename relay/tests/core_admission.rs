//! The rules of admission, each a test of its name: what may make a flow, and what no flood can do.

#![allow(clippy::unwrap_used)]

use relay::core::testing::{
    A, B, Check, DTLS, Integrity, LISTENER, RTP, Stage, address, clusters, settings, shard_a,
    shard_b, source, stun,
};
use relay::core::{DropReason, FrameVerdict, Route, Settings, Verdict};
use wire::address::Address;
use wire::hint::{ClusterId, ShardId, TransceiverId};
use wire::stun::Kind;

#[test]
fn a_packet_that_can_create_no_flow_leaves_no_trace() {
    let mut stage = Stage::default();
    let foreign = |ufrag: &[u8]| stun(Kind::BindingRequest, Some(ufrag), Some(b"password"));
    let good = stage.check(Check::of(A, 1));
    // The ufrag stands behind the header and the attribute's: its first character names the key.
    let changed = |at: usize, to: u8| {
        let mut packet = good.clone();
        packet[24 + at] = to;
        packet
    };
    let no_colon = stun(Kind::BindingRequest, None, None);
    let no_colon = {
        let mut packet = no_colon[..20].to_vec();
        packet.extend([0x00, 0x06, 0x00, 0x04]);
        packet.extend(b"abcd");
        packet[2..4].copy_from_slice(&8u16.to_be_bytes());
        packet
    };
    let with = |change: fn(&mut Check)| {
        let mut check = Check::of(A, 1);
        change(&mut check);
        check
    };
    let mut cases = vec![
        (Vec::new(), DropReason::Empty),
        (vec![4], DropReason::NotOurs),
        (vec![64; 100], DropReason::NotOurs),
        (vec![0; 3000], DropReason::PacketTooLong),
        (vec![0; 19], DropReason::StunTooShort),
        (vec![0; 20], DropReason::StunWrongCookie),
        (good[..good.len() - 4].to_vec(), DropReason::StunLengthMismatch),
        (foreign(b"abcd"), DropReason::HintLength),
        (foreign(&[b'+'; 23]), DropReason::HintText),
        (foreign(&[b'0'; 23]), DropReason::HintUnknownKey),
        (changed(22, b'0'), DropReason::HintForged),
        (no_colon, DropReason::UsernameMalformed),
    ];
    for (check, reason) in [
        (with(|check| check.integrity = Integrity::False), DropReason::IntegrityWrong),
        (with(|check| check.integrity = Integrity::Missing), DropReason::IntegrityMissing),
        (with(|check| check.expires_in = -1), DropReason::HintExpired),
        (with(|check| check.expires_in = i16::MAX), DropReason::HintTooFarAhead),
        (with(|check| check.route.cluster.0 = 9), DropReason::ClusterUnknown),
        (with(|check| check.route.transceiver.0 = 9), DropReason::TransceiverUnknown),
        (with(|check| check.route.shard.0 = 2), DropReason::ShardUnknown),
    ] {
        cases.push((stage.check(check), reason));
    }
    let peers = stage.counters().peers;
    for (packet, reason) in &cases {
        assert_eq!(stage.send(source(1), packet), Err(*reason));
        assert_eq!(stage.flow(source(1)), None);
    }
    let counters = stage.counters();
    for (_, reason) in &cases {
        let times = cases.iter().filter(|(_, other)| other == reason).count();
        assert_eq!(counters.dropped(*reason), times as u64, "{}", reason.as_str());
    }
    assert_eq!((counters.flows_created, counters.peers), (0, peers));
    assert_eq!(counters.tunnel_sent_datagrams, 0);
}

#[test]
fn nobody_without_the_answer_can_make_an_ipv4_peer() {
    let mut stage = Stage::default();
    let ipv4 = |ip: [u8; 4]| Route {
        cluster: ClusterId(2),
        transceiver: TransceiverId(u32::from_be_bytes(ip)),
        shard: ShardId(1),
    };
    let mut check = Check::of(ipv4([10, 1, 2, 3]), 1);
    check.integrity = Integrity::False;
    let peers = stage.counters().peers;
    assert_eq!(stage.send_check(source(1), check), Err(DropReason::IntegrityWrong));
    let outside = Check::of(ipv4([11, 1, 2, 3]), 1);
    assert_eq!(stage.send_check(source(1), outside), Err(DropReason::TransceiverUnknown));
    assert_eq!(stage.counters().peers, peers);
    check.integrity = Integrity::True;
    assert_eq!(stage.send_check(source(1), check), Ok(address("10.1.2.3:7001")));
    assert_eq!(stage.counters().peers, peers + 1);
}

#[test]
fn a_full_slab_of_peers_takes_another_only_when_one_is_unused() {
    let mut stage = Stage::new(Settings { peers_max: 6, ..settings() }, clusters());
    let check = |last: u8| {
        let transceiver = TransceiverId(u32::from_be_bytes([10, 0, 0, last]));
        Check::of(Route { cluster: ClusterId(2), transceiver, shard: ShardId(0) }, 1)
    };
    // Four are listed. Two more fit, one of which keeps no flow.
    assert!(stage.send_check(source(1), check(1)).is_ok());
    assert!(stage.send_check(source(2), check(2)).is_ok());
    assert_eq!(stage.send_check(source(3), check(3)), Err(DropReason::PeersFull));
    stage.gone(address("10.0.0.1:7000"), &[source(1)]);
    assert_eq!(stage.send_check(source(3), check(3)), Err(DropReason::PeersFull), "just used");
    stage.pass_ms(10_000);
    stage.send(source(2), DTLS).unwrap_err();
    assert_eq!(stage.send_check(source(3), check(3)), Ok(address("10.0.0.3:7000")));
    assert_eq!(stage.counters().peers, 6);
}

#[test]
fn a_client_is_where_a_client_can_be() {
    let mut stage = Stage::default();
    for text in ["127.0.0.1:5000", "169.254.1.1:5000", "224.0.0.1:5000", "192.0.2.1:0"] {
        let got = stage.send_check(address(text), Check::of(A, 1));
        assert_eq!(got, Err(DropReason::ClientAddressForbidden), "{text}");
    }
    let listener = wire::frame::ListenerId(7);
    let verdict = stage.packet_by(listener, source(1), RTP);
    assert_eq!(verdict, Verdict::Drop(DropReason::ListenerUnknown));
}

#[test]
fn a_flow_flood_never_evicts_an_assured_flow() {
    let mut stage = Stage::default();
    for last in 1..=64 {
        stage.assured(source(last), u32::from(last));
    }
    for port in 1..=1000 {
        let attacker = Address::new([203, 0, 113, 9].into(), port);
        assert!(stage.send_check(attacker, Check::of(B, 1000 + u32::from(port))).is_ok());
        // Even answered by its shard it finds no room among the assured.
        stage.answer_check(shard_b(), attacker);
    }
    let counters = stage.counters();
    assert_eq!((counters.flows_assured, counters.flows_new), (64, 32));
    assert_eq!((counters.flows_evicted, counters.assured_full), (968, 1000));
    for last in 1..=64 {
        assert_eq!(stage.send(source(last), RTP), Ok(shard_a()));
    }
}

#[test]
fn under_flood_checks_are_routed_and_nothing_is_inserted() {
    // Two a second, and two at once.
    let mut stage = Stage::new(Settings { new_flow_rate: 2, ..settings() }, clusters());
    for last in 1..=10 {
        assert_eq!(stage.send_check(source(last), Check::of(A, last.into())), Ok(shard_a()));
        // The answer is delivered, and makes no flow by the back door.
        let verdict = stage.answer_check(shard_a(), source(last));
        assert_eq!(verdict, FrameVerdict::Deliver(LISTENER, source(last)));
    }
    let counters = stage.counters();
    assert_eq!((counters.flows_created, counters.under_flood), (2, 8));
    assert_eq!((counters.flows_assured, counters.flows_new), (2, 0));
    assert_eq!(stage.send(source(3), DTLS), Err(DropReason::FlowUnknown));
    // A false check is dropped as ever.
    let check = Check { integrity: Integrity::False, ..Check::of(A, 3) };
    assert_eq!(stage.send_check(source(3), check), Err(DropReason::IntegrityWrong));
    // The next check finds the flood gone.
    stage.pass_ms(500);
    assert!(stage.send_check(source(3), Check::of(A, 3)).is_ok());
    assert_eq!(stage.send(source(3), DTLS), Ok(shard_a()));
}

#[test]
fn a_session_has_at_most_8_client_addresses() {
    let mut stage = Stage::default();
    for last in 1..=8 {
        stage.assured(source(last), 1);
    }
    assert_eq!(stage.send_check(source(9), Check::of(A, 1)), Err(DropReason::SessionAddresses));
    assert_eq!(stage.send_check(source(8), Check::of(A, 1)), Ok(shard_a()), "the eight go on");
    assert_eq!(stage.send_check(source(9), Check::of(A, 2)), Ok(shard_a()), "so do others");
    // Nor can it borrow addresses that have flows to other shards.
    assert_eq!(stage.send_check(source(10), Check::of(B, 1)), Ok(shard_b()));
    assert_eq!(stage.send_check(source(10), Check::of(A, 1)), Err(DropReason::SessionAddresses));
    // One ends; ten seconds later another may come.
    stage.gone(shard_a(), &[source(3)]);
    assert_eq!(stage.send_check(source(11), Check::of(A, 1)), Err(DropReason::SessionAddresses));
    stage.pass_ms(10_000);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert_eq!(stage.send_check(source(11), Check::of(A, 1)), Ok(shard_a()));
    assert_eq!(stage.send_check(source(12), Check::of(A, 1)), Err(DropReason::SessionAddresses));
    assert_eq!(stage.counters().dropped(DropReason::SessionAddresses), 4);
}

#[test]
fn the_relay_forwards_at_most_one_to_one_and_answers_no_client() {
    let mut stage = Stage::default();
    let mut packets = vec![DTLS.to_vec(), RTP.to_vec(), vec![0; 20], Vec::new(), vec![255; 50]];
    for session in 0..20 {
        packets.push(stage.check(Check::of(if session % 2 == 0 { A } else { B }, session)));
    }
    let mut sent = 0;
    for last in 0..10 {
        for packet in &packets {
            // A verdict is a peer or a reason: there is no way to say "answer".
            match stage.packet(source(last), packet) {
                Verdict::Forward(_) => sent += 1,
                Verdict::Drop(_) => {}
            }
        }
    }
    let received = stage.flush();
    assert_eq!(received.len(), sent);
    for (to, _, _) in received {
        assert!(to == shard_a() || to == shard_b(), "only to shards");
    }
}
