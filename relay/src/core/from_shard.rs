//! Datagrams from the tunnel: opened, and their frames delivered to clients.
//!
//! Delivering needs no state at all: a frame names its client and its listener. Flows only learn
//! from it, in this order: the flow's own shard keeps it alive and assures it; a pending shard takes
//! it over if the flow's own has been silent for long, or had it from that one; an unknown client gets a flow.

use super::decide::Target;
use super::drop_reason::DropReason;
use super::flow::{Claim, FlowSlot, FlowState};
use super::health::Pong;
use super::now::Now;
use super::peers::PeerIndex;
use super::router::{Freed, Router};
use wire::address::Address;
use wire::demux::PacketClass;
use wire::frame::{Client, Frame, Frames, ListenerId, Transport};
use wire::tunnel::{About, Content, Datagram, ECHO_BYTES};

/// What the worker is to do with a tunnel datagram.
#[derive(Debug, Clone)]
pub enum TunnelVerdict<'d> {
    /// Ask [`Router::on_frame`] about each of these, as coming from this peer.
    Frames(PeerIndex, Frames<'d>),
    /// Send this to that address.
    Pong(Address, [u8; ECHO_BYTES]),
    /// Nothing: it was for the router.
    Taken,
    /// Nothing.
    Drop(DropReason),
}

/// What the worker is to do with one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameVerdict {
    /// Send its payload from this listener to this address.
    Deliver(ListenerId, Address),
    /// Nothing.
    Drop(DropReason),
}

