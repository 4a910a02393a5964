//! One call's books: what was sent, what came back, and what is missing on which way.
//!
//! An echo comes back or does not; which way it was lost is told by the transceiver's own sequence
//! numbers, which stand in the clear in front of every RTP packet: it numbers what it sends, so a
//! number that is missing was lost on the way down, and a frame that is missing without one on the
//! way up.
//!
//! When something came is the kernel's word (a time stamp on the packet), and when something was
//! sent is the moment of sending: a client that wakes up late makes no gap by that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loadgen::call::FRAME_INTERVAL;

/// A packet of audio that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The frame that it is an echo of.
    pub(crate) frame: u64,
    /// The transceiver's sequence number.
    pub(crate) sequence: u16,
    /// When the kernel had it, since 1970.
    pub(crate) at: Duration,
}

/// What a call did from one moment to another.
#[derive(Debug)]
pub(crate) struct Ledger {
    first: u64,
    sent: Vec<Instant>,
    heard: Vec<Heard>,
    from: Duration,
    until: Option<Duration>,
}

/// What the books say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    pub(crate) sent: u64,
    pub(crate) heard: u64,
    pub(crate) lost_up: u64,
    pub(crate) lost_down: u64,
    /// The longest time between two frames that the transceiver heard, on the client's clock.
    pub(crate) gap_up: Duration,
    /// The longest time between two packets that came.
    pub(crate) gap_down: Duration,
}

impl Ledger {
    /// New books, whose first frame has this number.
    pub(crate) const fn open(first: u64, now: Duration) -> Self {
        Self { first, sent: Vec::new(), heard: Vec::new(), from: now, until: None }
    }

    /// The next frame is sent.
    pub(crate) fn send(&mut self, now: Instant) {
        if self.until.is_none() {
            self.sent.push(now);
        }
    }

    pub(crate) fn hear(&mut self, heard: Heard) {
        self.heard.push(heard);
    }

    /// From now on frames no longer count; echoes of those that do may still come.
    pub(crate) const fn close(&mut self, now: Duration) {
        self.until = Some(now);
    }

    /// When something came last.
    pub(crate) fn last_heard(&self) -> Option<Duration> {
        self.heard.last().map(|heard| heard.at)
    }

    /// The numbers of the frames that count.
    fn frames(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.sent.len() as u64
    }

    /// Whether echoes may still come.
    pub(crate) fn is_complete(&self) -> bool {
        let last = self.frames().end.checked_sub(1);
        self.sent.is_empty() || self.heard.iter().any(|heard| Some(heard.frame) >= last)
    }

    /// What came, by the transceiver's numbers, unwrapped.
    fn by_sequence(&self) -> BTreeMap<i64, Heard> {
        let mut place = 0;
        let mut before = None;
        let in_order = |heard: &Heard| {
            let step = heard.sequence.wrapping_sub(before.unwrap_or(heard.sequence));
            before = Some(heard.sequence);
            place += i64::from(step.cast_signed());
            (place, *heard)
        };
        self.heard.iter().map(in_order).collect()
    }

    /// Books of an echo.
    pub(crate) fn echo(&self) -> Figures {
        let by_sequence = self.by_sequence();
        let mut frames: BTreeMap<u64, i64> = BTreeMap::new();
        for (&place, heard) in &by_sequence {
            frames.insert(heard.frame, place);
        }
        let counted = self.frames();
        let heard = frames.range(counted.clone()).count() as u64;
        let mut figures = Figures {
            sent: self.sent.len() as u64,
            heard,
            gap_down: self.gap_down(&by_sequence),
            ..Figures::default()
        };
        // From one frame that came back to the next; before the first is the frame before the books.
        let mut before: Option<(u64, i64)> = None;
        for (&frame, &place) in frames.range(counted.start.saturating_sub(1)..) {
            let (frame_before, place_before) =
                before.unwrap_or((counted.start.saturating_sub(1), place - 1));
            before = Some((frame, place));
            self.between(frame_before, frame, place - place_before, &mut figures);
        }
        // Behind the last nothing is known of the way down.
        let last = before.map_or(counted.start.saturating_sub(1), |(frame, _)| frame);
        self.between(last, counted.end, 1, &mut figures);
        figures
    }

    /// Books a stretch between two frames that came back, in which the transceiver sent so many.
    fn between(&self, before: u64, frame: u64, places: i64, figures: &mut Figures) {
        let counted = self.frames();
        let (from, to) = (before.saturating_add(1).max(counted.start), frame.min(counted.end));
        let missing = to.saturating_sub(from);
        if missing == 0 {
            return;
        }
        let down = u64::try_from(places - 1).unwrap_or(0).min(missing);
        figures.lost_down += down;
        figures.lost_up += missing - down;
        if missing > down {
            let at = |frame: u64| {
                let index = frame.saturating_sub(self.first).min(self.sent.len() as u64 - 1);
                self.sent[usize::try_from(index).unwrap_or(usize::MAX)]
            };
            let down = u32::try_from(down).unwrap_or(u32::MAX);
            let gap = at(to).saturating_duration_since(at(from.saturating_sub(1)));
            figures.gap_up = figures.gap_up.max(gap.saturating_sub(FRAME_INTERVAL * down));
        }
    }

