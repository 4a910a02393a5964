//! What becomes of a client's packet: a pure function of the packet and what the router knows.
//!
//! ```text
//! STUN, a Binding request with USERNAME ─ hint ─┬─ of the flow's own session ──────────► follow
//!                                               ├─ of the flow's shard ─ verify ───────► adopt
//!                                               ├─ of another shard ─ verify ──────────► beside
//!                                               └─ no flow ─ verify ─ admit ───────────► create
//! all other STUN, DTLS, RTP, RTCP ─── flow? ────┬─ yes ────────────────────────────────► follow
//!                                               └─ no ─────────────────────────────────► missed
//! ```
//!
//! It changes nothing, so `trace` runs this very code for an operator without touching a flow. The
//! router carries the decision out ([`super::from_client`]).

use super::clusters::{ResolveError, Route};
use super::drop_reason::DropReason;
use super::flow::{FlowSlot, Session};
use super::now::Now;
use super::peers::PeerIndex;
use super::router::Router;
use super::steps::{Step, Steps};
use wire::address::Address;
use wire::demux::PacketClass;
use wire::frame::ListenerId;
use wire::hint::{Hint, SessionTag};
use wire::stun::{Kind, Message};

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// A flow that was found and has been idle for too long: to be freed first.
    pub(super) stale: Option<FlowSlot>,
    pub(super) action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Drop(DropReason),
    /// Only a flow could say where it goes, and there is none.
    Miss,
    /// It goes where the flow goes.
    Follow(FlowSlot),
    /// The same, and the flow belongs to this session from now on.
    Adopt(FlowSlot, SessionTag),
    /// It goes by its own hint; the flow stays, and remembers who may take it over.
    Beside(FlowSlot, Target, SessionTag),
    /// A new flow.
    Create(Target, SessionTag),
    /// It goes by its own hint and leaves no trace: under flood.
    Pass(Target),
}

/// A shard: already a peer, or to become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Known(PeerIndex),
    Unknown(Route, Address),
}

/// A client's packet, and when it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) listener: ListenerId,
    pub(super) source: Address,
    pub(super) packet: &'a [u8],
    pub(super) now: Now,
}

/// What the one lookup in the flow table said.
#[derive(Clone, Copy)]
struct Lookup {
    live: Option<FlowSlot>,
    stale: Option<FlowSlot>,
}

impl Router {
    /// Decides.
    #[inline]
    pub(super) fn decide(&self, arrival: &Arrival<'_>, steps: &mut impl Steps) -> Decision {
        match self.decide_or_drop(arrival, steps) {
            Ok(decision) => decision,
            Err(reason) => Decision { stale: None, action: Action::Drop(reason) },
        }
    }

    fn decide_or_drop(
        &self,
        arrival: &Arrival<'_>,
        steps: &mut impl Steps,
    ) -> Result<Decision, DropReason> {
        let class = PacketClass::of(arrival.packet);
        steps.note(Step::Class(class));
        if arrival.packet.len() > usize::from(self.settings.packet_bytes_max) {
            return Err(DropReason::PacketTooLong);
        }
        if usize::from(arrival.listener.0) >= self.settings.listeners.len() {
            return Err(DropReason::ListenerUnknown);
        }
        match class {
            PacketClass::Stun => {
                let message = Message::parse(arrival.packet)?;
                let kind = message.kind();
                steps.note(Step::Stun(kind));
                // A request is the only thing that may make a flow, and only it is addressed by a
                // USERNAME (RFC 8445 section 7.2.2): all else belongs to a flow that is there.
                if kind == Kind::BindingRequest && message.username().is_some() {
                    let ufrag = message.ufrag().ok_or(DropReason::UsernameMalformed)?;
                    let hint = self.keyring.decode(ufrag)?;
                    steps.note(Step::Hint(hint));
                    return self.by_hint(arrival, ufrag, &hint, &message, steps);
                }
                Ok(self.by_flow(arrival, steps))
            }
            PacketClass::Dtls | PacketClass::Rtp | PacketClass::Rtcp => {
                Ok(self.by_flow(arrival, steps))
            }
            PacketClass::Other if arrival.packet.is_empty() => Err(DropReason::Empty),
            PacketClass::Other => Err(DropReason::NotOurs),
        }
    }

    fn by_flow(&self, arrival: &Arrival<'_>, steps: &mut impl Steps) -> Decision {
        let Lookup { live, stale } = self.look_up(arrival, steps);
        Decision { stale, action: live.map_or(Action::Miss, Action::Follow) }
    }

