//! One call: str0m in the middle, the way its packets take on one side, its backend on the other.
//!
//! It has no socket and no clock. The shard hands it packets and the time, and sends what it gives
//! to the [`Outlet`]. str0m wants one change at a time, with everything it has to say taken from it
//! in between; `drive` is the only place where that happens.

mod early;
mod media;
mod path;
mod playout;
mod report;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use path::{PATHS_MAX, Path};

use crate::backend::{Backend, Heard, Level, Line, Message};
use crate::call::{CallState, EndReason};
use crate::negotiation::{self, Credentials, Fragment, Offer, OfferError, Renegotiated, STAND_IN};
use crate::shard::Opening;
use media::Media;
use path::{Check, Paths};
use playout::{Due, Playout};
use report::Milestones;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::channel::ChannelId;
use str0m::format::PayloadParams;
use str0m::media::{MediaData, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, Rtc};
use wire::demux::PacketClass;
use wire::hint::SessionTag;
use wire::stun;

/// A client that never comes is given up after this long. Browsers stop trying before.
const SETUP_TIME_MAX: Duration = Duration::from_secs(30);
/// Turns of one drive. A session that is not quiet by then has a bug, in us or in str0m.
const TURNS_MAX: u32 = 10_000;

/// Where a session's packets go.
pub trait Outlet {
    /// Sends a packet to a client.
    fn send(&mut self, path: &Path, packet: &[u8]);
    /// Counts what happened.
    fn count(&mut self, tally: Tally);
}

/// What a session counts for its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// An audio packet came.
    AudioIn,
    /// So many did not, by their numbers.
    AudioLost(u64),
    /// An audio packet left.
    AudioOut,
    /// A packet that the session could not make sense of.
    Unreadable,
    /// A packet for a client that has not shown itself yet.
    NoPath,
    /// A backend's audio or message found no taker: no track or no channel to send it by.
    NoTaker,
    /// The client's address changed.
    AddressChange,
    /// A check was one that had been seen from elsewhere.
    ReplayedCheck,
    /// How unevenly audio arrives, every few seconds.
    Jitter(Duration),
    /// How long audio takes to the client and its report back, every few seconds.
    RoundTrip(Duration),
    /// Setting up reached a step, after so long.
    Reached(Step, Duration),
}

/// Steps of setting up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The answer was ready.
    Offer,
    /// The first authentic check came.
    FirstCheck,
    /// ICE was connected.
    Ice,
    /// Keys were agreed on.
    Dtls,
    /// The first audio came.
    FirstAudioIn,
    /// The first audio left.
    FirstAudioOut,
    /// The data channel opened.
    DataChannel,
}

impl Step {
    /// All, in the usual order.
    pub const ALL: [Self; 7] = [
        Self::Offer,
        Self::FirstCheck,
        Self::Ice,
        Self::Dtls,
        Self::FirstAudioIn,
        Self::FirstAudioOut,
        Self::DataChannel,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::FirstCheck => "first_check",
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::FirstAudioIn => "first_audio_in",
            Self::FirstAudioOut => "first_audio_out",
            Self::DataChannel => "data_channel",
        }
    }
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The client knows the session's password: its address is the session's from now on.
    Authentic {
        /// The address that had to make room for it.
        forgotten: Option<Path>,
    },
    /// It does not.
    Forged,
}

/// One call.
pub struct Session {
    rtc: Box<Rtc>,
    credentials: Credentials,
    /// As it was answered last, for restarts that do not repeat it.
    offer: Offer,
    backend: Box<dyn Backend>,
    line: Line,
    paths: Paths,
    playout: Playout,
    media: Media,
    milestones: Milestones,
    state: CallState,
    end: Option<EndReason>,
    /// Where audio goes.
    audio: Option<Mid>,
    channel: Option<ChannelId>,
    /// The channel takes nothing more until it has sent some.
    channel_full: bool,
    /// When str0m wants to be asked again.
    rtc_timeout: Instant,
    /// When the client's checks stopped.
    lost_at: Option<Instant>,
    /// str0m knows a nominated path, and answers by it.
    nominated: bool,
    opened_at: Instant,
    call_time_max: Duration,
    lost_after: Duration,
    facts: Facts,
}

