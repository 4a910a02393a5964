//! The flow table: fixed memory, one lookup per packet.
//!
//! Bytes per flow, of which the compiler and a test hold us to 64: the flow 40, its buckets in the
//! index 4/3 · 8, its bucket in the sessions 4/3 · 8; together 61.3. What is held for sessions takes
//! another 1.3, spread over all.

use super::held::Held;
use super::new_slots::NewSlots;
use super::sessions::{Session, Sessions};
use super::{Claim, Flow, NO_SESSION, SlotState, TAG_BITS};
use crate::core::keyed_hash::KeyedHash;
use crate::core::now::Millis;
use crate::core::peers::PeerIndex;
use crate::core::slot_index::SlotIndex;
use wire::address::Address;
use wire::frame::ListenerId;
use wire::hint::SessionTag;

/// Which slot a flow is in. Good until the flow is freed or becomes assured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) struct FlowSlot(pub(in crate::core) u32);

/// When a session that loses an address may have another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum GivenBack {
    /// Now.
    AtOnce,
    /// When it has been held for a while: see [`FlowTable::release`].
    Later(Millis),
}

const NO_SLOT: u32 = u32::MAX;

/// All flows of a worker.
pub(in crate::core) struct FlowTable {
    /// First the new flows' slab, then that of the assured ones.
    flows: Box<[Flow]>,
    new_slots: NewSlots,
    new_max: u32,
    assured_free: u32,
    assured: u32,
    index: SlotIndex,
    hash: KeyedHash,
    sessions: Sessions,
    held: Held,
}

impl FlowTable {
    /// Bytes that a table takes.
    pub(in crate::core) const fn bytes_for(assured_max: u32, new_max: u32) -> usize {
        let slots = assured_max as usize + new_max as usize;
        slots * size_of::<Flow>()
            + SlotIndex::bytes_for(slots)
            + Sessions::bytes_for(slots + new_max as usize)
            + Held::bytes_for(new_max as usize)
            + NewSlots::bytes_for(new_max as usize)
    }

