//! Addresses that a session has given back, and that count for it a while longer.
//!
//! A shard's `gone` frees a flow at once. If it gave the session its address back at once too, a call
//! that has ended could make flow after flow, each told off by its shard, and eight addresses would
//! bound nothing.

use super::sessions::Session;
use crate::core::now::Millis;
use crate::core::peers::PeerIndex;
use std::collections::VecDeque;

/// Fixed room, in the order of time. Whoever comes when it is full pushes out the oldest.
pub(super) struct Held {
    addresses: VecDeque<(Session, Millis)>,
    max: usize,
}

impl Held {
    /// Bytes for so many addresses.
    pub(super) const fn bytes_for(addresses: usize) -> usize {
        addresses * size_of::<(Session, Millis)>()
    }

    pub(super) fn new(max: usize) -> Self {
        Self { addresses: VecDeque::with_capacity(max), max }
    }

    /// Holds an address of a session; gives the one that is held no longer, for want of room.
    pub(super) fn hold(&mut self, session: Session, now: Millis) -> Option<Session> {
        let oldest =
            if self.addresses.len() < self.max { None } else { self.addresses.pop_front() };
        self.addresses.push_back((session, now));
        oldest.map(|(session, _)| session)
    }

    /// The next one that has been held for so long.
    pub(super) fn next_due(&mut self, now: Millis, for_ms: u32) -> Option<Session> {
        let (_, since) = self.addresses.front()?;
        if now.since(*since) < for_ms {
            return None;
        }
        self.addresses.pop_front().map(|(session, _)| session)
    }

    /// The next one of this route, whatever its age.
    pub(super) fn next_of(&mut self, route: PeerIndex) -> Option<Session> {
        let at = self.addresses.iter().position(|(session, _)| session.route == route)?;
        self.addresses.remove(at).map(|(session, _)| session)
    }

    /// How many are held, for checks in tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hint::SessionTag;

    fn session(tag: u32) -> Session {
        Session { route: PeerIndex(1), tag: SessionTag::new(tag) }
    }

    #[test]
    fn the_oldest_goes_when_its_time_is_up_or_its_room_is_needed() {
        let mut held = Held::new(2);
        assert_eq!(held.hold(session(1), Millis(0)), None);
        assert_eq!(held.hold(session(1), Millis(10)), None, "twice is two addresses");
        assert_eq!(held.hold(session(2), Millis(20)), Some(session(1)));
        assert_eq!(held.next_due(Millis(109), 100), None);
        assert_eq!(held.next_due(Millis(110), 100), Some(session(1)));
        assert_eq!(held.next_due(Millis(110), 100), None);
        assert_eq!(held.next_due(Millis(500), 100), Some(session(2)));
        assert_eq!(held.len(), 0);
    }
}
