//! Peers: the shards that this worker talks to.
//!
//! A peer *is* a tunnel address; its route says how hints name it. Listed shards are peers from
//! the start. Those of `ipv4` clusters become peers when they are first needed, which only a check
//! with true integrity or an authentic datagram can bring about, so strangers cannot fill the slab;
//! and when it is full, one that has no flows and was not used for a while makes room.

use super::clusters::Route;
use super::health::Health;
use super::keyed_hash::KeyedHash;
use super::limits::{PEER_EVICTION_IDLE_US, PEER_EVICTION_LOOKS};
use super::slot_index::SlotIndex;
use wire::address::Address;

/// Which peer, as long as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIndex(pub(super) u16);

impl PeerIndex {
    /// The peer's place, below the configured number of peers. For tables beside the router's.
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

/// One shard.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) route: Route,
    pub(super) address: Address,
    /// Whether it is listed, hence stays until the list changes.
    pub(super) listed: bool,
    /// Flows that go, or may soon go, to it.
    pub(super) flows: u32,
    /// When it was last needed.
    pub(super) used_us: u64,
    pub(super) health: Health,
    /// Which start of the shard's process it is; zero if it does not say.
    pub(super) boot: u64,
    /// It takes no new sessions, it says.
    pub(super) draining: bool,
}

/// All peers.
pub(super) struct Peers {
    slots: Box<[Option<Peer>]>,
    free: Vec<PeerIndex>,
    by_address: SlotIndex,
    hash: KeyedHash,
    /// Where the next search for one that can make room starts.
    eviction_at: u16,
}

impl Peers {
    pub(super) fn new(peers_max: u16, random: &mut dyn FnMut(&mut [u8])) -> Self {
        Self {
            slots: (0..peers_max).map(|_| None).collect(),
            free: (0..peers_max).rev().map(PeerIndex).collect(),
            by_address: SlotIndex::new(usize::from(peers_max)),
            hash: KeyedHash::new(random),
            eviction_at: 0,
        }
    }

    /// The peer at a tunnel address.
    #[inline]
    pub(super) fn at(&self, address: &Address) -> Option<PeerIndex> {
        let is_it = |slot: u32| {
            self.slots[slot as usize].as_ref().is_some_and(|peer| peer.address == *address)
        };
        let slot = self.by_address.find(self.hash.of_address(address, 0), is_it)?;
        u16::try_from(slot).ok().map(PeerIndex)
    }

    /// A peer.
    #[inline]
    pub(super) fn peer(&self, index: PeerIndex) -> Option<&Peer> {
        self.slots.get(index.position())?.as_ref()
    }

    /// A peer, to be changed.
    #[inline]
    pub(super) fn peer_mut(&mut self, index: PeerIndex) -> Option<&mut Peer> {
        self.slots.get_mut(index.position())?.as_mut()
    }

    /// Has all of them pinged as soon as time passes.
    pub(super) fn hurry_pings(&mut self) {
        for peer in self.slots.iter_mut().flatten() {
            peer.health.hurry();
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.by_address.len()
    }

    /// How many there can be.
    #[expect(clippy::cast_possible_truncation, reason = "the slab was made for a u16")]
    pub(super) const fn max(&self) -> u16 {
        self.slots.len() as u16
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        let indices = (0..=u16::MAX).map(PeerIndex);
        indices.zip(&self.slots).filter_map(|(index, peer)| Some((index, peer.as_ref()?)))
    }

    /// Adds a peer at an address where none is. `None` if there is no room.
    pub(super) fn add(&mut self, peer: Peer) -> Option<PeerIndex> {
        debug_assert!(self.at(&peer.address).is_none(), "one peer per address");
        let index = self.free.pop()?;
        self.by_address.insert(self.hash.of_address(&peer.address, 0), u32::from(index.0));
        self.slots[index.position()] = Some(peer);
        Some(index)
    }

    /// Removes a peer that no flow refers to.
    pub(super) fn remove(&mut self, index: PeerIndex) {
        let Some(peer) = self.slots[index.position()].take() else { return };
        debug_assert_eq!(peer.flows, 0, "a peer with flows is not removed");
        self.by_address.remove(self.hash.of_address(&peer.address, 0), u32::from(index.0));
        self.free.push(index);
    }

    /// Whether there is room for one more.
    pub(super) const fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// A peer that can make room for another. Looks at a bounded number of them, beginning where
    /// the last search ended.
    pub(super) fn unused(&mut self, now_us: u64) -> Option<PeerIndex> {
        for _ in 0..PEER_EVICTION_LOOKS.min(self.max()) {
            let index = PeerIndex(self.eviction_at);
            self.eviction_at = (self.eviction_at + 1) % self.max();
            if self.peer(index).is_some_and(|peer| peer.is_unused(now_us, PEER_EVICTION_IDLE_US)) {
                return Some(index);
            }
        }
        None
    }

    /// A flow goes, or may soon go, to this peer.
    pub(super) fn add_flow(&mut self, index: PeerIndex) {
        if let Some(peer) = self.peer_mut(index) {
            peer.flows += 1;
        }
    }

    /// It does no longer.
    pub(super) fn subtract_flow(&mut self, index: PeerIndex, now_us: u64) {
        if let Some(peer) = self.peer_mut(index) {
            debug_assert!(peer.flows > 0, "a peer loses a flow that it never had");
            peer.flows -= 1;
            peer.used_us = now_us;
        }
    }

    /// Panics unless slab, free list and index agree. For tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn check(&self) {
        for (index, peer) in self.iter() {
            assert_eq!(self.at(&peer.address), Some(index));
        }
        assert_eq!(self.iter().count(), self.len());
        assert_eq!(self.len() + self.free.len(), self.slots.len());
        assert!(self.free.iter().all(|index| self.peer(*index).is_none()));
    }
}

impl Peer {
    /// A peer with which nothing has happened yet.
    pub(super) fn new(route: Route, address: Address, listed: bool, used_us: u64) -> Self {
        let health = Health::default();
        Self { route, address, listed, flows: 0, used_us, health, boot: 0, draining: false }
    }

    /// Whether nobody would miss it.
    pub(super) const fn is_unused(&self, now_us: u64, idle_us: u64) -> bool {
        !self.listed && self.flows == 0 && now_us.saturating_sub(self.used_us) >= idle_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hint::{ClusterId, ShardId, TransceiverId};

    fn peer(port: u16, listed: bool) -> Peer {
        let shard = ShardId(0);
        let route = Route { cluster: ClusterId(0), transceiver: TransceiverId(0), shard };
        let address = Address::new([10, 0, 0, 1].into(), port);
        Peer::new(route, address, listed, 0)
    }

    #[test]
    fn only_an_unlisted_flowless_unused_peer_makes_room() {
        let mut peers = Peers::new(3, &mut |bytes| bytes.fill(0x33));
        let listed = peers.add(peer(1, true)).unwrap();
        let busy = peers.add(peer(2, false)).unwrap();
        let idle = peers.add(peer(3, false)).unwrap();
        assert!(!peers.has_room());
        assert_eq!(peers.add(peer(4, false)), None);
        peers.add_flow(busy);
        assert_eq!(peers.unused(PEER_EVICTION_IDLE_US - 1), None, "just used");
        assert_eq!(peers.unused(PEER_EVICTION_IDLE_US), Some(idle));
        peers.remove(idle);
        peers.check();
        assert_eq!(peers.unused(u64::MAX), None);
        assert_eq!(peers.at(&peer(1, true).address), Some(listed));
        assert_eq!(peers.at(&peer(3, true).address), None);
        assert_eq!(peers.len(), 2);
    }
}
