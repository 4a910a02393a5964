//! Finds slots of a slab by a hash: open addressing, linear probing, memory fixed at the start.
//!
//! A bucket holds the hash beside the slot's number, so a probe leaves the table only for a key
//! whose hash is the one looked for, and a removal can close its gap (backward shift, no
//! tombstones) without reading a key again. A bucket is found by scaling the hash instead of
//! masking it, so that the table need not be a power of two: with 4/3 buckets per slot it is never
//! more than three quarters full.

#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    /// Zero: empty.
    slot_plus_one: u32,
}

const EMPTY: Bucket = Bucket { hash: 0, slot_plus_one: 0 };

/// From hash to slot.
pub(super) struct SlotIndex {
    buckets: Box<[Bucket]>,
    used: usize,
}

/// How many buckets a table of so many entries has.
pub(super) const fn buckets_for(entries: usize) -> usize {
    // At least one bucket more than entries: an empty one ends every probe.
    entries + entries / 3 + 1
}

impl SlotIndex {
    /// Bytes that an index of so many slots takes.
    pub(super) const fn bytes_for(slots: usize) -> usize {
        buckets_for(slots) * size_of::<Bucket>()
    }

    /// An index with room for `slots` entries.
    pub(super) fn new(slots: usize) -> Self {
        Self { buckets: vec![EMPTY; buckets_for(slots)].into_boxed_slice(), used: 0 }
    }

    /// How many slots it knows.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// The slot with this hash of which `is_it` is true.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let bucket = self.buckets[at];
            let slot = bucket.slot_plus_one.checked_sub(1)?;
            if bucket.hash == hash && is_it(slot) {
                return Some(slot);
            }
            at = self.after(at);
        }
    }

    /// Adds a slot that is not in it.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        debug_assert!(self.used + 1 < self.buckets.len(), "an index has room for all its slots");
        let mut at = self.home(hash);
        while self.buckets[at].slot_plus_one != 0 {
            at = self.after(at);
        }
        self.buckets[at] = Bucket { hash, slot_plus_one: slot + 1 };
        self.used += 1;
    }

    /// Lets the key that `slot` was known by stand for another slot.
    pub(super) fn replace(&mut self, hash: u32, slot: u32, by: u32) {
        if let Some(at) = self.position(hash, slot) {
            self.buckets[at].slot_plus_one = by + 1;
        }
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let Some(mut gap) = self.position(hash, slot) else { return };
        let mut at = self.after(gap);
        while self.buckets[at].slot_plus_one != 0 {
            // An entry may move back into the gap unless its home lies behind the gap.
            let home = self.home(self.buckets[at].hash);
            if self.distance(home, at) >= self.distance(gap, at) {
                self.buckets[gap] = self.buckets[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.buckets[gap] = EMPTY;
        self.used -= 1;
    }

    fn position(&self, hash: u32, slot: u32) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let bucket = self.buckets[at];
            match bucket.slot_plus_one {
                0 => {
                    debug_assert!(false, "slot {slot} is not in the index");
                    return None;
                }
                found if found == slot + 1 => return Some(at),
                _ => at = self.after(at),
            }
        }
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        scale(hash, self.buckets.len())
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }
}

/// Maps a hash evenly to `0..buckets`.
#[inline]
pub(super) const fn scale(hash: u32, buckets: usize) -> usize {
    ((hash as u64 * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Debug, Clone)]
    enum Step {
        Insert { slot: u32, hash: u32 },
        Remove { slot: u32 },
        Replace { slot: u32, by: u32 },
    }

    const SLOTS: u32 = 24;

    fn step() -> impl Strategy<Value = Step> {
        // Few and extreme hashes, so that runs are long and wrap around the end.
        let hash = prop_oneof![Just(0), Just(u32::MAX), Just(u32::MAX - 1), any::<u32>()];
        prop_oneof![
            (0..SLOTS, hash).prop_map(|(slot, hash)| Step::Insert { slot, hash }),
            (0..SLOTS).prop_map(|slot| Step::Remove { slot }),
            (0..SLOTS, 0..SLOTS).prop_map(|(slot, by)| Step::Replace { slot, by }),
        ]
    }

    proptest! {
        #[test]
        fn same_answers_as_a_hash_map(steps in prop::collection::vec(step(), 0..200)) {
            let mut index = SlotIndex::new(SLOTS as usize);
            let mut model = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert { slot, hash } => {
                        model.entry(slot).or_insert_with(|| {
                            index.insert(hash, slot);
                            hash
                        });
                    }
                    Step::Remove { slot } => {
                        if let Some(hash) = model.remove(&slot) {
                            index.remove(hash, slot);
                        }
                    }
                    Step::Replace { slot, by } => {
                        if model.contains_key(&slot) && !model.contains_key(&by) {
                            let hash = model.remove(&slot).unwrap();
                            model.insert(by, hash);
                            index.replace(hash, slot, by);
                        }
                    }
                }
                prop_assert_eq!(index.len(), model.len());
                for slot in 0..SLOTS {
                    for hash in [0, u32::MAX, u32::MAX - 1, 12_345] {
                        let want = (model.get(&slot) == Some(&hash)).then_some(slot);
                        prop_assert_eq!(index.find(hash, |found| found == slot), want);
                    }
                    if let Some(&hash) = model.get(&slot) {
                        prop_assert_eq!(index.find(hash, |found| found == slot), Some(slot));
                    }
                }
            }
        }
    }
}
