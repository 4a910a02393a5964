//! A stage for tests: a router with a hand-driven clock, clients that send checks with true or
//! false integrity, and stand-ins for shards that speak the tunnel.
//!
//! Compiled only with the feature `fuzz`, like the bodies of the fuzz targets, which use it too.

use super::{
    Cluster, Clusters, Command, Counters, DropReason, FlowInfo, FlowState, FrameVerdict, Ipv4Rule,
    Now, Reply, Resolve, Route, Router, Settings, Trace, Transceiver, TunnelVerdict, Verdict,
};
use std::collections::HashMap;
use std::sync::Arc;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::{Keyring, generate};
use wire::stun::{Encoder, Kind};
use wire::tunnel::{Bundle, Content, Direction, Opener, Sealer, SenderId};

/// The only listener of most tests.
pub const LISTENER: ListenerId = ListenerId(0);

/// A deterministic stand-in for a random source.
pub fn random(seed: u64) -> impl FnMut(&mut [u8]) + Send {
    let mut state = seed;
    move |bytes| {
        for byte in bytes {
            // The multiplier of Knuth's MMIX; the high bits are good enough here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
    }
}

/// A keyring that depends on the seed only.
pub fn keyring(seed: u64) -> Arc<Keyring> {
    let mut random = random(seed);
    let text = generate(|bytes| {
        random(bytes);
        Ok::<_, ()>(())
    });
    let text = text.expect("this random source never fails");
    Arc::new(Keyring::parse(&text).expect("what was generated parses"))
}

/// An address from its text.
pub fn address(text: &str) -> Address {
    text.parse::<std::net::SocketAddr>().expect("an address in a test").into()
}

/// A client on the usual listener.
pub fn client(address: Address) -> Client {
    Client { address, listener: LISTENER, transport: Transport::Udp }
}

/// A DTLS record, as far as the relay looks.
pub const DTLS: &[u8] = &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A media packet, as far as the relay looks.
pub const RTP: &[u8] = &[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
/// A media report, as far as the relay looks.
pub const RTCP: &[u8] = &[0x80, 200, 0, 1, 0, 0, 0, 2];

/// Where transceiver 1's first shard is, in hints.
pub const A: Route = route(1, 0);
/// Where transceiver 2's second shard is, in hints.
pub const B: Route = route(2, 1);

const fn route(transceiver: u32, shard: u8) -> Route {
    let transceiver = TransceiverId(transceiver);
    Route { cluster: ClusterId(1), transceiver, shard: ShardId(shard) }
}

/// The tunnel of [`A`].
pub fn shard_a() -> Address {
    address("198.51.100.1:7000")
}

/// The tunnel of [`B`].
pub fn shard_b() -> Address {
    address("198.51.100.2:7001")
}

/// A client's address.
pub fn source(last: u8) -> Address {
    Address::new([192, 0, 2, last].into(), 5000)
}

/// Cluster 1: transceivers 1 and 2 with two shards each. Cluster 2: everything in 10.0.0.0/8.
pub fn clusters() -> Clusters {
    let transceiver = |id: u8| Transceiver {
        id: TransceiverId(id.into()),
        ip: [198, 51, 100, id].into(),
        port_base: 7000,
        shards: 2,
    };
    let listed = Resolve::Table(vec![transceiver(1), transceiver(2)]);
    let rule = Resolve::Ipv4(Ipv4Rule {
        networks: "10.0.0.0/8".parse().into_iter().collect(),
        allowed_special: Vec::new(),
        port_base: 7000,
        shards: 4,
    });
    let clusters = vec![
        Cluster { id: ClusterId(1), resolve: listed },
        Cluster { id: ClusterId(2), resolve: rule },
    ];
    Clusters::new(clusters).expect("clusters of a test are right")
}

/// A small router. The rate of new flows is out of the way of all tests but its own.
pub fn settings() -> Settings {
    Settings {
        flows_max: 64,
        new_flows_max: 32,
        peers_max: 16,
        new_flow_rate: 1_000_000,
        ..Settings::default()
    }
}

/// What a check is to look like.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Where its session lives.
    pub route: Route,
    /// Which session.
    pub session: u32,
    /// In how many units of time its hint expires.
    pub expires_in: i16,
    /// Whether its sender has seen the answer.
    pub integrity: Integrity,
}

/// The integrity of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Right.
    True,
    /// Made with another password.
    False,
    /// Not there.
    Missing,
}

impl Check {
    /// A good check of a session.
    pub const fn of(route: Route, session: u32) -> Self {
        Self { route, session, expires_in: 600, integrity: Integrity::True }
    }
}

/// A shard, as far as the tunnel can tell.
struct Shard {
    sealer: Sealer,
    opener: Opener,
    bundle: Bundle,
}

