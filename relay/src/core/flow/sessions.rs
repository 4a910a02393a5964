//! How many client addresses each session has: the count behind "at most eight".
//!
//! A table of its own, because a session's flows lie scattered over the flow table. One bucket is
//! one number: `route (16) | session (24) | count (8)`; zero is empty. Open addressing as in
//! [`SlotIndex`](super::super::slot_index::SlotIndex).

use super::super::keyed_hash::KeyedHash;
use super::super::peers::PeerIndex;
use super::super::slot_index::{buckets_for, scale};
use wire::hint::SessionTag;

/// A session as this worker can tell it from others: the tag is unique within a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Session {
    pub(in super::super) route: PeerIndex,
    pub(in super::super) tag: SessionTag,
}

impl Session {
    fn key(self) -> u64 {
        u64::from(self.route.0) << 24 | u64::from(self.tag.value())
    }
}

/// Counts per session.
pub(super) struct Sessions {
    buckets: Box<[u64]>,
    hash: KeyedHash,
}

impl Sessions {
    /// Bytes for so many flows.
    pub(super) const fn bytes_for(flows: usize) -> usize {
        buckets_for(flows) * size_of::<u64>()
    }

    pub(super) fn new(flows: usize, hash: KeyedHash) -> Self {
        Self { buckets: vec![0; buckets_for(flows)].into_boxed_slice(), hash }
    }

    /// How many client addresses the session has.
    pub(super) fn count(&self, session: Session) -> u8 {
        count_of(self.buckets[self.position(session)])
    }

    /// One address more.
    pub(super) fn add(&mut self, session: Session) {
        let at = self.position(session);
        let count = count_of(self.buckets[at]).saturating_add(1);
        self.buckets[at] = session.key() << 8 | u64::from(count);
    }

    /// One address less.
    pub(super) fn subtract(&mut self, session: Session) {
        let mut gap = self.position(session);
        let count = count_of(self.buckets[gap]);
        debug_assert!(count > 0, "a session loses an address that it never had");
        if count > 1 {
            self.buckets[gap] -= 1;
            return;
        }
        let mut at = self.after(gap);
        while self.buckets[at] != 0 {
            let home = self.home(self.buckets[at] >> 8);
            if self.distance(home, at) >= self.distance(gap, at) {
                self.buckets[gap] = self.buckets[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.buckets[gap] = 0;
    }

    /// Sum of all counts, for checks in tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn total(&self) -> usize {
        self.buckets.iter().map(|&bucket| usize::from(count_of(bucket))).sum()
    }

    /// Where the session is, or the empty bucket where it would be.
    fn position(&self, session: Session) -> usize {
        let key = session.key();
        let mut at = self.home(key);
        while self.buckets[at] != 0 && self.buckets[at] >> 8 != key {
            at = self.after(at);
        }
        at
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 40 bits")]
    fn home(&self, key: u64) -> usize {
        scale(self.hash.of_words((key >> 24) as u32, key as u32 & 0xff_ffff), self.buckets.len())
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }
}

const fn count_of(bucket: u64) -> u8 {
    bucket.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn same_counts_as_a_hash_map(steps in prop::collection::vec((0u16..4, 0u32..4, any::<bool>()), 0..300)) {
            let mut fill = 0;
            let hash = KeyedHash::new(&mut |bytes| {
                fill += 37;
                bytes.fill(fill);
            });
            // Room for as many as can be: a table as full as it gets.
            let mut sessions = Sessions::new(16, hash);
            let mut model: HashMap<(u16, u32), u8> = HashMap::new();
            for (route, tag, more) in steps {
                let session = Session { route: PeerIndex(route), tag: SessionTag::new(tag) };
                let count = model.entry((route, tag)).or_default();
                if more && *count < 200 {
                    sessions.add(session);
                    *count += 1;
                } else if !more && *count > 0 {
                    sessions.subtract(session);
                    *count -= 1;
                }
                for (&(route, tag), &count) in &model {
                    let session = Session { route: PeerIndex(route), tag: SessionTag::new(tag) };
                    prop_assert_eq!(sessions.count(session), count);
                }
                let total: usize = model.values().map(|&count| usize::from(count)).sum();
                prop_assert_eq!(sessions.total(), total);
            }
        }
    }
}
