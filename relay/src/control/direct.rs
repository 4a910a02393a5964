//! Direct egress, from control's side: hears from the kernel where packets go, opens rings, and sends
//! both to the workers. A worker does nothing slower than taking them.

use super::config::{Config, DirectEgress};
use super::fleet::Fleet;
use super::relay::Relay;
use crate::worker::Order;
use anyhow::{Context as _, Result};
use engine::direct::{Changes, Delivery, Egress, NextHops, Ring, RingError};
use serde::{Deserialize, Serialize};
use service::exit::Usage;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

/// Changes come in bursts: what follows the first so closely is looked at with it.
const SETTLE: Duration = Duration::from_millis(2);
/// The tables are read so often at most, however much changes.
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// How often a ring that could not be opened is tried again. After an upgrade the process before
/// has the queue for a moment.
const RETRY: Duration = Duration::from_secs(1);
/// How long the queues of a process that was killed may take to come free.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// How direct egress is, for people and for a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectState {
    /// `off`, `on`, `partly` (not for all workers, devices or families) or `unavailable`.
    pub state: String,
    /// By which devices, or why not.
    pub reason: String,
}

impl DirectState {
    fn new(state: &str, reason: impl Into<String>) -> Self {
        Self { state: state.to_owned(), reason: reason.into() }
    }
}

/// Where the state can be read.
#[derive(Debug, Clone)]
pub(super) struct Direct(Arc<Mutex<DirectState>>);

impl Direct {
    pub(super) fn off() -> Self {
        Self::with(DirectState::new("off", "as configured"))
    }

    fn with(state: DirectState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> DirectState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the state, and logs it if it is another.
    fn set(&self, state: DirectState) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == state {
            return;
        }
        let DirectState { state: word, reason } = &state;
        if word == "on" {
            info!("direct egress is on: {reason}");
        } else {
            warn!("direct egress is {word}: {reason}");
        }
        *current = state;
    }
}

/// Everything that direct egress begins with.
pub(super) struct Prepared {
    pub(super) direct: Direct,
    /// One for each worker, or none at all.
    pub(super) egresses: Vec<Egress>,
    pub(super) keeper: Option<Keeper>,
}

/// Finds out whether there can be direct egress, and opens rings for all workers. `follows` says
/// that another process still has its own.
pub(super) fn prepare(config: &Config, workers: usize, follows: bool) -> Result<Prepared> {
    let nothing = |direct| Prepared { direct, egresses: Vec::new(), keeper: None };
    if config.direct.egress == DirectEgress::Off {
        return Ok(nothing(Direct::off()));
    }
    let require = config.direct.egress == DirectEgress::Require;
    match begin(config, workers, require && !follows) {
        Ok(prepared) => Ok(prepared),
        // Not the configuration's fault: a service manager may try again.
        Err(error) if require && error.downcast_ref().is_some_and(RingError::is_passing) => {
            Err(error.context("direct.egress is \"require\", and no ring could be opened"))
        }
        Err(error) if require => Err(Usage(format!(
            "direct.egress is \"require\", and direct egress cannot be had: {error:#}; \"auto\" \
             would go on without it"
        ))
        .into()),
        Err(error) => {
            let direct = Direct::off();
            direct.set(DirectState::new("unavailable", format!("{error:#}")));
            Ok(nothing(direct))
        }
    }
}

