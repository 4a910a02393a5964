//! One worker over real sockets, with either engine: packets come out where they should, what is
//! wrong goes nowhere, and nothing allocates.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use engine::heap::Counting;
use engine::sockets::{SocketSettings, bind};
use engine::{EngineKind, LinkSettings, LinkSocket, Settings as EngineSettings};
use relay::core::{
    ClientScopes, Cluster, Clusters, Command, Counters, DropReason, Family, Recalled, Reply,
    Resolve, Route, Router, Settings, Transceiver,
};
use relay::worker::{Desk, Numbers, Order, Orders, Parts, Question, Reports, Room, Slot, Worker};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::{CLUSTER, Caller, SILENCE, Shard, TRANSCEIVER, check};
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::ShardId;
use wire::keyring::Keyring;

#[global_allocator]
static HEAP: Counting = Counting;

const RTP: &[u8] = &[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
const RTP_BACK: &[u8] = &[0x80, 111, 0, 9, 0, 0, 0, 2, 0, 0, 0, 3, 0xbb];

struct Stage {
    public: SocketAddr,
    tunnel: SocketAddr,
    shard: Shard,
    desk: Desk,
    slot: Arc<Slot>,
    thread: JoinHandle<io::Result<()>>,
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

impl Stage {
    /// `None` where this host does not allow the engine.
    fn start(kind: EngineKind) -> Option<Self> {
        if let Err(refusal) = kind.resolve() {
            println!("skipped: {refusal}");
            return None;
        }
        let keyring = wire::keyring::generate(getrandom::fill).unwrap();
        let keyring = Arc::new(Keyring::parse(&keyring).unwrap());
        let shard = Shard::new(loopback(), &keyring);
        let transceiver = Transceiver {
            id: TRANSCEIVER,
            ip: shard.address().ip(),
            port_base: shard.address().port(),
            shards: 1,
        };
        let cluster = Cluster { id: CLUSTER, resolve: Resolve::Table(vec![transceiver]) };
        let settings = Settings {
            listeners: vec![Family::Ipv4],
            client_scopes: ClientScopes { loopback: true, link_local: false },
            flows_max: 64,
            new_flows_max: 16_384,
            ..Settings::default()
        };
        let router = Router::new(
            settings,
            Arc::new(Clusters::new(vec![cluster]).unwrap()),
            keyring,
            Box::new(|bytes| getrandom::fill(bytes).unwrap()),
        )
        .unwrap();
        let listener = bind(&SocketSettings::public(loopback())).unwrap();
        let tunnel = bind(&SocketSettings::tunnel(loopback())).unwrap();
        let (public, tunnel_address) = (listener.address, tunnel.address);
        let links = [listener, tunnel]
            .map(|bound| LinkSocket { socket: bound.socket, settings: LinkSettings::default() });
        let engine = kind.open(links.into(), &EngineSettings::default()).unwrap();
        let orders = Orders::new();
        let desk = orders.desk(engine.waker());
        let slot = Arc::new(Slot::new());
        let parts = Parts {
            engine,
            router,
            listeners: 1,
            room: Room::for_arrival(2048),
            coalesce_us_max: 100,
            direct: None,
            orders,
            slot: Arc::clone(&slot),
            reports: Reports::new(Arc::default()),
        };
        let thread = std::thread::spawn(move || Worker::new(parts).run());
        Some(Self { public, tunnel: tunnel_address, shard, desk, slot, thread })
    }

    fn ask(&self, command: Command) -> Reply {
        let (answer, reply) = tokio::sync::oneshot::channel();
        self.desk.give(Order::Ask(Question { command, answer })).unwrap();
        reply.blocking_recv().unwrap()
    }

    /// The worker's numbers, once it has published after this call.
    fn numbers(&self) -> Numbers {
        let before = self.slot.load().own.ticked_at_us;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let numbers = self.slot.load();
            if numbers.own.ticked_at_us > before {
                return numbers;
            }
            assert!(Instant::now() < deadline, "the worker does not tick");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let position = Counters::series().position(|series| series.name == name).unwrap();
        self.numbers().counters[position]
    }

    fn drops(&self, reason: DropReason) -> u64 {
        let numbers = self.numbers();
        let label = Some(("reason", reason.as_str()));
        let position = Counters::series().position(|series| series.label == label).unwrap();
        numbers.counters[position]
    }

    fn stop(self) {
        self.desk.give(Order::Stop).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

fn with_each_engine(test: impl Fn(Stage)) {
    for kind in [EngineKind::Mmsg, EngineKind::Uring] {
        if let Some(stage) = Stage::start(kind) {
            println!("engine {kind}");
            test(stage);
        }
    }
}

#[test]
fn packets_go_both_ways() {
    with_each_engine(|mut stage| {
        let caller = Caller::new(stage.public);
        let (_, first) = stage.shard.session(1);
        caller.send(&first);
        let arrived = stage.shard.receive_one();
        assert_eq!(arrived.packet, first);
        assert_eq!(arrived.relay, stage.tunnel);
        assert_eq!(SocketAddr::from(arrived.client.address), caller.address());

        caller.send(RTP);
        assert_eq!(stage.shard.receive_one().packet, RTP);

        stage.shard.send(stage.tunnel, &arrived.client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);

        stage.shard.gone(stage.tunnel, &arrived.client);
        let forgotten = || {
            let flow = Command::Flow(arrived.client.listener, arrived.client.address);
            stage.ask(flow) == Reply::Flow(None)
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !forgotten() {
            assert!(Instant::now() < deadline, "the flow is still there");
        }
        stage.stop();
    });
}

/// Everything at once is bundled: one datagram to the shard, and everything in order.
#[test]
fn a_burst_is_bundled_and_complete() {
    with_each_engine(|mut stage| {
        let caller = Caller::new(stage.public);
        caller.send(&stage.shard.session(1).1);
        stage.shard.receive_one();
        let packet = |n: u16| [&[0x80, 111], &n.to_be_bytes()[..], RTP].concat();
        let packets: Vec<_> = (0..100).map(packet).collect();
        for packet in &packets {
            caller.send(packet);
        }
        let mut arrived = Vec::new();
        while arrived.len() < packets.len() {
            let more = stage.shard.receive(Duration::from_secs(5));
            assert!(!more.is_empty(), "{} of {} arrived", arrived.len(), packets.len());
            arrived.extend(more.into_iter().map(|arrived| arrived.packet));
        }
        assert_eq!(arrived, packets);
        stage.stop();
    });
}

#[test]
fn what_is_wrong_goes_nowhere_and_is_counted() {
    with_each_engine(|mut stage| {
        let caller = Caller::new(stage.public);
        let (ufrag, _) = stage.shard.session(1);
        for (packet, reason) in [
            (vec![], DropReason::Empty),
            (vec![4], DropReason::NotOurs),
            (vec![0; 20], DropReason::StunWrongCookie),
            (RTP.to_vec(), DropReason::FlowUnknown),
            (check(b"abcd", b"pwd"), DropReason::HintLength),
            (check(ufrag.as_bytes(), b"wrong"), DropReason::IntegrityWrong),
        ] {
            let before = stage.drops(reason);
            caller.send(&packet);
            assert_eq!(stage.shard.receive(SILENCE), [], "{reason:?}");
            assert_eq!(stage.drops(reason), before + 1, "{reason:?}");
        }
        // And at the tunnel: strangers, and what is no tunnel datagram.
        let stranger = Caller::new(stage.tunnel);
        let before = stage.drops(DropReason::TunnelStranger);
        stranger.send(&[0x10; 100]);
        assert_eq!(caller.receive_within(SILENCE), None);
        assert_eq!(stage.drops(DropReason::TunnelStranger), before + 1);
        stage.stop();
    });
}

#[test]
fn a_worker_at_work_allocates_nothing() {
    with_each_engine(|mut stage| {
        for tag in 0..40 {
            let caller = Caller::new(stage.public);
            caller.send(&stage.shard.session(tag).1);
            let arrived = stage.shard.receive_one();
            stage.shard.send(stage.tunnel, &arrived.client, RTP_BACK);
            assert_eq!(caller.receive(), RTP_BACK);
            caller.send(RTP);
            assert_eq!(stage.shard.receive_one().packet, RTP);
            caller.send(&[4; 40]);
        }
        // Commands may allocate; what they took is not the packets'.
        assert!(matches!(stage.ask(Command::Flows(0, 100)), Reply::Flows(_)));
        let numbers = stage.numbers();
        assert_eq!(numbers.own.allocations, 0);
        assert_eq!(numbers.own.outbox_full, 0);
        assert!(numbers.own.cpu_ns > 0 && numbers.own.wall_ns > numbers.own.cpu_ns);
        stage.stop();
    });
}

/// As when all clients of a relay that has just restarted send their next packet.
#[test]
fn thousands_of_flows_that_are_recalled_at_once_all_find_room() {
    const FLOWS: u16 = 5_000;
    with_each_engine(|stage| {
        let route = Route { cluster: CLUSTER, transceiver: TRANSCEIVER, shard: ShardId(0) };
        for port in 1..=FLOWS {
            let address = Address::new([127, 0, 0, 9].into(), port);
            let client = Client { address, listener: ListenerId(0), transport: Transport::Udp };
            assert!(stage.desk.recall(Recalled { client, route, session: None }), "{port}");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while stage.counter("relay_flows_recalled_total") < FLOWS.into() {
            assert!(Instant::now() < deadline, "not all are there");
        }
        assert_eq!(stage.counter("relay_flows_not_recalled_total"), 0);
        assert_eq!(stage.numbers().own.allocations, 0);
        stage.stop();
    });
}
