//! The body of the fuzz target for everything between the tunnel and a session: bytes become a
//! sequence of what relays, clients, front desk and time can do, and nothing may panic, be kept or
//! be said to anybody who did not ask.

use super::core::{Core, Settings};
use super::order::{Limits, Opening, Order, Question};
use super::{Counters, numbers::Numbers};
use crate::backend::{Backends, Board, Invitation, echo::Echoes};
use crate::call::CallId;
use crate::negotiation::{Credentials, Fragment, Negotiator, Offer, Role};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;
use wire::stun::{Encoder, Kind};
use wire::tunnel::{Bundle, Content, Direction, Opener, Sealer, SenderId};

const SESSIONS: u8 = 4;
/// Operations of one sequence: each may cost a negotiation.
const STEPS_MAX: usize = 200;
const KEYS: &str = include_str!("../../../wire/tests/keyrings/new.toml");
const OFFER: &str = include_str!("../../tests/offers/audio-and-data.sdp");

struct Fixed {
    keyring: Arc<Keyring>,
    negotiator: Negotiator,
    offer: Offer,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| Fixed {
    keyring: Arc::new(Keyring::parse(KEYS).expect("the test keyring")),
    negotiator: Negotiator::new().expect("a certificate"),
    offer: Offer::parse(OFFER.as_bytes(), Role::Call).expect("the sample offer"),
});

struct World {
    core: Core,
    calls: Arc<AtomicU32>,
    sealer: Sealer,
    opener: Opener,
    bundle: Bundle,
    now: Instant,
    /// The number of the session at each place; restarts and new calls take new ones.
    tags: [Option<(CallId, u32)>; SESSIONS as usize],
    next_tag: u32,
    transaction: u8,
}

fn relay() -> SocketAddr {
    ([10, 0, 0, 1], 3500).into()
}

fn client(number: u8) -> Client {
    let address = Address::new([192, 0, 2, number].into(), 5000);
    Client { address, listener: ListenerId(number & 1), transport: Transport::Udp }
}

fn credentials(tag: u32) -> Credentials {
    let (ufrag, pwd) = FIXED.keyring.mint(Hint {
        cluster: ClusterId(1),
        transceiver: TransceiverId(1),
        shard: ShardId(0),
        expires: HintTime(1),
        session: SessionTag::new(tag),
    });
    Credentials { ufrag, pwd }
}

impl World {
    fn new() -> Self {
        let keyring = &FIXED.keyring;
        let calls = Arc::new(AtomicU32::new(0));
        let limits = Limits {
            calls_max: u32::from(SESSIONS) - 1,
            call_time_max: Duration::from_secs(300),
            lost_after: Duration::from_secs(10),
        };
        let now = Instant::now();
        let mut sender = 0_u64;
        let settings = Settings {
            tunnel_mtu_bytes: 1472,
            packet_bytes_max: 1600,
            limits,
            ingress: Arc::from([SocketAddr::from(([203, 0, 113, 1], 3478)).into()]),
            watch: Arc::default(),
            boot: 1,
            board: Board::new(None),
            calls: Arc::clone(&calls),
            random: Box::new(move |bytes| {
                sender += 1;
                bytes.copy_from_slice(&sender.to_be_bytes());
            }),
        };
        Self {
            core: Core::new(settings, Arc::clone(keyring), now),
            calls,
            sealer: keyring.sealer(Direction::ToShard, SenderId([1; 8])),
            opener: Opener::new(Direction::ToRelay, keyring, 8),
            bundle: Bundle::new(1472, 1600),
            now,
            tags: [None; SESSIONS as usize],
            next_tag: 0,
            transaction: 0,
        }
    }

    /// One thing that may happen; false at the end of the input.
    fn step(&mut self, input: &mut &[u8]) -> bool {
        let (Some(what), Some(which)) = (byte(input), byte(input)) else { return false };
        let place = usize::from(which % SESSIONS);
        match what % 9 {
            0 => self.open(place),
            1 => self.check(place, which >> 2, what & 0x80 != 0, None),
            2 => self.check(place, which >> 2, true, Some(b"a password that is not the session's")),
            3 => {
                let length = usize::from(byte(input).unwrap_or_default());
                let (packet, rest) = input.split_at(length.min(input.len()));
                *input = rest;
                self.packet(which >> 2, packet);
            }
            4 => self.now += Duration::from_millis(100) * u32::from(which),
            5 => self.ask(place, Question::HangUp),
            6 => self.restart(place),
            7 => self.ask(place, Question::Report),
            _ => {
                let length = usize::from(which).min(input.len());
                let (datagram, rest) = input.split_at(length);
                *input = rest;
                self.datagram(&mut datagram.to_vec());
            }
        }
        true
    }

    fn order(&mut self, order: Order) {
        let (core, opener) = (&mut self.core, &mut self.opener);
        let goes_on = core.on_order(order, self.now, &mut |to, sent| look(opener, to, sent));
        assert!(goes_on);
    }

