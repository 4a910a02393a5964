//! The running transceiver: what signals, the admin socket and the HTTP pages share.

use super::config::{Config, diff};
use super::front;
use super::start::{EngineChoice, limits};
use crate::calls::{Calls, Policy};
use crate::shard::{Numbers, Order, Slot};
use crate::signaling::{self, Signaling};
use service::config::{Loaded, Process as _, ReloadReport, Sources};
use service::keyfile;
use service::log::Log;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::hint::{ClusterId, TransceiverId};
use wire::keyring::Keyring;

/// What a transceiver is made of.
pub(super) struct Parts {
    pub(super) calls: Arc<Calls>,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) engine: EngineChoice,
    pub(super) signaling: Arc<Signaling>,
    pub(super) sources: Sources,
    pub(super) log: Log,
    pub(super) config: Arc<Config>,
}

/// The running transceiver.
pub struct Transceiver {
    calls: Arc<Calls>,
    slots: Vec<Arc<Slot>>,
    engine: EngineChoice,
    signaling: Arc<Signaling>,
    counters: Arc<signaling::Counters>,
    sources: Sources,
    log: Log,
    started: Instant,
    config: Mutex<Arc<Config>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    generation: AtomicU64,
}

impl Transceiver {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { calls, slots, engine, signaling, sources, log, config } = parts;
        Self {
            calls,
            slots,
            engine,
            counters: signaling.counters(),
            signaling,
            sources,
            log,
            started: Instant::now(),
            config: Mutex::new(config),
            reloading: tokio::sync::Mutex::new(()),
            generation: AtomicU64::new(1),
        }
    }

    /// The front desk.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What each shard has published last.
    pub fn numbers(&self) -> Vec<Numbers> {
        self.slots.iter().map(|slot| slot.load()).collect()
    }

    /// What signaling counts.
    pub fn signaling(&self) -> &signaling::Counters {
        &self.counters
    }

    /// How datagrams are moved.
    pub fn engine(&self) -> &EngineChoice {
        &self.engine
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The number of the configuration in effect: one at the start, one more with each reload.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The configuration in effect.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads configuration, keyring and API keys again. If anything is wrong with them, everything
    /// stays as it was.
    pub async fn reload(&self) -> Result<ReloadReport, String> {
        let _alone = self.reloading.lock().await;
        let Loaded { config: wanted, warnings } =
            self.sources.load::<Config>().map_err(|error| error.to_string())?;
        let before = self.config();
        let changes = diff(&before, &wanted);
        let config = before.with_live_of(&wanted);
        let keyring = keyfile::load(&config.keys).map_err(|error| error.to_string())?;
        let settings = self.settings(&config)?;

        // From here on nothing can be wrong with the files.
        let policy = self.calls.policy();
        let keyring_changed = keyring != *policy.keyring;
        let policy = policy_of(&config, Arc::new(keyring), policy.cluster, policy.transceiver);
        self.calls.set_policy(policy).map_err(|error| error.to_string())?;
        let limits = limits(&config);
        self.calls.tell_all(|| Order::Limits(limits)).map_err(|error| error.to_string())?;
        self.signaling.set(settings);
        self.log.set_level(&config.log.level).map_err(|error| error.to_string())?;

        let mut live = changes.live.iter().map(ToString::to_string).collect::<Vec<_>>();
        if keyring_changed {
            live.push("the keyring's content".to_owned());
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(ReloadReport {
            generation,
            live,
            needs_restart: changes.needs_restart.iter().map(ToString::to_string).collect(),
            warnings: warnings.into_iter().chain(wanted.remarks()).collect(),
        })
    }

    /// Signaling's settings for a configuration.
    fn settings(&self, config: &Config) -> Result<signaling::Settings, String> {
        let access = match config.signaling.open {
            // Client secrets that were issued in open mode are good for as long as it lasts.
            true => self.signaling.settings().access.clone(),
            false => front::access(config).map_err(|error| error.to_string())?,
        };
        front::settings(config, access).map_err(|error| error.to_string())
    }
}

/// What answers depend on.
pub(super) fn policy_of(
    config: &Config,
    keyring: Arc<Keyring>,
    cluster: ClusterId,
    transceiver: TransceiverId,
) -> Policy {
    Policy {
        keyring,
        cluster,
        transceiver,
        hint_lifetime: config.calls.time_max,
        ingress: config.ingress.clone().into(),
        calls_per_shard_max: config.calls.per_shard_max,
    }
}
