//! What the relay does not defend against, each a test of its name, so that docs/threat-model.md can
//! name it. These tests say what happens, not what ought to: who mends one changes that page too.

#![allow(clippy::unwrap_used)]

use relay::core::testing::{
    A, B, Check, DTLS, RTP, Stage, clusters, settings, shard_a, shard_b, source,
};
use relay::core::{DropReason, FrameVerdict, Settings};

/// A call that has ended is told off by its shard, which frees the flow, and with it the address
/// that counted for the session. So eight addresses are no bound for it, and it can use up the
/// budget of new flows for as long as its hint holds.
#[test]
fn a_call_that_has_ended_can_use_up_the_budget_of_new_flows() {
    let mut stage = Stage::new(Settings { new_flow_rate: 64, ..settings() }, clusters());
    stage.assured(source(1), 1);
    for _ in 0..63 {
        assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Ok(shard_a()));
        stage.gone(shard_a(), &[source(2)]);
    }
    assert_eq!(stage.send_check(source(3), Check::of(B, 3)), Ok(shard_b()), "its check arrives");
    assert_eq!(stage.send(source(3), DTLS), Err(DropReason::FlowUnknown), "and makes no flow");
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "flows that are there go on");
    let counters = stage.counters();
    assert_eq!((counters.under_flood, counters.flows_gone), (1, 63));
}

/// Copies are authentic and the relay keeps no state by which to tell them from first ones.
#[test]
fn copies_of_a_check_can_use_up_the_addresses_of_its_session_and_of_no_other() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let copy = stage.check(Check::of(A, 1));
    for last in 2..=8 {
        assert_eq!(stage.send(source(last), &copy), Ok(shard_a()));
    }
    // The client has a new address, and finds no room there.
    assert_eq!(stage.send(source(9), &copy), Err(DropReason::SessionAddresses));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "where it was, it goes on");
    assert_eq!(stage.send_check(source(10), Check::of(A, 2)), Ok(shard_a()), "so do others");
    // Whoever is not answered loses the place in ten seconds.
    stage.pass_ms(10_000);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert_eq!(stage.send_check(source(9), Check::of(A, 1)), Ok(shard_a()));
}

/// Clients that check their path every six seconds and are sent nothing in between.
#[test]
fn a_call_elsewhere_takes_a_route_that_is_silent_for_five_seconds_and_keeps_it() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let spoof = |stage: &mut Stage| {
        assert_eq!(stage.send_check(source(1), Check::of(B, 2)), Ok(shard_b()));
        stage.answer_check(shard_b(), source(1));
    };
    for _ in 0..5 {
        stage.pass_ms(1_000);
        spoof(&mut stage);
    }
    assert_eq!(stage.send(source(1), RTP), Ok(shard_b()), "the victim is not heard");
    // Its own checks arrive and are answered, and do not turn the flow while the other one speaks.
    for _ in 0..10 {
        stage.pass_ms(1_000);
        spoof(&mut stage);
        assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
        assert!(matches!(stage.answer_check(shard_a(), source(1)), FrameVerdict::Deliver(..)));
        assert_eq!(stage.send(source(1), RTP), Ok(shard_b()));
    }
    // It ends five seconds after the attack does.
    stage.pass_ms(5_000);
    assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
    stage.answer_check(shard_a(), source(1));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
}

/// A transceiver says where packets go. One that lies sends to whom it likes, one for one, from the
/// relay's address; flows of others it does not touch.
#[test]
fn a_shard_that_lies_can_send_to_any_client_and_takes_none_from_another() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    assert!(matches!(stage.answer_rtp(shard_b(), source(1)), FrameVerdict::Deliver(..)));
    assert!(matches!(stage.answer_rtp(shard_b(), source(99)), FrameVerdict::Deliver(..)));
    stage.gone(shard_b(), &[source(1)]);
    stage.pass_ms(20_000);
    stage.answer_rtp(shard_b(), source(1));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "though its own is silent");
    let counters = stage.counters();
    assert_eq!((counters.delivered_beside, counters.gone_ignored), (2, 1));
}
