//! Packets from clients: carries out what [`decide`](super::decide) decided.

use super::decide::{Action, Arrival, Target};
use super::drop_reason::DropReason;
use super::flow::{Claim, FlowSlot, FlowState, Session};
use super::now::Now;
use super::peers::PeerIndex;
use super::router::{Freed, Router};
use wire::address::Address;
use wire::demux::PacketClass;
use wire::frame::{Client, ListenerId, Transport};
use wire::hint::SessionTag;

/// What the worker is to do with a client's packet. There is no third: the relay answers no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Append it to the bundle of this peer, with [`Router::append`].
    Forward(PeerIndex),
    /// Nothing.
    Drop(DropReason),
}

impl Router {
    /// A packet has come by a listener.
    #[inline]
    pub fn on_client(
        &mut self,
        listener: ListenerId,
        source: Address,
        packet: &[u8],
        now: Now,
    ) -> Verdict {
        self.counters.count_client_received(PacketClass::of(packet), packet.len());
        let arrival = Arrival { listener, source, packet, now };
        let decision = self.decide(&arrival, &mut ());
        if let Some(stale) = decision.stale {
            self.free(stale, Freed::Expired, now);
        }
        match self.act(decision.action, &arrival) {
            Ok(peer) => Verdict::Forward(peer),
            Err(reason) => {
                self.counters.count_drop(reason);
                Verdict::Drop(reason)
            }
        }
    }

    #[inline]
    fn act(&mut self, action: Action, arrival: &Arrival<'_>) -> Result<PeerIndex, DropReason> {
        match action {
            Action::Follow(slot) => Ok(self.follow(slot, arrival.now)),
            Action::Adopt(slot, tag) => {
                self.flows.adopt(slot, tag);
                self.counters.flows_adopted += 1;
                if self.flows.flow(slot).state() == FlowState::Assured {
                    self.report_assured(slot);
                }
                Ok(self.follow(slot, arrival.now))
            }
            Action::Beside(slot, target, tag) => self.route_beside(slot, target, tag, arrival.now),
            Action::Create(target, tag) => self.create(target, tag, arrival),
            Action::Pass(target) => {
                self.counters.under_flood += 1;
                self.peer_of(target, arrival.now)
            }
            Action::Miss => {
                let client = Client {
                    address: arrival.source,
                    listener: arrival.listener,
                    transport: Transport::Udp,
                };
                self.misses.push(client, &mut self.counters.miss_events_lost);
                Err(DropReason::FlowUnknown)
            }
            Action::Drop(reason) => Err(reason),
        }
    }

    #[inline]
    fn follow(&mut self, slot: FlowSlot, now: Now) -> PeerIndex {
        self.flows.seen(slot, now.millis());
        self.flows.flow(slot).route()
    }

    /// The packet goes by its own hint. The flow stays where it is: whoever has a session of their
    /// own could send this from a victim's address. Only the answer of the other shard, after the
    /// flow's own has long been silent, can turn it; or of the one that it was taken from
    /// ([`Router::on_frame`]).
    fn route_beside(
        &mut self,
        slot: FlowSlot,
        target: Target,
        tag: SessionTag,
        now: Now,
    ) -> Result<PeerIndex, DropReason> {
        let route = self.peer_of(target, now)?;
        let pending = Session { route, tag };
        let flow = self.flows.flow(slot);
        let claim = match (flow.pending() == Some(pending), flow.claim()) {
            (true, Claim::Asked | Claim::Returns) => None,
            (true, Claim::Had) => Some(Claim::Returns),
            // Nobody else's check makes who had the flow forgotten, while it is in use.
            (false, Claim::Had | Claim::Returns) if !flow.is_route_silent(now.millis()) => None,
            (false, _) => Some(Claim::Asked),
        };
        if let Some(claim) = claim {
            self.set_pending(slot, Some((pending, claim)), now);
        }
        self.counters.routed_beside += 1;
        Ok(route)
    }

    fn create(
        &mut self,
        target: Target,
        tag: SessionTag,
        arrival: &Arrival<'_>,
    ) -> Result<PeerIndex, DropReason> {
        let now = arrival.now;
        let route = self.peer_of(target, now)?;
        self.new_flow_rate.take(now.monotonic_us);
        if let Some(oldest) = self.flows.must_evict() {
            self.free(oldest, Freed::Evicted, now);
        }
        let (listener, source) = (arrival.listener, arrival.source);
        let inserted = self.flows.insert_new(listener, source, route, Some(tag), now.millis());
        debug_assert!(inserted.is_some(), "room was made");
        if inserted.is_some() {
            self.peers.add_flow(route);
            self.counters.flows_created += 1;
        }
        Ok(route)
    }
}