    /// Books of a partner who talks by itself: only what comes down.
    pub(crate) fn talk(&self) -> Figures {
        let by_sequence = self.by_sequence();
        let span = match (by_sequence.first_key_value(), by_sequence.last_key_value()) {
            (Some((first, _)), Some((last, _))) => u64::try_from(last - first + 1).unwrap_or(0),
            _ => 0,
        };
        Figures {
            sent: self.sent.len() as u64,
            heard: by_sequence.len() as u64,
            lost_down: span - by_sequence.len() as u64,
            gap_down: self.gap_down(&by_sequence),
            ..Figures::default()
        }
    }

    fn gap_down(&self, by_sequence: &BTreeMap<i64, Heard>) -> Duration {
        let within = |heard: &Heard| self.until.map_or(heard.at, |until| heard.at.min(until));
        let mut times: Vec<_> = by_sequence.values().map(within).collect();
        times.push(self.from);
        times.extend(self.until);
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    const FIRST: u64 = 65_000;
    const FRAMES: u64 = 1_200;
    const TRIP: Duration = Duration::from_millis(3);

    /// A call from which these frames are lost on the way up, and these on the way down.
    fn call(
        up: &std::collections::BTreeSet<u64>,
        down: &std::collections::BTreeSet<u64>,
    ) -> Ledger {
        let (start, from) = (Instant::now(), Duration::from_secs(1_000));
        let mut ledger = Ledger::open(FIRST, from);
        let mut sequence: u16 = 65_530;
        // Two frames more than count, so that the last ones have somebody behind them.
        for index in 0..FRAMES + 2 {
            let time = FRAME_INTERVAL * u32::try_from(index).unwrap();
            if index == FRAMES {
                ledger.close(from + time);
            }
            ledger.send(start + time);
            if up.contains(&index) {
                continue;
            }
            let heard = Heard { frame: FIRST + index, sequence, at: from + time + TRIP };
            sequence = sequence.wrapping_add(1);
            if !down.contains(&index) {
                ledger.hear(heard);
            }
        }
        ledger
    }

    #[test]
    fn nothing_lost_is_nothing_lost() {
        let figures = call(&[].into(), &[].into()).echo();
        let gap = figures.gap_down;
        assert_eq!((figures.sent, figures.heard), (FRAMES, FRAMES));
        assert_eq!((figures.lost_up, figures.lost_down), (0, 0));
        assert_eq!((figures.gap_up, gap), (Duration::ZERO, FRAME_INTERVAL));
    }

    #[test]
    fn a_hole_is_as_long_as_it_is_and_on_its_own_side() {
        let hole = (100..110).collect();
        let up = call(&hole, &[].into()).echo();
        assert_eq!((up.lost_up, up.lost_down), (10, 0));
        assert_eq!((up.gap_up, up.gap_down), (FRAME_INTERVAL * 11, FRAME_INTERVAL * 11));
        let down = call(&[].into(), &hole).echo();
        assert_eq!((down.lost_up, down.lost_down), (0, 10));
        assert_eq!((down.gap_up, down.gap_down), (Duration::ZERO, FRAME_INTERVAL * 11));
        assert_eq!(call(&[].into(), &hole).talk().lost_down, 10);
    }

    #[test]
    fn silence_to_the_end_or_from_the_start_is_a_gap_too() {
        let end = call(&(1_000..FRAMES + 2).collect(), &[].into());
        assert!(!end.is_complete());
        assert_eq!(end.echo().lost_up, 200);
        assert!(end.echo().gap_down > Duration::from_millis(3_900), "{:?}", end.echo());
        assert!(end.echo().gap_up > Duration::from_millis(3_900), "{:?}", end.echo());
        let start = call(&(0..50).collect(), &[].into()).echo();
        assert_eq!((start.lost_up, start.lost_down), (50, 0));
        assert!(start.gap_up >= FRAME_INTERVAL * 50, "{start:?}");
        let all = call(&(0..FRAMES + 2).collect(), &[].into()).echo();
        assert_eq!((all.lost_up, all.gap_down), (FRAMES, FRAME_INTERVAL * 1_200));
    }

    proptest! {
        #[test]
        fn every_loss_is_booked_once_and_on_its_own_side(
            up in btree_set(0..FRAMES, 0..200),
            down in btree_set(1..FRAMES, 0..200),
        ) {
            let down: std::collections::BTreeSet<_> = down.difference(&up).copied().collect();
            // What is lost down before anything came cannot be told from what is lost up.
            let first = (0..FRAMES).find(|frame| !up.contains(frame));
            prop_assume!(first.is_some_and(|first| !down.contains(&first)));
            let figures = call(&up, &down).echo();
            prop_assert_eq!(figures.lost_up, up.len() as u64);
            prop_assert_eq!(figures.lost_down, down.len() as u64);
        }
    }
}
