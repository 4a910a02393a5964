//! A shard against relays and clients, in simulated time and without a socket.

use super::core::{Core, Settings};
use super::*;
use crate::backend::{
    Backend, Backends, Board, Heard, Invitation, Line, Message, Unavailable, echo::Echoes,
};
use crate::call::{CallId, CallState, EndReason};
use crate::negotiation::{Offer, Role};
use crate::session::Path;
use crate::session::testing::{credentials, keyring, opening, path};
use loadgen::call::{Call, Event as ClientEvent};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wire::frame::Client;
use wire::hint::SessionTag;
use wire::keyring::Keyring;
use wire::tunnel::{About, Bundle, Content, Direction, Opener, Sealer, SenderId};

const MS: Duration = Duration::from_millis(1);

/// A worker of a relay: opens what the shard sends it, and seals what its clients send.
struct Relay {
    address: SocketAddr,
    sealer: Sealer,
    opener: Opener,
    bundle: Bundle,
    /// What came: frames, and who is gone.
    frames: Vec<(Client, Vec<u8>)>,
    gone: Vec<Client>,
    pongs: Vec<(u64, About)>,
    datagrams: usize,
}

impl Relay {
    fn new(address: SocketAddr, keyring: &Keyring) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mut sender = [0; 8];
        sender[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self {
            address,
            sealer: keyring.sealer(Direction::ToShard, SenderId(sender)),
            opener: Opener::new(Direction::ToRelay, keyring, 64),
            bundle: Bundle::new(1472, 2048),
            frames: vec![],
            gone: vec![],
            pongs: vec![],
            datagrams: 0,
        }
    }

    fn receive(&mut self, datagram: &mut [u8]) {
        self.datagrams += 1;
        let opened = self.opener.open(datagram).expect("a shard's datagram");
        match opened.content {
            Content::Data(frames) => {
                self.frames.extend(frames.map(|f| (f.client, f.payload.to_vec())));
            }
            Content::Gone(frames) => self.gone.extend(frames.map(|frame| frame.client)),
            Content::Pong(token) => self.pongs.push((token, opened.about)),
            Content::Ping(_) => panic!("shards ask nobody"),
        }
    }
}

struct Caller {
    call: Call,
    path: Path,
    frames: usize,
    events: Vec<ClientEvent>,
}

struct World {
    core: Core,
    calls: Arc<AtomicU32>,
    board: Board,
    relays: Vec<Relay>,
    callers: Vec<Caller>,
    now: Instant,
    /// Datagrams on their way to relays.
    out: Vec<(SocketAddr, Vec<u8>)>,
}

