//! One stream of numbered packets, out and back, and its books.

use super::{
    Arrival, ClosedLoop, Counts, Ledger, Measurement, Nanoseconds, Verdict as Fate, record,
};

/// The stream of one call or flow.
#[derive(Debug, Clone)]
pub struct Stream {
    ledger: Ledger,
    closed_loop: ClosedLoop,
    /// Packets sent, those that could not be sent not counted.
    sent: u64,
    back: u64,
    lost: u64,
    next_slot: u64,
    last_arrival: Nanoseconds,
    closed_at: Nanoseconds,
    gap: Nanoseconds,
    jitter: f64,
    transit: Option<i128>,
}

/// What a packet that came back says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echoed {
    /// Its slot.
    pub slot: u64,
    /// When it was due.
    pub due: Nanoseconds,
    /// When it was sent.
    pub sent: Nanoseconds,
}

impl Stream {
    /// A stream that has room for this many slots between sending and judgement.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            ledger: Ledger::new(slots),
            closed_loop: ClosedLoop::default(),
            sent: 0,
            back: 0,
            lost: 0,
            next_slot: 0,
            last_arrival: 0,
            closed_at: Nanoseconds::MAX,
            gap: 0,
            jitter: 0.0,
            transit: None,
        }
    }

    /// Begins anew, its first packet being due at that time. Slots go on, so that nothing of before
    /// can be taken for something of now.
    pub fn begin(&mut self, first_due: Nanoseconds) {
        let ledger = std::mem::replace(&mut self.ledger, Ledger::new(1));
        let next_slot = self.next_slot;
        *self = Self { ledger, next_slot, last_arrival: first_due, ..Self::new(1) };
    }

    /// The slot that comes next.
    #[must_use]
    pub const fn next_slot(&self) -> u64 {
        self.next_slot
    }

    /// Packets sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Packets lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Opens the next slot, whose packet leaves now if it `sends` one.
    pub fn open(
        &mut self,
        sends: bool,
        due: Nanoseconds,
        now: Nanoseconds,
        to: &mut Measurement,
    ) -> u64 {
        let slot = self.ledger.open(sends);
        self.next_slot = slot + 1;
        if sends {
            self.sent += 1;
            self.closed_loop.sent(slot, now);
            to.counts.sent += 1;
            record(&mut to.lateness, now.saturating_sub(due));
        }
        slot
    }

    /// The packet of that slot could not be sent.
    pub fn withdraw(&mut self, slot: u64, counts: &mut Counts) {
        self.ledger.withdraw(slot);
        self.sent = self.sent.saturating_sub(1);
        counts.sent = counts.sent.saturating_sub(1);
    }

    /// A packet came back. `false` if it was never sent.
    pub fn arrive(&mut self, echoed: Echoed, now: Nanoseconds, to: &mut Measurement) -> Arrival {
        let arrival = self.ledger.arrive(echoed.slot);
        match arrival {
            Arrival::Invalid => to.counts.foreign += 1,
            Arrival::Duplicate => to.counts.duplicates += 1,
            Arrival::TooLate => to.counts.too_late += 1,
            Arrival::New { reordered } => {
                to.counts.reordered += u64::from(reordered);
                self.arrived(echoed, now, to);
            }
        }
        arrival
    }

    fn arrived(&mut self, echoed: Echoed, now: Nanoseconds, to: &mut Measurement) {
        record(&mut to.latency.corrected, now.saturating_sub(echoed.due));
        if let Some(latency) = self.closed_loop.answered(echoed.slot, now) {
            record(&mut to.latency.uncorrected, latency);
        }
        self.gap = self.gap.max(now.saturating_sub(self.last_arrival));
        self.last_arrival = self.last_arrival.max(now);
        // RFC 3550 section 6.4.1: the mean of the difference of transit times, smoothed.
        let transit = i128::from(now) - i128::from(echoed.sent);
        if let Some(before) = self.transit.replace(transit) {
            #[expect(clippy::cast_precision_loss, reason = "a difference of milliseconds")]
            let difference = (transit - before).unsigned_abs() as f64;
            self.jitter += (difference - self.jitter) / 16.0;
        }
    }

    /// Judges all slots but so many of the latest.
    pub fn judge(&mut self, open_slots: u64, counts: &mut Counts) {
        while let Some(fate) = self.ledger.judge(open_slots) {
            match fate {
                Fate::Back => {
                    counts.back += 1;
                    self.back += 1;
                }
                Fate::Lost => {
                    counts.lost += 1;
                    self.lost += 1;
                }
                Fate::Unsent => {}
            }
        }
    }

    /// Nothing is sent any more.
    pub fn close(&mut self, now: Nanoseconds) {
        self.closed_at = self.closed_at.min(now);
    }

    /// Whether a packet may still come back.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.ledger.has_open()
    }

    /// Judges the rest, and records what belongs to the stream as a whole.
    pub fn finish(&mut self, to: &mut Measurement) {
        self.judge(0, &mut to.counts);
        let judged = self.back + self.lost;
        if judged == 0 {
            return;
        }
        // One that fell silent before it was closed: that silence counts too.
        let closed_at = if self.closed_at == Nanoseconds::MAX { 0 } else { self.closed_at };
        record(&mut to.gaps, self.gap.max(closed_at.saturating_sub(self.last_arrival)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of differences: never negative, and far below 2^64"
        )]
        record(&mut to.jitter, self.jitter as u64);
        let ppm = u128::from(self.lost) * 1_000_000 / u128::from(judged);
        let _ = to.call_loss_ppm.record(u64::try_from(ppm).unwrap_or(1_000_000));
    }
}
