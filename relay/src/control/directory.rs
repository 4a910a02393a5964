//! The directory of all workers' flows: which worker has which client, and where its packets go.
//!
//! The kernel gives a client's packets to a worker by a hash, or by the core that received them.
//! When that changes (another number of sockets, another queue of the network card), the worker that
//! gets them knows nothing of the flow, and one beside it does. Workers tell of their flows as they
//! come and go; nobody asks them for it on a packet's account.
//!
//! It also says when a flow is to be told to the flow cache again.

use crate::core::{FlowChange, Recalled, Route};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use wire::frame::Client;
use wire::hint::SessionTag;

/// All workers' assured flows.
#[derive(Debug)]
pub(super) struct Directory {
    flows: HashMap<Client, Entry>,
    flows_max: usize,
    /// When a flow is to be told to the cache again, the soonest first; also of flows that are no
    /// more, until their time has come.
    refreshes: VecDeque<(Instant, Client)>,
    refresh_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    worker: usize,
    route: Route,
    session: Option<SessionTag>,
    refresh_at: Option<Instant>,
}

impl Directory {
    /// An empty directory. Flows are refreshed so long after they were told of, if at all.
    pub(super) fn new(flows_max: usize, refresh_after: Option<Duration>) -> Self {
        Self { flows: HashMap::new(), flows_max, refreshes: VecDeque::new(), refresh_after }
    }

    /// How many flows it knows.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes note of a change; gives what the cache should know of it.
    pub(super) fn note(
        &mut self,
        worker: usize,
        change: FlowChange,
        now: Instant,
    ) -> Option<Recalled> {
        match change {
            FlowChange::Assured { client, route, session } => {
                self.enter(worker, Recalled { client, route, session }, now)
            }
            FlowChange::Freed { client } => {
                // A flow that has moved to another worker ends where it was, some time later.
                if self.flows.get(&client).is_some_and(|entry| entry.worker == worker) {
                    self.flows.remove(&client);
                }
                None
            }
        }
    }

    /// The flow of a client, and which worker has it.
    pub(super) fn find(&self, client: &Client) -> Option<(usize, Recalled)> {
        let Entry { worker, route, session, .. } = *self.flows.get(client)?;
        Some((worker, Recalled { client: *client, route, session }))
    }

    /// Forgets what it knows of a worker, before that is asked for everything.
    pub(super) fn forget(&mut self, worker: usize) {
        self.flows.retain(|_, entry| entry.worker != worker);
    }

    /// The next flow whose time has come.
    pub(super) fn next_refresh(&mut self, now: Instant) -> Option<Recalled> {
        loop {
            let (at, client) = *self.refreshes.front()?;
            if at > now {
                return None;
            }
            self.refreshes.pop_front();
            let Some(entry) = self.flows.get_mut(&client) else { continue };
            if entry.refresh_at != Some(at) {
                continue;
            }
            let (route, session) = (entry.route, entry.session);
            entry.refresh_at = plan(&mut self.refreshes, self.refresh_after, client, now);
            return Some(Recalled { client, route, session });
        }
    }

    fn enter(&mut self, worker: usize, flow: Recalled, now: Instant) -> Option<Recalled> {
        let Recalled { client, route, session } = flow;
        let known = self.flows.get(&client).copied();
        if known.is_none() && self.flows.len() >= self.flows_max {
            return None;
        }
        let same = known.is_some_and(|entry| (entry.route, entry.session) == (route, session));
        // What has not changed keeps its time, so nobody fills the queue by telling it again.
        let refresh_at = match known.filter(|_| same) {
            Some(entry) => entry.refresh_at,
            None => plan(&mut self.refreshes, self.refresh_after, client, now),
        };
        self.flows.insert(client, Entry { worker, route, session, refresh_at });
        (!same).then_some(flow)
    }
}

fn plan(
    refreshes: &mut VecDeque<(Instant, Client)>,
    after: Option<Duration>,
    client: Client,
    now: Instant,
) -> Option<Instant> {
    let at = now + after?;
    refreshes.push_back((at, client));
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::address::Address;
    use wire::frame::{ListenerId, Transport};
    use wire::hint::{ClusterId, ShardId, TransceiverId};

    fn flow(last: u8, shard: u8) -> Recalled {
        let address = Address::new([192, 0, 2, last].into(), 5_000);
        let (cluster, transceiver) = (ClusterId(1), TransceiverId(1));
        Recalled {
            client: Client { address, listener: ListenerId(0), transport: Transport::Udp },
            route: Route { cluster, transceiver, shard: ShardId(shard) },
            session: Some(SessionTag::new(7)),
        }
    }

    fn assured(flow: Recalled) -> FlowChange {
        FlowChange::Assured { client: flow.client, route: flow.route, session: flow.session }
    }

    #[test]
    fn a_flow_that_moves_is_where_it_was_last() {
        let now = Instant::now();
        let mut directory = Directory::new(10, None);
        assert_eq!(directory.note(0, assured(flow(1, 0)), now), Some(flow(1, 0)));
        assert_eq!(directory.note(1, assured(flow(1, 0)), now), None, "the cache knows it");
        directory.note(0, FlowChange::Freed { client: flow(1, 0).client }, now);
        assert_eq!(directory.find(&flow(1, 0).client), Some((1, flow(1, 0))), "it is worker 1's");
        assert_eq!(directory.note(1, assured(flow(1, 3)), now), Some(flow(1, 3)), "another shard");
        directory.note(1, FlowChange::Freed { client: flow(1, 0).client }, now);
        assert_eq!((directory.find(&flow(1, 0).client), directory.len()), (None, 0));
    }

    #[test]
    fn it_is_bounded_and_forgets_one_worker_at_a_time() {
        let now = Instant::now();
        let mut directory = Directory::new(2, None);
        for last in 1..=3 {
            directory.note(usize::from(last % 2), assured(flow(last, 0)), now);
        }
        assert_eq!((directory.len(), directory.find(&flow(3, 0).client)), (2, None));
        directory.forget(1);
        assert_eq!((directory.len(), directory.find(&flow(2, 0).client).is_some()), (1, true));
    }

    #[test]
    fn a_flow_is_refreshed_for_as_long_as_it_lives() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut directory = Directory::new(10, Some(Duration::from_secs(20)));
        directory.note(0, assured(flow(1, 0)), at(0));
        directory.note(0, assured(flow(2, 0)), at(5));
        directory.note(0, assured(flow(2, 1)), at(10));
        directory.note(0, assured(flow(1, 0)), at(10));
        assert_eq!(directory.next_refresh(at(19)), None);
        assert_eq!(directory.next_refresh(at(20)), Some(flow(1, 0)));
        assert_eq!(directory.next_refresh(at(29)), None, "what was planned before it changed");
        assert_eq!(directory.next_refresh(at(30)), Some(flow(2, 1)));
        directory.note(0, FlowChange::Freed { client: flow(1, 0).client }, at(31));
        assert_eq!(directory.next_refresh(at(49)), None);
        assert_eq!(directory.next_refresh(at(50)), Some(flow(2, 1)));
        assert!(directory.refreshes.len() <= 2);
    }
}