fn limits() -> Limits {
    Limits {
        calls_max: 100,
        call_time_max: Duration::from_secs(3_600),
        lost_after: Duration::from_secs(30),
    }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let calls = Arc::new(AtomicU32::new(0));
        let board = Board::new(None);
        let mut random = 0_u64;
        let settings = Settings {
            tunnel_mtu_bytes: 1472,
            packet_bytes_max: 2048,
            limits: limits(),
            ingress: Arc::from([crate::session::testing::INGRESS.parse().unwrap()]),
            watch: Arc::default(),
            boot: 1,
            board: board.clone(),
            calls: Arc::clone(&calls),
            random: Box::new(move |bytes| {
                random += 1;
                bytes.copy_from_slice(&random.to_be_bytes());
            }),
        };
        let core = Core::new(settings, Arc::new(keyring()), now);
        let relays = vec![Relay::new(path(0).relay, &keyring())];
        Self { core, calls, board, relays, callers: vec![], now, out: vec![] }
    }

    fn order(&mut self, order: Order) -> bool {
        let out = &mut self.out;
        self.core.on_order(order, self.now, &mut |to, bytes| out.push((to, bytes.to_vec())))
    }

    /// A call that is answered, but whose client has not sent anything yet.
    fn open(&mut self, session: u32, backends: &dyn Backends) -> Result<CallId, Refusal> {
        let (mut call, offer) = Call::new(self.now).unwrap();
        let (opening, answer) = opening(&offer, session, backends, self.now);
        let id = opening.id;
        // As the front desk does before it asks.
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (reply, mut answered) = oneshot::channel();
        assert!(self.order(Order::Open(Box::new(opening), reply)));
        answered.try_recv().expect("an answer at once")?;
        call.accept_answer(&answer, self.now).unwrap();
        let port = u16::try_from(1_000 + session).unwrap();
        self.callers.push(Caller { call, path: path(port), frames: 0, events: vec![] });
        Ok(id)
    }

    fn connected(calls: u32) -> (Self, Vec<CallId>) {
        let mut world = Self::new();
        let ids = (0..calls).map(|session| world.open(session, &Echoes).unwrap()).collect();
        world.pass(500 * MS);
        for caller in &world.callers {
            assert!(caller.events.contains(&ClientEvent::Connected), "{:?}", caller.events);
        }
        (world, ids)
    }

    fn ask(&mut self, id: CallId, question: Question) -> Result<Reply, NoSuchCall> {
        let (reply, mut answered) = oneshot::channel();
        self.order(Order::Ask(id, question, reply));
        answered.try_recv().expect("an answer at once")
    }

    fn report(&mut self, id: CallId) -> crate::call::CallReport {
        match self.ask(id, Question::Report).unwrap() {
            Reply::Report(report) => *report,
            Reply::HungUp | Reply::Renegotiated(_) => panic!("not what was asked"),
        }
    }

    fn seal_and_inject(&mut self, relay: usize, client: &Client, packet: &[u8]) {
        let Relay { address, sealer, bundle, .. } = &mut self.relays[relay];
        bundle.append(client, packet).unwrap();
        let mut datagram = sealer.seal_data(bundle).unwrap().to_vec();
        let from = *address;
        self.inject(from, &mut datagram);
    }

    fn inject(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let out = &mut self.out;
        self.core.on_datagram(from, datagram, self.now, &mut |to, bytes| {
            out.push((to, bytes.to_vec()));
        });
    }

    /// One turn of the thread, and of everything around it.
    fn turn(&mut self) {
        let (now, out) = (self.now, &mut self.out);
        let mut send = |to: SocketAddr, bytes: &[u8]| out.push((to, bytes.to_vec()));
        while self.core.run_one_rung(now, &mut send) {}
        while self.core.run_one_due(now, &mut send) {}
        while self.core.close_one(&mut send) {}
        for (to, mut datagram) in std::mem::take(&mut self.out) {
            let relay = self.relays.iter_mut().find(|relay| relay.address == to).unwrap();
            relay.receive(&mut datagram);
        }
        for relay in &mut self.relays {
            for (client, packet) in relay.frames.drain(..) {
                let caller = self.callers.iter_mut().find(|caller| caller.path.client == client);
                if let Some(caller) = caller {
                    let source = crate::session::testing::INGRESS.parse().unwrap();
                    // A client that is closing takes nothing more.
                    let _ = caller.call.handle_packet(source, &packet, now);
                }
            }
        }
        self.core.check();
    }

    /// All packets of one client go through its relay, those of one moment in one bundle.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.callers.len() {
            let caller = &mut self.callers[index];
            let packets: Vec<_> = std::iter::from_fn(|| caller.call.poll_transmit()).collect();
            while let Some(event) = caller.call.poll_event() {
                caller.frames += usize::from(matches!(event, ClientEvent::Frame(_)));
                caller.events.push(event);
            }
            let path = caller.path;
            let relay = self.relays.iter().position(|relay| relay.address == path.relay).unwrap();
            for packet in packets {
                any = true;
                self.seal_and_inject(relay, &path.client, &packet.bytes);
            }
        }
        any
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.carry() {
                self.turn();
            }
            if self.now >= end {
                return;
            }
            self.now += MS;
            for caller in &mut self.callers {
                if caller.call.deadline() <= self.now {
                    let _ = caller.call.handle_timeout(self.now);
                }
            }
            self.turn();
        }
    }

    fn talk(&mut self, caller: usize, number: u64) {
        let now = self.now;
        assert!(self.callers[caller].call.send_frame(number, now).unwrap());
    }

    fn counter(&mut self, name: &str, label: &str) -> u64 {
        let mut numbers = [0; Counters::LEN];
        self.core.counters().write(&mut numbers);
        let mut found = Counters::series().zip(numbers).filter(|(series, _)| {
            series.name == name && series.label.is_none_or(|(_, value)| value == label)
        });
        found.next().unwrap_or_else(|| panic!("no series {name} {label}")).1
    }

    fn drops(&mut self) -> HashMap<&'static str, u64> {
        let mut numbers = [0; Counters::LEN];
        self.core.counters().write(&mut numbers);
        Counters::series()
            .zip(numbers)
            .filter(|(series, number)| series.name == "transceiver_drops_total" && *number > 0)
            .map(|(series, number)| (series.label.unwrap().1, number))
            .collect()
    }
}

