//! The body of the fuzz target `relay_core`: whole sequences of packets, returns, commands and time
//! on one small router, with every invariant checked at the end.

use super::testing::{
    A, B, Check, DTLS, Integrity, LISTENER, RTCP, RTP, Stage, client, clusters, keyring, settings,
    shard_a, shard_b, source, stun,
};
use super::{
    Clusters, Command, Counters, Family, FrameVerdict, Reply, Route, Settings, TunnelVerdict,
    Verdict,
};
use std::sync::Arc;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::{ClusterId, ShardId, TransceiverId};
use wire::stun::Kind;
use wire::tunnel::Content;

/// Bytes as decisions. At their end everything is zero, and the sequence stops.
struct Decisions<'a>(&'a [u8]);

impl<'a> Decisions<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// Few clients, so that sequences meet; one of them where no client can be.
    fn source(&mut self) -> Address {
        match self.below(12) {
            11 => Address::new([127, 0, 0, 1].into(), 5000),
            10 => Address::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 5000),
            last => source(last),
        }
    }

    fn route(&mut self) -> Route {
        match self.below(8) {
            0..=2 => A,
            3..=4 => B,
            // More shards of an `ipv4` cluster than there is room for.
            last => Route {
                cluster: ClusterId(2),
                transceiver: TransceiverId(u32::from_be_bytes([10, 0, 0, last])),
                shard: ShardId(self.below(4)),
            },
        }
    }

    fn shard(&mut self) -> Address {
        match self.below(8) {
            0..=2 => shard_a(),
            3..=4 => shard_b(),
            last => Address::new([10, 0, 0, last].into(), 7000 + u16::from(self.below(5))),
        }
    }

    fn packet(&mut self, stage: &Stage) -> Vec<u8> {
        match self.below(8) {
            0..=2 => {
                let choice = self.below(16);
                let integrity = match choice {
                    0 => Integrity::Missing,
                    1 => Integrity::False,
                    _ => Integrity::True,
                };
                let expires_in = match choice {
                    2 => -1,
                    3 => i16::MAX,
                    _ => 600,
                };
                let route = self.route();
                let session = self.below(6).into();
                stage.check(Check { route, session, expires_in, integrity })
            }
            3 => RTP.to_vec(),
            4 => DTLS.to_vec(),
            5 => stun(Kind::GoogPing, None, None),
            6 => {
                let mut packet = stage.check(Check::of(self.route(), 1));
                let at = usize::from(self.byte()) % packet.len();
                packet[at] ^= self.byte();
                packet
            }
            _ => self.bytes().to_vec(),
        }
    }
}

/// What went in and out, counted from outside.
#[derive(Default)]
struct Ledger {
    packets: u64,
    forwarded: u64,
    frames: u64,
    delivered: u64,
    datagrams: u64,
    datagrams_dropped: u64,
}

/// A sequence of inputs. Panics if the router ever contradicts itself. What it counted shows where
/// the sequence went.
pub fn sequence(bytes: &[u8]) -> Counters {
    let mut decisions = Decisions(bytes);
    let settings = Settings {
        listeners: vec![Family::Ipv4, Family::Ipv6],
        flows_max: 4,
        new_flows_max: 3,
        peers_max: 6,
        new_flow_rate: if decisions.below(4) == 0 { 3 } else { 1_000_000 },
        session_addresses_max: 2,
        ..settings()
    };
    let mut stage = Stage::new(settings, clusters());
    let mut ledger = Ledger::default();
    let mut arrived = 0;
    while !decisions.0.is_empty() {
        match decisions.below(11) {
            0..=3 => from_client(&mut stage, &mut decisions, &mut ledger),
            4..=5 => from_shard(&mut stage, &mut decisions, &mut ledger),
            6 => {
                let (shard, address) = (decisions.shard(), decisions.source());
                ledger.datagrams += 1;
                stage.gone(shard, &[address]);
            }
            7 => {
                stage.pass_ms(u64::from(decisions.byte()) * 300);
                arrived += stage.flush().len() as u64;
                stage.router.on_tick(stage.now, &mut |_, _| {});
            }
            8 => {
                arrived += stage.flush().len() as u64;
                command(&mut stage, &mut decisions);
            }
            9 => {
                let shard = decisions.shard();
                ledger.datagrams += 1;
                echo(&mut stage, shard, decisions.below(2) == 0);
            }
            _ => {
                let mut datagram = decisions.bytes().to_vec();
                let shard = decisions.shard();
                ledger.datagrams += 1;
                ledger.datagrams_dropped += 1;
                let verdict = stage.router.on_tunnel(shard, &mut datagram, stage.now);
                assert!(matches!(verdict, TunnelVerdict::Drop(_)), "authentic without the secret");
            }
        }
    }
    arrived += stage.flush().len() as u64;
    let counters = stage.counters();
    assert_eq!(counters.client_received_packets.iter().sum::<u64>(), ledger.packets);
    assert_eq!(arrived, ledger.forwarded, "what was forwarded arrived once");
    assert_eq!(counters.tunnel_sent_frames, arrived);
    assert_eq!(counters.tunnel_received_frames, ledger.frames);
    assert_eq!(counters.client_sent_packets.iter().sum::<u64>(), ledger.delivered);
    assert_eq!(counters.tunnel_received_datagrams, ledger.datagrams);
    let dropped = counters.drops.iter().sum::<u64>();
    let known = (ledger.packets - ledger.forwarded) + (ledger.frames - ledger.delivered);
    assert!(dropped >= known + ledger.datagrams_dropped, "every drop has its reason");
    assert!(dropped <= known + ledger.datagrams, "and is counted once");
    counters
}

