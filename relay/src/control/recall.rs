//! Finds flows for clients that no flow of their worker knows: in the directory of all workers'
//! flows, and then in the flow cache. Off the hot path: a worker only tells that it missed somebody.
//!
//! Strangers cause misses, a hundred thousand a second if they like. So only so many are looked
//! into, a client once a second, and the rest is counted.

use super::cache::Cache;
use super::directory::Directory;
use super::fleet::Fleet;
use super::relay::Relay;
use crate::core::{Command, FlowChange, FlowState, Reply};
use crate::worker::{QUEUE_RECALLS_MAX, Report};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};
use tracing::warn;
use wire::frame::Client;

/// Misses that are looked into, a second. A relay that has just restarted with all calls of a full
/// table has them back within a minute, and before that by their shards' packets.
const MISSES_PER_SECOND_MAX: usize = 5_000;
/// Clients that may wait to be looked for in the cache: more than there can be new ones of in a second.
const QUEUE_READS_MAX: usize = 8_192;
/// Clients that are looked for in the cache at once.
const PIPELINE_READS_MAX: usize = 256;
/// Reports that are taken in one go, before anything else gets its turn.
const REPORTS_PER_TURN_MAX: usize = 1_024;
/// Refreshes that are handed to the cache in one go.
const REFRESHES_PER_TURN_MAX: usize = 512;
/// How often refreshes are looked for.
const REFRESH_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two workers being asked for all their flows.
const LEARN_INTERVAL: Duration = Duration::from_millis(500);
/// Flows asked for at once, when all of a worker's are.
const PAGE: u32 = 256;

const _: () = {
    assert!(MISSES_PER_SECOND_MAX < QUEUE_READS_MAX, "a second's misses all find room to wait");
    assert!(MISSES_PER_SECOND_MAX < QUEUE_RECALLS_MAX, "and so do the answers, at one worker");
};

/// What became of misses, and how much is known.
#[derive(Debug, Default)]
pub(super) struct RecallCounters {
    /// By outcome, in the order of [`OUTCOMES`].
    outcomes: [AtomicU64; OUTCOMES.len()],
    flows: AtomicU64,
}

/// The outcomes of a miss, for metrics.
pub(super) const OUTCOMES: [&str; 6] =
    ["directory", "cache", "nowhere", "repeated", "limited", "busy"];

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Directory,
    Cache,
    Nowhere,
    Repeated,
    Limited,
    Busy,
}

impl RecallCounters {
    fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each outcome with how often it came about.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Ordering::Relaxed));
        OUTCOMES.into_iter().zip(counts)
    }

    /// Flows in the directory.
    pub(super) fn flows(&self) -> u64 {
        self.flows.load(Ordering::Relaxed)
    }
}

/// Runs for as long as there is a relay. `full` says that the workers have flows already.
pub(super) async fn run(
    relay: Weak<Relay>,
    mut directory: Directory,
    cache: Option<Cache>,
    full: bool,
) {
    let Some(first) = relay.upgrade() else { return };
    let workers = first.fleet().len();
    let counters = Arc::clone(first.recall_counters());
    drop(first);
    let cache = cache.map(Arc::new);
    let limit = Arc::new(Mutex::new(Limit::default()));
    let reads = cache.as_ref().map(|cache| {
        let (reads, queue) = mpsc::channel(QUEUE_READS_MAX);
        tokio::spawn(look_in_cache(relay.clone(), Arc::clone(cache), Arc::clone(&limit), queue));
        reads
    });
    let mut lost = vec![0; workers];
    let mut stale = vec![full; workers];
    let mut learn_at = Instant::now();
    let mut refresh = time::interval(REFRESH_INTERVAL);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(relay) = relay.upgrade() else { return };
        let now = Instant::now();
        locked(&limit).begin(now);
        let mut more = false;
        for (worker, reports) in relay.fleet().reports().iter().enumerate() {
            for taken in 0.. {
                let Some(report) = reports.take() else { break };
                match report {
                    Report::Change(change) => {
                        if let (Some(flow), Some(cache)) =
                            (directory.note(worker, change, now), &cache)
                        {
                            cache.write(flow);
                        }
                    }
                    Report::Miss(client) => {
                        let mut limit = locked(&limit);
                        let outcome = limit
                            .admit(client)
                            .or_else(|| missed(&relay, &directory, reads.as_ref(), worker, client));
                        if let Some(outcome) = outcome {
                            counters.count(outcome);
                        }
                        if let Some(Outcome::Busy) = outcome {
                            limit.excuse(&client);
                        }
                    }
                }
                if taken >= REPORTS_PER_TURN_MAX {
                    more = true;
                    break;
                }
            }
            let lost_now = reports.lost();
            stale[worker] |= lost_now != lost[worker];
            lost[worker] = lost_now;
        }
        // Where changes are lost again and again, the worker has better things to do than to tell
        // everything again and again.
        if now >= learn_at
            && let Some(worker) = stale.iter().position(|stale| *stale)
        {
            stale[worker] = false;
            learn_at = now + LEARN_INTERVAL;
            learn_all(relay.fleet(), &mut directory, cache.as_deref(), worker).await;
        }
        counters.flows.store(directory.len() as u64, Ordering::Relaxed);
        if let Some(cache) = &cache {
            for _ in 0..REFRESHES_PER_TURN_MAX {
                let Some(flow) = directory.next_refresh(now) else { break };
                cache.write(flow);
            }
        }
        if more {
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = relay.fleet().told() => {}
            _ = refresh.tick() => {}
        }
    }
}

