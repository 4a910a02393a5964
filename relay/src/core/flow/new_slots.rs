//! The slots of new flows: free ones in a list, taken ones in the order they were taken.
//!
//! A doubly linked list beside the flows, since a new flow may leave from anywhere in the order: it
//! is answered, it expires, or it is the oldest when room is needed.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Links {
    older: u32,
    /// Of a free slot: the next free one.
    newer: u32,
}

/// Which slots are taken, oldest first.
pub(super) struct NewSlots {
    links: Box<[Links]>,
    free: u32,
    oldest: u32,
    newest: u32,
    taken: u32,
}

impl NewSlots {
    /// Bytes for so many slots.
    pub(super) const fn bytes_for(slots: usize) -> usize {
        slots * size_of::<Links>()
    }

    pub(super) fn new(slots: u32) -> Self {
        let links = (1..=slots)
            .map(|next| Links { older: NONE, newer: if next == slots { NONE } else { next } })
            .collect();
        let free = if slots == 0 { NONE } else { 0 };
        Self { links, free, oldest: NONE, newest: NONE, taken: 0 }
    }

    pub(super) const fn taken(&self) -> u32 {
        self.taken
    }

    /// The slot taken first of those that are.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Takes a free slot.
    pub(super) fn take(&mut self) -> Option<u32> {
        let slot = self.free;
        let links = self.links.get_mut(slot as usize)?;
        self.free = links.newer;
        *links = Links { older: self.newest, newer: NONE };
        match self.links.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        self.taken += 1;
        Some(slot)
    }

    /// Gives a taken slot back.
    pub(super) fn free(&mut self, slot: u32) {
        let Links { older, newer } = self.links[slot as usize];
        match self.links.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        self.links[slot as usize] = Links { older: NONE, newer: self.free };
        self.free = slot;
        self.taken -= 1;
    }

    /// The free slots and the taken ones in order, for checks in tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn walk(&self) -> (Vec<u32>, Vec<u32>) {
        let follow = |start: u32| {
            let next = |&slot: &u32| self.links.get(slot as usize).map(|links| links.newer);
            std::iter::successors(Some(start), next)
                .take_while(|&slot| slot != NONE)
                .take(self.links.len() + 1)
                .collect()
        };
        (follow(self.free), follow(self.oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn same_order_as_a_vec(steps in prop::collection::vec(prop::option::of(0usize..8), 0..100)) {
            let mut slots = NewSlots::new(5);
            let mut model = Vec::new();
            for step in steps {
                match step {
                    None => {
                        let taken = slots.take();
                        prop_assert_eq!(taken.is_some(), model.len() < 5);
                        model.extend(taken);
                    }
                    Some(position) if position < model.len() => slots.free(model.remove(position)),
                    Some(_) => {}
                }
                let (free, taken) = slots.walk();
                prop_assert_eq!(&taken, &model);
                prop_assert_eq!(free.len() + taken.len(), 5);
                prop_assert_eq!(slots.oldest(), model.first().copied());
                prop_assert_eq!(slots.taken() as usize, model.len());
            }
        }
    }
}