fn from_client(stage: &mut Stage, decisions: &mut Decisions<'_>, ledger: &mut Ledger) {
    let source = decisions.source();
    let packet = decisions.packet(stage);
    let listener = if source.is_ipv4() { LISTENER } else { ListenerId(1) };
    let before = stage.counters();
    let trace = match stage
        .router
        .on_command(Command::Trace(listener, source, packet.clone()), stage.now)
    {
        Reply::Trace(trace) => trace,
        other => panic!("{other:?}"),
    };
    assert_eq!(before, stage.counters(), "a trace changes nothing");
    ledger.packets += 1;
    let verdict = stage.packet_by(listener, source, &packet);
    match verdict {
        Verdict::Forward(_) => {
            ledger.forwarded += 1;
            assert!(trace.forwarded, "{trace:?}");
        }
        Verdict::Drop(super::DropReason::PeersFull) => {}
        Verdict::Drop(reason) => assert!(trace.outcome.contains(reason.as_str()), "{trace:?}"),
    }
}

fn from_shard(stage: &mut Stage, decisions: &mut Decisions<'_>, ledger: &mut Ledger) {
    let shard = decisions.shard();
    let choice = decisions.below(16);
    let listener = match choice {
        0 => ListenerId(9),
        1 => ListenerId(1),
        _ => LISTENER,
    };
    let transport = if choice == 2 { Transport::Tcp } else { Transport::Udp };
    let address = decisions.source();
    let response = stun(Kind::BindingSuccess, None, None);
    let payload = match decisions.below(4) {
        0 => RTP,
        1 => RTCP,
        2 => DTLS,
        _ => &response,
    };
    let frames = [(Client { address, listener, transport }, payload), (client(source(1)), payload)];
    ledger.datagrams += 1;
    if let Ok(verdicts) = stage.answer(shard, &frames) {
        ledger.frames += 2;
        let delivered = |verdict: &&FrameVerdict| matches!(verdict, FrameVerdict::Deliver(..));
        ledger.delivered += verdicts.iter().filter(delivered).count() as u64;
    }
}

/// A ping, to be answered with its token; or a pong that nobody asked for.
fn echo(stage: &mut Stage, shard: Address, ping: bool) {
    let sealer = stage.sealer(shard);
    let echo = if ping { sealer.seal_ping(7) } else { sealer.seal_pong(7) };
    let mut echo = echo.expect("a fresh counter");
    match stage.router.on_tunnel(shard, &mut echo, stage.now) {
        TunnelVerdict::Pong(to, mut pong) => {
            assert!(ping && to == shard);
            let content = stage.opener(shard).open(&mut pong).map(|datagram| datagram.content);
            assert!(matches!(content, Ok(Content::Pong(7))), "{content:?}");
        }
        TunnelVerdict::Taken => assert!(!ping),
        TunnelVerdict::Drop(_) => {}
        TunnelVerdict::Frames(..) => panic!("an echo has no frames"),
    }
}

fn command(stage: &mut Stage, decisions: &mut Decisions<'_>) {
    let command = match decisions.below(8) {
        0 => Command::Drain(decisions.below(2) == 1),
        1 => Command::Flow(LISTENER, decisions.source()),
        2 => Command::Flows(decisions.byte().into(), decisions.byte().into()),
        3 => Command::Peers,
        4 => Command::Forget(LISTENER, decisions.source()),
        5 => {
            stage.keyring = keyring(decisions.below(2).into());
            stage.restart_shards();
            Command::Keyring(Arc::clone(&stage.keyring))
        }
        6 => Command::Clusters(Arc::new(Clusters::default())),
        _ => Command::Clusters(Arc::new(clusters())),
    };
    stage.router.on_command(command, stage.now);
    stage.router.check_invariants();
}
