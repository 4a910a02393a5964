//! Parks the sockets, and then the flows again and again.

use super::{AGAIN, PATIENCE, flows, flows_name, is_busy, worker_name};
use crate::control::fleet::Fleet;
use crate::control::relay::Relay;
use crate::core::{Command, FlowInfo, FlowRecord, Reply};
use engine::clock;
use engine::handover::{self, Channel};
use service::notify::Notifier;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::{task, time};
use tracing::{info, warn};

/// Time between two rounds through all workers' flows.
const INTERVAL: Duration = Duration::from_secs(3);
/// A round of large tables takes longer, and then so many times as long passes until the next: control
/// has other things to do, and so has the manager.
const REST: u32 = 20;
/// Flows asked for at once: some microseconds of a worker's time.
const PAGE: u32 = 256;
/// How long the process before may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Runs for as long as there is a relay, if the manager keeps descriptors for it. `before` ends with
/// the process before: the manager does not listen to this one until it has been told of it.
pub(in crate::control) async fn keep(
    relay: Weak<Relay>,
    notifier: Notifier,
    before: Option<Channel>,
) {
    if notifier.keeps() == 0 {
        return;
    }
    if let Some(before) = before {
        let ended = task::spawn_blocking(move || before.receive(END_PATIENCE));
        // However it ends.
        let _ = ended.await;
    }
    let mut shelves = Vec::new();
    loop {
        let start = Instant::now();
        let Some(ended) = round(&relay, &notifier, &mut shelves).await else { return };
        let Some(relay) = serving(&relay) else { return };
        let is_new = relay.parking().ended(&ended);
        match ended {
            Ok(()) if is_new => info!(
                "sockets and flows are parked with the service manager: a restart loses no packet \
                 in them"
            ),
            Err(reason) if is_new => {
                warn!("not parked with the service manager, tried again: {reason}");
            }
            _ => {}
        }
        drop(relay);
        time::sleep(INTERVAL.max(start.elapsed() * REST)).await;
    }
}

/// Another process parks its own.
fn serving(relay: &Weak<Relay>) -> Option<Arc<Relay>> {
    relay.upgrade().filter(|relay| !relay.is_succeeded())
}

/// Parks the sockets, if they are not (there are no shelves before that), and all flows anew: what came
/// of it, or nothing if the relay serves no more.
async fn round(
    relay: &Weak<Relay>,
    notifier: &Notifier,
    shelves: &mut Vec<Shelf>,
) -> Option<Result<(), String>> {
    if shelves.is_empty() {
        let relay = serving(relay)?;
        match park_sockets(&relay, notifier).await {
            Ok(count) => relay.parking().has_sockets(count),
            Err(reason) => return Some(Err(reason)),
        }
        *shelves = (0..relay.fleet().len()).map(Shelf::new).collect();
    }
    let mut ended = Ok(());
    for shelf in shelves {
        let relay = serving(relay)?;
        match shelf.refresh(&relay, notifier).await {
            Ok(flows) => relay.parking().has_flows(shelf.worker, flows),
            // Older ones are still there, and other workers' are not to become older for that.
            Err(reason) => {
                ended = ended.and(Err(format!("the flows of worker {}: {reason}", shelf.worker)));
            }
        }
    }
    Some(ended)
}

/// How many there are.
async fn park_sockets(relay: &Relay, notifier: &Notifier) -> Result<usize, String> {
    let workers = relay.fleet().len();
    let each = relay.config().listen.len() + 1;
    let (needed, kept) = (workers * (each + 2), notifier.keeps());
    if kept < needed {
        return Err(format!(
            "it keeps {kept} descriptors, and {needed} are needed (for each worker its {each} sockets \
             and 2): raise FileDescriptorStoreMax"
        ));
    }
    for (worker, sockets) in relay.sockets().chunks_exact(each).take(workers).enumerate() {
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        park(notifier, &worker_name(worker), &sockets)
            .await
            .map_err(|error| format!("the sockets of worker {worker}: {error}"))?;
    }
    Ok(workers * each)
}

/// Where one worker's flows are.
struct Shelf {
    worker: usize,
    /// Which of the two names is next.
    turn: usize,
    /// There is nothing to be found there.
    empty: bool,
}

impl Shelf {
    fn new(worker: usize) -> Self {
        // Not empty: the process before may have left something.
        Self { worker, turn: 0, empty: false }
    }

    /// How many there are.
    async fn refresh(&mut self, relay: &Relay, notifier: &Notifier) -> Result<usize, String> {
        let written = Duration::from_nanos(clock::monotonic_ns());
        let flows = flows_of(relay.fleet(), self.worker).await?;
        let count = flows.len();
        if count == 0 && self.empty {
            return Ok(0);
        }
        let file = task::spawn_blocking(move || {
            handover::file_of("flows", &flows::encode(written, flows))
        });
        let file = file.await.map_err(|error| error.to_string())?;
        let file = file.map_err(|error| error.to_string())?;
        let name = flows_name(self.worker, self.turn);
        let replaced = async {
            unpark(notifier, &name).await?;
            park(notifier, &name, &[file.as_fd()]).await
        };
        replaced.await.map_err(|error| error.to_string())?;
        // Only now: what is whole is under the other name.
        self.turn = 1 - self.turn;
        self.empty = count == 0;
        Ok(count)
    }
}

/// Asked for in pages, so that no packet waits for long. A flow may change its slot meanwhile, and be
/// there twice or not at all; its next packets make up for that.
async fn flows_of(fleet: &Fleet, worker: usize) -> Result<Vec<FlowRecord>, String> {
    let mut flows = Vec::new();
    let mut cursor = 0;
    loop {
        let reply = fleet.ask(worker, Command::Flows(cursor, PAGE)).await;
        let Reply::Flows(page) = reply.map_err(|error| error.to_string())? else {
            return Err("it answered another question".to_owned());
        };
        flows.extend(page.flows.iter().map(record));
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(flows),
        }
    }
}

fn record(flow: &FlowInfo) -> FlowRecord {
    let FlowInfo { client, state, route, session, pending, pending_had, .. } = *flow;
    let FlowInfo { idle_ms, silent_ms, .. } = *flow;
    FlowRecord { client, state, route, session, pending, pending_had, idle_ms, silent_ms }
}

async fn park(notifier: &Notifier, name: &str, what: &[BorrowedFd<'_>]) -> io::Result<()> {
    patiently(|| notifier.park(name, what)).await
}

async fn unpark(notifier: &Notifier, name: &str) -> io::Result<()> {
    patiently(|| notifier.unpark(name)).await
}

async fn patiently(tell: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = tell();
        if !is_busy(&result) || Instant::now() >= deadline {
            return result;
        }
        time::sleep(AGAIN).await;
    }
}
