//! The rules of routing, each a test of its name: where a packet goes, and what may turn a flow.

#![allow(clippy::unwrap_used)]

use relay::core::testing::{
    A, B, Check, DTLS, Integrity, RTCP, RTP, Stage, address, shard_a, shard_b, source, stun,
};
use relay::core::{DropReason, FlowState};
use wire::hint::SessionTag;
use wire::stun::Kind;

#[test]
fn the_first_packet_routes_itself_and_the_rest_follow_the_flow() {
    let mut stage = Stage::default();
    let source = source(1);
    for packet in [DTLS, RTP, RTCP] {
        assert_eq!(stage.send(source, packet), Err(DropReason::FlowUnknown));
    }
    assert_eq!(stage.send_check(source, Check::of(B, 1)), Ok(shard_b()));
    assert_eq!(stage.flow(source).unwrap().state, FlowState::New);
    for packet in [DTLS, RTP, RTCP] {
        assert_eq!(stage.send(source, packet), Ok(shard_b()));
    }
    // STUN that names nobody goes by the flow too: GOOG-PING, indications, responses.
    for kind in [Kind::GoogPing, Kind::BindingIndication, Kind::BindingSuccess, Kind::BindingError]
    {
        assert_eq!(stage.send(source, &stun(kind, None, None)), Ok(shard_b()), "{kind:?}");
    }
    assert_eq!(stage.send(source, &stun(Kind::BindingRequest, None, None)), Ok(shard_b()));
    assert_eq!(stage.counters().flows_created, 1);
}

#[test]
fn only_a_binding_request_makes_a_flow() {
    let mut stage = Stage::default();
    let check = stage.check(Check::of(A, 1));
    for first_two in [[0x00, 0x11], [0x01, 0x01], [0x01, 0x11], [0x02, 0x00]] {
        let mut packet = check.clone();
        packet[..2].copy_from_slice(&first_two);
        assert_eq!(stage.send(source(1), &packet), Err(DropReason::FlowUnknown));
    }
    assert_eq!(stage.counters().flows_new, 0);
}

#[test]
fn a_check_of_the_flows_own_session_is_not_verified_again() {
    let mut stage = Stage::default();
    stage.send_check(source(1), Check::of(A, 1)).unwrap();
    // The shard will refuse it; it went only where the client's other packets go anyway.
    let check = Check { integrity: Integrity::False, ..Check::of(A, 1) };
    assert_eq!(stage.send_check(source(1), check), Ok(shard_a()));
    // From another address it makes nothing.
    assert_eq!(stage.send_check(source(2), check), Err(DropReason::IntegrityWrong));
}

#[test]
fn an_expired_hint_routes_on_a_flow_of_its_shard_and_makes_none() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let late = |session| Check { expires_in: -3, ..Check::of(A, session) };
    assert_eq!(stage.send_check(source(1), late(1)), Ok(shard_a()));
    assert_eq!(stage.send_check(source(2), late(1)), Err(DropReason::HintExpired));
    // After an ICE restart hours ago: another session of the same shard, proven but late.
    assert_eq!(stage.send_check(source(1), late(5)), Ok(shard_a()));
    assert_eq!(stage.flow(source(1)).unwrap().session, Some(SessionTag::new(1)), "not adopted");
}

#[test]
fn an_ice_restart_changes_the_flows_session() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let unproven = Check { integrity: Integrity::False, ..Check::of(A, 2) };
    assert_eq!(stage.send_check(source(1), unproven), Err(DropReason::IntegrityWrong));
    assert_eq!(stage.send_check(source(1), Check::of(A, 2)), Ok(shard_a()));
    assert_eq!(stage.flow(source(1)).unwrap().session, Some(SessionTag::new(2)));
    assert_eq!(stage.counters().flows_adopted, 1);
}

#[test]
fn a_hint_for_another_shard_is_routed_and_does_not_repoint_the_flow() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    // An attacker with a session of their own on B sends from the victim's address.
    assert_eq!(stage.send_check(source(1), Check::of(B, 2)), Ok(shard_b()));
    stage.answer_check(shard_b(), source(1));
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.route, flow.pending), (A, Some((B, SessionTag::new(2)))));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "the call goes on");
    // The shard that the flow belongs to speaks every few seconds at least: nothing ever turns.
    for _ in 0..20 {
        stage.pass_ms(7_999);
        assert_eq!(stage.send_check(source(1), Check::of(B, 2)), Ok(shard_b()));
        stage.answer_check(shard_b(), source(1));
        stage.answer_rtp(shard_b(), source(1));
        assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
        stage.answer_check(shard_a(), source(1));
    }
    assert_eq!(stage.counters().flows_repointed, 0);
}

#[test]
fn a_silent_route_gives_way_to_a_shard_that_answers() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.send_check(source(1), Check::of(B, 2)).unwrap();
    stage.pass_ms(7_999);
    stage.answer_check(shard_b(), source(1));
    assert_eq!(stage.flow(source(1)).unwrap().route, A, "silent, but not for long enough");
    stage.pass_ms(1);
    // Silence alone turns nothing, nor does the client.
    stage.send_check(source(1), Check::of(B, 2)).unwrap();
    stage.send(source(1), RTP).unwrap();
    assert_eq!(stage.flow(source(1)).unwrap().route, A);
    // Nor does a shard that the client has never asked.
    stage.answer_rtp(address("198.51.100.1:7001"), source(1));
    assert_eq!(stage.flow(source(1)).unwrap().route, A);
    stage.answer_check(shard_b(), source(1));
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.route, flow.session), (B, Some(SessionTag::new(2))));
    assert_eq!(flow.pending, Some((A, SessionTag::new(1))), "whose it was is remembered");
    assert_eq!(stage.send(source(1), RTP), Ok(shard_b()));
    // Until its client is heard, that shard changes nothing.
    stage.answer_rtp(shard_a(), source(1));
    assert_eq!(stage.flow(source(1)).unwrap().route, B);
    stage.gone(shard_a(), &[source(1)]);
    assert_eq!(stage.flow(source(1)).unwrap().pending, None, "it has no call there any more");
    assert_eq!(stage.counters().flows_repointed, 1);
}

#[test]
fn another_shards_hint_must_be_proven_and_in_time() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    for (check, reason) in [
        (Check { integrity: Integrity::False, ..Check::of(B, 2) }, DropReason::IntegrityWrong),
        (Check { expires_in: -1, ..Check::of(B, 2) }, DropReason::HintExpired),
    ] {
        assert_eq!(stage.send_check(source(1), check), Err(reason));
        assert_eq!(stage.flow(source(1)).unwrap().pending, None);
    }
}

#[test]
fn of_two_shards_that_a_new_flow_could_go_to_the_first_that_answers_has_it() {
    let mut stage = Stage::default();
    stage.send_check(source(1), Check::of(A, 1)).unwrap();
    stage.send_check(source(1), Check::of(B, 2)).unwrap();
    stage.answer_check(shard_b(), source(1));
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.route, flow.state), (B, FlowState::Assured));
    stage.counters();
}
