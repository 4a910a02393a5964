//! One call: str0m in the middle, the way its packets take on one side, its backend on the other.
//!
//! It has no socket and no clock. The shard hands it packets and the time, and sends what it gives
//! to the [`Outlet`]. str0m wants one change at a time, with everything it has to say taken from it
//! in between; [`drive`] is the only place where that happens.

mod drive;
mod early;
mod events;
mod media;
mod outlet;
mod path;
mod playout;
mod report;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use outlet::{Outlet, Step, Tally};
pub use path::{PATHS_MAX, Path};

use crate::backend::{Backend, Line};
use crate::call::{CallState, EndReason};
use crate::negotiation::{self, Credentials, Fragment, Offer, OfferError, Renegotiated, STAND_IN};
use crate::shard::Opening;
use media::Media;
use path::{Check, Paths};
use playout::Playout;
use report::Milestones;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::channel::ChannelId;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
use str0m::{Input, Rtc};
use wire::hint::SessionTag;
use wire::stun;

/// A client that never comes is given up after this long. Browsers stop trying before.
const SETUP_TIME_MAX: Duration = Duration::from_secs(30);

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

    fn reach(&mut self, step: Step, now: Instant, outlet: &mut impl Outlet) {
        if let Some(after) = self.milestones.reach(step, now) {
            outlet.count(Tally::Reached(step, after));
        }
    }
}
