//! The rules of recovery, each a test of its name: what return traffic teaches, how flows end, drain.

#![allow(clippy::unwrap_used)]

use relay::core::testing::{
    A, B, Check, DTLS, LISTENER, RTCP, RTP, Stage, address, client, clusters, settings, shard_a,
    shard_b, source,
};
use relay::core::{
    Command, DropReason, FlowChange, FlowState, FrameVerdict, Reply, Settings, TunnelVerdict,
};
use wire::address::Address;
use wire::hint::SessionTag;
use wire::tunnel::{About, Content};

#[test]
fn return_traffic_teaches() {
    for payload in [DTLS, RTP, RTCP] {
        let mut stage = Stage::default();
        let verdict = stage.answer(shard_b(), &[(client(source(1)), payload)]).unwrap();
        assert_eq!(verdict, [FrameVerdict::Deliver(LISTENER, source(1))]);
        let flow = stage.flow(source(1)).unwrap();
        assert_eq!((flow.state, flow.route, flow.session), (FlowState::Assured, B, None));
        assert_eq!(stage.send(source(1), RTP), Ok(shard_b()));
        // The next check says whose session it is.
        assert_eq!(stage.send_check(source(1), Check::of(B, 4)), Ok(shard_b()));
        assert_eq!(stage.flow(source(1)).unwrap().session, Some(SessionTag::new(4)));
        assert_eq!(stage.counters().flows_learned, 1);
    }
}

#[test]
fn an_answer_to_a_check_teaches_nothing() {
    let mut stage = Stage::default();
    let verdict = stage.answer_check(shard_a(), source(1));
    assert_eq!(verdict, FrameVerdict::Deliver(LISTENER, source(1)));
    assert_eq!(stage.flow(source(1)), None);
}

#[test]
fn learning_is_as_much_as_fits_at_first_and_then_no_faster_than_new_flows() {
    let mut stage = Stage::new(Settings { new_flow_rate: 1, ..settings() }, clusters());
    let learn = |stage: &mut Stage, range: std::ops::Range<u8>| {
        for last in range {
            stage.answer_rtp(shard_a(), source(last));
        }
    };
    learn(&mut stage, 0..64);
    assert_eq!(stage.counters().flows_learned, 64, "all flows at once, after a restart");
    let all: Vec<_> = (0..64).map(source).collect();
    stage.gone(shard_a(), &all);
    learn(&mut stage, 64..100);
    assert_eq!(stage.counters().flows_learned, 64);
    stage.pass_ms(3_000);
    learn(&mut stage, 100..200);
    let counters = stage.counters();
    assert_eq!((counters.flows_learned, counters.learning_limited), (67, 36 + 97));
}

#[test]
fn gone_frees_at_once_and_only_the_shards_own_flows() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.send_check(source(2), Check::of(A, 2)).unwrap();
    stage.gone(shard_b(), &[source(1), source(2), source(3)]);
    assert!(stage.flow(source(1)).is_some() && stage.flow(source(2)).is_some());
    assert_eq!(stage.counters().gone_ignored, 3);
    stage.gone(shard_a(), &[source(1), source(2)]);
    assert!(stage.flow(source(1)).is_none() && stage.flow(source(2)).is_none());
    assert_eq!(stage.send(source(1), RTP), Err(DropReason::FlowUnknown));
    assert_eq!(stage.counters().flows_gone, 2);
}

#[test]
fn gone_of_a_pending_shard_ends_its_claim() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.send_check(source(1), Check::of(B, 2)).unwrap();
    stage.gone(shard_b(), &[source(1)]);
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.route, flow.pending), (A, None));
    stage.counters();
}

