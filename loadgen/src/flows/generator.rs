//! The flows of one thread as a state machine: what to send when, and what became of it. No clock
//! and no socket.
//!
//! ```text
//!   arrival ─► checking ──answered──► live ──leaves──► closing ──settled──► gone
//!                 │                    │                  ▲
//!                 └── no answer ───────┴─ consent expired ┘
//! ```

mod agenda;
mod flow;

use std::collections::VecDeque;
use std::time::Duration;

use wire::demux::PacketClass;
use wire::stun::{Kind, Message};

use super::packet::{self, Media, Transaction};
use super::profile::Profile;
use super::sessions::Sessions;
use crate::measure::{MILLISECOND, Measurement, Nanoseconds, SECOND, nanoseconds, record};
use crate::population::{Change, Population};
use crate::slo::SETUP_PHASE;
use agenda::{Agenda, Visit};
use flow::{Flow, State};

/// What flows do.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What they send.
    pub profile: Profile,
    /// A packet that is not back after this long is lost.
    pub allowed: Duration,
    /// Time between two checks of consent: Chrome's.
    pub check_interval: Duration,
    /// A flow whose checks have not been answered for this long stops (RFC 7675 section 5.1).
    pub consent: Duration,
    /// A flow whose first check has not been answered by then has failed.
    pub setup: Duration,
}

impl Settings {
    /// The usual ones.
    #[must_use]
    pub const fn new(profile: Profile) -> Self {
        Self {
            profile,
            allowed: Duration::from_secs(2),
            check_interval: Duration::from_millis(2_500),
            consent: Duration::from_secs(30),
            setup: Duration::from_secs(10),
        }
    }
}

/// How much load is wanted, from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Flows at a time.
    pub flows: u32,
    /// When that begins.
    pub from: Nanoseconds,
    /// Over how long missing ones arrive.
    pub spread: Nanoseconds,
    /// Time between two flows that leave for new ones; none do if it is zero.
    pub churn_interval: Nanoseconds,
}

/// A packet to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Whose.
    pub flow: u32,
    /// How long it is.
    pub length: usize,
    slot: Option<u64>,
}

/// The flows of one thread.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    sessions: Sessions,
    run: u32,
    /// Slots between sending and judgement.
    allowed_slots: u64,
    flows: Vec<Flow>,
    /// Places of flows that are gone.
    free: Vec<u32>,
    visits: Agenda,
    population: Population,
    /// Those that have not left, oldest first, with their generation.
    present: VecDeque<(u32, u32)>,
    window: Measurement,
}

/// The first check is repeated after this long, then after twice as long (RFC 8489 section 6.2.1).
const CHECK_RETRY: Nanoseconds = 250 * MILLISECOND;
const CHECK_RETRY_MAX: Nanoseconds = 2 * SECOND;

impl Generator {
    /// No flows yet. `run` tells this generator's packets from those of others.
    #[must_use]
    pub fn new(settings: Settings, sessions: Sessions, run: u32) -> Self {
        let slots = settings.allowed.as_nanos() / settings.profile.slot().as_nanos().max(1);
        Self {
            settings,
            sessions,
            run,
            allowed_slots: u64::try_from(slots).unwrap_or(u64::MAX).max(1),
            flows: Vec::new(),
            free: Vec::new(),
            visits: Agenda::default(),
            population: Population::default(),
            present: VecDeque::new(),
            window: Measurement::default(),
        }
    }

    /// Sets how much load is wanted from now on.
    pub fn set_load(&mut self, load: Load) {
        self.population.set_load(load);
    }

