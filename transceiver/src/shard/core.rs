//! What a shard decides: whose packet this is, what it may do, and what follows.
//!
//! It has no socket, no clock and no thread. Every call into a session is fenced: a panic ends that
//! session and no other.

use super::counters::Counters;
use super::deadlines::Deadlines;
use super::ended::Ended;
use super::order::{Limits, NoSuchCall, Opening, Order, Question, Refusal, Reply};
use super::relays::{Departure, Network, Random, Relays};
use super::sessions::Sessions;
use crate::backend::Board;
use crate::call::{CallId, CallReport, CallState, EndReason};
use crate::ingress::{Ingress, RelayWatch};
use crate::session::{Checked, Outlet, Path, Session, Tally};
use service::log::Sparing;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use wire::demux::PacketClass;
use wire::frame::Frame;
use wire::hint::SessionTag;
use wire::keyring::Keyring;
use wire::stun::{self, Kind};
use wire::tunnel::{About, Content, Direction, Opener};

/// Relay workers whose keys are remembered.
const SENDERS_MAX: usize = 2 * super::relays::RELAYS_MAX;

/// How a shard is set up.
pub struct Settings {
    /// Tunnel datagrams are at most so long.
    pub tunnel_mtu_bytes: usize,
    /// The longest packet for a client.
    pub packet_bytes_max: usize,
    /// Bounds that can change.
    pub limits: Limits,
    /// Named in answers to ICE restarts.
    pub ingress: Arc<[Ingress]>,
    /// Told what relays say of themselves.
    pub watch: Arc<RelayWatch>,
    /// Drawn when the process starts: relays tell it from one that was there before by it.
    pub boot: u64,
    /// Where bells are heard.
    pub board: Board,
    /// Counts the shard's calls, and those on their way to it.
    pub calls: Arc<AtomicU32>,
    /// Draws sender ids.
    pub random: Random,
}

/// One shard.
pub struct Core {
    keyring: Arc<Keyring>,
    opener: Opener,
    relays: Relays,
    sessions: Sessions,
    deadlines: Deadlines,
    ended: Ended,
    limits: Limits,
    ingress: Arc<[Ingress]>,
    watch: Arc<RelayWatch>,
    boot: u64,
    board: Board,
    calls: Arc<AtomicU32>,
    counters: Counters,
    draining: bool,
}

impl Core {
    /// A shard without calls.
    pub fn new(settings: Settings, keyring: Arc<Keyring>, now: Instant) -> Self {
        let Settings { tunnel_mtu_bytes, packet_bytes_max, limits, ingress, .. } = settings;
        Self {
            opener: Opener::new(Direction::ToShard, &keyring, SENDERS_MAX),
            relays: Relays::new(tunnel_mtu_bytes, packet_bytes_max, settings.random),
            keyring,
            sessions: Sessions::default(),
            deadlines: Deadlines::new(now),
            ended: Ended::default(),
            limits,
            ingress,
            watch: settings.watch,
            boot: settings.boot,
            board: settings.board,
            calls: settings.calls,
            counters: Counters::new(),
            draining: false,
        }
    }

