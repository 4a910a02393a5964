//! The replay window of one sender: which of its latest counters have been taken.
//!
//! Bits live in a ring of words and are addressed by the counter itself, so moving the window on
//! shifts nothing (RFC 6479). One word more than the window needs is kept, because the newest word
//! is only partly in use.

/// How far behind the newest datagram a reordered one may be.
pub const WINDOW_DATAGRAMS: u64 = 1024;

const WORD_BITS: u64 = 64;
const WORDS: usize = (WINDOW_DATAGRAMS / WORD_BITS) as usize + 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Not taken yet.
    Fresh,
    /// Taken before.
    Replayed,
    /// So far behind that nobody knows.
    TooOld,
}

#[derive(Debug, Clone)]
pub(super) struct ReplayWindow {
    /// One more than the newest counter taken; zero before the first.
    next: u64,
    taken: [u64; WORDS],
}

impl ReplayWindow {
    pub(super) const fn new() -> Self {
        Self { next: 0, taken: [0; WORDS] }
    }

    #[inline]
    pub(super) fn judge(&self, counter: u64) -> Freshness {
        if counter >= self.next {
            Freshness::Fresh
        } else if self.next - counter > WINDOW_DATAGRAMS {
            Freshness::TooOld
        } else if self.taken[word(counter)] & bit(counter) == 0 {
            Freshness::Fresh
        } else {
            Freshness::Replayed
        }
    }

    /// Takes a counter that was judged fresh.
    #[inline]
    pub(super) fn take(&mut self, counter: u64) {
        if counter >= self.next {
            // Words that the window moves into still hold what was taken a whole ring ago.
            let newest = self.next.saturating_sub(1);
            let words_entered = counter / WORD_BITS - newest / WORD_BITS;
            for step in (1..=words_entered).take(WORDS) {
                self.taken[word(newest + step * WORD_BITS)] = 0;
            }
            self.next = counter + 1;
        }
        self.taken[word(counter)] |= bit(counter);
    }
}

const fn word(counter: u64) -> usize {
    (counter / WORD_BITS % WORDS as u64) as usize
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn window_after(counters: &[u64]) -> ReplayWindow {
        let mut window = ReplayWindow::new();
        for &counter in counters {
            assert_eq!(window.judge(counter), Freshness::Fresh, "{counter}");
            window.take(counter);
        }
        window
    }

    #[test]
    fn edges_of_the_window() {
        for (name, taken, counter, want) in [
            ("the first ever", &[][..], 0, Freshness::Fresh),
            ("a late first", &[], 1 << 40, Freshness::Fresh),
            ("the same again", &[7], 7, Freshness::Replayed),
            ("the next", &[7], 8, Freshness::Fresh),
            ("reordered", &[7], 6, Freshness::Fresh),
            ("the oldest inside", &[2000], 2000 - 1023, Freshness::Fresh),
            ("one too old", &[2000], 2000 - 1024, Freshness::TooOld),
            ("taken, at the old edge", &[977, 2000], 977, Freshness::Replayed),
            ("a ring ago at the same bit", &[5, 5 + 64 * 17], 5 + 64 * 16, Freshness::Fresh),
            ("a far jump forgets all", &[1, 2, 3, 1 << 40], (1 << 40) - 1023, Freshness::Fresh),
        ] {
            assert_eq!(window_after(taken).judge(counter), want, "{name}");
        }
    }

    proptest! {
        /// Against a set of everything ever taken.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..3000), 1..600)) {
            let mut window = ReplayWindow::new();
            let mut taken = BTreeSet::new();
            let mut base = 0u64;
            for (jump, offset) in steps {
                base = if jump { base + offset / 8 } else { base };
                let counter = (base + 1500).saturating_sub(offset);
                let newest = taken.last().copied();
                let want = if newest.is_some_and(|newest| counter + WINDOW_DATAGRAMS <= newest) {
                    Freshness::TooOld
                } else if taken.contains(&counter) {
                    Freshness::Replayed
                } else {
                    Freshness::Fresh
                };
                prop_assert_eq!(window.judge(counter), want, "counter {}", counter);
                if want == Freshness::Fresh {
                    window.take(counter);
                    taken.insert(counter);
                }
            }
        }
    }
}