#[test]
fn frames_of_one_turn_leave_in_one_datagram_for_each_relay_worker() {
    let (mut world, _) = World::connected(8);
    for caller in 0..8 {
        world.talk(caller, 0);
    }
    world.carry();
    world.relays[0].datagrams = 0;
    world.turn();
    assert_eq!(world.relays[0].datagrams, 1, "eight calls, one datagram");
    world.carry();
    assert!(world.callers.iter().all(|caller| caller.frames == 1));
}

#[test]
fn calls_come_and_go_and_leave_nothing_behind() {
    let (mut world, ids) = World::connected(4);
    assert_eq!(world.counter("transceiver_sessions", "connected"), 4);
    assert!(matches!(world.ask(ids[0], Question::HangUp), Ok(Reply::HungUp)));
    let now = world.now;
    world.callers[1].call.close(now).unwrap();
    world.pass(100 * MS);
    assert!(world.callers[0].events.contains(&ClientEvent::Closed));
    for caller in 0..2 {
        let client = world.callers[caller].path.client;
        assert!(world.relays[0].gone.contains(&client), "the relay may forget the flow");
    }
    assert_eq!(world.core.len(), 2);
    assert_eq!(world.calls.load(Ordering::Relaxed), 2);
    assert_eq!(world.counter("transceiver_sessions_ended_total", "hung_up"), 1);
    assert_eq!(world.counter("transceiver_sessions_ended_total", "client_closed"), 1);
    let report = world.report(ids[0]);
    assert_eq!((report.state, report.end), (CallState::Ended, Some(EndReason::HungUp)));
    assert!(matches!(world.ask(ids[0], Question::HangUp), Err(NoSuchCall)));
    assert!(!world.order(Order::Stop));
    assert!(world.core.is_empty());
    assert_eq!(world.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn strangers_are_counted_and_told_off_and_disturb_nobody() {
    let (mut world, ids) = World::connected(2);
    let victim = world.callers[0].path;
    let stranger = path(9);
    let check = |session: u32, key: &[u8]| {
        let mut buffer = [0; 256];
        wire::stun::Encoder::new(&mut buffer, wire::stun::Kind::BindingRequest, [1; 12])
            .and_then(|check| check.username(credentials(session).ufrag.as_bytes(), b"abcd"))
            .and_then(wire::stun::Encoder::use_candidate)
            .and_then(|check| check.integrity(key))
            .unwrap()
            .finish()
            .to_vec()
    };
    let before = world.drops();
    assert!(before.is_empty(), "{before:?}");
    let foreign = check(77, credentials(77).pwd.as_bytes());
    let forged = check(0, b"not the password at all");
    let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    let media = [128, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for (from, packet) in [
        (stranger, &foreign[..]),
        (stranger, &forged),
        (stranger, &dtls),
        (stranger, &media),
        (stranger, &[0, 1, 2]),
        (stranger, &[255; 30]),
        // As if the address were forged.
        (victim, &foreign),
        (victim, &forged),
        (victim, &dtls),
        (victim, &media),
    ] {
        world.seal_and_inject(0, &from.client, packet);
        world.turn();
    }
    let drops = world.drops();
    assert_eq!(drops.get("check_unknown_session"), Some(&2), "{drops:?}");
    assert_eq!(drops.get("check_forged"), Some(&2), "{drops:?}");
    assert_eq!(drops.get("no_session"), Some(&2), "{drops:?}");
    assert_eq!(drops.get("check_malformed"), Some(&1), "{drops:?}");
    assert_eq!(drops.get("not_ours"), Some(&1), "{drops:?}");
    assert!(world.relays[0].gone.contains(&stranger.client));
    assert!(!world.relays[0].gone.contains(&victim.client), "a live call keeps its flow");
    for number in 0..20 {
        world.talk(0, number);
        world.talk(1, number);
        world.pass(20 * MS);
    }
    assert_eq!((world.callers[0].frames, world.callers[1].frames), (20, 20));
    for id in ids {
        assert_eq!(world.report(id).media.lost_in, 0);
        assert_eq!(world.report(id).address_changes, 0);
    }
}

#[test]
fn what_is_not_sealed_by_a_relay_costs_nothing_and_makes_nobody_known() {
    let mut world = World::new();
    let other = Keyring::parse(include_str!("../../../wire/tests/keyrings/old.toml")).unwrap();
    let mut stranger = Relay::new("10.0.0.66:1".parse().unwrap(), &other);
    let mut sealed = stranger.sealer.seal_ping(1).unwrap();
    world.inject(stranger.address, &mut sealed);
    world.inject(stranger.address, &mut []);
    world.inject(stranger.address, &mut [0; 100]);
    let mut ping = world.relays[0].sealer.seal_ping(7).unwrap();
    let copy = ping;
    world.inject(path(0).relay, &mut ping);
    world.inject(path(0).relay, &mut copy.clone());
    world.turn();
    let about = About { boot: 1, draining: false };
    assert_eq!(world.relays[0].pongs, [(7, about)]);
    assert_eq!(world.counter("transceiver_relays", ""), 1);
    let drops = world.drops();
    assert_eq!(drops.values().sum::<u64>(), 4, "{drops:?}");
    assert_eq!(drops.get("tunnel_replayed"), Some(&1));
}

/// Panics when it is told to.
struct Bombs;
struct Bomb;

impl Backends for Bombs {
    fn name(&self) -> &'static str {
        "bomb"
    }
    fn description(&self) -> &'static str {
        "panics"
    }
    fn invite(&self, _: Invitation) -> Result<Box<dyn Backend>, Unavailable> {
        Ok(Box::new(Bomb))
    }
}

impl Backend for Bomb {
    fn on_audio(&mut self, _: Heard, _: &mut Line) {}
    fn on_message(&mut self, message: Message, _: &mut Line) {
        panic!("as told: {message:?}");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "and once more when it is dropped");
    }
}

