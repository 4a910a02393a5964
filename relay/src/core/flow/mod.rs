//! Flows: which shard a client address goes to.
//!
//! ```text
//!   hash of (listener, address) ── SlotIndex ──► slot
//!
//!   slots   | new flows: small, first in, first evicted | assured flows: never evicted |
//!           0                                        new_max                new_max + assured_max
//!
//!   Sessions: (route, session tag) ──► how many slots, and how many are held for it (see `held`)
//! ```
//!
//! A flow begins in the small slab and moves to the large one when its shard answers. So a flood
//! of new flows, however it comes about, only ever pushes out other new flows.

mod held;
mod new_slots;
mod sessions;
mod table;

pub(super) use sessions::Session;
pub(super) use table::{FlowSlot, FlowTable, GivenBack};

use super::limits::ROUTE_SILENT_MS;
use super::now::Millis;
use super::peers::PeerIndex;
use std::net::Ipv4Addr;
use wire::address::Address;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::SessionTag;

/// Whether a flow's shard has answered its client yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// Made by a check whose integrity verified. Short-lived, first to be evicted.
    New,
    /// The shard has answered this client address.
    Assured,
}

/// One flow. There are hundreds of thousands: its size is a promise (see [`table`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    address: Address,
    listener: ListenerId,
    state: SlotState,
    route: PeerIndex,
    pending_route: PeerIndex,
    /// When a packet last came or went. In a free slot of the large slab: the next free slot.
    last_seen: Millis,
    /// When the route last sent something to this client. Means nothing while the flow is new.
    route_heard: Millis,
    session: u32,
    /// Above the tag's 24 bits: its claim.
    pending_session: u32,
}

const _: () = assert!(size_of::<Flow>() == 40);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum SlotState {
    Free,
    New,
    Assured,
}

/// By what right another session than a flow's own may take it over, once its shard sends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Claim {
    /// It has sent a verified check from this address: it may when the flow's own shard is silent.
    Asked,
    /// The flow was its own, and was taken over while its shard was silent: it is remembered.
    Had,
    /// That, and it has sent a verified check since: it may at once. Else whoever has a session of
    /// their own could forge a quiet client's address, and keep the flow for as long as they like.
    Returns,
}

/// Stands for "no session known" (tags have 24 bits) and "no pending route".
const NO_SESSION: u32 = u32::MAX;
const TAG_BITS: u32 = 24;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;

impl Flow {
    fn free() -> Self {
        Self {
            address: Address::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            listener: ListenerId(0),
            state: SlotState::Free,
            route: PeerIndex(0),
            pending_route: PeerIndex(0),
            last_seen: Millis(0),
            route_heard: Millis(0),
            session: NO_SESSION,
            pending_session: NO_SESSION,
        }
    }

    /// Whose flow it is.
    pub(super) const fn client(&self) -> Client {
        Client { address: self.address, listener: self.listener, transport: Transport::Udp }
    }

    pub(super) const fn state(&self) -> FlowState {
        match self.state {
            SlotState::Assured => FlowState::Assured,
            SlotState::New | SlotState::Free => FlowState::New,
        }
    }

    /// Where it goes.
    pub(super) const fn route(&self) -> PeerIndex {
        self.route
    }

    /// The session, unless the flow was learned from its shard and no check came since.
    pub(super) fn session(&self) -> Option<Session> {
        session(self.route, self.session)
    }

    /// The session of another shard that has sent a verified check from this address.
    pub(super) fn pending(&self) -> Option<Session> {
        session(self.pending_route, self.pending_session)
    }

    /// Its claim. Of none: the least.
    pub(super) const fn claim(&self) -> Claim {
        match (self.pending_session, self.pending_session >> TAG_BITS) {
            (NO_SESSION, _) | (_, 0) => Claim::Asked,
            (_, 1) => Claim::Had,
            (_, _) => Claim::Returns,
        }
    }

    /// How long nothing came or went.
    pub(super) const fn idle_ms(&self, now: Millis) -> u32 {
        now.since(self.last_seen)
    }

    /// How long the route has sent nothing; `None` if it never did.
    pub(super) const fn silent_ms(&self, now: Millis) -> Option<u32> {
        match self.state {
            SlotState::Assured => Some(now.since(self.route_heard)),
            SlotState::New | SlotState::Free => None,
        }
    }

    /// Whether another shard may take over: this one has not been heard for long, or never.
    pub(super) fn is_route_silent(&self, now: Millis) -> bool {
        self.silent_ms(now).is_none_or(|silent| silent >= ROUTE_SILENT_MS)
    }
}

fn session(route: PeerIndex, tag: u32) -> Option<Session> {
    (tag != NO_SESSION).then(|| Session { route, tag: SessionTag::new(tag & TAG_MASK) })
}
