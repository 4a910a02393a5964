//! Flows from one router to another: at a hot upgrade all of them, after a miss one.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use relay::core::testing::{
    A, B, Check, LISTENER, RTP, Stage, client, clusters, settings, shard_a, shard_b, source,
};
use relay::core::{
    Command, DropReason, FlowState, Recalled, Reply, Restored, Route, Settings, snapshot,
};
use wire::hint::{SessionTag, TransceiverId};

/// A stage whose router has all flows of this one, by way of bytes.
fn upgraded(old: &Stage, settings: Settings) -> (Stage, Restored) {
    let bytes = snapshot::encode(&[old.router.records(old.now)]);
    let mut new = Stage::new(settings, clusters());
    new.now = old.now;
    let records = snapshot::decode(&bytes).unwrap().remove(0);
    let restored = new.router.restore(&records, new.now);
    (new, restored)
}

fn recall(stage: &mut Stage, recalled: Recalled) -> bool {
    match stage.router.on_command(Command::Recall(recalled), stage.now) {
        Reply::Recalled(recalled) => recalled,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upgrade_keeps_every_flow_as_it_was() {
    let mut old = Stage::default();
    old.assured(source(1), 1);
    old.send_check(source(2), Check::of(A, 2)).unwrap();
    old.answer_rtp(shard_b(), source(3));
    old.pass_ms(2_000);
    old.send_check(source(1), Check::of(B, 9)).unwrap();
    let (mut new, restored) = upgraded(&old, settings());
    assert_eq!(restored, Restored { taken: 3, refused: 0 });
    for last in 1..=3 {
        let (mut was, mut is) = (old.flow(source(last)).unwrap(), new.flow(source(last)).unwrap());
        // Ages are in whole milliseconds.
        was.idle_ms = 0;
        is.idle_ms = 0;
        assert_eq!(is, was, "{last}");
    }
    assert_eq!(new.send(source(1), RTP), Ok(shard_a()));
    assert_eq!(new.send(source(2), RTP), Ok(shard_a()));
    assert_eq!(new.send(source(3), RTP), Ok(shard_b()));
    assert_eq!(new.counters().flows_restored, 3);
}

#[test]
fn restored_flows_end_when_they_would_have() {
    let mut old = Stage::default();
    old.assured(source(1), 1);
    old.pass_ms(59_000);
    let (mut new, _) = upgraded(&old, settings());
    new.pass_ms(900);
    assert!(new.flow(source(1)).is_some());
    assert_eq!(new.flow(source(1)).unwrap().idle_ms, 59_900);
    new.pass_ms(100);
    assert_eq!(new.send(source(1), RTP), Err(DropReason::FlowUnknown));
    let (_, restored) = upgraded(&old, settings());
    assert_eq!(restored.taken, 1);
    old.pass_ms(1_000);
    assert_eq!(upgraded(&old, settings()).1, Restored::default(), "nothing stale is passed on");
}

#[test]
fn what_has_no_room_or_leads_nowhere_is_refused_and_counted() {
    let mut old = Stage::default();
    for last in 1..=8 {
        old.pass_ms(10);
        old.send_check(source(last), Check::of(A, u32::from(last))).unwrap();
    }
    let small = Settings { new_flows_max: 3, ..settings() };
    let (mut new, restored) = upgraded(&old, small);
    assert_eq!(restored, Restored { taken: 3, refused: 5 });
    let there: Vec<_> = (1..=8).filter(|last| new.flow(source(*last)).is_some()).collect();
    assert_eq!(there, [6, 7, 8], "the youngest stay");
    new.send_check(source(9), Check::of(A, 9)).unwrap();
    assert!(new.flow(source(6)).is_none(), "and the oldest of them goes first");

    let mut records = old.router.records(old.now);
    records[0].route.transceiver = TransceiverId(77);
    records[1].client.listener.0 = 99;
    let mut new = Stage::new(settings(), clusters());
    assert_eq!(new.router.restore(&records, new.now), Restored { taken: 6, refused: 2 });
    assert_eq!(new.router.restore(&records, new.now), Restored { taken: 0, refused: 8 }, "twice");
    assert_eq!(new.counters().flows_not_recalled, 10);
}

#[test]
fn a_recalled_flow_is_new_until_its_shard_answers() {
    let mut stage = Stage::default();
    let tag = Some(SessionTag::new(4));
    let recalled = Recalled { client: client(source(1)), route: A, session: tag };
    assert_eq!(stage.send(source(1), RTP), Err(DropReason::FlowUnknown));
    assert_eq!(stage.router.next_miss(), Some(client(source(1))));
    assert!(recall(&mut stage, recalled));
    assert_eq!(stage.flow(source(1)).unwrap().state, FlowState::New);
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
    // Telling twice changes nothing.
    assert!(recall(&mut stage, Recalled { route: B, ..recalled }));
    stage.answer_rtp(shard_a(), source(1));
    let flow = stage.flow(source(1)).unwrap();
    assert_eq!((flow.state, flow.route, flow.session), (FlowState::Assured, A, tag));
    assert_eq!(stage.counters().flows_recalled, 1);
}

#[test]
fn a_false_record_misleads_only_until_the_next_check() {
    let mut stage = Stage::default();
    assert!(recall(&mut stage, Recalled { client: client(source(1)), route: B, session: None }));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_b()), "misled");
    assert_eq!(stage.send_check(source(1), Check::of(A, 4)), Ok(shard_a()));
    stage.answer_check(shard_a(), source(1));
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()), "no waiting for B's silence");
    assert_eq!(stage.counters().flows_repointed, 1);
}