#[test]
fn a_session_that_panics_is_gone_and_the_others_hear_nothing_of_it() {
    let mut world = World::new();
    let bomb = world.open(0, &Bombs).unwrap();
    world.open(1, &Echoes).unwrap();
    world.pass(500 * MS);
    let now = world.now;
    world.callers[0].call.send_message("go off", now).unwrap();
    for number in 0..20 {
        world.talk(1, number);
        world.pass(20 * MS);
    }
    assert_eq!(world.callers[1].frames, 20);
    assert_eq!(world.core.len(), 1);
    assert_eq!(world.report(bomb).end, Some(EndReason::Panicked));
    assert_eq!(world.counter("transceiver_panics_total", ""), 2, "in work, and in its end");
    assert!(world.relays[0].gone.contains(&world.callers[0].path.client));
}

#[test]
fn a_restart_is_found_by_its_new_name_and_not_by_the_old_one() {
    let (mut world, ids) = World::connected(1);
    let now = world.now;
    let offer = world.callers[0].call.restart_ice(now).unwrap();
    let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
    let question = Question::Renegotiate(offer, credentials(50));
    let Ok(Reply::Renegotiated(Ok(done))) = world.ask(ids[0], question) else {
        panic!("an answer");
    };
    assert!(done.restarted);
    world.callers[0].call.accept_answer(&done.answer, now).unwrap();
    world.pass(3_000 * MS);
    world.talk(0, 1);
    world.pass(20 * MS);
    assert_eq!(world.callers[0].frames, 1);
    assert_eq!(world.counter("transceiver_ice_restarts_total", ""), 1);
    assert_eq!(world.report(ids[0]).ufrag, credentials(50).ufrag.as_str());
}