    fn by_hint(
        &self,
        arrival: &Arrival<'_>,
        ufrag: &[u8],
        hint: &Hint,
        request: &Message<'_>,
        steps: &mut impl Steps,
    ) -> Result<Decision, DropReason> {
        let Lookup { live, stale } = self.look_up(arrival, steps);
        let decided = |action| Ok(Decision { stale, action });
        if let Some(slot) = live
            && self.is_own_session(slot, hint)
        {
            // Also when the hint's time is over: it ends the making of flows, not the calls.
            steps.note(Step::OwnSession);
            return decided(Action::Follow(slot));
        }

        // A failed check frees no stale flow: the sweep will.
        let target = self.resolve(Route::from(hint))?;
        steps.note(Step::Resolved(self.address_of(target)));
        let too_early_or_late = DropReason::of_validity(
            hint.validity(arrival.now.hint_time, self.settings.hint_lifetime_units_max),
        );
        let prove = |steps: &mut _| {
            self.keyring.proves_answer_seen(ufrag, request)?;
            Steps::note(steps, Step::Proven);
            Ok::<_, DropReason>(())
        };
        if let Some(slot) = live
            && target == Target::Known(self.flows.flow(slot).route())
        {
            // Another session of the shard that this client's packets go to anyway: no shard gets
            // what it would not have got, so time and number of addresses only decide about the
            // flow's session.
            prove(steps)?;
            let full = self.session_is_full(target, hint.session);
            return decided(if too_early_or_late.is_none() && !full {
                Action::Adopt(slot, hint.session)
            } else {
                Action::Follow(slot)
            });
        }
        if let Some(reason) = too_early_or_late {
            return Err(reason);
        }
        if live.is_none() {
            if !self.settings.client_scopes.allow(&arrival.source) {
                return Err(DropReason::ClientAddressForbidden);
            }
            if self.draining {
                return Err(DropReason::Draining);
            }
        }
        prove(steps)?;
        // Only after the proof: what a session's addresses are is nobody else's business.
        if self.session_is_full(target, hint.session) {
            return Err(DropReason::SessionAddresses);
        }
        decided(match live {
            Some(slot) => Action::Beside(slot, target, hint.session),
            None if self.new_flow_rate.has_one(arrival.now.monotonic_us) => {
                Action::Create(target, hint.session)
            }
            None => Action::Pass(target),
        })
    }

    /// The one lookup that a packet costs.
    #[inline]
    fn look_up(&self, arrival: &Arrival<'_>, steps: &mut impl Steps) -> Lookup {
        let Some(slot) = self.flows.find(arrival.listener, &arrival.source) else {
            steps.note(Step::NoFlow);
            return Lookup { live: None, stale: None };
        };
        let flow = self.flows.flow(slot);
        if self.is_stale(flow, arrival.now) {
            steps.note(Step::StaleFlow { idle_ms: flow.idle_ms(arrival.now.millis()) });
            return Lookup { live: None, stale: Some(slot) };
        }
        if let Some(peer) = self.peers.peer(flow.route()) {
            let session = flow.session().map(|session| session.tag);
            steps.note(Step::Flow { state: flow.state(), route: peer.route, session });
        }
        Lookup { live: Some(slot), stale: None }
    }

    /// Whether a hint names the very session that the flow belongs to.
    #[inline]
    fn is_own_session(&self, slot: FlowSlot, hint: &Hint) -> bool {
        let flow = self.flows.flow(slot);
        flow.session().is_some_and(|session| session.tag == hint.session)
            && self.peers.peer(flow.route()).is_some_and(|peer| peer.route == Route::from(hint))
    }

    pub(super) fn resolve(&self, route: Route) -> Result<Target, DropReason> {
        let address = self.clusters.resolve(route).map_err(|error| match error {
            ResolveError::ClusterUnknown => DropReason::ClusterUnknown,
            ResolveError::TransceiverUnknown => DropReason::TransceiverUnknown,
            ResolveError::ShardUnknown => DropReason::ShardUnknown,
            ResolveError::Forbidden => DropReason::TransceiverForbidden,
        })?;
        Ok(self.peers.at(&address).map_or(Target::Unknown(route, address), Target::Known))
    }

    pub(super) fn session_is_full(&self, target: Target, tag: SessionTag) -> bool {
        match target {
            Target::Known(route) => {
                let addresses = self.flows.session_addresses(Session { route, tag });
                addresses >= self.settings.session_addresses_max
            }
            Target::Unknown(..) => false,
        }
    }

    fn address_of(&self, target: Target) -> Option<Address> {
        match target {
            Target::Known(peer) => self.peers.peer(peer).map(|peer| peer.address),
            Target::Unknown(_, address) => Some(address),
        }
    }
}
