//! The router: everything a worker knows, and the few moves that several inputs share.

use super::clusters::{Clusters, ClustersError, Route};
use super::counters::Counters;
use super::decide::Target;
use super::drop_reason::DropReason;
use super::events::{EventQueue, FlowChange};
use super::flow::{Claim, Flow, FlowSlot, FlowState, FlowTable, GivenBack, Session};
use super::legs::{Departure, Legs, Random};
use super::limits;
use super::now::Now;
use super::peers::{Peer, PeerIndex, Peers};
use super::settings::{Settings, SetupError};
use super::token_bucket::TokenBucket;
use std::fmt;
use std::sync::Arc;
use wire::address::Address;
use wire::frame::Client;
use wire::keyring::Keyring;
use wire::tunnel::{About, Direction, Opener};

/// Decides what becomes of every packet of one worker.
pub struct Router {
    pub(super) settings: Settings,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clusters: Arc<Clusters>,
    pub(super) flows: FlowTable,
    pub(super) peers: Peers,
    pub(super) legs: Legs,
    pub(super) opener: Opener,
    pub(super) new_flow_rate: TokenBucket,
    /// Flows learned from shards: a whole table at once after a start, then as many as new flows.
    pub(super) learning: TokenBucket,
    /// Flows recalled: half of their slab at once, as after a restart, then as many as new flows.
    /// Apart from those, so that neither a restart nor what a cache says takes from new clients.
    pub(super) recalling: TokenBucket,
    pub(super) draining: bool,
    /// Tells this router from that of another start, to shards.
    boot: u64,
    pub(super) changes: EventQueue<FlowChange>,
    pub(super) misses: EventQueue<Client>,
    pub(super) counters: Counters,
    pub(super) sweep_at: u32,
    pub(super) ping_at: u16,
    /// Peers found up in the round of pings that is under way.
    pub(super) up_so_far: u64,
}

/// Why a flow is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    Expired,
    Evicted,
    /// Its shard says that the client is gone.
    Gone,
    /// Its shard was started anew.
    Restarted,
    Forgotten,
}

impl Router {
    /// A router with no flows. All memory that it will ever need for packets is taken here.
    ///
    /// `random` must be a secure random source: it draws the sender ids of the tunnel, on which the
    /// uniqueness of nonces rests, and the coefficients of the tables.
    pub fn new(
        settings: Settings,
        clusters: Arc<Clusters>,
        keyring: Arc<Keyring>,
        mut random: Random,
    ) -> Result<Self, SetupError> {
        settings.check()?;
        let listed = clusters.listed().count();
        if listed > usize::from(settings.peers_max) {
            return Err(ClustersError::TooManyShards(listed, settings.peers_max).into());
        }
        let mut boot = [0; 8];
        random(&mut boot);
        let senders_max = usize::from(settings.peers_max) * limits::SENDERS_PER_PEER;
        let mut router = Self {
            flows: FlowTable::new(settings.flows_max, settings.new_flows_max, &mut *random),
            peers: Peers::new(settings.peers_max, &mut *random),
            legs: Legs::new(
                settings.peers_max,
                settings.tunnel_datagram_bytes.into(),
                settings.packet_bytes_max.into(),
                random,
            ),
            opener: Opener::new(Direction::ToRelay, &keyring, senders_max),
            // Ten milliseconds' worth at once, and a few in any case: clients come in bursts.
            new_flow_rate: TokenBucket::new(
                settings.new_flow_rate,
                (settings.new_flow_rate / 100).max(settings.new_flow_rate.min(64)),
            ),
            learning: TokenBucket::new(settings.new_flow_rate, settings.flows_max),
            recalling: TokenBucket::new(settings.new_flow_rate, settings.new_flows_max / 2),
            draining: false,
            // Zero would say nothing.
            boot: u64::from_ne_bytes(boot).max(1),
            changes: EventQueue::new(limits::CHANGE_EVENTS_MAX),
            misses: EventQueue::new(limits::MISS_EVENTS_MAX),
            counters: Counters::new(),
            sweep_at: 0,
            ping_at: 0,
            up_so_far: 0,
            settings,
            keyring,
            clusters,
        };
        router.add_listed();
        Ok(router)
    }

    /// Bytes that flow tables of this size take.
    pub const fn flow_table_bytes(flows_max: u32, new_flows_max: u32) -> usize {
        FlowTable::bytes_for(flows_max, new_flows_max)
    }