    fn open(&mut self, place: usize) {
        self.next_tag += 1;
        let tag = self.next_tag;
        let credentials = credentials(tag);
        let ingress = [SocketAddr::from(([203, 0, 113, 1], 3478))];
        let Fixed { negotiator, offer, .. } = &*FIXED;
        let negotiated = negotiator.accept(offer, &credentials, &ingress, self.now);
        let mut random = [0; 14];
        random[..4].copy_from_slice(&tag.to_be_bytes());
        let id = CallId::new(ShardId(0), random);
        let bell = Board::new(None).bell(SessionTag::new(tag));
        let invitation = Invitation { id, session: None, bell, now: self.now };
        let opening = Opening {
            id,
            tag: SessionTag::new(tag),
            credentials,
            expires_at: 0,
            offer: offer.clone(),
            negotiated: negotiated.expect("the sample offer is good"),
            backend: Echoes.invite(invitation).expect("echoes are always there"),
            backend_name: "echo",
            received: self.now,
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (reply, mut answered) = oneshot::channel();
        self.order(Order::Open(Box::new(opening), reply));
        if answered.try_recv().expect("an answer at once").is_ok() {
            self.tags[place] = Some((id, tag));
        }
    }

    fn check(&mut self, place: usize, from: u8, nominates: bool, password: Option<&[u8]>) {
        let tag = self.tags[place].map_or(u32::MAX, |(_, tag)| tag);
        let credentials = credentials(tag);
        self.transaction = self.transaction.wrapping_add(1);
        let mut buffer = [0; 256];
        let key = password.unwrap_or(credentials.pwd.as_bytes());
        // The sample offer's user name.
        let check = Encoder::new(&mut buffer, Kind::BindingRequest, [self.transaction; 12])
            .and_then(|check| check.username(credentials.ufrag.as_bytes(), b"aaaa"))
            .and_then(|check| check.priority(1))
            .and_then(|check| check.ice_controlling(1))
            .and_then(|check| if nominates { check.use_candidate() } else { Ok(check) })
            .and_then(|check| check.integrity(key))
            .and_then(Encoder::fingerprint)
            .expect("it fits");
        let check = check.finish().to_vec();
        self.packet(from, &check);
    }

    fn packet(&mut self, from: u8, packet: &[u8]) {
        if self.bundle.append(&client(from), packet).is_ok()
            && let Ok(datagram) = self.sealer.seal_data(&mut self.bundle)
        {
            let mut datagram = datagram.to_vec();
            self.datagram(&mut datagram);
        }
    }

    fn datagram(&mut self, datagram: &mut [u8]) {
        let (core, opener) = (&mut self.core, &mut self.opener);
        core.on_datagram(relay(), datagram, self.now, &mut |to, sent| look(opener, to, sent));
    }

    fn ask(&mut self, place: usize, question: Question) {
        let Some((id, _)) = self.tags[place] else { return };
        let (reply, mut answered) = oneshot::channel();
        self.order(Order::Ask(id, question, reply));
        // It may have ended meanwhile.
        let _ = answered.try_recv().expect("an answer at once");
    }

    fn restart(&mut self, place: usize) {
        self.next_tag += 1;
        let tag = self.next_tag;
        let name = format!("name{tag}");
        let fragment = Fragment { ufrag: name, pwd: "0123456789012345678901".into() };
        self.ask(place, Question::RestartIce(fragment, credentials(tag)));
        if let Some((_, known)) = &mut self.tags[place] {
            *known = tag;
        }
    }

    fn settle(&mut self) {
        let (core, opener, now) = (&mut self.core, &mut self.opener, self.now);
        let mut send = |to: SocketAddr, sent: &[u8]| look(opener, to, sent);
        let mut turns = 0;
        while core.run_one_due(now, &mut send) {
            turns += 1;
            assert!(turns < 1_000, "time must come to rest");
        }
        while core.close_one(&mut send) {}
        core.check();
        assert_eq!(core.len(), self.calls.load(Ordering::Relaxed) as usize, "places are counted");
    }
}

/// Everything that leaves is well-formed and goes to a relay that has spoken.
fn look(opener: &mut Opener, to: SocketAddr, sent: &[u8]) {
    assert_eq!(to, relay());
    let mut datagram = sent.to_vec();
    match opener.open(&mut datagram).expect("a sealed datagram").content {
        Content::Data(frames) => assert!(frames.count() > 0),
        Content::Gone(frames) => assert!(frames.count() > 0),
        Content::Pong(_) => {}
        Content::Ping(_) => panic!("shards ask nobody"),
    }
}

fn byte(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

/// Runs the sequence that the bytes stand for; returns what was counted.
pub fn sequence(mut input: &[u8]) -> [u64; Counters::LEN] {
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if !world.step(&mut input) {
            break;
        }
        world.settle();
    }
    let mut numbers = Numbers::new();
    assert_eq!(world.core.counters().panics, 0);
    world.core.counters().write(&mut numbers.counters);
    let (core, opener) = (&mut world.core, &mut world.opener);
    core.on_order(Order::Stop, world.now, &mut |to, sent| look(opener, to, sent));
    assert!(core.is_empty());
    assert_eq!(world.calls.load(Ordering::Relaxed), 0);
    numbers.counters
}
