//! One flow: its state, its session, its stream.

use super::agenda::Visit;
use crate::flows::packet::{Media, Sink};
use crate::flows::sessions::Session;
use crate::measure::{Arrival, Echoed, Measurement, Nanoseconds, Stream, record};

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
    pub(super) stream: Stream,
    pub(super) has_failed: bool,
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
            stream: Stream::new(slots),
            has_failed: false,
            sink: Sink::default(),
        }
    }

    /// A new flow takes the place. Slots and check numbers go on, so that nothing of the one
    /// before can be taken for one of this.
    pub(super) fn begin(&mut self, session: Session, due: Nanoseconds) {
        self.generation = self.generation.wrapping_add(1);
        self.token = self.token.wrapping_add(1);
        self.state = State::Checking { attempt: 0 };
        self.session = Some(session);
        self.begun_due = due;
        self.has_failed = false;
        self.sink = Sink::default();
        self.stream.begin(due);
    }

    /// A visit at that time, unless something happens to it before.
    pub(super) fn visit(&self, due: Nanoseconds, index: u32) -> Visit {
        Visit { due, flow: index, token: self.token }
    }

    pub(super) fn close(&mut self, now: Nanoseconds) {
        self.stream.close(now);
        self.state = State::Closing;
        self.token = self.token.wrapping_add(1);
    }

    /// A packet came back.
    pub(super) fn arrive(&mut self, media: &Media, now: Nanoseconds, window: &mut Measurement) {
        let echoed = Echoed { slot: media.slot, due: media.due, sent: media.sent };
        let sink = &media.sink;
        if !matches!(self.stream.arrive(echoed, now, window), Arrival::New { .. }) || sink.host == 0
        {
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
        self.stream.finish(window);
        if self.sink.host != 0 {
            // What is missing at the far end was lost on the way there. What came there after the
            // last echo is not known, hence never more than all that was lost.
            let missing = self.stream.sent().saturating_sub(self.sink.arrived);
            window.counts.lost_up += missing.min(self.stream.lost());
            window.counts.reordered_up += u64::from(self.sink.reordered);
            window.counts.duplicates_up += u64::from(self.sink.doubled);
        }
        self.state = State::Gone;
        self.session = None;
    }
}
