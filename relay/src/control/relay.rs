//! The running relay: what signals, the admin socket and the HTTP pages share.

use super::cache::CacheCounters;
use super::config::{Config, diff};
use super::convert;
use super::direct::{Direct, DirectState};
use super::fleet::{Fleet, FleetError};
use super::parking::{Parking, ParkingState};
use super::recall::RecallCounters;
use super::start::EngineChoice;
use crate::core::{Command, Reply};
use service::config::{Loaded, Process as _, ReloadReport, Sources};
use service::keyfile;
use service::log::Log;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wire::keyring::Keyring;

struct Current {
    config: Arc<Config>,
    keyring: Arc<Keyring>,
}

/// The running relay.
pub struct Relay {
    fleet: Fleet,
    engine: EngineChoice,
    direct: Direct,
    sources: Sources,
    log: Log,
    started: Instant,
    current: Mutex<Current>,
    /// One reload or upgrade at a time.
    reloading: tokio::sync::Mutex<()>,
    generation: AtomicU64,
    draining: AtomicBool,
    stopping: AtomicBool,
    recall: Arc<RecallCounters>,
    cache: Arc<CacheCounters>,
    parking: Parking,
    /// Everything that a next process would need, in order: the workers' sockets, the HTTP listener.
    sockets: Vec<OwnedFd>,
    /// The process that serves instead of this one; zero while there is none.
    successor: AtomicU32,
    succeeded: Notify,
}

/// What a relay is made of.
pub(super) struct Parts {
    pub(super) fleet: Fleet,
    pub(super) engine: EngineChoice,
    pub(super) direct: Direct,
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) sources: Sources,
    pub(super) log: Log,
    pub(super) config: Arc<Config>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) draining: bool,
}

impl Relay {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { fleet, engine, direct, sockets, sources, log, config, keyring, draining } =
            parts;
        Self {
            fleet,
            engine,
            direct,
            sources,
            log,
            sockets,
            started: Instant::now(),
            current: Mutex::new(Current { config, keyring }),
            reloading: tokio::sync::Mutex::new(()),
            generation: AtomicU64::new(1),
            draining: AtomicBool::new(draining),
            stopping: AtomicBool::new(false),
            recall: Arc::default(),
            cache: Arc::default(),
            parking: Parking::default(),
            successor: AtomicU32::new(0),
            succeeded: Notify::new(),
        }
    }

    /// All workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The configuration in effect.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    /// The keys in effect.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.current().keyring)
    }

    /// The number of the configuration in effect: one at the start, one more with each reload.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether no new flows are taken.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// How datagrams are moved.
    pub fn engine(&self) -> &EngineChoice {
        &self.engine
    }

    /// How direct egress is.
    pub fn direct(&self) -> DirectState {
        self.direct.state()
    }

    /// How parking with the service manager is.
    pub fn parking_state(&self) -> ParkingState {
        self.parking.state()
    }

    /// Stops taking new flows, or takes them again.
    pub async fn set_drain(&self, on: bool) -> Result<(), FleetError> {
        // Not ready first, so that nobody sends new clients to workers that refuse them.
        self.draining.store(on, Ordering::Relaxed);
        self.fleet.ask_all(Command::Drain(on)).await?;
        Ok(())
    }

    /// What became of misses.
    pub(super) fn recall_counters(&self) -> &Arc<RecallCounters> {
        &self.recall
    }

    /// What was asked of the flow cache.
    pub(super) fn cache_counters(&self) -> &Arc<CacheCounters> {
        &self.cache
    }

    /// What the service manager has.
    pub(super) fn parking(&self) -> &Parking {
        &self.parking
    }

    /// Whether it is on its way out.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// It is on its way out from now on: no other process takes over.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What a next process takes over.
    pub(super) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    /// Keeps reloads and upgrades away while it is held.
    pub(super) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    /// Another process serves now.
    pub(super) fn handed_over(&self, process: u32) {
        self.set_stopping();
        self.successor.store(process, Ordering::Relaxed);
        self.succeeded.notify_one();
    }

    /// Whether another process serves.
    pub(super) fn is_succeeded(&self) -> bool {
        self.successor.load(Ordering::Relaxed) != 0
    }

    /// Waits until another process serves, and says which.
    pub(super) async fn successor(&self) -> u32 {
        self.succeeded.notified().await;
        self.successor.load(Ordering::Relaxed)
    }

    /// Reads configuration and keyring again. If anything is wrong with them, everything stays as
    /// it was.
    pub async fn reload(&self) -> Result<ReloadReport, String> {
        let _alone = self.alone().await;
        let Loaded { config: wanted, warnings } =
            self.sources.load::<Config>().map_err(|error| error.to_string())?;
        let keyring = keyfile::load(&wanted.keys).map_err(|error| error.to_string())?;
        let clusters = convert::clusters(&wanted).map_err(|error| error.to_string())?;
        let before = self.config();
        let changes = diff(&before, &wanted);

        // The clusters can still be refused (more shards than there is room for), and then by the
        // first worker already, so nothing has been changed yet.
        let clusters = Command::Clusters(Arc::new(clusters));
        for reply in self.fleet.ask_all(clusters).await.map_err(|error| error.to_string())? {
            if let Reply::Refused(error) = reply {
                return Err(error.to_string());
            }
        }
        let keyring = Arc::new(keyring);
        let keys = Command::Keyring(Arc::clone(&keyring));
        self.fleet.ask_all(keys).await.map_err(|error| error.to_string())?;
        self.fleet
            .set_coalesce_us_max(wanted.coalesce_us_max)
            .map_err(|error| error.to_string())?;
        self.log.set_level(&wanted.log.level).map_err(|error| error.to_string())?;

        let mut live = changes.live.iter().map(ToString::to_string).collect::<Vec<_>>();
        if *keyring != *self.keyring() {
            live.push("the keyring's content".to_owned());
        }
        let config = before.with_live_of(&wanted);
        *self.current() = Current { config: Arc::new(config), keyring };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(ReloadReport {
            generation,
            live,
            needs_restart: changes.needs_restart.iter().map(ToString::to_string).collect(),
            warnings: warnings.into_iter().chain(wanted.remarks()).collect(),
        })
    }

    /// Flows of all workers, as of their last tick.
    pub(super) fn flows(&self) -> u64 {
        let flows = crate::core::Counters::series().enumerate().filter(|(_, series)| {
            ["relay_flows_new", "relay_flows_assured"].contains(&series.name)
        });
        let positions: Vec<_> = flows.map(|(position, _)| position).collect();
        let numbers = self.fleet.numbers();
        let of = |numbers: &crate::worker::Numbers| -> u64 {
            positions.iter().map(|position| numbers.counters[*position]).sum()
        };
        numbers.iter().map(of).sum()
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        // Two pointers are replaced at once; a panic cannot leave them half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
