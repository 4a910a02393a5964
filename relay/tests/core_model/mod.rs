//! The router's rules once more, as simply as they can be written: one `HashMap`, no slabs, no
//! hashes, no bytes. Slow and obvious.

use relay::core::testing::{A, B, Check, Integrity, shard_a, shard_b};
use relay::core::{DropReason, FlowState, Route};
use std::collections::{HashMap, VecDeque};
use wire::address::Address;
use wire::demux::PacketClass;

/// By what right the pending session may have the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    Asked,
    Had,
    Returns,
}

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelFlow {
    pub(crate) state: FlowState,
    pub(crate) route: Route,
    pub(crate) session: Option<u32>,
    pub(crate) pending: Option<(Route, u32)>,
    pub(crate) claim: Claim,
    pub(crate) seen_ms: u64,
    pub(crate) heard_ms: u64,
    /// Order of birth.
    pub(crate) born: u64,
}

/// The limits of the router that is modelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) assured_max: usize,
    pub(crate) new_max: usize,
    pub(crate) addresses_max: usize,
}

/// What the router should know.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) flows: HashMap<Address, ModelFlow>,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
    pub(crate) draining: bool,
    /// Whether B is in the configuration; A always is.
    pub(crate) has_b: bool,
    births: u64,
    /// Addresses that were given back by a `gone` and still count: whose, and since when.
    held: VecDeque<(Route, u32, u64)>,
}

const NEW_IDLE_MS: u64 = 10_000;
const ASSURED_IDLE_MS: u64 = 60_000;
const SILENT_MS: u64 = 8_000;

impl Model {
    pub(crate) fn new(limits: Limits) -> Self {
        let flows = HashMap::new();
        let held = VecDeque::new();
        Self { flows, limits, now_ms: 0, draining: false, has_b: true, births: 0, held }
    }

    fn is_stale(&self, flow: &ModelFlow) -> bool {
        let idle_max_ms = match flow.state {
            FlowState::New => NEW_IDLE_MS,
            FlowState::Assured => ASSURED_IDLE_MS,
        };
        self.now_ms - flow.seen_ms >= idle_max_ms
    }

    fn live(&self, source: Address) -> Option<&ModelFlow> {
        self.flows.get(&source).filter(|flow| !self.is_stale(flow))
    }

    fn free_if_stale(&mut self, source: Address) {
        if self.live(source).is_none() {
            self.flows.remove(&source);
        }
    }

    fn count(&self, state: FlowState) -> usize {
        self.flows.values().filter(|flow| flow.state == state).count()
    }

    fn addresses(&self, route: Route, session: u32) -> usize {
        let of = |flow: &&ModelFlow| flow.route == route && flow.session == Some(session);
        let held = self.held.iter().filter(|(at, of, _)| (*at, *of) == (route, session));
        self.flows.values().filter(of).count() + held.count()
    }

    fn exists(&self, route: Route) -> bool {
        route == A || (route == B && self.has_b)
    }

    /// A packet without a hint.
    pub(crate) fn packet(&mut self, source: Address) -> Result<Route, DropReason> {
        self.free_if_stale(source);
        let now_ms = self.now_ms;
        let flow = self.flows.get_mut(&source).ok_or(DropReason::FlowUnknown)?;
        flow.seen_ms = now_ms;
        Ok(flow.route)
    }

    /// A check.
    pub(crate) fn check(&mut self, source: Address, check: Check) -> Result<Route, DropReason> {
        let (route, session) = (check.route, check.session);
        let live = self.live(source).cloned();
        if let Some(flow) = &live
            && flow.route == route
            && flow.session == Some(session)
        {
            return self.packet(source);
        }
        if !self.exists(route) {
            return Err(DropReason::TransceiverUnknown);
        }
        let expired = check.expires_in < 0;
        let proof = match check.integrity {
            Integrity::True => Ok(()),
            Integrity::False => Err(DropReason::IntegrityWrong),
            Integrity::Missing => Err(DropReason::IntegrityMissing),
        };
        let full = self.addresses(route, session) >= self.limits.addresses_max;
        match live {
            Some(flow) if flow.route == route => {
                proof?;
                if !expired && !full {
                    self.flow(source).session = Some(session);
                }
                self.packet(source)
            }
            Some(_) => {
                if expired {
                    return Err(DropReason::HintExpired);
                }
                proof?;
                if full {
                    return Err(DropReason::SessionAddresses);
                }
                let now_ms = self.now_ms;
                let flow = self.flow(source);
                let silent = flow.state == FlowState::New || now_ms - flow.heard_ms >= SILENT_MS;
                let same = flow.pending == Some((route, session));
                if same && flow.claim == Claim::Had {
                    flow.claim = Claim::Returns;
                } else if !same && (flow.claim == Claim::Asked || silent) {
                    flow.pending = Some((route, session));
                    flow.claim = Claim::Asked;
                }
                Ok(route)
            }
            None => {
                if expired {
                    return Err(DropReason::HintExpired);
                }
                if self.draining {
                    return Err(DropReason::Draining);
                }
                proof?;
                if full {
                    return Err(DropReason::SessionAddresses);
                }
                self.flows.remove(&source);
                self.create(source, route, session);
                Ok(route)
            }
        }
    }