#[test]
fn a_shard_takes_as_many_calls_as_it_may_and_none_while_draining() {
    let mut world = World::new();
    world.order(Order::Limits(Limits { calls_max: 2, ..limits() }));
    world.open(0, &Echoes).unwrap();
    world.open(1, &Echoes).unwrap();
    assert_eq!(world.open(2, &Echoes), Err(Refusal::Full));
    world.order(Order::Limits(limits()));
    assert_eq!(world.open(1, &Echoes), Err(Refusal::Full), "a number that is in use");
    world.order(Order::Drain(true));
    assert_eq!(world.open(2, &Echoes), Err(Refusal::Draining));
    world.order(Order::Drain(false));
    world.open(2, &Echoes).unwrap();
    assert_eq!(world.calls.load(Ordering::Relaxed), 3);
}

#[test]
fn another_worker_of_the_relay_goes_on_with_the_call() {
    let (mut world, _) = World::connected(1);
    let mut other = path(0).relay;
    other.set_port(other.port() + 1);
    world.relays.push(Relay::new(other, &keyring()));
    world.callers[0].path.relay = other;
    world.relays[0].datagrams = 0;
    for number in 0..5 {
        world.talk(0, number);
        world.pass(20 * MS);
    }
    assert_eq!(world.callers[0].frames, 5);
    assert_eq!(world.relays[0].datagrams, 0, "all by the worker that was heard last");
}

#[test]
fn the_same_address_on_two_relays_is_two_clients() {
    let mut world = World::new();
    let other: SocketAddr = "10.0.9.9:3500".parse().unwrap();
    world.relays.push(Relay::new(other, &keyring()));
    world.open(0, &Echoes).unwrap();
    world.open(1, &Echoes).unwrap();
    world.callers[1].path = Path { relay: other, ..world.callers[0].path };
    // Clients are told apart by relay here, so each is carried by itself.
    let first = world.callers.remove(0);
    world.pass(500 * MS);
    assert!(world.callers[0].events.contains(&ClientEvent::Connected));
    let second = std::mem::replace(&mut world.callers[0], first);
    world.pass(500 * MS);
    assert!(world.callers[0].events.contains(&ClientEvent::Connected));
    world.callers[0] = second;
    world.talk(0, 1);
    world.pass(20 * MS);
    assert_eq!(world.callers[0].frames, 1, "the other call did not take its address");
}

#[test]
fn keys_change_while_calls_go_on() {
    let (mut world, _) = World::connected(1);
    let both = Keyring::parse(include_str!("../../../wire/tests/keyrings/both.toml")).unwrap();
    world.order(Order::Keyring(Arc::new(both)));
    for relay in &mut world.relays {
        let both = Keyring::parse(include_str!("../../../wire/tests/keyrings/both.toml")).unwrap();
        relay.opener.reload(&both);
    }
    for number in 0..10 {
        world.talk(0, number);
        world.pass(20 * MS);
    }
    assert_eq!(world.callers[0].frames, 10);
}

#[test]
fn a_rung_bell_wakes_the_one_it_belongs_to() {
    struct Announcers;
    struct Announcer;
    impl Backends for Announcers {
        fn name(&self) -> &'static str {
            "announcer"
        }
        fn description(&self) -> &'static str {
            "says something when it is rung"
        }
        fn invite(&self, _: Invitation) -> Result<Box<dyn Backend>, Unavailable> {
            Ok(Box::new(Announcer))
        }
    }
    impl Backend for Announcer {
        fn on_audio(&mut self, _: Heard, _: &mut Line) {}
        fn on_message(&mut self, _: Message, _: &mut Line) {}
        fn on_wake(&mut self, line: &mut Line) {
            line.send(Message::Text("ding".into())).unwrap();
        }
    }
    let mut world = World::new();
    world.open(0, &Announcers).unwrap();
    world.open(1, &Announcers).unwrap();
    world.pass(500 * MS);
    world.board.bell(SessionTag::new(1)).ring();
    world.board.bell(SessionTag::new(99)).ring();
    world.pass(20 * MS);
    let heard = |caller: &Caller| caller.events.contains(&ClientEvent::Message("ding".into()));
    assert_eq!((heard(&world.callers[0]), heard(&world.callers[1])), (false, true));
}