    /// A datagram came by the tunnel's socket.
    pub fn on_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Instant,
        send: Network<'_>,
    ) {
        self.counters.tunnel_received_datagrams += 1;
        self.counters.tunnel_received_bytes += datagram.len() as u64;
        let opened = match self.opener.open(datagram) {
            Ok(opened) => opened,
            Err(error) => return self.counters.on_open_error(error),
        };
        if !self.relays.heard(from, &self.keyring, now) {
            self.counters.dropped_relays_full += 1;
            return;
        }
        match opened.content {
            Content::Data(frames) => {
                for frame in frames {
                    self.counters.tunnel_received_frames += 1;
                    self.on_frame(from, &frame, now, send);
                }
            }
            Content::Ping(token) => {
                self.counters.pings += 1;
                self.watch.heard(from.ip(), opened.about.draining);
                let about = About { boot: self.boot, draining: self.draining };
                if let Some(pong) = self.relays.pong(from, token, about, &self.keyring) {
                    send(from, &pong);
                }
            }
            // Shards ask nobody, and nobody tells them who is gone.
            Content::Pong(_) | Content::Gone(_) => self.counters.dropped_tunnel_unknown += 1,
        }
    }

    fn on_frame(&mut self, relay: SocketAddr, frame: &Frame<'_>, now: Instant, send: Network<'_>) {
        let path = Path { relay, client: frame.client };
        let class = PacketClass::of(frame.payload);
        self.counters.packets_received[class as usize] += 1;
        match class {
            PacketClass::Stun => self.on_stun(path, frame.payload, now, send),
            PacketClass::Dtls | PacketClass::Rtp | PacketClass::Rtcp => {
                match self.sessions.with_path(&path) {
                    Some(tag) => self.enter(tag, now, send, |session, outlet| {
                        session.on_packet(path, frame.payload, now, outlet);
                    }),
                    None => {
                        self.counters.dropped_no_session += 1;
                        self.say_gone(&path, send);
                    }
                }
            }
            PacketClass::Other => self.counters.dropped_not_ours += 1,
        }
    }

    /// A check finds its session by the user name in it, never by where it comes from: a client may
    /// use one address for another call.
    fn on_stun(&mut self, path: Path, packet: &[u8], now: Instant, send: Network<'_>) {
        let Ok(message) = stun::Message::parse(packet) else {
            self.counters.dropped_check_malformed += 1;
            return;
        };
        let Some(ufrag) = message.ufrag().filter(|_| message.kind() == Kind::BindingRequest) else {
            self.counters.dropped_stun_other += 1;
            return;
        };
        let Some(tag) = self.sessions.with_ufrag(ufrag) else {
            self.counters.dropped_check_unknown_session += 1;
            // Unless the client is in another call by now.
            if self.sessions.with_path(&path).is_none() {
                self.say_gone(&path, send);
            }
            return;
        };
        let mut checked = Checked::Forged;
        self.enter(tag, now, send, |session, outlet| {
            checked = session.on_check(path, packet, &message, now, outlet);
        });
        match checked {
            Checked::Forged => self.counters.dropped_check_forged += 1,
            Checked::Authentic { forgotten } => {
                self.counters.checks += 1;
                if let Some(forgotten) = forgotten {
                    self.sessions.unbind(&forgotten, tag);
                }
                // It may have ended by what the packet brought about.
                if self.sessions.contains(tag) && !self.sessions.bind(&path, tag, now) {
                    self.counters.checks_contested += 1;
                }
            }
        }
    }

    fn say_gone(&mut self, path: &Path, send: Network<'_>) {
        let Self { relays, counters, keyring, .. } = self;
        let departure = &mut Departure { keyring, counters, send };
        relays.append_gone(path.relay, &path.client, departure);
    }

    /// Lets one session whose time has come do what is due. False if there is none.
    pub fn run_one_due(&mut self, now: Instant, send: Network<'_>) -> bool {
        let Some(tag) = self.deadlines.due(now) else { return false };
        self.enter(tag, now, send, |session, outlet| session.on_time(now, false, outlet));
        true
    }

    /// Lets one session whose backend rang do what is due. False if there is none.
    pub fn run_one_rung(&mut self, now: Instant, send: Network<'_>) -> bool {
        let Some(tag) = self.board.take() else { return false };
        self.enter(tag, now, send, |session, outlet| session.on_time(now, true, outlet));
        true
    }

    /// When the next session's time comes.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Seals and sends what waits for one relay worker. False if nothing waits for any.
    pub fn close_one(&mut self, send: Network<'_>) -> bool {
        let Self { relays, counters, keyring, .. } = self;
        relays.close_one(&mut Departure { keyring, counters, send })
    }

    /// Carries out an order. False if it was to stop.
    pub fn on_order(&mut self, order: Order, now: Instant, send: Network<'_>) -> bool {
        match order {
            // Who asked may have gone.
            Order::Open(opening, reply) => {
                let _ = reply.send(self.open(*opening, now, send));
            }
            Order::Ask(id, question, reply) => {
                let _ = reply.send(self.answer(id, question, now, send));
            }
            Order::List(most, reply) => {
                let reports = self.sessions.iter().take(most);
                let _ = reply.send(reports.map(|s| s.report(&self.keyring, now)).collect());
            }
            Order::Keyring(keyring) => self.use_keyring(keyring),
            Order::Ingress(ingress) => self.ingress = ingress,
            Order::Limits(limits) => self.limits = limits,
            Order::Drain(draining) => self.draining = draining,
            Order::Stop => {
                self.end_all(now, send);
                return false;
            }
        }
        true
    }

    fn open(&mut self, opening: Opening, now: Instant, send: Network<'_>) -> Result<(), Refusal> {
        let full =
            self.sessions.len() >= usize::try_from(self.limits.calls_max).unwrap_or(usize::MAX);
        // Tags come around again after 16 million calls; one may still be in use.
        let refusal = if self.draining {
            Some(Refusal::Draining)
        } else {
            (full || self.sessions.contains(opening.tag)).then_some(Refusal::Full)
        };
        if let Some(refusal) = refusal {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(refusal);
        }
        let (tag, id) = (opening.tag, opening.id);
        let limits = self.limits;
        let Self { relays, counters, keyring, .. } = self;
        let mut outlet = Exit { relays, departure: Departure { keyring, counters, send } };
        let made = fenced(|| Session::new(opening, &limits, now, &mut outlet));
        let Some(session) = made else {
            self.counters.panics += 1;
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Full);
        };
        self.counters.opened += 1;
        self.counters.sessions[session.state() as usize] += 1;
        self.deadlines.set(tag, session.deadline());
        self.sessions.insert(tag, id, session);
        Ok(())
    }

    fn answer(
        &mut self,
        id: CallId,
        question: Question,
        now: Instant,
        send: Network<'_>,
    ) -> Result<Reply, NoSuchCall> {
        let Some(tag) = self.sessions.with_id(id) else {
            // Of a call that has just ended, at least why.
            return match (question, self.ended.find(id)) {
                (Question::Report, Some(report)) => Ok(Reply::Report(Box::new(report.clone()))),
                _ => Err(NoSuchCall),
            };
        };
        match question {
            Question::Report => {
                let session = self.sessions.get(tag).ok_or(NoSuchCall)?;
                Ok(Reply::Report(Box::new(session.report(&self.keyring, now))))
            }
            Question::HangUp => {
                self.enter(tag, now, send, |session, outlet| {
                    session.end(EndReason::HungUp, now, outlet);
                });
                Ok(Reply::HungUp)
            }
            Question::Renegotiate(offer, fresh) => {
                self.renegotiate(tag, now, send, |session, ingress, outlet| {
                    session.renegotiate(offer, fresh, ingress, now, outlet)
                })
            }
            Question::RestartIce(fragment, fresh) => {
                self.renegotiate(tag, now, send, |session, ingress, outlet| {
                    session.restart_ice(&fragment, fresh, ingress, now, outlet)
                })
            }
        }
    }

    fn renegotiate(
        &mut self,
        tag: SessionTag,
        now: Instant,
        send: Network<'_>,
        work: impl FnOnce(
            &mut Session,
            &[SocketAddr],
            &mut Exit<'_>,
        )
            -> Result<crate::negotiation::Renegotiated, crate::negotiation::OfferError>,
    ) -> Result<Reply, NoSuchCall> {
        let ingress = self.watch.advertised(&self.ingress);
        let before = self.sessions.get(tag).ok_or(NoSuchCall)?.credentials().ufrag;
        let mut result = None;
        self.enter(tag, now, send, |session, outlet| {
            result = Some(work(session, &ingress, outlet));
        });
        // Nothing if the session panicked and is gone.
        let result = result.ok_or(NoSuchCall)?;
        self.counters.renegotiations += u64::from(result.is_ok());
        if let Some(session) = self.sessions.get(tag) {
            let after = session.credentials().ufrag;
            if after != before {
                self.counters.ice_restarts += 1;
                self.sessions.rename(tag, &before, &after);
            }
        }
        Ok(Reply::Renegotiated(result))
    }

    fn use_keyring(&mut self, keyring: Arc<Keyring>) {
        self.opener.reload(&keyring);
        let same = keyring.tunnel_used() == self.keyring.tunnel_used();
        self.keyring = keyring;
        if !same {
            self.relays.reseal_all(&self.keyring);
        }
    }

    fn end_all(&mut self, now: Instant, send: Network<'_>) {
        for tag in self.sessions.tags() {
            self.enter(tag, now, send, |session, outlet| {
                session.end(EndReason::Stopped, now, outlet);
            });
        }
    }

    /// Lets a session work behind a fence, and draws the consequences.
    fn enter(
        &mut self,
        tag: SessionTag,
        now: Instant,
        send: Network<'_>,
        work: impl FnOnce(&mut Session, &mut Exit<'_>),
    ) {
        let Self { sessions, relays, counters, keyring, deadlines, .. } = self;
        // A bell may ring for a session that has just ended.
        let Some(session) = sessions.get(tag) else { return };
        let before = session.state();
        let mut outlet = Exit { relays, departure: Departure { keyring, counters, send } };
        let whole = fenced(|| work(session, &mut outlet)).is_some();
        if whole && session.ended().is_none() {
            let after = session.state();
            if before != after {
                counters.sessions[before as usize] -= 1;
                counters.sessions[after as usize] += 1;
            }
            return deadlines.set(tag, session.deadline());
        }
        counters.sessions[before as usize] -= 1;
        self.bury(tag, whole, now, send);
    }

    /// Forgets a session that has ended, and has the relays forget its clients.
    fn bury(&mut self, tag: SessionTag, whole: bool, now: Instant, send: Network<'_>) {
        let Some(session) = self.sessions.get(tag) else { return };
        let mut report: CallReport = session.report(&self.keyring, now);
        if !whole {
            self.counters.panics += 1;
            report.end = Some(EndReason::Panicked);
            report.state = CallState::Ended;
        }
        let reason = report.end.unwrap_or(EndReason::Failed);
        self.counters.ended[reason as usize] += 1;
        tracing::debug!(call = %report.id, reason = reason.as_str(), "a call has ended");
        let id = report.id;
        self.ended.push(report);
        self.deadlines.remove(tag);
        let Some(session) = self.sessions.remove(tag, id) else { return };
        for path in session.paths() {
            // An address that another call has is not free.
            if self.sessions.with_path(path).is_none() {
                self.say_gone(path, send);
            }
        }
        self.calls.fetch_sub(1, Ordering::Relaxed);
        // What has panicked once may do so again when it is dropped.
        if fenced(|| drop(session)).is_none() {
            self.counters.panics += 1;
        }
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0
    }

    /// The numbers.
    pub fn counters(&mut self) -> &mut Counters {
        self.counters.relays = self.relays.len() as u64;
        &mut self.counters
    }

    /// Panics unless everything agrees with everything. For tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn check(&self) {
        self.sessions.check();
        let by_state: u64 = self.counters.sessions.iter().sum();
        assert_eq!(by_state, self.sessions.len() as u64);
    }
}

/// What a session sends goes into its relay's bundle.
struct Exit<'a> {
    relays: &'a mut Relays,
    departure: Departure<'a>,
}

impl Outlet for Exit<'_> {
    fn send(&mut self, path: &Path, packet: &[u8]) {
        self.relays.append(path.relay, &path.client, packet, &mut self.departure);
    }

    fn count(&mut self, tally: Tally) {
        self.departure.counters.on_tally(tally);
    }
}

/// Runs a session's code; nothing if it panicked.
fn fenced<T>(work: impl FnOnce() -> T) -> Option<T> {
    static PANICKED: Sparing = Sparing::once_a_minute();
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    if result.is_none()
        && let Some(suppressed) = PANICKED.admit()
    {
        tracing::error!(suppressed, "a session panicked and was ended; please report it");
    }
    result
}
