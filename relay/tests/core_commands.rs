//! Commands: reloads, listings, and a trace that is the router's own decision.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use relay::core::testing::{
    A, B, Check, DTLS, Integrity, LISTENER, RTP, Stage, client, clusters, settings, shard_a,
    shard_b, source, stun,
};
use relay::core::{
    Cluster, Clusters, ClustersError, Command, DropReason, FlowsPage, Reply, Resolve, Route,
    Settings, Transceiver, Verdict,
};
use std::sync::Arc;
use wire::hint::{ClusterId, ShardId, TransceiverId};
use wire::stun::Kind;

fn listed(ids: &[u8]) -> Arc<Clusters> {
    let transceiver = |&id: &u8| Transceiver {
        id: TransceiverId(id.into()),
        ip: [198, 51, 100, id].into(),
        port_base: 7000,
        shards: 2,
    };
    let resolve = Resolve::Table(ids.iter().map(transceiver).collect());
    Arc::new(Clusters::new(vec![Cluster { id: ClusterId(1), resolve }]).unwrap())
}

fn command(stage: &mut Stage, command: Command) -> Reply {
    let reply = stage.router.on_command(command, stage.now);
    stage.router.check_invariants();
    reply
}

#[test]
fn shards_that_stay_keep_their_legs_and_flows_to_others_end() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    stage.send_check(source(2), Check::of(B, 2)).unwrap();
    // A flow of A that B could take over; B leaves.
    stage.send_check(source(1), Check::of(B, 3)).unwrap();
    stage.packet(source(1), RTP);
    let (_, before) = stage.take_sent().remove(0);
    assert_eq!(command(&mut stage, Command::Clusters(listed(&[1, 3]))), Reply::Done);
    assert_eq!(stage.send(source(2), DTLS), Err(DropReason::FlowUnknown));
    assert_eq!(stage.flow(source(1)).unwrap().pending, None);
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
    stage.packet(source(1), RTP);
    let (_, after) = stage.take_sent().remove(0);
    assert_eq!(before[..10], after[..10], "key and sender");
    let check = Check::of(B, 2);
    assert_eq!(stage.send_check(source(2), check), Err(DropReason::TransceiverUnknown));
    assert_eq!(
        stage.answer(shard_b(), &[(client(source(2)), RTP)]),
        Err(DropReason::TunnelStranger)
    );
    let third = Route { transceiver: TransceiverId(3), shard: ShardId(0), ..A };
    assert!(stage.send_check(source(2), Check::of(third, 2)).is_ok());
}

#[test]
fn ipv4_shards_stay_as_long_as_they_resolve_and_give_way_to_listed_ones() {
    let mut stage = Stage::new(Settings { peers_max: 6, ..settings() }, clusters());
    let ipv4 = |last: u8| Route {
        cluster: ClusterId(2),
        transceiver: TransceiverId(u32::from_be_bytes([10, 0, 0, last])),
        shard: ShardId(0),
    };
    stage.send_check(source(1), Check::of(ipv4(1), 1)).unwrap();
    stage.send_check(source(2), Check::of(ipv4(2), 1)).unwrap();
    stage.send_check(source(3), Check::of(ipv4(2), 1)).unwrap();
    let same = Command::Clusters(Arc::new(clusters()));
    assert_eq!(command(&mut stage, same), Reply::Done);
    assert_eq!(stage.counters().flows_new, 3);
    // Six shards are listed now: no room for others.
    assert_eq!(command(&mut stage, Command::Clusters(listed(&[1, 2, 3]))), Reply::Done);
    assert_eq!((stage.counters().flows_new, stage.counters().peers), (0, 6));
}

#[test]
fn clusters_that_do_not_fit_are_refused_and_nothing_changes() {
    let mut stage = Stage::new(Settings { peers_max: 6, ..settings() }, clusters());
    stage.assured(source(1), 1);
    let refused = Reply::Refused(ClustersError::TooManyShards(8, 6));
    assert_eq!(command(&mut stage, Command::Clusters(listed(&[3, 4, 5, 6]))), refused);
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
}

#[test]
fn a_transceiver_with_a_new_name_keeps_its_flows() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let renamed = Transceiver {
        id: TransceiverId(77),
        ip: [198, 51, 100, 1].into(),
        port_base: 7000,
        shards: 1,
    };
    let cluster = Cluster { id: ClusterId(1), resolve: Resolve::Table(vec![renamed]) };
    let renamed = Arc::new(Clusters::new(vec![cluster]).unwrap());
    assert_eq!(command(&mut stage, Command::Clusters(renamed)), Reply::Done);
    assert_eq!(stage.send(source(1), RTP), Ok(shard_a()));
    assert_eq!(stage.flow(source(1)).unwrap().route.transceiver, TransceiverId(77));
}