/// One frame that reached a shard.
pub type Received = (Address, Client, Vec<u8>);

/// The router and everything around it.
pub struct Stage {
    /// The router.
    pub router: Router,
    /// The keys that everybody has.
    pub keyring: Arc<Keyring>,
    /// The clock. Starts high enough to be moved back in tests.
    pub now: Now,
    shards: HashMap<Address, Shard>,
    senders: u64,
    /// What left for the tunnel and is not yet read.
    sent: Vec<(Address, Vec<u8>)>,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new(settings(), clusters())
    }
}

impl Stage {
    /// A stage with these settings and clusters.
    pub fn new(settings: Settings, clusters: Clusters) -> Self {
        let keyring = keyring(1);
        let random = Box::new(random(2));
        let router = Router::new(settings, Arc::new(clusters), Arc::clone(&keyring), random);
        Self {
            router: router.expect("settings of a test are right"),
            keyring,
            now: Now { monotonic_us: 1_000_000_000, hint_time: HintTime(40_000) },
            shards: HashMap::new(),
            senders: 0,
            sent: Vec::new(),
        }
    }

    /// Lets time pass. The unit of hints moves only when a test moves it.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1_000;
    }

    /// The bytes of a check.
    pub fn check(&self, check: Check) -> Vec<u8> {
        let expires = self.now.hint_time.0.wrapping_add_signed(check.expires_in);
        let (ufrag, pwd) = self.keyring.mint(Hint {
            cluster: check.route.cluster,
            transceiver: check.route.transceiver,
            shard: check.route.shard,
            expires: HintTime(expires),
            session: SessionTag::new(check.session),
        });
        let password = match check.integrity {
            Integrity::True => Some(pwd.as_bytes().as_slice()),
            Integrity::False => Some(b"not the password".as_slice()),
            Integrity::Missing => None,
        };
        stun(Kind::BindingRequest, Some(ufrag.as_bytes()), password)
    }

    /// A client's packet, forwarded as the worker would.
    pub fn packet(&mut self, source: Address, packet: &[u8]) -> Verdict {
        self.packet_by(LISTENER, source, packet)
    }

    /// A client's packet by any listener.
    pub fn packet_by(&mut self, listener: ListenerId, source: Address, packet: &[u8]) -> Verdict {
        let verdict = self.router.on_client(listener, source, packet, self.now);
        if let Verdict::Forward(peer) = verdict {
            let client = Client { address: source, listener, transport: Transport::Udp };
            let sent = &mut self.sent;
            self.router.append(peer, &client, packet, &mut |to, datagram: &[u8]| {
                sent.push((to, datagram.to_vec()));
            });
        }
        verdict
    }

    /// A check of a client: where it went, or why not.
    pub fn send_check(&mut self, source: Address, check: Check) -> Result<Address, DropReason> {
        let packet = self.check(check);
        self.send(source, &packet)
    }

    /// A packet of a client: where it went, or why not.
    pub fn send(&mut self, source: Address, packet: &[u8]) -> Result<Address, DropReason> {
        match self.packet(source, packet) {
            Verdict::Drop(reason) => {
                assert_eq!(self.flush(), [], "nothing leaves for a dropped packet");
                Err(reason)
            }
            Verdict::Forward(_) => {
                let received = self.flush();
                let [(to, from, bytes)] = received.as_slice() else {
                    panic!("one packet in, {} out", received.len());
                };
                assert_eq!((*from, bytes.as_slice()), (client(source), packet), "unchanged");
                Ok(*to)
            }
        }
    }

    /// Ends the batch: what the shards got.
    pub fn flush(&mut self) -> Vec<Received> {
        let sent = &mut self.sent;
        self.router.flush(&mut |to, datagram: &[u8]| sent.push((to, datagram.to_vec())));
        let mut received = Vec::new();
        for (to, mut datagram) in std::mem::take(&mut self.sent) {
            let shard = self.shard(to);
            match shard.opener.open(&mut datagram).expect("the relay's datagrams open").content {
                Content::Data(frames) => {
                    received.extend(frames.map(|frame| (to, frame.client, frame.payload.to_vec())));
                }
                other => panic!("not data: {other:?}"),
            }
        }
        received
    }

    /// The datagrams that left, as they are.
    pub fn take_sent(&mut self) -> Vec<(Address, Vec<u8>)> {
        let sent = &mut self.sent;
        self.router.flush(&mut |to, datagram: &[u8]| sent.push((to, datagram.to_vec())));
        std::mem::take(&mut self.sent)
    }

    /// A shard sends packets to clients: what the relay makes of each.
    pub fn answer(
        &mut self,
        shard: Address,
        frames: &[(Client, &[u8])],
    ) -> Result<Vec<FrameVerdict>, DropReason> {
        let mut datagram = self.sealed_data(shard, frames);
        match self.router.on_tunnel(shard, &mut datagram, self.now) {
            TunnelVerdict::Frames(peer, frames) => {
                Ok(frames.map(|frame| self.router.on_frame(peer, &frame, self.now)).collect())
            }
            TunnelVerdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// A shard sends one media packet to one client.
    pub fn answer_rtp(&mut self, shard: Address, to: Address) -> FrameVerdict {
        self.answer(shard, &[(client(to), RTP)]).expect("an authentic datagram")[0]
    }

    /// A shard answers a check.
    pub fn answer_check(&mut self, shard: Address, to: Address) -> FrameVerdict {
        let response = stun(Kind::BindingSuccess, None, Some(b"any"));
        self.answer(shard, &[(client(to), &response)]).expect("an authentic datagram")[0]
    }

    /// A shard says that clients are gone.
    pub fn gone(&mut self, shard: Address, clients: &[Address]) {
        let stand_in = self.shard(shard);
        for address in clients {
            stand_in.bundle.append(&client(*address), &[]).expect("few clients");
        }
        let datagram = stand_in.sealer.seal_gone(&mut stand_in.bundle);
        let mut datagram = datagram.expect("a fresh counter").to_vec();
        let verdict = self.router.on_tunnel(shard, &mut datagram, self.now);
        assert!(matches!(verdict, TunnelVerdict::Taken | TunnelVerdict::Drop(_)));
    }

    /// A sealed datagram of a shard, not yet sent.
    pub fn sealed_data(&mut self, shard: Address, frames: &[(Client, &[u8])]) -> Vec<u8> {
        let shard = self.shard(shard);
        for (client, payload) in frames {
            shard.bundle.append(client, payload).expect("few frames");
        }
        shard.sealer.seal_data(&mut shard.bundle).expect("a fresh counter").to_vec()
    }

    /// The stand-in's sealer, for pings and pongs.
    pub fn sealer(&mut self, shard: Address) -> &mut Sealer {
        &mut self.shard(shard).sealer
    }

    /// The stand-in's opener, for pings and pongs.
    pub fn opener(&mut self, shard: Address) -> &mut Opener {
        &mut self.shard(shard).opener
    }

    /// Forgets all stand-ins: they start again with other sender ids and the stage's keys.
    pub fn restart_shards(&mut self) {
        self.shards.clear();
    }

    fn shard(&mut self, at: Address) -> &mut Shard {
        self.shards.entry(at).or_insert_with(|| {
            self.senders += 1;
            let sender = SenderId(self.senders.to_be_bytes());
            Shard {
                sealer: self.keyring.sealer(Direction::ToRelay, sender),
                opener: Opener::new(Direction::ToShard, &self.keyring, 64),
                bundle: Bundle::new(8_000, 2_048),
            }
        })
    }

    /// A client with an assured flow to shard A.
    pub fn assured(&mut self, source: Address, session: u32) {
        assert_eq!(self.send_check(source, Check::of(A, session)), Ok(shard_a()));
        self.answer_check(shard_a(), source);
        assert_eq!(self.flow(source).map(|flow| flow.state), Some(FlowState::Assured));
    }

    /// The flow of a client.
    pub fn flow(&mut self, of: Address) -> Option<FlowInfo> {
        match self.router.on_command(Command::Flow(LISTENER, of), self.now) {
            Reply::Flow(flow) => flow,
            other => panic!("{other:?}"),
        }
    }

    /// What would become of a packet.
    pub fn trace(&mut self, source: Address, packet: &[u8]) -> Trace {
        let command = Command::Trace(LISTENER, source, packet.to_vec());
        match self.router.on_command(command, self.now) {
            Reply::Trace(trace) => trace,
            other => panic!("{other:?}"),
        }
    }

    /// A copy of the counters, after a check of all invariants.
    pub fn counters(&mut self) -> Counters {
        self.router.check_invariants();
        self.router.counters().clone()
    }
}

/// A STUN message.
pub fn stun(kind: Kind, ufrag: Option<&[u8]>, password: Option<&[u8]>) -> Vec<u8> {
    let mut buffer = [0; 300];
    let build = |buffer| {
        let mut message = Encoder::new(buffer, kind, *b"transaction.")?;
        if let Some(ufrag) = ufrag {
            message = message.username(ufrag, b"theirs")?.priority(1)?;
        }
        if let Some(password) = password {
            message = message.integrity(password)?;
        }
        Ok::<_, wire::stun::Full>(message.fingerprint()?.finish().len())
    };
    let length = build(&mut buffer).expect("300 bytes are enough");
    buffer[..length].to_vec()
}
