//! The fate of every packet of a flow.
//!
//! Time is cut into slots, one per packet time. A slot is opened when its packet is due, marked
//! when the packet comes back, and judged a fixed time later: back, or lost. So loss is counted
//! exactly, with nothing in flight to be guessed at, and a packet too late to be of any use to a
//! listener is as lost to us as to them.
//!
//! ```text
//!   judged │ A  A  –  A  O  A  O  O │ next       A back, O open, – nothing was sent
//!          └──── the time allowed ──┘
//! ```

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Unsent,
    Open,
    Back,
}

/// The slots of one flow.
#[derive(Debug, Clone)]
pub struct Ledger {
    slots: Box<[Slot]>,
    /// The first slot not judged.
    judged: u64,
    /// The slot that is opened next.
    next: u64,
    highest: Option<u64>,
}

/// What an arrival is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its number.
    New {
        /// A later one was here before (RFC 4737).
        reordered: bool,
    },
    /// One that was here before.
    Duplicate,
    /// It was judged lost, or is a duplicate of something long ago.
    TooLate,
    /// Never sent.
    Invalid,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Its packet came back in time.
    Back,
    /// It did not.
    Lost,
    /// There was none.
    Unsent,
}

impl Ledger {
    /// A ledger that has room for this many slots between opening and judgement.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = vec![Slot::Unsent; slots.max(1)].into();
        Self { slots, judged: 0, next: 0, highest: None }
    }

    /// Opens the next slot and says its number.
    ///
    /// The caller judges in time; a ledger that is full would forget its oldest slot.
    pub fn open(&mut self, sends: bool) -> u64 {
        debug_assert!(
            self.next - self.judged < self.slots.len() as u64,
            "slots are judged in time"
        );
        let number = self.next;
        *self.slot(number) = if sends { Slot::Open } else { Slot::Unsent };
        self.next += 1;
        number
    }

    /// Takes back a packet that could not be sent.
    pub fn withdraw(&mut self, number: u64) {
        if (self.judged..self.next).contains(&number) {
            *self.slot(number) = Slot::Unsent;
        }
    }

    /// Takes note of an arrival.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            return Arrival::Invalid;
        }
        if number < self.judged {
            return Arrival::TooLate;
        }
        match std::mem::replace(self.slot(number), Slot::Back) {
            Slot::Open => {
                let reordered = self.highest.is_some_and(|highest| number < highest);
                self.highest = self.highest.max(Some(number));
                Arrival::New { reordered }
            }
            Slot::Back => Arrival::Duplicate,
            Slot::Unsent => {
                *self.slot(number) = Slot::Unsent;
                Arrival::Invalid
            }
        }
    }

    /// Judges the oldest slot if it was opened before `limit` others of now.
    pub fn judge(&mut self, open_slots: u64) -> Option<Verdict> {
        (self.next - self.judged > open_slots).then(|| {
            let verdict = match self.slot(self.judged) {
                Slot::Unsent => Verdict::Unsent,
                Slot::Open => Verdict::Lost,
                Slot::Back => Verdict::Back,
            };
            self.judged += 1;
            verdict
        })
    }

    /// Whether nothing is left to be judged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.judged == self.next
    }

    /// Whether a packet that was not judged has not come back.
    #[must_use]
    pub fn has_open(&self) -> bool {
        // The places of judged slots hold stale marks; they are not looked at.
        let slots = self.slots.len() as u64;
        (self.judged..self.next)
            .any(|number| self.slots[usize::try_from(number % slots).unwrap_or(0)] == Slot::Open)
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        let slots = self.slots.len() as u64;
        // The remainder is below the length of a slice.
        &mut self.slots[usize::try_from(number % slots).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_packet_has_one_fate() {
        let mut ledger = Ledger::new(8);
        for sends in [true, true, true, false, true] {
            ledger.open(sends);
        }
        for (number, want) in [
            (0, Arrival::New { reordered: false }),
            (2, Arrival::New { reordered: false }),
            (1, Arrival::New { reordered: true }),
            (2, Arrival::Duplicate),
            (3, Arrival::Invalid),
            (5, Arrival::Invalid),
            (u64::MAX, Arrival::Invalid),
        ] {
            assert_eq!(ledger.arrive(number), want, "{number}");
        }
        assert_eq!(ledger.judge(5), None, "five are open and may stay open");
        let verdicts: Vec<_> = std::iter::from_fn(|| ledger.judge(0)).collect();
        use Verdict::{Back, Lost, Unsent};
        assert_eq!(verdicts, [Back, Back, Back, Unsent, Lost]);
        assert!(ledger.is_settled());
        assert_eq!(ledger.arrive(4), Arrival::TooLate);
    }

    #[test]
    fn what_could_not_be_sent_is_not_lost() {
        let mut ledger = Ledger::new(4);
        let number = ledger.open(true);
        ledger.withdraw(number);
        assert_eq!(ledger.judge(0), Some(Verdict::Unsent));
        ledger.withdraw(99);
    }

    proptest! {
        /// Whatever happens in between, what was sent is either back or lost in the end, and only
        /// what arrived for the first time in time is back.
        #[test]
        fn the_books_balance(
            steps in proptest::collection::vec((any::<bool>(), 0u64..40), 0..400)
        ) {
            let allowed = 16;
            let mut ledger = Ledger::new(17);
            let (mut sent, mut back, mut lost, mut new) = (0, 0, 0, 0);
            let mut count = |verdict| match verdict {
                Verdict::Back => back += 1,
                Verdict::Lost => lost += 1,
                Verdict::Unsent => {}
            };
            for (sends, age) in steps {
                while let Some(verdict) = ledger.judge(allowed) {
                    count(verdict);
                }
                let number = ledger.open(sends);
                sent += u64::from(sends);
                let arrival = ledger.arrive(number.wrapping_sub(age));
                new += u64::from(matches!(arrival, Arrival::New { .. }));
            }
            while let Some(verdict) = ledger.judge(0) {
                count(verdict);
            }
            prop_assert_eq!((back, back + lost), (new, sent));
        }
    }
}