/// Looks for the flow of a client. None if the cache is asked, which tells later.
fn missed(
    relay: &Relay,
    directory: &Directory,
    reads: Option<&mpsc::Sender<Read>>,
    worker: usize,
    client: Client,
) -> Option<Outcome> {
    // A worker that misses what it is said to have has freed it just now.
    if let Some((_, flow)) = directory.find(&client).filter(|(owner, _)| *owner != worker) {
        let told = relay.fleet().recall(worker, flow);
        return Some(if told { Outcome::Directory } else { Outcome::Busy });
    }
    let Some(reads) = reads else { return Some(Outcome::Nowhere) };
    match reads.try_send(Read { worker, client }) {
        Ok(()) => None,
        Err(_) => Some(Outcome::Busy),
    }
}

/// A client to be looked for in the cache, and who missed it.
#[derive(Debug, Clone, Copy)]
struct Read {
    worker: usize,
    client: Client,
}

/// Looks for clients in the cache: as many at once as have come while it was asked about others, so a
/// thousand clients that miss their flows at once cost it a few questions.
async fn look_in_cache(
    relay: Weak<Relay>,
    cache: Arc<Cache>,
    limit: Arc<Mutex<Limit>>,
    mut queue: mpsc::Receiver<Read>,
) {
    let mut reads = Vec::with_capacity(PIPELINE_READS_MAX);
    while queue.recv_many(&mut reads, PIPELINE_READS_MAX).await > 0 {
        let clients: Vec<_> = reads.iter().map(|read| read.client).collect();
        let found = cache.read(&clients).await;
        let Some(relay) = relay.upgrade() else { return };
        for (Read { worker, client }, found) in reads.drain(..).zip(found) {
            let outcome = match found {
                Some(flow) if relay.fleet().recall(worker, flow) => Outcome::Cache,
                Some(_) => Outcome::Busy,
                None => Outcome::Nowhere,
            };
            relay.recall_counters().count(outcome);
            if let Outcome::Busy = outcome {
                locked(&limit).excuse(&client);
            }
        }
    }
}

/// Asks a worker for all its flows: what it told was not all, or it had some before it told.
async fn learn_all(fleet: &Fleet, directory: &mut Directory, cache: Option<&Cache>, worker: usize) {
    directory.forget(worker);
    let mut cursor = 0;
    loop {
        let page = match fleet.ask(worker, Command::Flows(cursor, PAGE)).await {
            Ok(Reply::Flows(page)) => page,
            Ok(_) => return,
            Err(error) => return warn!("the directory of flows is not complete: {error}"),
        };
        let now = Instant::now();
        for flow in page.flows.iter().filter(|flow| flow.state == FlowState::Assured) {
            let (client, route, session) = (flow.client, flow.route, flow.session);
            let change = FlowChange::Assured { client, route, session };
            if let (Some(flow), Some(cache)) = (directory.note(worker, change, now), cache) {
                cache.write(flow);
            }
        }
        let Some(next) = page.next else { return };
        cursor = next;
    }
}

/// Which misses are looked into: so many a second, and each client once.
#[derive(Debug, Default)]
struct Limit {
    second: Option<Instant>,
    clients: HashSet<Client>,
    admitted: usize,
}

impl Limit {
    fn begin(&mut self, now: Instant) {
        if self.second.is_none_or(|second| now - second >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.clients.clear();
            self.admitted = 0;
        }
    }

    /// Why a miss is not looked into, if so.
    fn admit(&mut self, client: Client) -> Option<Outcome> {
        if self.clients.contains(&client) {
            return Some(Outcome::Repeated);
        }
        if self.admitted >= MISSES_PER_SECOND_MAX {
            return Some(Outcome::Limited);
        }
        self.admitted += 1;
        self.clients.insert(client);
        None
    }

    /// It was not looked for, for want of room: its next packet, 20 ms later, may ask again.
    fn excuse(&mut self, client: &Client) {
        self.clients.remove(client);
    }
}

fn locked(limit: &Mutex<Limit>) -> MutexGuard<'_, Limit> {
    limit.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::address::Address;
    use wire::frame::{ListenerId, Transport};

    #[test]
    fn a_client_is_looked_for_once_a_second_and_all_together_so_often() {
        let mut limit = Limit::default();
        let start = Instant::now();
        let client = |number: usize| {
            let [_, _, _, _, a, b, c, d] = (number as u64).to_be_bytes();
            let address = Address::new([a, b, c, d].into(), 5_000);
            Client { address, listener: ListenerId(0), transport: Transport::Udp }
        };
        limit.begin(start);
        assert!(limit.admit(client(1)).is_none());
        assert!(matches!(limit.admit(client(1)), Some(Outcome::Repeated)));
        for number in 2..=MISSES_PER_SECOND_MAX {
            assert!(limit.admit(client(number)).is_none());
        }
        assert!(matches!(limit.admit(client(0)), Some(Outcome::Limited)));
        limit.excuse(&client(1));
        assert!(matches!(limit.admit(client(1)), Some(Outcome::Limited)), "all the same, so many");
        limit.begin(start + Duration::from_millis(999));
        assert!(matches!(limit.admit(client(2)), Some(Outcome::Repeated)));
        limit.begin(start + Duration::from_secs(1));
        assert!(limit.admit(client(1)).is_none());
        limit.excuse(&client(1));
        assert!(limit.admit(client(1)).is_none(), "who was not looked for asks again at once");
    }

    #[test]
    fn every_outcome_has_its_name() {
        let counters = RecallCounters::default();
        for outcome in [
            Outcome::Directory,
            Outcome::Cache,
            Outcome::Nowhere,
            Outcome::Repeated,
            Outcome::Limited,
            Outcome::Busy,
        ] {
            counters.count(outcome);
        }
        assert!(counters.outcomes().all(|(_, count)| count == 1));
    }
}
