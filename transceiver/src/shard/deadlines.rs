//! Which session wants to be asked next, and when: a heap, so that idle sessions cost nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;
use wire::hint::SessionTag;

/// Deadlines are rounded up to this, so that sessions whose times lie close together are asked in
/// one wake-up, and their packets leave in one bundle.
const GRAIN_NS: u128 = 1_000_000;

#[derive(Debug)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, SessionTag)>>,
    /// What counts; the heap may hold older ones.
    current: HashMap<SessionTag, Instant>,
    epoch: Instant,
}

impl Deadlines {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { heap: BinaryHeap::new(), current: HashMap::new(), epoch }
    }

    /// A session is to be asked then, and not at the time named before.
    pub(super) fn set(&mut self, session: SessionTag, at: Instant) {
        let at = self.rounded_up(at);
        let before = self.current.insert(session, at);
        if before != Some(at) {
            self.heap.push(Reverse((at, session)));
        }
        // Every packet may move a deadline. What it leaves behind in the heap goes when its time
        // comes, unless there is too much of it.
        if self.heap.len() > 64 && self.heap.len() > 4 * self.current.len() {
            self.heap = self.current.iter().map(|(session, at)| Reverse((*at, *session))).collect();
        }
    }

    pub(super) fn remove(&mut self, session: SessionTag) {
        self.current.remove(&session);
    }

    /// The next session whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<SessionTag> {
        self.skip_outdated();
        let Reverse((at, session)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.current.remove(&session);
        Some(session)
    }

    /// When the next session's time comes.
    pub(super) fn next(&mut self) -> Option<Instant> {
        self.skip_outdated();
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn skip_outdated(&mut self) {
        while let Some(Reverse((at, session))) = self.heap.peek()
            && self.current.get(session) != Some(at)
        {
            self.heap.pop();
        }
    }

    fn rounded_up(&self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.epoch);
        let behind = since.as_nanos() % GRAIN_NS;
        if behind == 0 {
            return at;
        }
        let missing = u64::try_from(GRAIN_NS - behind).unwrap_or_default();
        at + std::time::Duration::from_nanos(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn tag(number: u32) -> SessionTag {
        SessionTag::new(number)
    }

    #[test]
    fn the_last_word_counts_and_times_are_rounded_up() {
        let epoch = Instant::now();
        let at = |us: u64| epoch + Duration::from_micros(us);
        let mut deadlines = Deadlines::new(epoch);
        deadlines.set(tag(1), at(5_000));
        deadlines.set(tag(1), at(2_100));
        deadlines.set(tag(2), at(2_900));
        assert_eq!(deadlines.next(), Some(at(3_000)));
        assert_eq!(deadlines.due(at(2_999)), None);
        assert_eq!(deadlines.due(at(3_000)), Some(tag(1)));
        assert_eq!(deadlines.due(at(3_000)), Some(tag(2)));
        assert_eq!(deadlines.due(at(9_000)), None, "5 ms was taken back");
        deadlines.set(tag(1), at(1));
        deadlines.remove(tag(1));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_deadline_that_moves_with_every_packet_fills_nothing() {
        let epoch = Instant::now();
        let mut deadlines = Deadlines::new(epoch);
        for packet in 0..100_000 {
            deadlines.set(tag(packet % 10), epoch + Duration::from_millis(packet.into()));
        }
        assert!(deadlines.heap.len() <= 65, "{}", deadlines.heap.len());
    }

    proptest! {
        #[test]
        fn every_session_comes_due_once_and_in_order(
            sets in prop::collection::vec((0_u32..20, 0_u64..1000), 0..200),
        ) {
            let epoch = Instant::now();
            let mut deadlines = Deadlines::new(epoch);
            let mut model = HashMap::new();
            for (session, ms) in sets {
                let at = epoch + Duration::from_millis(ms);
                deadlines.set(tag(session), at);
                model.insert(tag(session), at);
            }
            let mut last = epoch;
            while let Some(next) = deadlines.next() {
                prop_assert!(next >= last);
                last = next;
                let session = deadlines.due(next).unwrap();
                prop_assert_eq!(model.remove(&session), Some(next));
            }
            prop_assert!(model.is_empty());
        }
    }
}