#[test]
fn idle_flows_end_new_ones_first() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.send_check(source(2), Check::of(A, 2)).unwrap();
    stage.pass_ms(9_999);
    assert_eq!(stage.send(source(2), DTLS), Ok(shard_a()));
    stage.pass_ms(10_000);
    assert_eq!(stage.send(source(2), DTLS), Err(DropReason::FlowUnknown), "checked on lookup");
    stage.pass_ms(40_000);
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
    stage.pass_ms(59_999);
    assert_eq!(stage.answer_rtp(shard_a(), source(1)), FrameVerdict::Deliver(LISTENER, source(1)));
    stage.pass_ms(59_999);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert!(stage.flow(source(1)).is_some());
    stage.pass_ms(1);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert!(stage.flow(source(1)).is_none(), "and by the sweep");
    let counters = stage.counters();
    assert_eq!((counters.flows_expired_new, counters.flows_expired_assured), (1, 1));
}

#[test]
fn a_stale_flow_makes_way_for_a_new_one() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.pass_ms(60_000);
    assert_eq!(stage.send_check(source(1), Check::of(B, 2)), Ok(shard_b()));
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.state, flow.route), (FlowState::New, B));
    let counters = stage.counters();
    assert_eq!((counters.flows_expired_assured, counters.flows_created), (1, 2));
}

#[test]
fn a_draining_relay_takes_no_new_flows_and_existing_ones_go_on() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    assert_eq!(stage.router.on_command(Command::Drain(true), stage.now), Reply::Done);
    assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Err(DropReason::Draining));
    assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
    assert_eq!(stage.send_check(source(1), Check::of(A, 3)), Ok(shard_a()), "an ICE restart too");
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
    let verdict = stage.answer_rtp(shard_a(), source(2));
    assert_eq!(verdict, FrameVerdict::Deliver(LISTENER, source(2)));
    assert_eq!(stage.flow(source(2)), None, "delivered, not learned");
    assert_eq!(stage.router.on_command(Command::Drain(false), stage.now), Reply::Done);
    assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Ok(shard_a()));
}

#[test]
fn flows_and_misses_are_reported_and_the_reports_bounded() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let session = Some(SessionTag::new(1));
    let change = FlowChange::Assured { client: client(source(1)), route: A, session };
    assert_eq!(stage.router.next_change(), Some(change));
    stage.gone(shard_a(), &[source(1)]);
    assert_eq!(stage.router.next_change(), Some(FlowChange::Freed { client: client(source(1)) }));
    // A new flow that ends has never been told of.
    stage.send_check(source(2), Check::of(A, 2)).unwrap();
    stage.gone(shard_a(), &[source(2)]);
    assert_eq!(stage.router.next_change(), None);

    for _ in 0..5_000 {
        stage.packet(source(3), RTP);
    }
    let reported = std::iter::from_fn(|| stage.router.next_miss()).count();
    assert_eq!(reported as u64 + stage.counters().miss_events_lost, 5_000);
    assert_eq!(reported, relay::core::limits::MISS_EVENTS_MAX);
}

#[test]
fn an_ipv4_shard_that_speaks_first_becomes_a_peer() {
    let mut stage = Stage::default();
    let shard = address("10.9.8.7:7002");
    let peers = stage.counters().peers;
    stage.answer_rtp(shard, source(1));
    assert_eq!(stage.counters().peers, peers + 1);
    assert_eq!(stage.send(source(1), RTP), Ok(shard));
    for stranger in ["10.9.8.7:7004", "11.9.8.7:7002", "192.0.2.1:5000"] {
        let got = stage.answer(address(stranger), &[(client(source(2)), RTP)]);
        assert_eq!(got, Err(DropReason::TunnelStranger), "{stranger}");
    }
    // A forger at an address where a shard could be leaves no trace either.
    let mut forged = vec![0x10; 64];
    let verdict = stage.router.on_tunnel(address("10.9.8.6:7002"), &mut forged, stage.now);
    assert!(matches!(verdict, TunnelVerdict::Drop(DropReason::TunnelUnknownKey)));
    assert_eq!(stage.counters().peers, peers + 1);
}

