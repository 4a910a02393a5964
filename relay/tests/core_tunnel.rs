//! The tunnel as the router uses it: bundles, frames that must not be delivered, pings, keys.

#![allow(clippy::unwrap_used)]

use relay::core::limits::{PING_INTERVAL_US, PINGS_MISSED_DOWN};
use relay::core::testing::{
    A, B, Check, LISTENER, RTP, Stage, address, client, clusters, keyring, settings, shard_a,
    shard_b, source,
};
use relay::core::{
    ClientScopes, Command, DropReason, Family, FrameVerdict, PeerInfo, Reply, Settings,
    TunnelVerdict, Verdict,
};
use std::sync::Arc;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::tunnel::Content;

#[test]
fn packets_of_a_batch_share_a_datagram_and_every_one_leaves_once() {
    let mut stage = Stage::default();
    for last in 1..=20 {
        let route = if last % 2 == 0 { A } else { B };
        let packet = stage.check(Check::of(route, last.into()));
        assert!(matches!(stage.packet(source(last), &packet), Verdict::Forward(_)));
    }
    let sent = stage.take_sent();
    // Ten checks of 100 bytes and their frames' headers each: two datagrams' worth at most.
    assert!(sent.len() <= 4, "{} datagrams", sent.len());
    assert!(sent.iter().all(|(_, datagram)| datagram.len() <= 1_472));
    let counters = stage.counters();
    assert_eq!((counters.tunnel_sent_frames, counters.client_received_packets[0]), (20, 20));
    assert_eq!(counters.tunnel_sent_datagrams, sent.len() as u64);
    assert_eq!(counters.tunnel_sent_bytes, sent.iter().map(|(_, d)| d.len() as u64).sum::<u64>());
    assert_eq!(stage.take_sent(), [], "nothing twice");
}

#[test]
fn bundles_can_be_closed_one_by_one() {
    let mut stage = Stage::default();
    for (last, route) in [(1, A), (2, B), (3, A)] {
        let packet = stage.check(Check::of(route, last.into()));
        stage.packet(source(last), &packet);
    }
    let mut to = Vec::new();
    while stage.router.close_one(&mut |address, _: &[u8]| to.push(address)) {}
    to.sort_unstable();
    assert_eq!(to, [shard_a(), shard_b()]);
}

#[test]
fn a_full_bundle_leaves_at_once_and_nothing_is_lost_or_reordered() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    for number in 0..=255 {
        let mut packet = vec![number; 300];
        packet[..2].copy_from_slice(&RTP[..2]);
        stage.packet(source(1), &packet);
    }
    let order: Vec<_> = stage.flush().into_iter().map(|(_, _, packet)| packet[299]).collect();
    assert_eq!(order, (0..=255).collect::<Vec<_>>());
    assert_eq!(stage.counters().tunnel_sent_oversize, 0);
}

#[test]
fn a_packet_too_long_for_the_mtu_goes_alone_and_is_counted() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let long = [RTP, &[7; 1_500]].concat();
    stage.packet(source(1), RTP);
    stage.packet(source(1), &long);
    stage.packet(source(1), RTP);
    let lengths: Vec<_> = stage.take_sent().iter().map(|(_, datagram)| datagram.len()).collect();
    assert_eq!(lengths.len(), 3);
    assert!(lengths[0] < 100 && lengths[1] > 1_500 && lengths[2] < 100, "{lengths:?}");
    assert_eq!(stage.counters().tunnel_sent_oversize, 1);
    let too_long = vec![0x80; 2_049];
    assert_eq!(stage.send(source(1), &too_long), Err(DropReason::PacketTooLong));
}