impl Router {
    /// A datagram has come by the tunnel's socket. It is opened in place.
    #[inline]
    pub fn on_tunnel<'d>(
        &mut self,
        source: Address,
        datagram: &'d mut [u8],
        now: Now,
    ) -> TunnelVerdict<'d> {
        self.counters.tunnel_received_datagrams += 1;
        self.counters.tunnel_received_bytes += datagram.len() as u64;
        match self.take_datagram(source, datagram, now) {
            Ok(verdict) => verdict,
            Err(reason) => {
                self.counters.count_drop(reason);
                TunnelVerdict::Drop(reason)
            }
        }
    }

    #[inline]
    fn take_datagram<'d>(
        &mut self,
        source: Address,
        datagram: &'d mut [u8],
        now: Now,
    ) -> Result<TunnelVerdict<'d>, DropReason> {
        // Where no shard can be, nothing is worth opening.
        let target = match self.peers.at(&source) {
            Some(peer) => Target::Known(peer),
            None => {
                let route = self.clusters.shard_at(&source).ok_or(DropReason::TunnelStranger)?;
                Target::Unknown(route, source)
            }
        };
        let Datagram { content, about, .. } = self.opener.open(datagram)?;
        let peer = self.peer_of(target, now)?;
        Ok(match content {
            Content::Data(frames) => TunnelVerdict::Frames(peer, frames),
            Content::Gone(frames) => {
                for frame in frames {
                    self.gone(peer, &frame.client, now);
                }
                TunnelVerdict::Taken
            }
            Content::Ping(token) => {
                self.counters.pings_received += 1;
                let pong = self.legs.pong(peer, token, self.about(), &self.keyring);
                let (to, pong) = pong.ok_or(DropReason::TunnelCounterExhausted)?;
                TunnelVerdict::Pong(to, pong)
            }
            Content::Pong(token) => {
                let health = self.peers.peer_mut(peer).map(|peer| &mut peer.health);
                match health.map(|health| health.ponged(token, now.monotonic_us)) {
                    Some(Pong::Timely) => {
                        self.counters.pongs_received += 1;
                        self.hear_about(peer, about, now);
                    }
                    Some(Pong::Stale) | None => self.counters.pongs_stale += 1,
                }
                TunnelVerdict::Taken
            }
        })
    }

    /// A shard that was started anew knows no session of the one before: its flows lead nowhere. At
    /// most once for each of our pings, because all flows are looked at.
    fn hear_about(&mut self, index: PeerIndex, about: About, now: Now) {
        let Some(peer) = self.peers.peer_mut(index) else { return };
        peer.draining = about.draining;
        if about.boot == 0 {
            return;
        }
        let before = std::mem::replace(&mut peer.boot, about.boot);
        if before == 0 || before == about.boot {
            return;
        }
        self.counters.peers_restarted += 1;
        for slot in (0..self.flows.slots()).map(FlowSlot) {
            let Some(flow) = self.flows.at(slot) else { continue };
            if flow.route() == index {
                self.free(slot, Freed::Restarted, now);
            } else if flow.pending().is_some_and(|pending| pending.route == index) {
                self.set_pending(slot, None, now);
            }
        }
    }

    /// One frame of an authentic datagram from `peer`.
    #[inline]
    pub fn on_frame(&mut self, peer: PeerIndex, frame: &Frame<'_>, now: Now) -> FrameVerdict {
        self.counters.tunnel_received_frames += 1;
        if let Err(reason) = self.check_client(&frame.client) {
            self.counters.count_drop(reason);
            return FrameVerdict::Drop(reason);
        }
        let class = PacketClass::of(frame.payload);
        self.counters.count_client_sent(class, frame.payload.len());
        self.learn(peer, &frame.client, class, now);
        FrameVerdict::Deliver(frame.client.listener, frame.client.address)
    }

    /// A relay that sent wherever a frame says would be an open one to whoever owns a transceiver.
    #[inline]
    pub(super) fn check_client(&self, client: &Client) -> Result<(), DropReason> {
        match client.transport {
            Transport::Udp => {}
            Transport::Tcp => return Err(DropReason::FrameTransport),
        }
        let family = self.settings.listeners.get(usize::from(client.listener.0));
        if !family.ok_or(DropReason::FrameListenerUnknown)?.suits(&client.address) {
            return Err(DropReason::FrameFamily);
        }
        if !self.settings.client_scopes.allow(&client.address) {
            return Err(DropReason::FrameAddressForbidden);
        }
        Ok(())
    }

    #[inline]
    fn learn(&mut self, peer: PeerIndex, client: &Client, class: PacketClass, now: Now) {
        match self.live_flow(client, now) {
            Some(slot) => {
                let flow = self.flows.flow(slot);
                match (flow.route() == peer, flow.state()) {
                    (true, FlowState::Assured) => self.flows.heard(slot, now.millis()),
                    (true, FlowState::New) => self.assure(slot, now),
                    (false, _) => self.hear_another(peer, slot, now),
                }
            }
            None => self.learn_client(peer, client, class, now),
        }
    }

    pub(super) fn live_flow(&mut self, client: &Client, now: Now) -> Option<FlowSlot> {
        let slot = self.flows.find(client.listener, &client.address)?;
        if self.is_stale(self.flows.flow(slot), now) {
            self.free(slot, Freed::Expired, now);
            return None;
        }
        Some(slot)
    }

    /// The shard of a new flow has answered.
    fn assure(&mut self, slot: FlowSlot, now: Now) {
        match self.flows.assure(slot, now.millis()) {
            Some(assured) => {
                self.counters.flows_answered += 1;
                self.report_assured(assured);
            }
            None => {
                self.counters.assured_full += 1;
                self.flows.seen(slot, now.millis());
            }
        }
    }

    /// Another shard than the flow's has sent something to its client.
    fn hear_another(&mut self, peer: PeerIndex, slot: FlowSlot, now: Now) {
        let flow = self.flows.flow(slot);
        let before = flow.route();
        let claim = flow.claim();
        let may = match claim {
            Claim::Asked => flow.is_route_silent(now.millis()),
            Claim::Had => false,
            Claim::Returns => true,
        };
        let pending = flow.pending().filter(|pending| pending.route == peer && may);
        let pending = pending.filter(|&pending| {
            self.flows.session_addresses(pending) < self.settings.session_addresses_max
        });
        let Some(pending) = pending else {
            self.counters.delivered_beside += 1;
            return;
        };
        // Whom the flow is taken from is remembered, but for one who took it and has to give it back.
        let left =
            flow.session().filter(|_| claim == Claim::Asked && flow.state() == FlowState::Assured);
        // The pending peer's count of flows goes on as the route's, and the other way round.
        self.flows.repoint(slot, pending, now.millis());
        match left {
            Some(left) => self.flows.set_pending(slot, Some((left, Claim::Had))),
            None => self.peers.subtract_flow(before, now.monotonic_us),
        }
        self.counters.flows_repointed += 1;
        match self.flows.flow(slot).state() {
            FlowState::New => self.assure(slot, now),
            FlowState::Assured => self.report_assured(slot),
        }
    }

    /// A shard speaks to a client that has no flow: after a restart of this relay, that is how it
    /// learns its flows again. What teaches is media or DTLS, which a shard sends only where a
    /// session is. An answer to a check teaches nothing: checks pass also under flood, when no
    /// flows are to be made, and their answers would make them all the same. And no more is learned
    /// in the long run than new flows are made, so no session can fill the table by roaming; and a shard to which so many flows
    /// go already teaches no more, so none can fill it by lying.
    fn learn_client(&mut self, peer: PeerIndex, client: &Client, class: PacketClass, now: Now) {
        match class {
            PacketClass::Dtls | PacketClass::Rtp | PacketClass::Rtcp => {}
            PacketClass::Stun | PacketClass::Other => return,
        }
        if self.draining {
            return;
        }
        let taught = self.peers.peer(peer).map_or(0, |peer| peer.flows);
        if taught >= self.settings.flows_per_shard_max {
            self.counters.taught_full += 1;
            return;
        }
        if !self.learning.take(now.monotonic_us) {
            self.counters.learning_limited += 1;
            return;
        }
        let (listener, address) = (client.listener, client.address);
        match self.flows.insert_assured(listener, address, peer, now.millis()) {
            Some(slot) => {
                self.peers.add_flow(peer);
                self.counters.flows_learned += 1;
                self.report_assured(slot);
            }
            None => self.counters.assured_full += 1,
        }
    }

    /// A shard says that this client has no session there. Only its own flows are its to end.
    fn gone(&mut self, peer: PeerIndex, client: &Client, now: Now) {
        let slot = self.flows.find(client.listener, &client.address);
        let Some(slot) = slot else {
            self.counters.gone_ignored += 1;
            return;
        };
        let flow = self.flows.flow(slot);
        if flow.route() == peer {
            self.free(slot, Freed::Gone, now);
        } else if flow.pending().is_some_and(|pending| pending.route == peer) {
            self.set_pending(slot, None, now);
        } else {
            self.counters.gone_ignored += 1;
        }
    }
}
