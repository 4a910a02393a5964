//! Flows apart from any router: as a hot upgrade hands them to the next process, and as a worker is
//! told of one that another worker knows, or the flow cache.
//!
//! Whatever a record says is checked as if a hint had said it: its shard must be one of the
//! clusters', its client one that the listener can have. What another process or a cache says of a
//! flow is a help, and no authority.

use super::clusters::Route;
use super::decide::Target;
use super::flow::{Claim, Flow, FlowSlot, FlowState, Session};
use super::now::Now;
use super::router::{Freed, Router};
use std::cmp::Reverse;
use wire::frame::Client;
use wire::hint::SessionTag;

/// A flow, with all that is worth keeping of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRecord {
    /// Whose flow it is.
    pub client: Client,
    /// Whether its shard has answered.
    pub state: FlowState,
    /// Where it goes.
    pub route: Route,
    /// Whose session it is, unless it was learned from the shard.
    pub session: Option<SessionTag>,
    /// Which other session could take the flow over.
    pub pending: Option<(Route, SessionTag)>,
    /// Whether that one had the flow before, so that its client's next check takes it back.
    pub pending_had: bool,
    /// How long no packet came or went.
    pub idle_ms: u32,
    /// How long the shard has sent nothing; `None` if it never did.
    pub silent_ms: Option<u32>,
}

/// What is told of a flow when a packet of its client found none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recalled {
    /// Whose flow it is.
    pub client: Client,
    /// Where it goes.
    pub route: Route,
    /// Whose session it is, if that is known.
    pub session: Option<SessionTag>,
}

/// What became of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Flows that are there now.
    pub taken: u64,
    /// Flows that are not: they lead nowhere any more, or there is no room.
    pub refused: u64,
}

impl Router {
    /// All flows.
    pub fn records(&self, now: Now) -> Vec<FlowRecord> {
        let live = |slot| self.flows.at(slot).filter(|flow| !self.is_stale(flow, now));
        let all = (0..self.flows.slots()).map(FlowSlot).filter_map(live);
        all.filter_map(|flow| self.record(flow, now)).collect()
    }

    /// Takes flows over, in a router that has none yet.
    pub fn restore(&mut self, records: &[FlowRecord], now: Now) -> Restored {
        let (mut new, assured): (Vec<&FlowRecord>, Vec<_>) =
            records.iter().partition(|record| record.state == FlowState::New);
        // The oldest first, because that is how they are evicted; without room for all, the
        // youngest.
        new.sort_by_key(|record| Reverse(record.idle_ms));
        let room = self.settings.new_flows_max as usize;
        let surplus = new.len().saturating_sub(room);
        let mut restored = Restored { taken: 0, refused: surplus as u64 };
        for record in assured.into_iter().chain(new.into_iter().skip(surplus)) {
            match self.restore_one(record, now) {
                Some(()) => restored.taken += 1,
                None => restored.refused += 1,
            }
        }
        self.counters.flows_restored += restored.taken;
        self.counters.flows_not_recalled += restored.refused;
        restored
    }

    /// Makes a flow that somebody else knows, unless the client has one by now. It is a new one:
    /// the first to go under pressure, and with the next verified check any other shard takes it
    /// over. So the worst that a false record does is to mislead one client until then.
    pub(super) fn recall(&mut self, recalled: &Recalled, now: Now) -> bool {
        if self.live_flow(&recalled.client, now).is_some() {
            return true;
        }
        let made = self.make_recalled(recalled, now).is_some();
        let counters = &mut self.counters;
        let counter =
            if made { &mut counters.flows_recalled } else { &mut counters.flows_not_recalled };
        *counter += 1;
        made
    }

    fn make_recalled(&mut self, recalled: &Recalled, now: Now) -> Option<()> {
        let &Recalled { client, route, session } = recalled;
        let target = self.admit(&client, route, session)?;
        if !self.recalling.take(now.monotonic_us) {
            return None;
        }
        let peer = self.peer_of(target, now).ok()?;
        if let Some(oldest) = self.flows.must_evict() {
            self.free(oldest, Freed::Evicted, now);
        }
        self.flows.insert_new(client.listener, client.address, peer, session, now.millis())?;
        self.peers.add_flow(peer);
        Some(())
    }

    fn restore_one(&mut self, record: &FlowRecord, now: Now) -> Option<()> {
        let &FlowRecord { client, route, session, idle_ms, .. } = record;
        if self.flows.find(client.listener, &client.address).is_some() {
            return None;
        }
        let target = self.admit(&client, route, session)?;
        let peer = self.peer_of(target, now).ok()?;
        let seen = now.millis().before(idle_ms);
        let (listener, address) = (client.listener, client.address);
        let slot = match record.state {
            FlowState::New => self.flows.insert_new(listener, address, peer, session, seen)?,
            FlowState::Assured => {
                let slot = self.flows.insert_assured(listener, address, peer, seen)?;
                if let Some(tag) = session {
                    self.flows.adopt(slot, tag);
                }
                let silent_ms = record.silent_ms.unwrap_or(u32::MAX / 4);
                self.flows.was_heard(slot, now.millis().before(silent_ms));
                slot
            }
        };
        self.peers.add_flow(peer);
        if let Some((route, tag)) = record.pending
            && let Ok(target) = self.resolve(route)
            && let Ok(route) = self.peer_of(target, now)
        {
            let claim = if record.pending_had { Claim::Had } else { Claim::Asked };
            self.set_pending(slot, Some((Session { route, tag }, claim)), now);
        }
        Some(())
    }

    /// Where a record's flow goes, if there may be such a flow at all.
    fn admit(&self, client: &Client, route: Route, session: Option<SessionTag>) -> Option<Target> {
        self.check_client(client).ok()?;
        let target = self.resolve(route).ok()?;
        let full = session.is_some_and(|tag| self.session_is_full(target, tag));
        (!full).then_some(target)
    }

    fn record(&self, flow: &Flow, now: Now) -> Option<FlowRecord> {
        let pending = flow.pending();
        let pending = pending.and_then(|it| Some((self.peers.peer(it.route)?.route, it.tag)));
        Some(FlowRecord {
            client: flow.client(),
            state: flow.state(),
            route: self.peers.peer(flow.route())?.route,
            session: flow.session().map(|session| session.tag),
            pending,
            pending_had: flow.claim() != Claim::Asked,
            idle_ms: flow.idle_ms(now.millis()),
            silent_ms: flow.silent_ms(now.millis()),
        })
    }
}