#[test]
fn every_flow_is_on_one_page() {
    let mut stage = Stage::default();
    for last in 0..40 {
        let route = if last % 3 == 0 { A } else { B };
        let shard = if last % 3 == 0 { shard_a() } else { shard_b() };
        stage.send_check(source(last), Check::of(route, last.into())).unwrap();
        if last % 2 == 0 {
            stage.answer_check(shard, source(last));
        }
    }
    let mut seen = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let reply = command(&mut stage, Command::Flows(at, 7));
        let Reply::Flows(FlowsPage { flows, next }) = reply else { panic!("{reply:?}") };
        assert!(flows.len() == 7 || next.is_none());
        seen.extend(flows.into_iter().map(|flow| flow.client.address));
        cursor = next;
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..40).map(source).collect::<Vec<_>>());
}

#[test]
fn a_forgotten_flow_is_gone() {
    let mut stage = Stage::default();
    stage.assured(source(1), 1);
    let forget = || Command::Forget(LISTENER, source(1));
    let Reply::Flow(Some(flow)) = command(&mut stage, forget()) else { panic!("no flow") };
    assert_eq!((flow.client, flow.route, flow.tunnel), (client(source(1)), A, shard_a()));
    assert_eq!(command(&mut stage, forget()), Reply::Flow(None));
    assert_eq!(stage.counters().flows_forgotten, 1);
}

#[test]
fn a_trace_says_in_words_what_would_happen() {
    let mut stage = Stage::default();
    let check = stage.check(Check::of(A, 5));
    let trace = stage.trace(source(1), &check);
    let mut words: Vec<_> = trace.steps.iter().map(ToString::to_string).collect();
    assert!(words.remove(2).starts_with("its USERNAME holds the hint: cluster 1 transceiver 1"));
    assert_eq!(
        words,
        [
            "the packet is stun",
            "it is a Binding request",
            "the client has no flow here",
            "the hint leads to the tunnel at 198.51.100.1:7000",
            "its integrity proves that the client saw the SDP answer",
        ]
    );
    let outcome = "forwarded to cluster 1 transceiver 1 shard 0 at 198.51.100.1:7000; a new flow \
                   is made";
    assert_eq!((trace.outcome.as_str(), trace.forwarded), (outcome, true));
    let trace = stage.trace(source(1), RTP);
    assert_eq!(trace.outcome, "dropped as flow_unknown, and reported as a miss");
    let false_check = stage.check(Check { integrity: Integrity::False, ..Check::of(A, 5) });
    let trace = stage.trace(source(1), &false_check);
    assert!(trace.outcome.starts_with("dropped as integrity_wrong: The request's MESSAGE"));
    let counters = stage.counters();
    assert_eq!((counters.flows_new, counters.client_received_packets[0]), (0, 0), "no effect");
    assert_eq!(stage.router.next_miss(), None);
}

proptest! {
    /// Whatever the state and the packet: the trace is right, and changes nothing.
    #[test]
    fn a_trace_foretells_the_verdict(
        assured in any::<bool>(), draining in any::<bool>(), pass_ms in 0u64..70_000,
        session in 0u32..3, to_a in any::<bool>(), true_integrity in any::<bool>(), kind in 0u8..4,
    ) {
        let mut stage = Stage::default();
        if assured {
            stage.assured(source(1), 1);
        }
        command(&mut stage, Command::Drain(draining));
        stage.pass_ms(pass_ms);
        let integrity = if true_integrity { Integrity::True } else { Integrity::False };
        let check = Check { integrity, ..Check::of(if to_a { A } else { B }, session) };
        let packet = match kind {
            0 => RTP.to_vec(),
            1 => stun(Kind::GoogPing, None, None),
            _ => stage.check(check),
        };
        let before = stage.counters();
        let trace = stage.trace(source(1), &packet);
        prop_assert_eq!(before, stage.counters());
        let verdict = stage.packet(source(1), &packet);
        prop_assert_eq!(trace.forwarded, matches!(verdict, Verdict::Forward(_)));
        if let Verdict::Drop(reason) = verdict {
            prop_assert!(trace.outcome.contains(reason.as_str()));
        }
    }
}