fn begin(config: &Config, workers: usize, strict: bool) -> Result<Prepared> {
    if config.listen.iter().all(|address| address.ip().is_unspecified()) {
        return Err(anyhow::Error::msg(
            "packets must be sent from an address, and listen names none: write this host's own \
             instead of 0.0.0.0 and [::]",
        ));
    }
    let changes = Changes::listen().context("the kernel does not tell of routes")?;
    let hops = NextHops::of_this_host().context("the kernel does not tell its routes")?;
    let direct = Direct::with(DirectState::new("starting", ""));
    let mut keeper = Keeper {
        changes: Some(changes),
        hops: Arc::new(hops),
        have: vec![BTreeSet::new(); workers],
        queues: BTreeSet::new(),
        problem: None,
        direct: direct.clone(),
    };
    let mut egresses = Vec::with_capacity(workers);
    for worker in 0..workers {
        let mut egress = Egress::new(&config.listen, config.gso);
        let (rings, problem) = keeper.open_patiently(worker, strict);
        let lacks = keeper.lacks_first(&rings);
        match problem {
            // No capability, no memory: trying again will not help.
            Some(error) if !error.is_passing() || strict && lacks => return Err(error.into()),
            _ => {}
        }
        keeper.took(worker, &rings);
        egress.take(Delivery { hops: Arc::clone(&keeper.hops), rings });
        egresses.push(egress);
    }
    if strict && keeper.hops.devices().is_empty() {
        let remarks = keeper.hops.remarks().join("; ");
        return Err(anyhow::Error::msg(format!(
            "no plain route leads to an Ethernet device that is up {remarks}"
        )));
    }
    keeper.report();
    Ok(Prepared { direct, egresses, keeper: Some(keeper) })
}

/// Keeps next hops and rings as the host has them.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Until somebody listens.
    changes: Option<Changes>,
    hops: Arc<NextHops>,
    /// The devices that each worker has a ring to.
    have: Vec<BTreeSet<u32>>,
    /// What was opened, for people: device, queue.
    queues: BTreeSet<(u32, u32)>,
    /// Why a ring is missing.
    problem: Option<String>,
    direct: Direct,
}

impl Keeper {
    /// Runs for as long as there is a relay. Must be called in a tokio runtime.
    pub(super) fn start(self, relay: &Arc<Relay>) {
        tokio::spawn(self.run(Arc::downgrade(relay)));
    }

    async fn run(mut self, relay: Weak<Relay>) {
        if let Err(error) = self.keep(&relay).await {
            // What the workers know grows old, and packets to a neighbour that changes would be lost.
            // So nothing is direct any more.
            let reason = format!("the kernel tells no changes any more: {error}");
            if let Some(relay) = relay.upgrade() {
                self.hops = Arc::default();
                while !self.deliver(relay.fleet()) {
                    sleep(READ_INTERVAL).await;
                }
            }
            self.direct.set(DirectState::new("unavailable", reason));
        }
    }