    /// Flows that have not left.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.population.active()
    }

    /// Whether nothing is left to do: no flow, and none wanted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.population.wanted() == 0 && self.free.len() == self.flows.len()
    }

    /// When [`Generator::poll`] next has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanoseconds> {
        [self.visits.next_due(), self.population.next_due()].into_iter().flatten().min()
    }

    /// Writes the next packet that is due into `out`, which has room for
    /// [`super::PACKET_BYTES_MAX`]. `None` if none is.
    pub fn poll(&mut self, now: Nanoseconds, out: &mut [u8]) -> Option<Outgoing> {
        self.populate(now);
        loop {
            let Visit { due, flow, token } = self.visits.take(now)?;
            if self.flows[flow as usize].token != token {
                continue;
            }
            if let Some(outgoing) = self.visit(flow, due, now, out) {
                return Some(outgoing);
            }
        }
    }

    /// The packet could not be sent: that is nobody's loss but the generator's.
    pub fn refused(&mut self, outgoing: Outgoing) {
        self.window.generator.refused += 1;
        if let Some(slot) = outgoing.slot {
            let flow = &mut self.flows[outgoing.flow as usize];
            flow.stream.withdraw(slot, &mut self.window.counts);
        }
    }

    /// Takes a packet that came from the target.
    pub fn on_packet(&mut self, packet: &[u8], now: Nanoseconds) {
        self.window.counts.bytes_received += packet.len() as u64;
        let known = match PacketClass::of(packet) {
            PacketClass::Stun => self.on_answer(packet, now),
            PacketClass::Rtp => self.on_media(packet, now),
            _ => None,
        };
        if known.is_none() {
            self.window.counts.foreign += 1;
        }
    }

    /// A packet came from somebody else.
    pub fn on_foreign(&mut self) {
        self.window.counts.foreign += 1;
    }

    /// What was measured since the last time.
    pub fn take_window(&mut self) -> Measurement {
        std::mem::take(&mut self.window)
    }

    /// What is being measured, for what its user counts.
    pub fn window(&mut self) -> &mut Measurement {
        &mut self.window
    }

    /// Brings the population to what is wanted, as far as that is due.
    fn populate(&mut self, now: Nanoseconds) {
        while let Some(change) = self.population.next(now) {
            match change {
                Change::Arrive { due } => self.arrive(due),
                Change::Depart => self.depart(now),
            }
        }
    }

    fn arrive(&mut self, due: Nanoseconds) {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
            let slots = usize::try_from(self.allowed_slots + 2).unwrap_or(usize::MAX);
            self.flows.push(Flow::new(slots));
            index
        });
        let session = self.sessions.mint();
        let flow = &mut self.flows[index as usize];
        flow.begin(session, due);
        self.window.counts.started += 1;
        self.present.push_back((index, flow.generation));
        self.visits.add(flow.visit(due, index));
    }

    /// The oldest leaves.
    fn depart(&mut self, now: Nanoseconds) {
        let Some((index, generation)) = self.present.pop_front() else { return };
        let flow = &mut self.flows[index as usize];
        if flow.generation != generation || matches!(flow.state, State::Gone) {
            return;
        }
        if matches!(flow.state, State::Checking { .. } | State::Live { .. }) {
            self.window.counts.ended += 1;
            self.close(index, now);
        }
    }

    fn fail(&mut self, index: u32, cause: &'static str, now: Nanoseconds) {
        self.window.failure(cause);
        self.flows[index as usize].has_failed = true;
        self.close(index, now);
    }

    fn close(&mut self, index: u32, now: Nanoseconds) {
        let flow = &mut self.flows[index as usize];
        flow.close(now);
        let until = now + nanoseconds(self.settings.allowed);
        self.visits.add(flow.visit(until, index));
    }

    fn visit(
        &mut self,
        index: u32,
        due: Nanoseconds,
        now: Nanoseconds,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        match self.flows[index as usize].state {
            State::Gone => None,
            State::Closing => {
                self.finish(index, now);
                None
            }
            State::Checking { attempt } => self.visit_checking(index, attempt, due, now, out),
            State::Live { .. } => self.visit_live(index, due, now, out),
        }
    }

    fn visit_checking(
        &mut self,
        index: u32,
        attempt: u32,
        due: Nanoseconds,
        now: Nanoseconds,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        let flow = &mut self.flows[index as usize];
        if now.saturating_sub(flow.begun_due) >= nanoseconds(self.settings.setup) {
            self.fail(index, "no answer to any check", now);
            return None;
        }
        flow.state = State::Checking { attempt: attempt + 1 };
        let wait = CHECK_RETRY.saturating_mul(1 << attempt.min(8)).min(CHECK_RETRY_MAX);
        let give_up = flow.begun_due + nanoseconds(self.settings.setup);
        self.visits.add(flow.visit((due + wait).min(give_up), index));
        if attempt == 0 {
            record(&mut self.window.lateness, now.saturating_sub(due));
        }
        self.check(index, now, out)
    }

    fn visit_live(
        &mut self,
        index: u32,
        due: Nanoseconds,
        now: Nanoseconds,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        self.judge(index, self.allowed_slots);
        let check_interval = nanoseconds(self.settings.check_interval);
        let flow = &mut self.flows[index as usize];
        let State::Live { consent_until, next_check } = &mut flow.state else { return None };
        if now > *consent_until {
            self.fail(index, "consent expired: checks were not answered any more", now);
            return None;
        }
        if due >= *next_check {
            *next_check = due + check_interval;
            // The media of this slot come next.
            self.visits.add(flow.visit(due, index));
            return self.check(index, now, out);
        }
        let slot_time = nanoseconds(self.settings.profile.slot());
        self.visits.add_steady(flow.visit(due + slot_time, index));
        let bytes = self.settings.profile.bytes(flow.stream.next_slot(), u64::from(index) * 7);
        let slot = flow.stream.open(bytes.is_some(), due, now, &mut self.window);
        let length = usize::from(bytes?);
        let media = Media {
            run: self.run,
            flow: index,
            generation: flow.generation,
            slot,
            ordinal: flow.stream.sent(),
            due,
            sent: now,
            sink: packet::Sink::default(),
        };
        media.write(&mut out[..length]);
        self.window.counts.bytes_sent += length as u64;
        Some(Outgoing { flow: index, length, slot: Some(slot) })
    }

    fn check(&mut self, index: u32, now: Nanoseconds, out: &mut [u8]) -> Option<Outgoing> {
        let flow = &mut self.flows[index as usize];
        flow.check_number = flow.check_number.wrapping_add(1);
        flow.check_sent = now;
        let transaction = Transaction { run: self.run, flow: index, number: flow.check_number };
        let session = flow.session.as_ref()?;
        let length = packet::check(session, transaction, out);
        self.window.counts.checks += 1;
        self.window.counts.bytes_sent += length as u64;
        Some(Outgoing { flow: index, length, slot: None })
    }

    fn judge(&mut self, index: u32, open_slots: u64) {
        let flow = &mut self.flows[index as usize];
        flow.stream.judge(open_slots, &mut self.window.counts);
    }

    fn finish(&mut self, index: u32, now: Nanoseconds) {
        let flow = &mut self.flows[index as usize];
        flow.finish(&mut self.window);
        let generation = flow.generation;
        self.free.push(index);
        // One that failed has kept its place until now, so that nobody is hammered.
        if flow.has_failed {
            let before = self.present.len();
            self.present.retain(|entry| *entry != (index, generation));
            if self.present.len() < before {
                self.population.lost_one(now);
            }
        }
    }

    /// An answer to a check: proof of consent, once its integrity is right.
    fn on_answer(&mut self, packet: &[u8], now: Nanoseconds) -> Option<()> {
        let message = Message::parse(packet).ok()?;
        let transaction = Transaction::read(message.transaction());
        if message.kind() != Kind::BindingSuccess || transaction.run != self.run {
            return None;
        }
        let slot_time = nanoseconds(self.settings.profile.slot());
        let consent_until = now + nanoseconds(self.settings.consent);
        let flow = self.flows.get_mut(transaction.flow as usize)?;
        let session = flow.session.as_ref()?;
        message.verify_integrity(session.password.as_bytes()).ok()?;
        self.window.counts.checks_answered += 1;
        if transaction.number == flow.check_number {
            record(&mut self.window.checks, now.saturating_sub(flow.check_sent));
        }
        match &mut flow.state {
            State::Live { consent_until: until, .. } => *until = consent_until,
            State::Checking { .. } => {
                let next_check = now + nanoseconds(self.settings.check_interval);
                flow.state = State::Live { consent_until, next_check };
                flow.token = flow.token.wrapping_add(1);
                // Flows that begin together do not send together for ever.
                let phase =
                    u64::from(transaction.flow).wrapping_mul(0x9e37_79b9) % slot_time.max(1);
                flow.stream.begin(now + phase);
                self.visits.add(flow.visit(now + phase, transaction.flow));
                self.window.counts.connected += 1;
                self.window.phase(SETUP_PHASE, now.saturating_sub(flow.begun_due));
            }
            State::Closing | State::Gone => {}
        }
        Some(())
    }

    fn on_media(&mut self, packet: &[u8], now: Nanoseconds) -> Option<()> {
        let media = Media::read(packet).filter(|media| media.run == self.run)?;
        let flow = self.flows.get_mut(media.flow as usize)?;
        if flow.generation != media.generation {
            // Of one that is gone.
            self.window.counts.too_late += 1;
            return Some(());
        }
        flow.arrive(&media, now, &mut self.window);
        Some(())
    }
}

#[cfg(test)]
mod tests;
