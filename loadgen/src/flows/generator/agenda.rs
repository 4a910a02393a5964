//! Which flow is to be visited next.
//!
//! Nearly all visits are one packet time after the one before, so they come to be added in the
//! order in which they are due: those queue up. The few others (arrivals, checks that are repeated,
//! flows that end) are sorted by a heap, which would cost as much as a tenth of the whole generator if
//! every packet went through it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::measure::Nanoseconds;

/// A flow is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Visit {
    /// When.
    pub(super) due: Nanoseconds,
    /// Which flow.
    pub(super) flow: u32,
    /// Void if it is not the flow's own any more.
    pub(super) token: u32,
}

/// All visits to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    steady: VecDeque<Visit>,
    others: BinaryHeap<Reverse<Visit>>,
}

impl Agenda {
    /// Adds a visit at any time.
    pub(super) fn add(&mut self, visit: Visit) {
        self.others.push(Reverse(visit));
    }

    /// Adds a visit that most likely comes after all others that were added so.
    pub(super) fn add_steady(&mut self, visit: Visit) {
        if self.steady.back().is_none_or(|last| last.due <= visit.due) {
            self.steady.push_back(visit);
        } else {
            self.add(visit);
        }
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Nanoseconds> {
        let steady = self.steady.front().map(|visit| visit.due);
        let other = self.others.peek().map(|Reverse(visit)| visit.due);
        steady.into_iter().chain(other).min()
    }

    /// Takes the next one, if it is due.
    pub(super) fn take(&mut self, now: Nanoseconds) -> Option<Visit> {
        self.next_due().filter(|due| *due <= now)?;
        let other = self.others.peek().map(|Reverse(visit)| visit.due);
        match self.steady.front() {
            Some(steady) if other.is_none_or(|other| steady.due <= other) => {
                self.steady.pop_front()
            }
            _ => self.others.pop().map(|Reverse(visit)| visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However visits are added, they are taken in the order of their times, each once.
        #[test]
        fn visits_are_taken_in_order(added in proptest::collection::vec((0u64..50, any::<bool>()), 0..100)) {
            let mut agenda = Agenda::default();
            for (flow, (due, steady)) in (0u32..).zip(&added) {
                let visit = Visit { due: *due, flow, token: 0 };
                if *steady { agenda.add_steady(visit) } else { agenda.add(visit) }
            }
            let mut want: Vec<u64> = added.iter().map(|(due, _)| *due).collect();
            want.sort_unstable();
            prop_assert_eq!(agenda.next_due(), want.first().copied());
            let early: Vec<Visit> = std::iter::from_fn(|| agenda.take(24)).collect();
            prop_assert!(early.iter().all(|visit| visit.due <= 24));
            let late = std::iter::from_fn(|| agenda.take(50));
            let all: Vec<Visit> = early.into_iter().chain(late).collect();
            prop_assert_eq!(all.iter().map(|visit| visit.due).collect::<Vec<_>>(), want);
            let mut flows: Vec<u32> = all.iter().map(|visit| visit.flow).collect();
            flows.sort_unstable();
            prop_assert_eq!(flows, (0..u32::try_from(added.len()).unwrap()).collect::<Vec<_>>());
        }
    }
}
