//! What an operator, or a reload, asks of a router. Commands come between batches and may allocate.

use super::clusters::{Clusters, ClustersError, Route};
use super::decide::{Action, Arrival, Target};
use super::flow::{Claim, FlowSlot, FlowState};
use super::limits::{FLOWS_PAGE_MAX, FLOWS_PAGE_SLOTS_MAX};
use super::now::Now;
use super::peers::PeerIndex;
use super::records::Recalled;
use super::router::{Freed, Router};
use super::steps::Step;
use std::collections::HashMap;
use std::sync::Arc;
use wire::address::Address;
use wire::frame::{Client, ListenerId};
use wire::hint::SessionTag;
use wire::keyring::Keyring;

/// A question or an order.
#[derive(Debug, Clone)]
pub enum Command {
    /// Use these keys from now on.
    Keyring(Arc<Keyring>),
    /// Use these clusters from now on. Shards that stay keep their legs; flows to shards that are
    /// no longer there are freed.
    Clusters(Arc<Clusters>),
    /// Take no new flows, or take them again.
    Drain(bool),
    /// Show the flow of a client.
    Flow(ListenerId, Address),
    /// Show flows, beginning at a cursor (zero at first), at most so many.
    Flows(u32, u32),
    /// Show all peers.
    Peers,
    /// Tell what would become of a client's packet, and change nothing.
    Trace(ListenerId, Address, Vec<u8>),
    /// Free the flow of a client.
    Forget(ListenerId, Address),
    /// Make a flow that another worker has, or the flow cache, unless the client has one by now.
    Recall(Recalled),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done; everything is as it was.
    Refused(ClustersError),
    /// There is such a flow, or none. After [`Command::Forget`]: what it was.
    Flow(Option<FlowInfo>),
    /// Some flows.
    Flows(FlowsPage),
    /// All peers.
    Peers(Vec<PeerInfo>),
    /// What would become of the packet.
    Trace(Trace),
    /// Whether the client has a flow now.
    Recalled(bool),
}

/// A flow, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// Whose flow it is.
    pub client: Client,
    /// Whether its shard has answered.
    pub state: FlowState,
    /// Where it goes.
    pub route: Route,
    /// Where that shard's tunnel is.
    pub tunnel: Address,
    /// Whose session it is, unless it was learned from the shard.
    pub session: Option<SessionTag>,
    /// How long no packet came or went.
    pub idle_ms: u32,
    /// How long the shard has sent nothing; `None` if it never did.
    pub silent_ms: Option<u32>,
    /// Which other session could take the flow over.
    pub pending: Option<(Route, SessionTag)>,
    /// Whether that one had the flow before.
    pub pending_had: bool,
}

/// Some flows, and where to go on. There may be none on a page, and more on the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowsPage {
    /// The flows.
    pub flows: Vec<FlowInfo>,
    /// The cursor of the next page, if there is one.
    pub next: Option<u32>,
}

/// A peer, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// How hints name it.
    pub route: Route,
    /// Where its tunnel is.
    pub tunnel: Address,
    /// Whether it is listed by name.
    pub listed: bool,
    /// Whether it answers pings; `None` before anyone could tell.
    pub up: Option<bool>,
    /// The latest round trip.
    pub round_trip_us: Option<u32>,
    /// Unanswered pings in a row.
    pub pings_missed: u16,
    /// Flows that go, or may soon go, to it.
    pub flows: u32,
    /// It takes no new sessions, it says.
    pub draining: bool,
}

/// What would become of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was found out, in order; each can be printed.
    pub steps: Vec<Step>,
    /// The verdict and what else would happen, as a sentence.
    pub outcome: String,
    /// Whether the packet would be forwarded.
    pub forwarded: bool,
}

impl Router {
    /// Carries out a command.
    pub fn on_command(&mut self, command: Command, now: Now) -> Reply {
        match command {
            Command::Keyring(keyring) => {
                self.replace_keyring(keyring);
                Reply::Done
            }
            Command::Clusters(clusters) => match self.replace_clusters(clusters, now) {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Refused(error),
            },
            Command::Drain(on) => {
                if std::mem::replace(&mut self.draining, on) != on {
                    // Shards are told with the next ping, and that at once.
                    self.peers.hurry_pings();
                }
                Reply::Done
            }
            Command::Flow(listener, address) => {
                let slot = self.flows.find(listener, &address);
                Reply::Flow(slot.and_then(|slot| self.show(slot, now)))
            }
            Command::Flows(cursor, most) => Reply::Flows(self.page(cursor, most, now)),
            Command::Peers => Reply::Peers(self.show_peers()),
            Command::Trace(listener, source, packet) => {
                Reply::Trace(self.trace(&Arrival { listener, source, packet: &packet, now }))
            }
            Command::Forget(listener, address) => {
                let slot = self.flows.find(listener, &address);
                let shown = slot.and_then(|slot| self.show(slot, now));
                if let Some(slot) = slot {
                    self.free(slot, Freed::Forgotten, now);
                }
                Reply::Flow(shown)
            }
            Command::Recall(recalled) => Reply::Recalled(self.recall(&recalled, now)),
        }
    }

    fn replace_keyring(&mut self, keyring: Arc<Keyring>) {
        self.opener.reload(&keyring);
        if self.keyring.tunnel_used() != keyring.tunnel_used() {
            self.legs.reseal_all(&keyring);
        }
        self.keyring = keyring;
    }