    fn flow(&mut self, source: Address) -> &mut ModelFlow {
        self.flows.get_mut(&source).expect("it was found just now")
    }

    fn create(&mut self, source: Address, route: Route, session: u32) {
        if self.count(FlowState::New) == self.limits.new_max {
            let new = self.flows.iter().filter(|(_, flow)| flow.state == FlowState::New);
            let oldest = new.min_by_key(|(_, flow)| flow.born).map(|(address, _)| *address);
            self.flows.remove(&oldest.expect("there are some"));
        }
        self.births += 1;
        let flow = ModelFlow {
            state: FlowState::New,
            route,
            session: Some(session),
            pending: None,
            claim: Claim::Asked,
            seen_ms: self.now_ms,
            heard_ms: self.now_ms,
            born: self.births,
        };
        self.flows.insert(source, flow);
    }

    fn is_at(shard: Address, route: Route) -> bool {
        shard == if route == A { shard_a() } else { shard_b() }
    }

    /// A shard sends a packet to a client.
    pub(crate) fn answer(&mut self, route: Route, to: Address, class: PacketClass) -> bool {
        if !self.exists(route) {
            return false;
        }
        self.free_if_stale(to);
        let now_ms = self.now_ms;
        let room = self.count(FlowState::Assured) < self.limits.assured_max;
        let Some(flow) = self.flows.get(&to).cloned() else {
            if class != PacketClass::Stun && !self.draining && room {
                let state = FlowState::Assured;
                let (seen_ms, heard_ms) = (now_ms, now_ms);
                let flow = ModelFlow {
                    state,
                    route,
                    session: None,
                    pending: None,
                    claim: Claim::Asked,
                    seen_ms,
                    heard_ms,
                    born: 0,
                };
                self.flows.insert(to, flow);
            }
            return true;
        };
        if flow.route != route {
            let silent = flow.state == FlowState::New || now_ms - flow.heard_ms >= SILENT_MS;
            let Some((pending, session)) = flow.pending else { return true };
            let addresses = self.addresses(pending, session);
            let may = match flow.claim {
                Claim::Asked => silent,
                Claim::Had => false,
                Claim::Returns => true,
            };
            if pending != route || !may || addresses >= self.limits.addresses_max {
                return true;
            }
            let assured = flow.state == FlowState::Assured;
            let left = flow.session.filter(|_| assured && flow.claim == Claim::Asked);
            let from = flow.route;
            let flow = self.flow(to);
            flow.route = pending;
            flow.session = Some(session);
            flow.pending = left.map(|session| (from, session));
            flow.claim = if left.is_some() { Claim::Had } else { Claim::Asked };
        }
        let flow = self.flow(to);
        flow.seen_ms = now_ms;
        flow.heard_ms = now_ms;
        if flow.state == FlowState::New && room {
            flow.state = FlowState::Assured;
        }
        true
    }

    /// A shard says that a client is gone.
    pub(crate) fn gone(&mut self, route: Route, source: Address) {
        if !self.exists(route) {
            return;
        }
        let Some(flow) = self.flows.get_mut(&source) else { return };
        if flow.route == route {
            if let Some(session) = flow.session {
                if self.held.len() == self.limits.new_max {
                    self.held.pop_front();
                }
                self.held.push_back((route, session, self.now_ms));
            }
            self.flows.remove(&source);
        } else if flow.pending.is_some_and(|(pending, _)| pending == route) {
            flow.pending = None;
            flow.claim = Claim::Asked;
        }
    }

    /// Time is up for some.
    pub(crate) fn tick(&mut self) {
        while self.held.front().is_some_and(|(.., since)| self.now_ms - since >= NEW_IDLE_MS) {
            self.held.pop_front();
        }
        let stale: Vec<_> =
            self.flows.keys().copied().filter(|a| self.live(*a).is_none()).collect();
        for address in stale {
            self.flows.remove(&address);
        }
    }

    /// B comes or leaves.
    pub(crate) fn configure(&mut self, has_b: bool) {
        self.has_b = has_b;
        if !has_b {
            self.held.retain(|(route, ..)| *route == A);
            self.flows.retain(|_, flow| Self::is_at(shard_a(), flow.route));
            for flow in self.flows.values_mut() {
                flow.pending = flow.pending.filter(|(route, _)| *route == A);
                if flow.pending.is_none() {
                    flow.claim = Claim::Asked;
                }
            }
        }
    }
}