#[test]
fn what_is_recalled_is_checked_like_a_hint_and_limited_by_a_budget_of_its_own() {
    let few = Settings { new_flow_rate: 2, new_flows_max: 4, ..settings() };
    let mut stage = Stage::new(few, clusters());
    let good = Recalled { client: client(source(1)), route: A, session: None };
    let nowhere = Route { transceiver: TransceiverId(77), ..A };
    let mut loopback = good.client;
    loopback.address = wire::address::Address::new([127, 0, 0, 1].into(), 5_000);
    for wrong in [Recalled { route: nowhere, ..good }, Recalled { client: loopback, ..good }] {
        assert!(!recall(&mut stage, wrong), "{wrong:?}");
    }
    for last in 1..=5 {
        let made = recall(&mut stage, Recalled { client: client(source(last)), ..good });
        assert_eq!(made, last <= 2, "{last}: half of the slab of new flows at once");
    }
    let counters = stage.counters();
    assert_eq!((counters.flows_recalled, counters.flows_not_recalled), (2, 5));
    assert_eq!(stage.send_check(source(9), Check::of(A, 9)), Ok(shard_a()));
    assert!(stage.flow(source(9)).is_some(), "recalls take nothing from new clients");
    assert_eq!(stage.flow(source(1)).unwrap().client.listener, LISTENER);
}

/// How long packets would wait for the flows of a full worker: printed, because it is what an operator
/// of a large relay wants to know, and bounded loosely.
#[test]
fn a_full_table_is_handed_over_in_well_under_a_second() {
    const FLOWS: u32 = 100_000;
    let large = || Settings { flows_max: FLOWS, flows_per_shard_max: FLOWS, ..settings() };
    let mut old = Stage::new(large(), clusters());
    for number in 0..FLOWS {
        let [_, a, b, c] = number.to_be_bytes();
        let address = wire::address::Address::new([20, a, b, c].into(), 5_000);
        old.answer_rtp(shard_a(), address);
    }
    let mut new = Stage::new(large(), clusters());
    let start = std::time::Instant::now();
    let bytes = snapshot::encode(&[old.router.records(old.now)]);
    let encoded = start.elapsed();
    let records = snapshot::decode(&bytes).unwrap();
    let restored = new.router.restore(&records[0], new.now);
    let elapsed = start.elapsed();
    println!("{FLOWS} flows: written in {encoded:?}, read and restored in {:?}", elapsed - encoded);
    assert_eq!(restored, Restored { taken: FLOWS.into(), refused: 0 });
    assert!(elapsed < std::time::Duration::from_secs(5), "{elapsed:?}");
}