    async fn keep(&mut self, relay: &Weak<Relay>) -> std::io::Result<()> {
        let Some(changes) = self.changes.take() else { return Ok(()) };
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; this descriptor stays open and the same"
        )]
        let changes = AsyncFd::new(changes)?;
        let (mut delivered, mut unread) = (true, false);
        let mut read_at = Instant::now();
        loop {
            let retry = if delivered { RETRY } else { READ_INTERVAL };
            let incomplete = !delivered || unread || self.is_incomplete();
            let changed = tokio::select! {
                ready = changes.readable() => {
                    // All is read below: what comes later makes it ready again.
                    ready?.clear_ready();
                    true
                }
                () = sleep(retry), if incomplete => false,
            };
            let Some(relay) = relay.upgrade() else { return Ok(()) };
            if changed {
                sleep(SETTLE).await;
                sleep_until(read_at + READ_INTERVAL).await;
                read_at = Instant::now();
                unread |= changes.get_ref().take()?;
            }
            if unread {
                match NextHops::of_this_host() {
                    Ok(hops) => {
                        unread = false;
                        if hops != *self.hops {
                            self.hops = Arc::new(hops);
                            delivered = false;
                        }
                    }
                    // What is known may be wrong by now. The next second may be luckier.
                    Err(error) => {
                        warn!("the kernel does not tell its routes: {error}");
                        delivered &= self.hops.devices().is_empty();
                        self.hops = Arc::default();
                    }
                }
            }
            if !delivered || self.is_incomplete() {
                delivered = self.deliver(relay.fleet());
            }
            self.report();
        }
    }

    fn is_incomplete(&self) -> bool {
        let missing = |have: &BTreeSet<u32>| {
            self.hops.devices().iter().any(|device| !have.contains(&device.index))
        };
        self.have.iter().any(missing)
    }

    /// Opens the rings that a worker lacks.
    fn open(&mut self, worker: usize) -> (Vec<Ring>, Option<RingError>) {
        let (mut rings, mut problem) = (Vec::new(), None);
        self.problem = None;
        for device in self.hops.devices() {
            if self.have[worker].contains(&device.index) {
                continue;
            }
            let first_queue = u32::try_from(worker).unwrap_or(0);
            match Ring::open(device.index, first_queue) {
                Ok(ring) => rings.push(ring),
                Err(error) => {
                    self.problem = Some(format!("worker {worker}, {}: {error}", device.name));
                    problem = Some(error);
                }
            }
        }
        (rings, problem)
    }

    /// Whether the first device's is missing. By that most clients are reached; a second device may
    /// be none of theirs.
    fn lacks_first(&self, rings: &[Ring]) -> bool {
        let first = self.hops.devices().first();
        first.is_some_and(|first| rings.iter().all(|ring| ring.device() != first.index))
    }

    /// The same, with a moment for a process that was just killed: the kernel takes back its queues
    /// after it has gone.
    fn open_patiently(&mut self, worker: usize, patient: bool) -> (Vec<Ring>, Option<RingError>) {
        let deadline = std::time::Instant::now() + QUEUE_PATIENCE;
        loop {
            let (rings, problem) = self.open(worker);
            let busy = matches!(problem, Some(RingError::NoQueue { .. }));
            if !(patient && busy && self.lacks_first(&rings))
                || std::time::Instant::now() >= deadline
            {
                return (rings, problem);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A worker has these rings from now on, and none to devices that are gone.
    fn took(&mut self, worker: usize, rings: &[Ring]) {
        let devices: BTreeSet<_> = self.hops.devices().iter().map(|device| device.index).collect();
        let have = &mut self.have[worker];
        have.retain(|device| devices.contains(device));
        have.extend(rings.iter().map(Ring::device));
        self.queues.retain(|(device, _)| devices.contains(device));
        self.queues.extend(rings.iter().map(|ring| (ring.device(), ring.queue())));
    }

    /// Gives every worker the next hops, and rings that it lacks. False if one had too much to do.
    fn deliver(&mut self, fleet: &Fleet) -> bool {
        let mut all = true;
        let mut problem = None;
        for worker in 0..self.have.len() {
            // Rings to devices that are gone are closed by the worker. One that comes back gets
            // another.
            self.took(worker, &[]);
            let (rings, _) = self.open(worker);
            problem = problem.or_else(|| self.problem.take());
            let opened: Vec<_> = rings.iter().map(|ring| (ring.device(), ring.queue())).collect();
            let order = Order::Direct(Box::new(Delivery { hops: Arc::clone(&self.hops), rings }));
            if fleet.order(worker, order) {
                self.have[worker].extend(opened.iter().map(|(device, _)| device));
                self.queues.extend(opened);
            } else {
                all = false;
            }
        }
        self.problem = problem;
        all
    }

    fn report(&self) {
        let device = |device: &engine::direct::Device| {
            let queues = self.queues.iter().filter(|(index, _)| *index == device.index);
            let queues: Vec<_> = queues.map(|(_, queue)| queue.to_string()).collect();
            format!("{} (queue {})", device.name, queues.join(", "))
        };
        let any = |index: u32| self.queues.iter().any(|(device, _)| *device == index);
        let with_ring = self.hops.devices().iter().filter(|device| any(device.index));
        let devices: Vec<_> = with_ring.map(device).collect();
        let mut parts = Vec::new();
        if !devices.is_empty() {
            parts.push(format!("by {}", devices.join(", ")));
        }
        parts.extend(self.hops.remarks().iter().cloned());
        parts.extend(self.problem.clone());
        let state = match (devices.is_empty(), self.problem.is_some()) {
            (true, _) => "unavailable",
            (false, true) => "partly",
            (false, false) if !self.hops.remarks().is_empty() => "partly",
            (false, false) => "on",
        };
        if parts.is_empty() {
            parts.push("no plain route leads to an Ethernet device that is up".to_owned());
        }
        self.direct.set(DirectState::new(state, parts.join("; ")));
    }
}
