//! Random sequences: the router does what a naive model of the rules says, step by step.

#![allow(clippy::unwrap_used)]

#[path = "core_model/mod.rs"]
mod model;

use model::{Limits, Model};
use proptest::prelude::*;
use relay::core::testing::{
    A, B, Check, DTLS, Integrity, LISTENER, RTCP, RTP, Stage, client, clusters, settings, shard_a,
    shard_b, source, stun,
};
use relay::core::{
    Cluster, Clusters, Command, DropReason, FlowState, FlowsPage, Reply, Resolve, Route, Settings,
    Transceiver,
};
use std::sync::Arc;
use wire::demux::PacketClass;
use wire::hint::{SessionTag, TransceiverId};
use wire::stun::Kind;

const LIMITS: Limits = Limits { assured_max: 4, new_max: 3, addresses_max: 2 };

#[derive(Debug, Clone, Copy)]
enum Step {
    Check { from: u8, check: Check },
    Packet { from: u8, kind: u8 },
    Answer { to_b: bool, to: u8, stun: bool },
    Gone { by_b: bool, client: u8 },
    Pass { ms: u64 },
    Tick,
    Drain(bool),
    Forget { client: u8 },
    Configure { has_b: bool },
}

fn route() -> impl Strategy<Value = Route> {
    prop_oneof![Just(A), Just(B)]
}

fn check() -> impl Strategy<Value = Check> {
    let integrity = prop_oneof![
        8 => Just(Integrity::True),
        1 => Just(Integrity::False),
        1 => Just(Integrity::Missing),
    ];
    let expires_in = prop_oneof![8 => Just(600i16), 1 => Just(-1)];
    (route(), 0u32..4, expires_in, integrity).prop_map(|(route, session, expires_in, integrity)| {
        Check { route, session, expires_in, integrity }
    })
}

fn step() -> impl Strategy<Value = Step> {
    const CLIENTS: u8 = 9;
    prop_oneof![
        10 => (0..CLIENTS, check()).prop_map(|(from, check)| Step::Check { from, check }),
        4 => (0..CLIENTS, 0u8..5).prop_map(|(from, kind)| Step::Packet { from, kind }),
        10 => (any::<bool>(), 0..CLIENTS, any::<bool>())
            .prop_map(|(to_b, to, stun)| Step::Answer { to_b, to, stun }),
        2 => (any::<bool>(), 0..CLIENTS).prop_map(|(by_b, client)| Step::Gone { by_b, client }),
        4 => prop_oneof![0u64..100, 7_990u64..8_010, 9_990u64..10_010, 59_990u64..60_010]
            .prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Tick),
        1 => prop::bool::weighted(0.3).prop_map(Step::Drain),
        1 => (0..CLIENTS).prop_map(|client| Step::Forget { client }),
        1 => prop::bool::weighted(0.7).prop_map(|has_b| Step::Configure { has_b }),
    ]
}

/// Cluster 1 with or without B's transceiver.
fn configuration(has_b: bool) -> Clusters {
    if has_b {
        return clusters();
    }
    let only = Transceiver {
        id: TransceiverId(1),
        ip: [198, 51, 100, 1].into(),
        port_base: 7000,
        shards: 2,
    };
    let cluster = Cluster { id: A.cluster, resolve: Resolve::Table(vec![only]) };
    Clusters::new(vec![cluster]).unwrap()
}

fn shard(b: bool) -> (Route, wire::address::Address) {
    if b { (B, shard_b()) } else { (A, shard_a()) }
}

fn run(stage: &mut Stage, model: &mut Model, step: Step) {
    let at = |route: Route| shard(route == B).1;
    match step {
        Step::Check { from, check } => {
            let want = model.check(source(from), check).map(at);
            assert_eq!(stage.send_check(source(from), check), want);
        }
        Step::Packet { from, kind } => {
            let ping = stun(Kind::GoogPing, None, None);
            let no_username = stun(Kind::BindingRequest, None, None);
            let packet = [RTP, DTLS, RTCP, &ping, &no_username][usize::from(kind)];
            let want = model.packet(source(from)).map(at);
            assert_eq!(stage.send(source(from), packet), want);
        }
        Step::Answer { to_b, to, stun: is_stun } => {
            let (route, shard) = shard(to_b);
            let response = stun(Kind::BindingSuccess, None, None);
            let (class, payload) =
                if is_stun { (PacketClass::Stun, &*response) } else { (PacketClass::Rtp, RTP) };
            let delivered = model.answer(route, source(to), class);
            let got = stage.answer(shard, &[(client(source(to)), payload)]);
            assert_eq!(got.is_ok(), delivered);
            assert!(delivered || got == Err(DropReason::TunnelStranger));
        }
        Step::Gone { by_b, client } => {
            let (route, shard) = shard(by_b);
            model.gone(route, source(client));
            stage.gone(shard, &[source(client)]);
        }
        Step::Pass { ms } => {
            model.now_ms += ms;
            stage.pass_ms(ms);
        }
        Step::Tick => {
            model.tick();
            stage.router.on_tick(stage.now, &mut |_, _| {});
        }
        Step::Drain(on) => {
            model.draining = on;
            stage.router.on_command(Command::Drain(on), stage.now);
        }
        Step::Forget { client } => {
            model.flows.remove(&source(client));
            stage.router.on_command(Command::Forget(LISTENER, source(client)), stage.now);
        }
        Step::Configure { has_b } => {
            model.configure(has_b);
            let clusters = Arc::new(configuration(has_b));
            stage.router.on_command(Command::Clusters(clusters), stage.now);
        }
    }
}

/// Everything that can be seen of the router's flows is what the model has.
fn compare(stage: &mut Stage, model: &Model) {
    let reply = stage.router.on_command(Command::Flows(0, 1_000), stage.now);
    let Reply::Flows(FlowsPage { flows, next: None }) = reply else { panic!("{reply:?}") };
    assert_eq!(flows.len(), model.flows.len());
    for flow in flows {
        let want = &model.flows[&flow.client.address];
        assert_eq!(flow.state, want.state);
        assert_eq!(flow.route, want.route);
        assert_eq!(flow.session.map(SessionTag::value), want.session);
        assert_eq!(flow.pending.map(|(route, tag)| (route, tag.value())), want.pending);
        assert_eq!(u64::from(flow.idle_ms), model.now_ms - want.seen_ms);
        let silent = (want.state == FlowState::Assured).then(|| model.now_ms - want.heard_ms);
        assert_eq!(flow.silent_ms.map(u64::from), silent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_router_does_what_the_model_says(steps in prop::collection::vec(step(), 0..150)) {
        let settings = Settings {
            flows_max: 4,
            new_flows_max: 3,
            session_addresses_max: 2,
            ..settings()
        };
        let mut stage = Stage::new(settings, clusters());
        let mut model = Model::new(LIMITS);
        for step in steps {
            // Refills what limits rates, which the model does not have.
            run(&mut stage, &mut model, Step::Pass { ms: 1 });
            run(&mut stage, &mut model, step);
            compare(&mut stage, &model);
        }
        stage.counters();
    }
}