#[test]
fn frames_go_only_to_where_a_client_can_be() {
    let listeners = vec![Family::Ipv4, Family::Ipv6, Family::Dual];
    let mut stage = Stage::new(Settings { listeners, ..settings() }, clusters());
    let to = |text: &str, listener: u8| Client {
        address: address(text),
        listener: ListenerId(listener),
        transport: Transport::Udp,
    };
    let tcp = Client { transport: Transport::Tcp, ..to("192.0.2.1:5000", 0) };
    let deliver = |client: Client| FrameVerdict::Deliver(client.listener, client.address);
    let drop = |_, reason| FrameVerdict::Drop(reason);
    let cases = [
        (to("192.0.2.1:5000", 0), None),
        (to("[2001:db8::1]:5000", 1), None),
        (to("192.0.2.1:5000", 2), None),
        (to("[2001:db8::1]:5000", 2), None),
        (tcp, Some(DropReason::FrameTransport)),
        (to("192.0.2.1:5000", 3), Some(DropReason::FrameListenerUnknown)),
        (to("192.0.2.1:5000", 255), Some(DropReason::FrameListenerUnknown)),
        (to("192.0.2.1:5000", 1), Some(DropReason::FrameFamily)),
        (to("[2001:db8::1]:5000", 0), Some(DropReason::FrameFamily)),
        (to("[::ffff:192.0.2.1]:5000", 1), Some(DropReason::FrameFamily)),
        (to("127.0.0.1:5000", 0), Some(DropReason::FrameAddressForbidden)),
        (to("[::1]:5000", 1), Some(DropReason::FrameAddressForbidden)),
        (to("169.254.169.254:80", 0), Some(DropReason::FrameAddressForbidden)),
        (to("[fe80::1]:5000", 1), Some(DropReason::FrameAddressForbidden)),
        (to("224.0.0.251:5353", 0), Some(DropReason::FrameAddressForbidden)),
        (to("[ff02::1]:5000", 1), Some(DropReason::FrameAddressForbidden)),
        (to("255.255.255.255:5000", 0), Some(DropReason::FrameAddressForbidden)),
        (to("0.0.0.0:5000", 0), Some(DropReason::FrameAddressForbidden)),
        (to("240.0.0.1:5000", 0), Some(DropReason::FrameAddressForbidden)),
        (to("[2002:7f00:1::]:5000", 1), Some(DropReason::FrameAddressForbidden)),
        (to("192.0.2.1:0", 0), Some(DropReason::FrameAddressForbidden)),
    ];
    let frames = cases.map(|(client, _)| (client, RTP));
    let verdicts = stage.answer(shard_a(), &frames).unwrap();
    for ((client, reason), verdict) in cases.into_iter().zip(verdicts) {
        let want = reason.map_or(deliver(client), |reason| drop(client, reason));
        assert_eq!(verdict, want, "{client:?}");
    }
    let counters = stage.counters();
    assert_eq!((counters.tunnel_received_frames, counters.flows_learned), (21, 4));

    let client_scopes = ClientScopes { loopback: true, link_local: false };
    let mut stage = Stage::new(Settings { client_scopes, ..settings() }, clusters());
    let frames = [(to("127.0.0.1:5000", 0), RTP), (to("169.254.1.1:5000", 0), RTP)];
    let verdicts = stage.answer(shard_a(), &frames).unwrap();
    assert_eq!(verdicts[0], deliver(frames[0].0), "when the settings say so");
    assert_eq!(verdicts[1], FrameVerdict::Drop(DropReason::FrameAddressForbidden));
}

fn dropped(verdict: &TunnelVerdict<'_>) -> Option<DropReason> {
    match verdict {
        TunnelVerdict::Drop(reason) => Some(*reason),
        TunnelVerdict::Frames(..) | TunnelVerdict::Pong(..) | TunnelVerdict::Taken => None,
    }
}

#[test]
fn datagrams_that_are_not_what_they_should_be_are_dropped_for_their_reason() {
    let mut stage = Stage::default();
    let good = stage.sealed_data(shard_a(), &[(client(source(1)), RTP)]);
    let changed = |at: usize, bit: u8| {
        let mut datagram = good.clone();
        datagram[at] ^= bit;
        datagram
    };
    let last = good.len() - 1;
    for (mut datagram, reason) in [
        (Vec::new(), DropReason::TunnelTooShort),
        (good[..31].to_vec(), DropReason::TunnelTooShort),
        (changed(0, 0x20), DropReason::TunnelUnknownVersion),
        (changed(0, 0x08), DropReason::TunnelUnknownKind),
        (changed(1, 0xff), DropReason::TunnelUnknownKey),
        (changed(0, 0x03), DropReason::TunnelForged),
        (changed(5, 1), DropReason::TunnelForged),
        (changed(20, 1), DropReason::TunnelForged),
        (changed(last, 1), DropReason::TunnelForged),
    ] {
        let verdict = stage.router.on_tunnel(shard_a(), &mut datagram, stage.now);
        assert_eq!(dropped(&verdict), Some(reason));
    }
    let now = stage.now;
    let mut take = |source: Address| {
        let mut datagram = good.clone();
        let verdict = stage.router.on_tunnel(source, &mut datagram, now);
        dropped(&verdict)
    };
    assert_eq!(take(source(9)), Some(DropReason::TunnelStranger), "whatever it says");
    assert_eq!(take(shard_a()), None);
    assert_eq!(take(shard_a()), Some(DropReason::TunnelReplayed));
    assert_eq!(stage.counters().flows_learned, 0, "frames not asked about do nothing");
}