    fn replace_clusters(&mut self, clusters: Arc<Clusters>, now: Now) -> Result<(), ClustersError> {
        // A peer is its address: under whatever name, a shard that is still there stays.
        let listed: HashMap<Address, Route> =
            clusters.listed().map(|(route, address)| (address, route)).collect();
        let mut stay = 0;
        let mut gone = Vec::new();
        let mut renamed = Vec::new();
        for (index, peer) in self.peers.iter() {
            let by_name = listed.get(&peer.address).copied();
            match by_name.or_else(|| clusters.shard_at(&peer.address)) {
                Some(route) => {
                    stay += usize::from(by_name.is_none());
                    renamed.push((index, route, by_name.is_some()));
                }
                None => gone.push(index),
            }
        }
        if listed.len() > usize::from(self.peers.max()) {
            return Err(ClustersError::TooManyShards(listed.len(), self.peers.max()));
        }
        // Unlisted peers give way to listed ones, the flowless first.
        let mut unlisted: Vec<_> = renamed.iter().filter(|(.., listed)| !listed).collect();
        let flows = |index: PeerIndex| self.peers.peer(index).map_or(0, |peer| peer.flows);
        unlisted.sort_by_key(|(index, ..)| flows(*index));
        let surplus = (listed.len() + stay).saturating_sub(usize::from(self.peers.max()));
        gone.extend(unlisted.into_iter().take(surplus).map(|(index, ..)| *index));

        for (index, route, listed) in renamed {
            if let Some(peer) = self.peers.peer_mut(index) {
                peer.route = route;
                peer.listed = listed;
            }
        }
        self.remove_peers(&gone, now);
        self.clusters = clusters;
        self.add_listed();
        Ok(())
    }

    fn remove_peers(&mut self, gone: &[PeerIndex], now: Now) {
        if gone.is_empty() {
            return;
        }
        let mut is_gone = vec![false; usize::from(self.peers.max())];
        for peer in gone {
            is_gone[peer.position()] = true;
        }
        for slot in (0..self.flows.slots()).map(FlowSlot) {
            let Some(flow) = self.flows.at(slot) else { continue };
            if is_gone[flow.route().position()] {
                self.free(slot, Freed::Forgotten, now);
            } else if flow.pending().is_some_and(|pending| is_gone[pending.route.position()]) {
                self.set_pending(slot, None, now);
            }
        }
        for peer in gone {
            self.flows.release_all_of(*peer);
            self.legs.disconnect(*peer);
            self.peers.remove(*peer);
        }
    }

    fn page(&self, cursor: u32, most: u32, now: Now) -> FlowsPage {
        let most = most.clamp(1, FLOWS_PAGE_MAX) as usize;
        let slots = self.flows.slots();
        let end = slots.min(cursor.saturating_add(FLOWS_PAGE_SLOTS_MAX));
        let mut flows = Vec::new();
        for slot in cursor..end {
            if flows.len() == most {
                return FlowsPage { flows, next: Some(slot) };
            }
            flows.extend(self.show(FlowSlot(slot), now));
        }
        FlowsPage { flows, next: (end < slots).then_some(end) }
    }

    fn show(&self, slot: FlowSlot, now: Now) -> Option<FlowInfo> {
        let flow = self.flows.at(slot)?;
        let peer = self.peers.peer(flow.route())?;
        let pending = flow
            .pending()
            .and_then(|pending| Some((self.peers.peer(pending.route)?.route, pending.tag)));
        Some(FlowInfo {
            client: flow.client(),
            state: flow.state(),
            route: peer.route,
            tunnel: peer.address,
            session: flow.session().map(|session| session.tag),
            idle_ms: flow.idle_ms(now.millis()),
            silent_ms: flow.silent_ms(now.millis()),
            pending,
            pending_had: flow.claim() != Claim::Asked,
        })
    }

    fn show_peers(&self) -> Vec<PeerInfo> {
        let show = |(_, peer): (_, &super::peers::Peer)| PeerInfo {
            route: peer.route,
            tunnel: peer.address,
            listed: peer.listed,
            up: peer.health.is_up(),
            round_trip_us: peer.health.round_trip_us(),
            pings_missed: peer.health.missed(),
            flows: peer.flows,
            draining: peer.draining,
        };
        self.peers.iter().map(show).collect()
    }

    fn trace(&self, arrival: &Arrival<'_>) -> Trace {
        let mut steps = Vec::new();
        let decision = self.decide(arrival, &mut steps);
        let to = |target: Target| match target {
            Target::Known(peer) => match self.peers.peer(peer) {
                Some(peer) => format!("forwarded to {} at {}", peer.route, peer.address),
                None => "forwarded".to_owned(),
            },
            Target::Unknown(route, address) => {
                format!("forwarded to {route} at {address}, which becomes a peer if there is room")
            }
        };
        let (forwarded, outcome) = match decision.action {
            Action::Drop(reason) => {
                (false, format!("dropped as {}: {}", reason.as_str(), reason.meaning()))
            }
            Action::Miss => (false, "dropped as flow_unknown, and reported as a miss".to_owned()),
            Action::Follow(slot) => (true, to(Target::Known(self.flows.flow(slot).route()))),
            Action::Adopt(slot, _) => {
                let to = to(Target::Known(self.flows.flow(slot).route()));
                (true, format!("{to}; the flow now belongs to the hint's session"))
            }
            Action::Beside(_, target, _) => {
                let to = to(target);
                (true, format!("{to}; the flow stays, until its shard is silent and this answers"))
            }
            Action::Create(target, _) => (true, format!("{}; a new flow is made", to(target))),
            Action::Pass(target) => (true, format!("{}; no flow: under flood", to(target))),
        };
        Trace { steps, outcome, forwarded }
    }
}