    /// An empty table. All its memory is taken here.
    pub(in crate::core) fn new(
        assured_max: u32,
        new_max: u32,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Self {
        let slots = assured_max as usize + new_max as usize;
        let mut flows = vec![Flow::free(); slots].into_boxed_slice();
        for (next, flow) in (new_max + 1..).zip(&mut flows[new_max as usize..]) {
            flow.last_seen.0 = if next == new_max + assured_max { NO_SLOT } else { next };
        }
        Self {
            flows,
            new_slots: NewSlots::new(new_max),
            new_max,
            assured_free: if assured_max == 0 { NO_SLOT } else { new_max },
            assured: 0,
            index: SlotIndex::new(slots),
            hash: KeyedHash::new(random),
            sessions: Sessions::new(slots + new_max as usize, KeyedHash::new(random)),
            held: Held::new(new_max as usize),
        }
    }

    /// The flow of a client.
    #[inline]
    pub(in crate::core) fn find(
        &self,
        listener: ListenerId,
        address: &Address,
    ) -> Option<FlowSlot> {
        let is_it = |slot: u32| {
            let flow = &self.flows[slot as usize];
            flow.listener == listener && flow.address == *address
        };
        self.index.find(self.hash.of_address(address, listener.0), is_it).map(FlowSlot)
    }

    /// The flow in a taken slot.
    #[inline]
    pub(in crate::core) fn flow(&self, slot: FlowSlot) -> &Flow {
        &self.flows[slot.0 as usize]
    }

    /// The flow in any slot, if one is there.
    pub(in crate::core) fn at(&self, slot: FlowSlot) -> Option<&Flow> {
        self.flows.get(slot.0 as usize).filter(|flow| flow.state != SlotState::Free)
    }

    /// How many slots there are.
    #[expect(clippy::cast_possible_truncation, reason = "the limits of both slabs fit 32 bits")]
    pub(in crate::core) const fn slots(&self) -> u32 {
        self.flows.len() as u32
    }

    /// How many flows are new.
    pub(in crate::core) const fn new_flows(&self) -> u32 {
        self.new_slots.taken()
    }

    /// How many flows are assured.
    pub(in crate::core) const fn assured_flows(&self) -> u32 {
        self.assured
    }

    /// How many client addresses a session has.
    pub(in crate::core) fn session_addresses(&self, session: Session) -> u8 {
        self.sessions.count(session)
    }

    /// The new flow that must go before another can come.
    pub(in crate::core) fn must_evict(&self) -> Option<FlowSlot> {
        if self.new_slots.taken() < self.new_max {
            return None;
        }
        self.new_slots.oldest().map(FlowSlot)
    }

    /// Adds a new flow of a client that has none; its session may not be known. `None` if there is
    /// no room: evict first.
    pub(in crate::core) fn insert_new(
        &mut self,
        listener: ListenerId,
        address: Address,
        route: PeerIndex,
        tag: Option<SessionTag>,
        now: Millis,
    ) -> Option<FlowSlot> {
        let slot = self.new_slots.take()?;
        let state = SlotState::New;
        let flow = Flow { address, listener, state, route, last_seen: now, ..Flow::free() };
        self.put(slot, flow);
        if let Some(tag) = tag {
            self.set_session(FlowSlot(slot), Session { route, tag });
        }
        Some(FlowSlot(slot))
    }

    /// Adds an assured flow of a client that has none; its session is not known. `None` if there
    /// is no room.
    pub(in crate::core) fn insert_assured(
        &mut self,
        listener: ListenerId,
        address: Address,
        route: PeerIndex,
        now: Millis,
    ) -> Option<FlowSlot> {
        let slot = self.take_assured()?;
        self.put(
            slot,
            Flow {
                address,
                listener,
                state: SlotState::Assured,
                route,
                last_seen: now,
                route_heard: now,
                ..Flow::free()
            },
        );
        Some(FlowSlot(slot))
    }

    /// Moves a new flow to the assured ones: its route has just answered. `None` if there is no
    /// room; the flow then stays new.
    pub(in crate::core) fn assure(&mut self, slot: FlowSlot, now: Millis) -> Option<FlowSlot> {
        debug_assert_eq!(self.flow(slot).state, SlotState::New);
        let to = self.take_assured()?;
        let flow = std::mem::replace(&mut self.flows[slot.0 as usize], Flow::free());
        let hash = self.hash.of_address(&flow.address, flow.listener.0);
        self.index.replace(hash, slot.0, to);
        self.new_slots.free(slot.0);
        self.flows[to as usize] =
            Flow { state: SlotState::Assured, last_seen: now, route_heard: now, ..flow };
        Some(FlowSlot(to))
    }

    /// Frees a flow, and says what it was.
    pub(in crate::core) fn remove(&mut self, slot: FlowSlot, given_back: GivenBack) -> Flow {
        let flow = std::mem::replace(&mut self.flows[slot.0 as usize], Flow::free());
        debug_assert_ne!(flow.state, SlotState::Free, "a flow is freed once");
        if let Some(session) = flow.session() {
            let subtract = match given_back {
                GivenBack::AtOnce => Some(session),
                GivenBack::Later(now) => self.held.hold(session, now),
            };
            if let Some(session) = subtract {
                self.sessions.subtract(session);
            }
        }
        self.index.remove(self.hash.of_address(&flow.address, flow.listener.0), slot.0);
        if slot.0 < self.new_max {
            self.new_slots.free(slot.0);
        } else {
            self.flows[slot.0 as usize].last_seen.0 = self.assured_free;
            self.assured_free = slot.0;
            self.assured -= 1;
        }
        flow
    }

    /// Gives sessions back what has been held of them for so long.
    pub(in crate::core) fn release(&mut self, now: Millis, held_ms: u32) {
        while let Some(session) = self.held.next_due(now, held_ms) {
            self.sessions.subtract(session);
        }
    }

    /// The same of all sessions of a peer, which is about to be none: its place may be another's.
    pub(in crate::core) fn release_all_of(&mut self, route: PeerIndex) {
        while let Some(session) = self.held.next_of(route) {
            self.sessions.subtract(session);
        }
    }

    /// A packet came or went.
    #[inline]
    pub(in crate::core) fn seen(&mut self, slot: FlowSlot, now: Millis) {
        self.flows[slot.0 as usize].last_seen = now;
    }

    /// The route of an assured flow has sent a packet.
    #[inline]
    pub(in crate::core) fn heard(&mut self, slot: FlowSlot, now: Millis) {
        let flow = &mut self.flows[slot.0 as usize];
        flow.last_seen = now;
        flow.route_heard = now;
    }

    /// The same, some time ago: in another process.
    pub(in crate::core) fn was_heard(&mut self, slot: FlowSlot, at: Millis) {
        self.flows[slot.0 as usize].route_heard = at;
    }

    /// The flow now belongs to another session of its route.
    pub(in crate::core) fn adopt(&mut self, slot: FlowSlot, tag: SessionTag) {
        let route = self.flow(slot).route;
        self.set_session(slot, Session { route, tag });
    }

    /// The pending session takes the flow over: its shard has just answered.
    pub(in crate::core) fn repoint(&mut self, slot: FlowSlot, session: Session, now: Millis) {
        self.set_session(slot, session);
        self.set_pending(slot, None);
        self.heard(slot, now);
    }

    fn set_session(&mut self, slot: FlowSlot, session: Session) {
        let flow = &mut self.flows[slot.0 as usize];
        if let Some(before) = flow.session() {
            self.sessions.subtract(before);
        }
        flow.route = session.route;
        flow.session = session.tag.value();
        self.sessions.add(session);
    }

    /// Remembers, or forgets, which other session has sent a verified check from this address.
    pub(in crate::core) fn set_pending(&mut self, slot: FlowSlot, to: Option<(Session, Claim)>) {
        let flow = &mut self.flows[slot.0 as usize];
        match to {
            Some((Session { route, tag }, claim)) => {
                flow.pending_route = route;
                flow.pending_session = (claim as u32) << TAG_BITS | tag.value();
            }
            None => flow.pending_session = NO_SESSION,
        }
    }

    fn put(&mut self, slot: u32, flow: Flow) {
        self.index.insert(self.hash.of_address(&flow.address, flow.listener.0), slot);
        self.flows[slot as usize] = flow;
    }

    fn take_assured(&mut self) -> Option<u32> {
        let slot = self.assured_free;
        self.assured_free = self.flows.get(slot as usize)?.last_seen.0;
        self.assured += 1;
        Some(slot)
    }

    /// Panics unless slabs, free lists, index and session counts agree. For tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(in crate::core) fn check(&self) {
        let (mut new, mut assured, mut with_session) = (0, 0, 0);
        for (number, flow) in (0..).zip(&self.flows) {
            match flow.state {
                SlotState::Free => continue,
                SlotState::New => new += 1,
                SlotState::Assured => assured += 1,
            }
            assert_eq!(flow.state == SlotState::New, number < self.new_max, "in its own slab");
            assert_eq!(self.find(flow.listener, &flow.address), Some(FlowSlot(number)));
            if let Some(session) = flow.session() {
                with_session += 1;
                assert!(self.session_addresses(session) > 0);
            }
        }
        assert_eq!(self.index.len(), (new + assured) as usize);
        assert_eq!((self.new_slots.taken(), self.assured), (new, assured));
        assert_eq!(self.sessions.total(), with_session + self.held.len());
        let (free, taken) = self.new_slots.walk();
        assert_eq!((free.len() + taken.len(), taken.len()), (self.new_max as usize, new as usize));
        let mut free = 0;
        let mut slot = self.assured_free;
        while let Some(flow) = self.flows.get(slot as usize) {
            assert_eq!(flow.state, SlotState::Free);
            free += 1;
            assert!(free <= self.slots(), "the free list has no loop");
            slot = flow.last_seen.0;
        }
        assert_eq!(free + assured + self.new_max, self.slots(), "every slot is free or taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::{FLOWS_DEFAULT, NEW_FLOWS_DEFAULT};

    const LISTENER: ListenerId = ListenerId(0);
    const NOW: Millis = Millis(1_000);

    fn table(assured_max: u32, new_max: u32) -> FlowTable {
        FlowTable::new(assured_max, new_max, &mut |bytes| bytes.fill(0x5a))
    }

    fn address(port: u16) -> Address {
        Address::new([192, 0, 2, 1].into(), port)
    }

    fn session(tag: u32) -> Session {
        Session { route: PeerIndex(1), tag: SessionTag::new(tag) }
    }

    fn insert_new(table: &mut FlowTable, port: u16) -> Option<FlowSlot> {
        let Session { route, tag } = session(7);
        table.insert_new(LISTENER, address(port), route, Some(tag), NOW)
    }

    #[test]
    fn at_most_64_bytes_per_flow() {
        for (assured_max, new_max) in [(FLOWS_DEFAULT, NEW_FLOWS_DEFAULT), (1 << 20, 1 << 16)] {
            let flows = (assured_max + new_max) as usize;
            let bytes = FlowTable::bytes_for(assured_max, new_max);
            assert!(bytes <= 64 * flows, "{bytes} bytes for {flows} flows");
        }
    }

    #[test]
    fn a_flow_moves_from_the_new_to_the_assured_when_answered() {
        let mut table = table(2, 2);
        let new = insert_new(&mut table, 1).unwrap();
        let assured = table.assure(new, NOW).unwrap();
        table.check();
        assert_ne!(new, assured);
        assert_eq!(table.find(LISTENER, &address(1)), Some(assured));
        assert_eq!((table.new_flows(), table.assured_flows()), (0, 1));
        assert_eq!(table.flow(assured).session(), Some(session(7)), "and stays what it was");
        assert_eq!(table.find(ListenerId(1), &address(1)), None, "the listener is of the key");
    }

    #[test]
    fn without_room_among_the_assured_a_flow_stays_new() {
        let mut table = table(1, 2);
        assert!(table.insert_assured(LISTENER, address(1), PeerIndex(0), NOW).is_some());
        let new = insert_new(&mut table, 2).unwrap();
        assert_eq!(table.assure(new, NOW), None);
        assert_eq!(table.find(LISTENER, &address(2)), Some(new));
        assert_eq!(table.insert_assured(LISTENER, address(3), PeerIndex(0), NOW), None);
        table.check();
    }

    #[test]
    fn the_oldest_new_flow_makes_room() {
        let mut table = table(1, 2);
        let first = insert_new(&mut table, 1).unwrap();
        assert_eq!(table.must_evict(), None);
        insert_new(&mut table, 2).unwrap();
        assert_eq!(insert_new(&mut table, 3), None);
        assert_eq!(table.must_evict(), Some(first));
        table.remove(first, GivenBack::AtOnce);
        assert!(insert_new(&mut table, 3).is_some());
        assert_eq!(table.session_addresses(session(7)), 2);
        table.check();
    }

    #[test]
    fn sessions_are_counted_through_adoption_and_takeover() {
        let mut table = table(4, 4);
        let slot = table.insert_assured(LISTENER, address(1), PeerIndex(1), NOW).unwrap();
        assert_eq!(table.flow(slot).session(), None);
        table.adopt(slot, SessionTag::new(7));
        assert_eq!(table.session_addresses(session(7)), 1);
        let other = Session { route: PeerIndex(2), tag: SessionTag::new(7) };
        table.set_pending(slot, Some((other, Claim::Asked)));
        assert_eq!(table.session_addresses(other), 0, "pending is no address of it yet");
        table.repoint(slot, other, NOW);
        assert_eq!((table.session_addresses(session(7)), table.session_addresses(other)), (0, 1));
        assert_eq!(table.flow(slot).pending(), None);
        table.remove(slot, GivenBack::AtOnce);
        assert_eq!(table.session_addresses(other), 0);
        table.check();
    }

    #[test]
    fn what_is_given_back_later_counts_until_then() {
        let mut table = table(1, 2);
        for port in 1..=3 {
            let slot = insert_new(&mut table, port).unwrap();
            table.remove(slot, GivenBack::Later(NOW));
            table.check();
        }
        assert_eq!(table.session_addresses(session(7)), 2, "as many as there is room for");
        table.release(Millis(NOW.0 + 99), 100);
        assert_eq!(table.session_addresses(session(7)), 2);
        table.release(Millis(NOW.0 + 100), 100);
        assert_eq!(table.session_addresses(session(7)), 0);
        let slot = insert_new(&mut table, 1).unwrap();
        table.remove(slot, GivenBack::Later(NOW));
        table.release_all_of(PeerIndex(2));
        assert_eq!(table.session_addresses(session(7)), 1, "another one's");
        table.release_all_of(session(7).route);
        assert_eq!(table.session_addresses(session(7)), 0);
        table.check();
    }

    #[test]
    fn claims_come_out_as_they_went_in_and_leave_the_session_alone() {
        let mut table = table(1, 1);
        let slot = insert_new(&mut table, 1).unwrap();
        assert_eq!(table.flow(slot).claim(), Claim::Asked, "of none");
        let other = Session { route: PeerIndex(2), tag: SessionTag::new(0xff_ffff) };
        for claim in [Claim::Asked, Claim::Had, Claim::Returns] {
            table.set_pending(slot, Some((other, claim)));
            assert_eq!(
                (table.flow(slot).pending(), table.flow(slot).claim()),
                (Some(other), claim)
            );
        }
    }
}
