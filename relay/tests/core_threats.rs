//! Attacks by those who have a call or a shard of their own, each a test of its name, so that
//! docs/threat-model.md can name it. Some are fended off, some are not: these tests say what happens,
//! not what ought to, and who mends one changes that page too.

#![allow(clippy::unwrap_used)]

use relay::core::testing::{
    A, B, Check, DTLS, RTP, Stage, address, clusters, settings, shard_a, shard_b, source,
};
use relay::core::{DropReason, FrameVerdict, Route, Settings};
use wire::address::Address;
use wire::hint::ShardId;

/// A third shard: the second one of A's transceiver.
const ANOTHER: Route = Route { shard: ShardId(1), ..A };

fn another() -> Address {
    address("198.51.100.1:7001")
}

/// A call that has ended is told off by its shard, which frees the flow. The address goes on counting
/// for the session, as one of eight, for as long as a new flow may be idle.
#[test]
fn a_call_that_has_ended_makes_no_more_flows_than_it_has_addresses() {
    let mut stage = Stage::new(Settings { new_flow_rate: 64, ..settings() }, clusters());
    stage.assured(source(1), 1);
    let mut refused = 0;
    for attempt in (0..=199).cycle().take(1_000) {
        // From one address or from many, it is the same.
        let from = source(if attempt % 2 == 0 { 2 } else { 4 + attempt });
        match stage.send_check(from, Check::of(A, 2)) {
            Ok(to) => assert_eq!(to, shard_a()),
            Err(reason) => {
                assert_eq!(reason, DropReason::SessionAddresses);
                refused += 1;
            }
        }
        stage.gone(shard_a(), &[from]);
    }
    assert_eq!(refused, 1_000 - 8);
    assert_eq!(stage.send_check(source(3), Check::of(B, 3)), Ok(shard_b()));
    assert_eq!(stage.send(source(3), DTLS), Ok(shard_b()), "there is budget left for others");
    let counters = stage.counters();
    assert_eq!((counters.under_flood, counters.flows_gone), (0, 8));
    // Ten seconds later it has its eight addresses again, should it be alive after all.
    stage.pass_ms(9_900);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Err(DropReason::SessionAddresses));
    stage.pass_ms(100);
    stage.router.on_tick(stage.now, &mut |_, _| {});
    assert_eq!(stage.send_check(source(2), Check::of(A, 2)), Ok(shard_a()));
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

/// Clients that check their path every six seconds and are sent nothing in between, while somebody
/// with a call on another shard forges their address once a second.
#[test]
fn a_call_elsewhere_takes_no_route_of_a_client_that_checks_its_path() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    for second in 1..=60 {
        stage.pass_ms(1_000);
        assert_eq!(stage.send_check(source(1), Check::of(B, 2)), Ok(shard_b()));
        stage.answer_check(shard_b(), source(1));
        if second % 6 == 0 {
            assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
            stage.answer_check(shard_a(), source(1));
        }
        assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "after {second} s");
    }
    assert_eq!(stage.counters().flows_repointed, 0);
}

/// The route of a client that was quiet for longer can be taken, and its next check takes it back, from
/// however many sessions on however many shards the address is forged meanwhile.
#[test]
fn a_call_elsewhere_that_has_taken_a_silent_route_loses_it_to_the_clients_next_check() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let spoof = |stage: &mut Stage| {
        for (route, session, shard) in
            [(B, 2, shard_b()), (ANOTHER, 3, another()), (B, 4, shard_b())]
        {
            assert_eq!(stage.send_check(source(1), Check::of(route, session)), Ok(shard));
            stage.answer_check(shard, source(1));
        }
    };
    for round in 0..5 {
        for _ in 0..8 {
            stage.pass_ms(1_000);
            spoof(&mut stage);
        }
        assert_ne!(stage.send(source(1), RTP), Ok(shard_a()), "the victim is not heard");
        // What its shard sends of itself is no proof that its client is there.
        stage.answer_rtp(shard_a(), source(1));
        assert_ne!(stage.send(source(1), RTP), Ok(shard_a()));
        assert_eq!(stage.send_check(source(1), Check::of(A, 1)), Ok(shard_a()));
        assert!(matches!(stage.answer_check(shard_a(), source(1)), FrameVerdict::Deliver(..)));
        assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "round {round}");
        // Who has lost it waits as long as anybody.
        spoof(&mut stage);
        assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
        assert_eq!(stage.counters().flows_repointed, 2 * (round + 1));
    }
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
