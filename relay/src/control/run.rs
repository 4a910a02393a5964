//! The relay's life: start, serve, reload, drain, stop.

use super::admin::RelayAdmin;
use super::cache::{self, Cache};
use super::config::Config;
use super::convert;
use super::directory::Directory;
use super::metrics::Metrics;
use super::pages::RelayPages;
use super::parking::{self, Parked};
use super::recall;
use super::relay::{Parts, Relay};
use super::start::{self, Started};
use super::upgrade::{self, Previous};
use crate::core::Restored;
use anyhow::{Context as _, Result};
use service::admin::{self, Limits, Place};
use service::config::{ReloadReport, Sources};
use service::exit::Usage;
use service::http::Pages as _;
use service::life::{self, End, Life};
use service::notify::Notifier;
use service::signal::Signals;
use service::{http, keyfile};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info};

/// How long a process whose successor serves stays, to answer who has asked.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a relay until it is told to stop, or another process takes over from it.
pub fn run(sources: Sources) -> Result<()> {
    let parked = Parked::find();
    let mut previous = Previous::find()?;
    let result = run_after(sources, &mut previous, parked);
    // Still there: this process has not served.
    if let (Some(previous), Err(error)) = (previous, &result) {
        previous.refuse(error);
    }
    result
}

fn run_after(sources: Sources, previous: &mut Option<Previous>, parked: Parked) -> Result<()> {
    let (config, log) = life::begin::<Config>(&sources)?;
    let keyring = keyfile::load(&config.keys).map_err(|error| Usage(error.to_string()))?;
    let redis = cache::servers(&config.redis)?;
    let clusters = convert::clusters(&config).map_err(|error| Usage(error.to_string()))?;
    let (config, keyring, clusters) = (Arc::new(config), Arc::new(keyring), Arc::new(clusters));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        // Before the workers: from here on no signal kills the process half-way.
        let signals = Signals::listen().context("Failed to take over the signals")?;
        let notifier = Notifier::from_environment()?;
        let workers = start::workers(&config)?.0;
        let (inherited, parked) = match previous {
            Some(previous) => (Some(previous.sockets(&config, workers)?), Vec::new()),
            None => {
                let taken = parked.take(&config, workers, &notifier);
                (taken.sockets, taken.flows)
            }
        };
        let http = previous.as_mut().and_then(|previous| previous.http(&config));
        let pages = match http {
            Some(listener) => http::Server::take_over(listener)?,
            None => http::Server::bind(config.http.listen).await?,
        };
        let mut prepared = start::prepare(&config, &clusters, &keyring, inherited)?;
        let draining = previous.as_ref().is_some_and(Previous::is_draining);
        let flows = previous.as_ref().map(Previous::flows).transpose()?;
        let restored = prepared.restore(&flows.unwrap_or(parked), draining);
        let place = Place {
            path: config.admin.socket.clone(),
            group: config.admin.group.clone(),
            take_over: previous.is_some(),
        };
        let admin = admin::Server::bind(&place, Limits::default())?;
        let mut started = prepared.start()?;
        let before = previous.take().map(|previous| previous.serving(restored));
        let Restored { taken: flows, refused } = restored;
        if before.is_some() || flows + refused > 0 {
            info!(flows, refused, "took over from the process before");
        }
        started.sockets.push(pages.listener()?);
        let Started { fleet, threads, engine, direct, keeper, sockets, ended } = started;
        let parts =
            Parts { fleet, engine, direct, sockets, sources, log, config, keyring, draining };
        let relay = Arc::new(Relay::new(parts));
        if let Some(keeper) = keeper {
            keeper.start(&relay);
        }
        find_missed_flows(&relay, redis, restored.taken > 0);
        tokio::spawn(parking::keep(Arc::downgrade(&relay), notifier, before));
        let metrics = Arc::new(Metrics::new(&relay));
        let shown = Arc::new(RelayPages::new(Arc::clone(&relay), metrics));
        let pages = tokio::spawn(pages.serve(Arc::clone(&shown)));
        let admin = tokio::spawn(admin.serve(Arc::new(RelayAdmin::new(Arc::clone(&relay)))));
        let serving = Serving { relay: Arc::clone(&relay), pages: shown };
        let result = life::serve(&serving, signals, ended).await;
        if matches!(result, Ok(End::Replaced)) {
            // The listener is the other's now; these numbers stand still.
            pages.abort();
            // Whoever asked for it is told first.
            tokio::time::sleep(LAST_WORDS).await;
        }
        // Its end removes the socket's file.
        admin.abort();
        let _ = admin.await;
        relay.fleet().stop();
        life::join(Serving::THREAD, threads).and(result.map(drop))
    })
}

/// Keeps the directory of flows and the flow cache, for as long as there is a relay.
fn find_missed_flows(relay: &Arc<Relay>, redis: Option<cache::Servers>, full: bool) {
    let config = relay.config();
    let ttl = config.flows.idle_assured;
    let cache = redis.map(|servers| {
        Cache::start(servers, &config.redis, ttl, Arc::clone(relay.cache_counters()))
    });
    let flows_max = relay.fleet().len() * config.flows.per_worker as usize;
    // Twice in its life, so that one write may be lost.
    let directory = Directory::new(flows_max, cache.is_some().then_some(ttl / 2));
    tokio::spawn(recall::run(Arc::downgrade(relay), directory, cache, full));
}

/// The relay as what serves.
struct Serving {
    relay: Arc<Relay>,
    pages: Arc<RelayPages>,
}

impl Life for Serving {
    const THREAD: &'static str = "worker";
    const WORK: &'static str = "flows";

    fn threads(&self) -> usize {
        self.relay.fleet().len()
    }

    fn work(&self) -> u64 {
        self.relay.flows()
    }

    fn is_alive(&self) -> bool {
        self.pages.live().is_ok()
    }

    fn drain_deadline(&self) -> Duration {
        self.relay.config().drain.deadline
    }

    async fn drain(&self) -> Result<()> {
        self.relay.set_stopping();
        Ok(self.relay.set_drain(true).await?)
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        self.relay.reload().await
    }

    fn is_replaced(&self) -> bool {
        upgrade::is_program_replaced()
    }

    fn upgrade(&self) -> JoinHandle<()> {
        // On its own, so that signals and the watchdog are served meanwhile.
        tokio::spawn(upgrade_by_signal(Arc::clone(&self.relay)))
    }

    async fn successor(&self) -> u32 {
        self.relay.successor().await
    }
}

async fn upgrade_by_signal(relay: Arc<Relay>) {
    if let Err(reason) = upgrade::upgrade(&relay).await {
        error!("not upgraded, this process goes on: {reason}");
    }
}