    /// Takes a packet that [`Router::on_client`] said to forward into the bundle of its peer, after
    /// handing out that bundle if it is full. To be called before any other input.
    #[inline]
    pub fn append(
        &mut self,
        peer: PeerIndex,
        client: &Client,
        packet: &[u8],
        send: &mut impl FnMut(Address, &[u8]),
    ) {
        let mut departure =
            Departure { keyring: &self.keyring, counters: &mut self.counters, send };
        if let Err(reason) = self.legs.append(peer, client, packet, &mut departure) {
            self.counters.count_drop(reason);
        }
    }

    /// Hands out every bundle with something in it: at the end of each batch.
    #[inline]
    pub fn flush(&mut self, send: &mut impl FnMut(Address, &[u8])) {
        while self.close_one(send) {}
    }

    /// Hands out one bundle with something in it; false if there is none. For a sender whose own
    /// room may not be enough for all of them at once.
    #[inline]
    pub fn close_one(&mut self, send: &mut impl FnMut(Address, &[u8])) -> bool {
        self.legs.close_one(&mut Departure {
            keyring: &self.keyring,
            counters: &mut self.counters,
            send,
        })
    }

    /// Takes the oldest event of a flow that came to be relied on, or ceased to be.
    pub fn next_change(&mut self) -> Option<FlowChange> {
        self.changes.pop()
    }

    /// Takes the oldest client whose packet was dropped because no flow says where it goes.
    pub fn next_miss(&mut self) -> Option<Client> {
        self.misses.pop()
    }

    /// Takes note of client packets that did not reach this router because it was asked of too much,
    /// and how much less is admitted now: of checks, one in two to the power of `halvings`.
    pub fn count_shed(&mut self, packets: u64, halvings: u8) {
        self.counters.drops[DropReason::Shed as usize] += packets;
        self.counters.shed_halvings = halvings.into();
    }

    /// All numbers, as of now.
    pub fn counters(&mut self) -> &Counters {
        self.counters.flows_new = self.flows.new_flows().into();
        self.counters.flows_assured = self.flows.assured_flows().into();
        self.counters.peers = self.peers.len() as u64;
        self.counters.draining = self.draining.into();
        &self.counters
    }

    /// How many changes of flows were lost because nobody took them.
    pub const fn changes_lost(&self) -> u64 {
        self.counters.change_events_lost
    }

    /// What pings and pongs say of this relay.
    pub(super) const fn about(&self) -> About {
        About { boot: self.boot, draining: self.draining }
    }

    /// Whether no new flows are taken.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether a flow has been idle for longer than its state allows.
    #[inline]
    pub(super) fn is_stale(&self, flow: &Flow, now: Now) -> bool {
        let idle_max_ms = match flow.state() {
            FlowState::New => self.settings.new_flow_idle_ms,
            FlowState::Assured => self.settings.flow_idle_ms,
        };
        flow.idle_ms(now.millis()) >= idle_max_ms
    }

    /// Frees a flow, with all that follows from it.
    pub(super) fn free(&mut self, slot: FlowSlot, why: Freed, now: Now) {
        let given_back = match why {
            Freed::Gone => GivenBack::Later(now.millis()),
            Freed::Expired | Freed::Evicted | Freed::Restarted | Freed::Forgotten => {
                GivenBack::AtOnce
            }
        };
        let flow = self.flows.remove(slot, given_back);
        self.peers.subtract_flow(flow.route(), now.monotonic_us);
        if let Some(pending) = flow.pending() {
            self.peers.subtract_flow(pending.route, now.monotonic_us);
        }
        let counters = &mut self.counters;
        match (why, flow.state()) {
            (Freed::Expired, FlowState::New) => counters.flows_expired_new += 1,
            (Freed::Expired, FlowState::Assured) => counters.flows_expired_assured += 1,
            (Freed::Evicted, _) => counters.flows_evicted += 1,
            (Freed::Gone | Freed::Restarted, _) => counters.flows_gone += 1,
            (Freed::Forgotten, _) => counters.flows_forgotten += 1,
        }
        if flow.state() == FlowState::Assured {
            let event = FlowChange::Freed { client: flow.client() };
            self.changes.push(event, &mut counters.change_events_lost);
        }
    }

