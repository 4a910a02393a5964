//! The books of one call.

use crate::call::Frame;
use crate::measure::{Echoed, Measurement, Nanoseconds, Stream};

/// A frame that is not back after this many frame times is lost: two seconds.
const ALLOWED_SLOTS: u64 = 100;

/// The frames of one call, and when each was due.
#[derive(Debug)]
pub(super) struct Book {
    stream: Stream,
    first_due: Nanoseconds,
}

impl Book {
    /// The first frame is due then, and each further one after a frame time.
    pub(super) fn new(first_due: Nanoseconds) -> Self {
        // The allowed ones, the one just opened, and a place to spare.
        let mut stream = Stream::new(102);
        stream.begin(first_due);
        Self { stream, first_due }
    }

    /// When the next frame is due.
    pub(super) fn next_due(&self) -> Nanoseconds {
        self.due(self.stream.next_slot())
    }

    /// The next frame leaves now: its number.
    pub(super) fn send(&mut self, now: Nanoseconds, to: &mut Measurement) -> u64 {
        self.stream.judge(ALLOWED_SLOTS, &mut to.counts);
        let due = self.next_due();
        self.stream.open(true, due, now, to)
    }

    /// It could not be sent.
    pub(super) fn withdraw(&mut self, number: u64, to: &mut Measurement) {
        self.stream.withdraw(number, &mut to.counts);
        to.generator.refused += 1;
    }

    /// A frame came back; `sent` is by the measurement's clock.
    pub(super) fn arrive(
        &mut self,
        frame: &Frame,
        sent: Nanoseconds,
        now: Nanoseconds,
        to: &mut Measurement,
    ) {
        let echoed = Echoed { slot: frame.number, due: self.due(frame.number), sent };
        self.stream.arrive(echoed, now, to);
    }

    /// Nothing is sent any more.
    pub(super) fn close(&mut self, now: Nanoseconds) {
        self.stream.close(now);
    }

    /// Whether a frame may still come back.
    pub(super) fn is_waiting(&self) -> bool {
        self.stream.is_waiting()
    }

    /// The end.
    pub(super) fn finish(&mut self, to: &mut Measurement) {
        self.stream.finish(to);
    }

    fn due(&self, number: u64) -> Nanoseconds {
        const INTERVAL: Nanoseconds = 20 * crate::measure::MILLISECOND;
        self.first_due.saturating_add(number.saturating_mul(INTERVAL))
    }
}