fn peer(stage: &mut Stage, tunnel: Address) -> PeerInfo {
    match stage.router.on_command(Command::Peers, stage.now) {
        Reply::Peers(peers) => peers.into_iter().find(|peer| peer.tunnel == tunnel).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn tick(stage: &mut Stage) -> Vec<(Address, Vec<u8>)> {
    let mut pings = Vec::new();
    stage.router.on_tick(stage.now, &mut |to, datagram: &[u8]| pings.push((to, datagram.to_vec())));
    pings
}

#[test]
fn pings_measure_round_trips_and_tell_who_is_down() {
    let mut stage = Stage::default();
    assert_eq!(peer(&mut stage, shard_a()).up, None);
    let pings = tick(&mut stage);
    assert_eq!(pings.len(), 4, "every listed shard");
    assert_eq!(tick(&mut stage), [], "not before the next is due");
    let (_, mut ping) = pings.into_iter().find(|(to, _)| *to == shard_a()).unwrap();
    let Content::Ping(token) = stage.opener(shard_a()).open(&mut ping).unwrap().content else {
        panic!("not a ping");
    };
    stage.now.monotonic_us += 321;
    let mut pong = stage.sealer(shard_a()).seal_pong(token).unwrap();
    let verdict = stage.router.on_tunnel(shard_a(), &mut pong, stage.now);
    assert!(matches!(verdict, TunnelVerdict::Taken));
    let shown = peer(&mut stage, shard_a());
    assert_eq!((shown.up, shown.round_trip_us), (Some(true), Some(321)));
    tick(&mut stage);
    assert_eq!(stage.counters().peers_up, 1);

    for _ in 0..=PINGS_MISSED_DOWN {
        stage.now.monotonic_us += PING_INTERVAL_US;
        tick(&mut stage);
    }
    let shown = peer(&mut stage, shard_a());
    assert_eq!((shown.up, shown.pings_missed), (Some(false), PINGS_MISSED_DOWN));
    assert_eq!(stage.counters().peers_up, 0);
    // It may be down: packets go there all the same, there is nowhere else.
    assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
}

#[test]
fn a_ping_is_answered_with_its_token() {
    let mut stage = Stage::default();
    let mut ping = stage.sealer(shard_b()).seal_ping(77).unwrap();
    let verdict = stage.router.on_tunnel(shard_b(), &mut ping, stage.now);
    let TunnelVerdict::Pong(to, mut pong) = verdict else { panic!("{verdict:?}") };
    assert_eq!(to, shard_b());
    let content = stage.opener(shard_b()).open(&mut pong).unwrap().content;
    assert!(matches!(content, Content::Pong(77)));
}

#[test]
fn every_leg_has_a_sender_id_of_its_own() {
    let mut stage = Stage::default();
    let mut ids: Vec<_> = tick(&mut stage).into_iter().map(|(_, p)| p[2..10].to_vec()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_new_keyring_seals_with_its_key_and_a_new_sender() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.packet(source(1), RTP);
    let (_, before) = stage.take_sent().remove(0);
    // The same keyring again: nothing changes.
    let same = Command::Keyring(Arc::clone(&stage.keyring));
    assert_eq!(stage.router.on_command(same, stage.now), Reply::Done);
    stage.packet(source(1), RTP);
    let (_, after) = stage.take_sent().remove(0);
    assert_eq!(before[..10], after[..10]);

    let mut old = stage.sealed_data(shard_a(), &[(client(source(1)), RTP)]);
    stage.keyring = keyring(9);
    let command = Command::Keyring(Arc::clone(&stage.keyring));
    assert_eq!(stage.router.on_command(command, stage.now), Reply::Done);
    stage.restart_shards();
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "the flow stays");
    stage.packet(source(1), RTP);
    let (_, after) = stage.take_sent().remove(0);
    assert_ne!(before[2..10], after[2..10]);
    assert_eq!(stage.answer_rtp(shard_a(), source(1)), FrameVerdict::Deliver(LISTENER, source(1)));
    let verdict = stage.router.on_tunnel(shard_a(), &mut old, stage.now);
    assert_eq!(dropped(&verdict), Some(DropReason::TunnelForged));
    assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Ok(shard_a()));
}