/// What a report says that never changes.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) id: crate::call::CallId,
    pub(crate) tag: SessionTag,
    pub(crate) backend: &'static str,
    pub(crate) created_at: u64,
    pub(crate) received: Instant,
    pub(crate) expires_at: u64,
    pub(crate) ice_restarts: u32,
}

impl Session {
    /// A session that waits for its client.
    pub fn new(
        opening: Opening,
        limits: &crate::shard::Limits,
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Self {
        let Opening { id, tag, credentials, expires_at, offer, negotiated, .. } = opening;
        let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut session = Self {
            rtc: negotiated.rtc,
            credentials,
            offer,
            backend: opening.backend,
            line: Line::new(now),
            paths: Paths::default(),
            playout: Playout::default(),
            media: Media::default(),
            milestones: Milestones::new(opening.received),
            state: CallState::New,
            end: None,
            audio: None,
            channel: None,
            channel_full: false,
            rtc_timeout: now,
            lost_at: None,
            nominated: false,
            opened_at: now,
            call_time_max: limits.call_time_max,
            lost_after: limits.lost_after,
            facts: Facts {
                id,
                tag,
                backend: opening.backend_name,
                created_at: created.unwrap_or_default().as_secs(),
                received: opening.received,
                expires_at,
                ice_restarts: 0,
            },
        };
        session.reach(Step::Offer, now, outlet);
        // What the offer brought about (media, channels) is told by str0m's events.
        session.tick(now, outlet);
        session
    }

    /// A connectivity check from this path. Only who knows the password may be answered, and only
    /// then is the address taken for the client's: str0m itself would take DTLS and media from
    /// anywhere.
    pub fn on_check(
        &mut self,
        path: Path,
        packet: &[u8],
        message: &stun::Message<'_>,
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Checked {
        if message.verify_integrity(self.credentials.pwd.as_bytes()).is_err() {
            return Checked::Forged;
        }
        let check = Check {
            transaction: message.transaction(),
            nominates: message.use_candidate(),
            at: now,
        };
        let noted = self.paths.note(path, check);
        if noted.replayed {
            outlet.count(Tally::ReplayedCheck);
        }
        if noted.moved {
            outlet.count(Tally::AddressChange);
        }
        if self.state == CallState::New {
            self.state = CallState::Connecting;
            self.reach(Step::FirstCheck, now, outlet);
        }
        self.receive_check(path, packet, message, now, outlet);
        Checked::Authentic { forgotten: noted.forgotten }
    }

    fn receive_check(
        &mut self,
        path: Path,
        packet: &[u8],
        message: &stun::Message<'_>,
        now: Instant,
        outlet: &mut impl Outlet,
    ) {
        let mut buffer = early::buffer();
        self.nominated |= message.use_candidate();
        let copied = if self.nominated {
            None
        } else {
            let password = self.credentials.pwd.as_bytes();
            early::nominating(packet, message.transaction(), password, &mut buffer)
        };
        self.nominated |= copied.is_some();
        self.receive(path, copied.map_or(packet, |length| &buffer[..length]), now, outlet);
    }

    /// Any other packet from one of the session's paths.
    pub fn on_packet(&mut self, path: Path, packet: &[u8], now: Instant, outlet: &mut impl Outlet) {
        self.paths.heard(path, now);
        self.receive(path, packet, now, outlet);
    }

    fn receive(&mut self, path: Path, packet: &[u8], now: Instant, outlet: &mut impl Outlet) {
        let source = SocketAddr::from(path.client.address);
        // For STUN the destination must be the one candidate that str0m knows.
        let Ok(packet) = Receive::new(Protocol::Udp, source, STAND_IN, packet) else {
            return outlet.count(Tally::Unreadable);
        };
        // An error ends nothing: str0m reports one for a DTLS record that it cannot read, which
        // anybody can send who can forge the client's address.
        if self.rtc.handle_input(Input::Receive(now, packet)).is_err() {
            outlet.count(Tally::Unreadable);
        }
        self.drive(Some(path), now, outlet);
    }

    /// The time has come that [`Session::deadline`] named, or the backend's bell rang.
    pub fn on_time(&mut self, now: Instant, rung: bool, outlet: &mut impl Outlet) {
        self.line.set_now(now);
        if self.line.wake_at.is_some_and(|at| at <= now) {
            self.line.wake_at = None;
            self.backend.on_wake(&mut self.line);
        } else if rung {
            self.backend.on_wake(&mut self.line);
        }
        self.tick(now, outlet);
    }

    fn tick(&mut self, now: Instant, outlet: &mut impl Outlet) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            outlet.count(Tally::Unreadable);
        }
        self.drive(None, now, outlet);
        self.give_up_if_lost(now, outlet);
    }