    /// Remembers which other session has sent a verified check from a flow's address.
    pub(super) fn set_pending(
        &mut self,
        slot: FlowSlot,
        pending: Option<(Session, Claim)>,
        now: Now,
    ) {
        if let Some((pending, _)) = pending {
            self.peers.add_flow(pending.route);
        }
        if let Some(before) = self.flows.flow(slot).pending() {
            self.peers.subtract_flow(before.route, now.monotonic_us);
        }
        self.flows.set_pending(slot, pending);
    }

    /// Tells of a flow that is assured, or goes elsewhere now.
    pub(super) fn report_assured(&mut self, slot: FlowSlot) {
        let flow = self.flows.flow(slot);
        let Some(peer) = self.peers.peer(flow.route()) else { return };
        let session = flow.session().map(|session| session.tag);
        let event = FlowChange::Assured { client: flow.client(), route: peer.route, session };
        self.changes.push(event, &mut self.counters.change_events_lost);
    }

    /// The peer of a target, which becomes one if it is none. Only for what has proven itself.
    pub(super) fn peer_of(&mut self, target: Target, now: Now) -> Result<PeerIndex, DropReason> {
        let (route, address) = match target {
            Target::Known(peer) => {
                if let Some(peer) = self.peers.peer_mut(peer) {
                    peer.used_us = now.monotonic_us;
                }
                return Ok(peer);
            }
            Target::Unknown(route, address) => (route, address),
        };
        if !self.peers.has_room() {
            // A leg with a packet waiting in it was used in this very batch.
            let unused = self.peers.unused(now.monotonic_us);
            let unused = unused.filter(|peer| self.legs.is_idle(*peer));
            self.drop_peer(unused.ok_or(DropReason::PeersFull)?);
        }
        self.counters.peers_added += 1;
        self.add_peer(route, address, false, now.monotonic_us).ok_or(DropReason::PeersFull)
    }

    pub(super) fn drop_peer(&mut self, peer: PeerIndex) {
        // What is held for its sessions may stay: it was unused for as long as that lasts.
        self.legs.disconnect(peer);
        self.peers.remove(peer);
        self.counters.peers_dropped += 1;
    }

    pub(super) fn add_peer(
        &mut self,
        route: Route,
        address: Address,
        listed: bool,
        used_us: u64,
    ) -> Option<PeerIndex> {
        let peer = self.peers.add(Peer::new(route, address, listed, used_us))?;
        self.legs.connect(peer, address, &self.keyring);
        Some(peer)
    }

    /// Makes a peer of every listed shard that is none.
    pub(super) fn add_listed(&mut self) {
        let clusters = Arc::clone(&self.clusters);
        for (route, address) in clusters.listed() {
            match self.peers.at(&address) {
                Some(_) => {}
                None => {
                    let added = self.add_peer(route, address, true, 0);
                    debug_assert!(added.is_some(), "there is room: it was counted");
                }
            }
        }
    }

    /// Panics unless everything agrees with everything. For tests.
    #[cfg(feature = "fuzz")]
    #[doc(hidden)]
    pub fn check_invariants(&mut self) {
        self.flows.check();
        self.peers.check();
        self.legs.check();
        let mut flows = vec![0; usize::from(self.peers.max())];
        for slot in 0..self.flows.slots() {
            let Some(flow) = self.flows.at(FlowSlot(slot)) else { continue };
            flows[flow.route().position()] += 1;
            if let Some(pending) = flow.pending() {
                flows[pending.route.position()] += 1;
            }
            let addresses = flow.session().map(|session| self.flows.session_addresses(session));
            assert!(addresses.is_none_or(|count| count <= self.settings.session_addresses_max));
        }
        for (position, flows) in flows.into_iter().enumerate() {
            let index = u16::try_from(position).map(PeerIndex);
            let peer = index.ok().and_then(|index| self.peers.peer(index));
            assert_eq!(peer.map_or(0, |peer| peer.flows), flows, "flows of peer {position}");
        }
        let counters = self.counters().clone();
        assert!(counters.flows_new <= self.settings.new_flows_max.into());
        assert!(counters.flows_assured <= self.settings.flows_max.into());
        let born = counters.flows_created
            + counters.flows_learned
            + counters.flows_restored
            + counters.flows_recalled;
        let ended = counters.flows_evicted
            + counters.flows_expired_new
            + counters.flows_expired_assured
            + counters.flows_gone
            + counters.flows_forgotten;
        assert_eq!(born - ended, counters.flows_new + counters.flows_assured);
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("flows_new", &self.flows.new_flows())
            .field("flows_assured", &self.flows.assured_flows())
            .field("peers", &self.peers.len())
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}
