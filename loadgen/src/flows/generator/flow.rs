//! One flow, and its books.

use crate::flows::packet::{Media, Sink};
use crate::flows::sessions::Session;
use crate::measure::{ClosedLoop, Counts, Ledger, Measurement, Nanoseconds, Verdict, record};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The place is free.
    Gone,
    /// Nobody has answered yet.
    Checking { attempt: u32 },
    /// Media flow.
    Live { consent_until: Nanoseconds, next_check: Nanoseconds },
    /// Nothing is sent any more; what is under way may still come back.
    Closing,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) generation: u32,
    /// Whose visits are valid.
    pub(super) token: u32,
    pub(super) state: State,
    pub(super) session: Option<Session>,
    pub(super) begun_due: Nanoseconds,
    pub(super) check_number: u32,
    pub(super) check_sent: Nanoseconds,
    pub(super) ledger: Ledger,
    pub(super) closed_loop: ClosedLoop,
    pub(super) next_slot: u64,
    pub(super) sent: u64,
    pub(super) last_arrival: Nanoseconds,
    pub(super) has_failed: bool,
    closed_at: Nanoseconds,
    back: u64,
    lost: u64,
    gap: Nanoseconds,
    jitter: f64,
    transit: Option<i128>,
    sink: Sink,
}

impl Flow {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            generation: 0,
            token: 0,
            state: State::Gone,
            session: None,
            begun_due: 0,
            check_number: 0,
            check_sent: 0,
            ledger: Ledger::new(slots),
            closed_loop: ClosedLoop::default(),
            next_slot: 0,
            sent: 0,
            last_arrival: 0,
            has_failed: false,
            closed_at: 0,
            back: 0,
            lost: 0,
            gap: 0,
            jitter: 0.0,
            transit: None,
            sink: Sink::default(),
        }
    }

    /// A new flow takes the place. Slots and check numbers go on, so that nothing of the one
    /// before can be taken for one of this.
    pub(super) fn begin(&mut self, session: Session, due: Nanoseconds) {
        let ledger = std::mem::replace(&mut self.ledger, Ledger::new(1));
        *self = Self {
            generation: self.generation.wrapping_add(1),
            token: self.token.wrapping_add(1),
            state: State::Checking { attempt: 0 },
            session: Some(session),
            begun_due: due,
            check_number: self.check_number,
            ledger,
            next_slot: self.next_slot,
            ..Self::new(1)
        };
    }

    pub(super) fn close(&mut self, now: Nanoseconds) {
        self.closed_at = now;
        self.state = State::Closing;
        self.token = self.token.wrapping_add(1);
    }

    pub(super) fn judge(&mut self, open_slots: u64, counts: &mut Counts) {
        while let Some(verdict) = self.ledger.judge(open_slots) {
            match verdict {
                Verdict::Back => {
                    counts.back += 1;
                    self.back += 1;
                }
                Verdict::Lost => {
                    counts.lost += 1;
                    self.lost += 1;
                }
                Verdict::Unsent => {}
            }
        }
    }

    /// A packet came back for the first time.
    pub(super) fn on_new(&mut self, media: &Media, now: Nanoseconds, window: &mut Measurement) {
        record(&mut window.latency.corrected, now.saturating_sub(media.due));
        if let Some(latency) = self.closed_loop.answered(media.slot, now) {
            record(&mut window.latency.uncorrected, latency);
        }
        self.gap = self.gap.max(now.saturating_sub(self.last_arrival));
        self.last_arrival = now;
        // RFC 3550 section 6.4.1: the mean of the difference of transit times, smoothed.
        let transit = i128::from(now) - i128::from(media.sent);
        if let Some(before) = self.transit.replace(transit) {
            #[expect(clippy::cast_precision_loss, reason = "a difference of milliseconds")]
            let difference = (transit - before).unsigned_abs() as f64;
            self.jitter += (difference - self.jitter) / 16.0;
        }
        let sink = &media.sink;
        if sink.host == 0 {
            return;
        }
        if sink.host == crate::host::clock_id() {
            record(&mut window.up, sink.seen_at.saturating_sub(media.sent));
            record(&mut window.down, now.saturating_sub(sink.seen_at));
        }
        self.sink.host = sink.host;
        self.sink.arrived = self.sink.arrived.max(sink.arrived);
        self.sink.reordered = self.sink.reordered.max(sink.reordered);
        self.sink.doubled = self.sink.doubled.max(sink.doubled);
    }

    /// Everything is settled: the flow's own figures.
    pub(super) fn finish(&mut self, window: &mut Measurement) {
        if self.back + self.lost > 0 {
            // A flow that fell silent before it was closed: that silence counts too.
            let silent_at_end = self.closed_at.saturating_sub(self.last_arrival);
            record(&mut window.gaps, self.gap.max(silent_at_end));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a mean of differences: never negative, and far below 2^64"
            )]
            record(&mut window.jitter, self.jitter as u64);
            let loss = u128::from(self.lost) * 1_000_000 / u128::from(self.back + self.lost);
            let _ = window.call_loss_ppm.record(u64::try_from(loss).unwrap_or(1_000_000));
        }
        if self.sink.host != 0 {
            // What is missing at the far end was lost on the way there. What came there after the
            // last echo is not known, hence never more than all that was lost.
            let missing = self.sent.saturating_sub(self.sink.arrived);
            window.counts.lost_up += missing.min(self.lost);
            window.counts.reordered_up += u64::from(self.sink.reordered);
            window.counts.duplicates_up += u64::from(self.sink.doubled);
        }
        self.state = State::Gone;
        self.session = None;
    }
}