    fn give_up_if_lost(&mut self, now: Instant, outlet: &mut impl Outlet) {
        let reason = match self.state {
            CallState::Ended => return,
            _ if now >= self.opened_at + self.call_time_max => EndReason::TooLong,
            CallState::New | CallState::Connecting if now >= self.opened_at + SETUP_TIME_MAX => {
                EndReason::ClientLost
            }
            CallState::Disconnected
                if self.lost_at.is_some_and(|lost_at| now >= lost_at + self.lost_after) =>
            {
                EndReason::ClientLost
            }
            _ => return,
        };
        self.end(reason, now, outlet);
    }

    /// Ends the call: says goodbye to the client and to the backend.
    pub fn end(&mut self, reason: EndReason, now: Instant, outlet: &mut impl Outlet) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(reason);
        self.backend.on_end(reason);
        if self.rtc.close().is_ok() {
            self.drive(None, now, outlet);
        }
        self.state = CallState::Ended;
    }

    /// Answers another offer. `fresh` becomes the session's if the client restarts ICE.
    pub fn renegotiate(
        &mut self,
        offer: Offer,
        fresh: Credentials,
        ingress: &[SocketAddr],
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Result<Renegotiated, OfferError> {
        let current = self.credentials.clone();
        let done = negotiation::renegotiate(&mut self.rtc, &offer, &current, &fresh, ingress)?;
        if done.restarted {
            self.credentials = fresh;
            self.nominated = false;
            self.facts.ice_restarts += 1;
        }
        self.offer = offer;
        self.tick(now, outlet);
        Ok(done)
    }

    /// Answers an ICE restart that comes without an offer: the last one counts on.
    pub fn restart_ice(
        &mut self,
        fragment: &Fragment,
        fresh: Credentials,
        ingress: &[SocketAddr],
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Result<Renegotiated, OfferError> {
        let offer = self.offer.with_ice(&fragment.ufrag, &fragment.pwd);
        self.renegotiate(offer, fresh, ingress, now, outlet)
    }

    /// When [`Session::on_time`] is to be called.
    pub fn deadline(&self) -> Instant {
        let mut deadline = self.rtc_timeout.min(self.opened_at + self.call_time_max);
        let mut sooner = |at: Option<Instant>| deadline = deadline.min(at.unwrap_or(deadline));
        sooner(self.playout.next_at());
        sooner(self.line.wake_at);
        match self.state {
            CallState::New | CallState::Connecting => {
                sooner(Some(self.opened_at + SETUP_TIME_MAX));
            }
            CallState::Disconnected => {
                sooner(self.lost_at.map(|lost_at| lost_at + self.lost_after));
            }
            CallState::Connected | CallState::Ended => {}
        }
        deadline
    }

    /// How far it is.
    pub const fn state(&self) -> CallState {
        self.state
    }

    /// Why it ended, if it did.
    pub const fn ended(&self) -> Option<EndReason> {
        self.end
    }

    /// By what its packets are routed.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Where its client was heard.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.all()
    }

    /// When something last came from this client.
    pub fn heard_at(&self, path: &Path) -> Option<Instant> {
        self.paths.heard_at(path)
    }

    /// Whether this client's packets are its own.
    pub fn has_path(&self, path: &Path) -> bool {
        self.paths.all().any(|known| known.is_same_client(path))
    }

    /// Takes from str0m all it has to say, and gives it, one at a time, what is due.
    fn drive(&mut self, cause: Option<Path>, now: Instant, outlet: &mut impl Outlet) {
        self.line.set_now(now);
        for _ in 0..TURNS_MAX {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.send(&transmit.contents, cause, outlet),
                Ok(Output::Event(event)) => self.on_event(event, now, outlet),
                Ok(Output::Timeout(at)) => {
                    self.rtc_timeout = at;
                    if !self.do_what_is_due(now, outlet) {
                        return;
                    }
                }
                Err(_) => {
                    outlet.count(Tally::Unreadable);
                    if !self.rtc.is_alive() {
                        self.rtc_timeout = now + self.call_time_max;
                        return self.closed(EndReason::Failed);
                    }
                }
            }
        }
        tracing::error!(call = %self.facts.id, "a session does not come to rest: it is ended");
        self.rtc.disconnect();
        self.closed(EndReason::Failed);
    }

    /// Answers to checks go back the way of the check; all else to where the client was last
    /// heard for certain, which str0m would find out fifteen seconds later.
    fn send(&mut self, packet: &[u8], cause: Option<Path>, outlet: &mut impl Outlet) {
        let path = match PacketClass::of(packet) {
            PacketClass::Stun => cause,
            PacketClass::Dtls | PacketClass::Rtp | PacketClass::Rtcp | PacketClass::Other => {
                self.paths.egress()
            }
        };
        match path {
            Some(path) => outlet.send(&path, packet),
            None => outlet.count(Tally::NoPath),
        }
    }

    /// One change to str0m, if there is one to make.
    fn do_what_is_due(&mut self, now: Instant, outlet: &mut impl Outlet) -> bool {
        if self.end.is_some() || !self.rtc.is_alive() {
            return false;
        }
        if self.line.hung_up {
            self.backend.on_end(EndReason::BackendClosed);
            self.end = Some(EndReason::BackendClosed);
            self.state = CallState::Ended;
            return self.rtc.close().is_ok();
        }
        self.send_message(now) || self.send_audio(now, outlet)
    }

    fn send_message(&mut self, now: Instant) -> bool {
        if self.channel_full {
            return false;
        }
        let Some(channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return false };
        let Some(message) = self.line.next_message() else { return false };
        let mut channel = channel;
        let is_binary = matches!(message, Message::Binary(_));
        match channel.write(is_binary, message.bytes()) {
            Ok(true) => self.line.message_sent(),
            Ok(false) => {
                self.channel_full = true;
                channel.set_buffered_amount_low_threshold(16 << 10);
                return false;
            }
            // The channel is closing: nobody will read it.
            Err(_) => self.line.message_sent(),
        }
        self.rtc.handle_input(Input::Timeout(now)).is_ok()
    }

    fn send_audio(&mut self, now: Instant, outlet: &mut impl Outlet) -> bool {
        // What is played before there are keys to send it with waits for them.
        if !matches!(self.state, CallState::Connected | CallState::Disconnected) {
            return false;
        }
        let due = match self.playout.due(&mut self.line, now) {
            Due::Nothing => return false,
            Due::Tell(playout) => {
                self.backend.on_playout(playout, &mut self.line);
                return true;
            }
            Due::Frame(frame) => frame,
        };
        let bytes = due.opus.len() as u64;
        if !self.write(due, now) {
            outlet.count(Tally::NoTaker);
            return true;
        }
        self.media.packets_out += 1;
        self.media.bytes_out += bytes;
        outlet.count(Tally::AudioOut);
        self.reach(Step::FirstAudioOut, now, outlet);
        // Writing only queues: without this the packet would wait for the next timer.
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            outlet.count(Tally::Unreadable);
        }
        true
    }

    fn write(&mut self, frame: playout::Frame, now: Instant) -> bool {
        let Some(writer) = self.audio.and_then(|mid| self.rtc.writer(mid)) else { return false };
        let Some(pt) = writer.payload_params().next().map(PayloadParams::pt) else {
            return false;
        };
        let time = MediaTime::new(frame.time_48k, str0m::media::Frequency::FORTY_EIGHT_KHZ);
        let writer = writer.start_of_talkspurt(frame.begins_speech);
        writer.write(pt, now, time, frame.opus).is_ok()
    }

    fn on_event(&mut self, event: Event, now: Instant, outlet: &mut impl Outlet) {
        match event {
            Event::IceConnectionStateChange(state) => self.on_ice(state, now, outlet),
            Event::Connected => {
                self.state = CallState::Connected;
                self.reach(Step::Dtls, now, outlet);
                self.backend.on_connected(&mut self.line);
            }
            // One conversation: the first track and the first channel.
            Event::MediaAdded(added) if added.kind == MediaKind::Audio && self.audio.is_none() => {
                self.audio = Some(added.mid);
            }
            Event::MediaData(data) => self.on_audio(&data, now, outlet),
            Event::ChannelOpen(id, _) if self.channel.is_none() => {
                self.channel = Some(id);
                self.reach(Step::DataChannel, now, outlet);
                self.backend.on_channel(&mut self.line);
            }
            Event::ChannelData(data) if self.channel == Some(data.id) => {
                let message = if data.binary {
                    Message::Binary(data.data)
                } else {
                    Message::Text(String::from_utf8_lossy(&data.data).into_owned())
                };
                self.backend.on_message(message, &mut self.line);
            }
            Event::ChannelClose(id) if self.channel == Some(id) => {
                self.channel = None;
                self.channel_full = false;
            }
            Event::ChannelBufferedAmountLow(_) => self.channel_full = false,
            Event::PeerStats(stats) => self.media.on_peer(&stats),
            Event::MediaIngressStats(stats) => {
                outlet.count(Tally::Jitter(self.media.on_ingress(&stats)));
            }
            Event::MediaEgressStats(stats) => {
                if let Some(round_trip) = self.media.on_egress(&stats) {
                    outlet.count(Tally::RoundTrip(round_trip));
                }
            }
            Event::Closed => self.closed(EndReason::ClientClosed),
            _ => {}
        }
    }

    fn on_ice(&mut self, state: IceConnectionState, now: Instant, outlet: &mut impl Outlet) {
        match state {
            IceConnectionState::Connected | IceConnectionState::Completed => {
                self.reach(Step::Ice, now, outlet);
                self.lost_at = None;
                if self.state == CallState::Disconnected {
                    self.state = CallState::Connected;
                }
            }
            IceConnectionState::Disconnected => {
                if self.state == CallState::Connected {
                    self.state = CallState::Disconnected;
                    self.lost_at = Some(now);
                }
            }
            IceConnectionState::New | IceConnectionState::Checking => {}
        }
    }

    fn on_audio(&mut self, data: &MediaData, now: Instant, outlet: &mut impl Outlet) {
        if self.audio != Some(data.mid) {
            return;
        }
        let lost = self.media.on_audio(data);
        if lost > 0 {
            outlet.count(Tally::AudioLost(lost));
        }
        outlet.count(Tally::AudioIn);
        self.reach(Step::FirstAudioIn, now, outlet);
        let level = data.ext_vals.audio_level;
        let heard = Heard {
            time_48k: data.time.numer(),
            level: level.map(|dbov| Level { dbov, voice: data.ext_vals.voice_activity }),
            after_loss: !data.contiguous,
            opus: Arc::clone(&data.data),
        };
        self.backend.on_audio(heard, &mut self.line);
    }

    /// The connection is over, whoever ended it.
    fn closed(&mut self, reason: EndReason) {
        if self.end.is_none() {
            self.end = Some(reason);
            self.backend.on_end(reason);
        }
        self.state = CallState::Ended;
    }

    fn reach(&mut self, step: Step, now: Instant, outlet: &mut impl Outlet) {
        if let Some(after) = self.milestones.reach(step, now) {
            outlet.count(Tally::Reached(step, after));
        }
    }
}