#[test]
fn who_drains_says_so_both_ways() {
    let (mut world, ids) = World::connected(1);
    let via = format!("{} via {}", crate::session::testing::INGRESS, path(0).relay.ip());
    let list = [via.parse().unwrap(), "192.0.2.9:1".parse().unwrap()];
    world.order(Order::Ingress(Arc::from(list)));
    world.order(Order::Drain(true));
    for (number, draining) in [(0, false), (1, true)] {
        let about = About { boot: 5, draining };
        let mut ping = world.relays[0].sealer.seal_ping_about(number, about).unwrap();
        world.inject(path(0).relay, &mut ping);
        world.turn();
        let own = About { boot: 1, draining: true };
        assert_eq!(world.relays[0].pongs.pop(), Some((number, own)));
        let now = world.now;
        let offer = world.callers[0].call.restart_ice(now).unwrap();
        let offer = Offer::parse(offer.as_bytes(), Role::Call).unwrap();
        let question = Question::Renegotiate(offer, credentials(60 + u32::from(draining)));
        let Ok(Reply::Renegotiated(Ok(done))) = world.ask(ids[0], question) else {
            panic!("an answer");
        };
        let names = |address: &str| done.answer.contains(&format!(" {address} "));
        assert_eq!((names("203.0.113.1 3478"), names("192.0.2.9 1")), (!draining, true));
        world.callers[0].call.accept_answer(&done.answer, now).unwrap();
    }
}

/// An authentic check of a session, with USE-CANDIDATE, as its client would send it.
fn check_of(session: u32, number: u8) -> Vec<u8> {
    let pwd = credentials(session).pwd;
    let mut buffer = [0; 256];
    wire::stun::Encoder::new(&mut buffer, wire::stun::Kind::BindingRequest, [number; 12])
        .and_then(|check| check.username(credentials(session).ufrag.as_bytes(), b"abcd"))
        .and_then(wire::stun::Encoder::use_candidate)
        .and_then(|check| check.integrity(pwd.as_bytes()))
        .unwrap()
        .finish()
        .to_vec()
}

/// Who has a call of their own on the victim's shard, and can forge the victim's address.
#[test]
fn a_call_of_the_same_shard_takes_no_address_that_another_call_holds() {
    let (mut world, ids) = World::connected(2);
    let victim = world.callers[0].path.client;
    for number in 0..50 {
        world.seal_and_inject(0, &victim, &check_of(1, number));
        world.talk(0, number.into());
        world.pass(20 * MS);
    }
    assert_eq!(world.callers[0].frames, 50, "the victim is heard all the while");
    assert_eq!(world.core.counters().checks_contested, 50);

    // The end of such a call frees its own address, and not the victim's.
    world.relays[0].gone.clear();
    let own = world.callers[1].path.client;
    assert!(matches!(world.ask(ids[1], Question::HangUp), Ok(Reply::HungUp)));
    world.pass(20 * MS);
    assert!(world.relays[0].gone.contains(&own));
    assert!(!world.relays[0].gone.contains(&victim));
    world.talk(0, 50);
    world.pass(20 * MS);
    assert_eq!(world.callers[0].frames, 51);
}

#[test]
fn an_address_that_has_fallen_silent_in_one_call_can_be_anothers() {
    let (mut world, _) = World::connected(2);
    // Its client is gone without a word, and the second call's client has the address now.
    let address = world.callers.remove(0).path.client;
    world.pass(7_000 * MS);
    world.seal_and_inject(0, &address, &check_of(1, 200));
    assert_eq!(world.core.counters().checks_contested, 1);
    world.pass(2_000 * MS);
    world.seal_and_inject(0, &address, &check_of(1, 201));
    assert_eq!(world.core.counters().checks_contested, 1, "it is free");
    world.callers[0].path.client = address;
    world.callers[0].frames = 0;
    world.talk(0, 1);
    world.pass(20 * MS);
    assert_eq!(world.callers[0].frames, 1);
    world.core.check();
}

/// What is not defended (docs/threat-model.md): the owner of a call who can forge an address has the
/// call's own media sent there, as an ICE-lite agent asks nobody for consent.
#[test]
fn a_call_can_have_its_own_media_sent_to_an_address_that_its_client_forges() {
    let (mut world, ids) = World::connected(1);
    let target = path(9).client;
    world.seal_and_inject(0, &target, &check_of(0, 200));
    world.callers[0].frames = 0;
    world.talk(0, 1);
    world.pass(20 * MS);
    let report = world.report(ids[0]);
    assert_eq!((report.address_changes, world.callers[0].frames), (1, 0), "it went elsewhere");
}