/// Answers the relay's pings of one shard, as a process of this boot identity.
fn pong(stage: &mut Stage, shard: Address, about: About) -> Vec<About> {
    stage.pass_ms(1_000);
    let mut sent = Vec::new();
    stage.router.on_tick(stage.now, &mut |to, datagram: &[u8]| sent.push((to, datagram.to_vec())));
    let mut told = Vec::new();
    for (to, mut datagram) in sent {
        let opened = stage.opener(to).open(&mut datagram).unwrap();
        let Content::Ping(token) = opened.content else { panic!("{:?}", opened.content) };
        told.push(opened.about);
        if to == shard {
            let mut pong = stage.sealer(to).seal_pong_about(token, about).unwrap();
            let verdict = stage.router.on_tunnel(to, &mut pong, stage.now);
            assert!(matches!(verdict, TunnelVerdict::Taken));
        }
    }
    told
}

#[test]
fn a_shard_that_was_started_anew_loses_its_flows_and_no_others() {
    let mut stage = Stage::default();
    let process = |boot| About { boot, draining: false };
    pong(&mut stage, shard_a(), process(1));
    stage.assured(source(1), 1);
    stage.send_check(source(2), Check::of(A, 2)).unwrap();
    stage.answer_rtp(shard_b(), source(3));
    stage.send_check(source(3), Check::of(A, 3)).unwrap();
    for boot in [1, 0, 1] {
        pong(&mut stage, shard_a(), process(boot));
        assert!(stage.flow(source(1)).is_some(), "{boot}: the same, or it does not say");
    }
    pong(&mut stage, shard_a(), process(2));
    assert_eq!((stage.flow(source(1)), stage.flow(source(2))), (None, None));
    let other = stage.flow(source(3)).unwrap();
    assert_eq!((other.route, other.pending), (B, None));
    let counters = stage.counters();
    assert_eq!((counters.peers_restarted, counters.flows_gone), (1, 2));
    // What such a client sends next makes a new flow, and the shard can say that it is gone.
    assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
}

#[test]
fn a_replayed_pong_of_an_earlier_process_ends_no_flow() {
    let mut stage = Stage::default();
    pong(&mut stage, shard_a(), About { boot: 2, draining: false });
    stage.assured(source(1), 1);
    // Authentic, but the answer to no ping that waits for one.
    let about = About { boot: 1, draining: false };
    let mut stale = stage.sealer(shard_a()).seal_pong_about(0, about).unwrap();
    stage.router.on_tunnel(shard_a(), &mut stale, stage.now);
    assert!(stage.flow(source(1)).is_some());
}

#[test]
fn shards_are_told_of_a_drain_at_once() {
    let mut stage = Stage::default();
    let shards = pong(&mut stage, shard_a(), About::default());
    assert!(!shards.is_empty() && shards.iter().all(|about| about.boot != 0 && !about.draining));
    let missed = stage.counters().pings_missed;
    for on in [true, false] {
        stage.router.on_command(Command::Drain(on), stage.now);
        let mut told = 0;
        let mut sent = Vec::new();
        let now = stage.now;
        stage.router.on_tick(now, &mut |to, datagram: &[u8]| sent.push((to, datagram.to_vec())));
        for (to, mut datagram) in sent {
            assert_eq!(stage.opener(to).open(&mut datagram).unwrap().about.draining, on);
            told += 1;
        }
        assert_eq!(told, shards.len(), "every shard, before its next ping is due");
    }
    assert_eq!(stage.counters().pings_missed, missed, "a hurried ping makes none a missed one");
}

#[test]
fn a_shard_with_many_flows_teaches_no_more_and_is_still_routed_to() {
    let mut stage = Stage::new(Settings { flows_per_shard_max: 3, ..settings() }, clusters());
    for last in 1..=5 {
        stage.answer_rtp(shard_a(), source(last));
    }
    stage.answer_rtp(shard_b(), source(9));
    let counters = stage.counters();
    assert_eq!((counters.flows_learned, counters.taught_full), (4, 2));
    assert_eq!(stage.send_check(source(4), Check::of(A, 4)), Ok(shard_a()));
    assert!(stage.flow(source(4)).is_some());
}
