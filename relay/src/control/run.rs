//! The relay's life: start, serve, reload, drain, stop.

use super::admin::RelayAdmin;
use super::cache::{self, Cache};
use super::config::Config;
use super::convert;
use super::directory::Directory;
use super::metrics::Metrics;
use super::pages::RelayPages;
use super::recall;
use super::relay::{Parts, Relay};
use super::start::{self, Started};
use super::upgrade::{Previous, upgrade};
use crate::core::Restored;
use anyhow::{Context as _, Result, bail};
use service::admin::{self, Limits, Place};
use service::config::{Loaded, Sources};
use service::exit::Usage;
use service::http::Pages as _;
use service::log::Log;
use service::notify::{Notifier, State};
use service::signal::{Event, Signals};
use service::{http, keyfile};
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};
use tracing::{error, info, warn};

/// How often a draining relay looks whether its flows have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long a process whose successor serves stays, to answer who has asked.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long workers may take to end. They do so within a batch.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a relay until it is told to stop, or another process takes over from it.
pub fn run(sources: Sources) -> Result<()> {
    let mut previous = Previous::find()?;
    let result = run_after(sources, &mut previous);
    // Still there: this process has not served.
    if let (Some(previous), Err(error)) = (previous, &result) {
        previous.refuse(error);
    }
    result
}

fn run_after(sources: Sources, previous: &mut Option<Previous>) -> Result<()> {
    let Loaded { config, warnings } = sources.load::<Config>()?;
    let log =
        Log::start(config.log.format, &config.log.level).context("Failed to start the log")?;
    for warning in warnings.into_iter().chain(config.remarks()) {
        warn!("{warning}");
    }
    let keyring = keyfile::load(&config.keys).map_err(|error| Usage(error.to_string()))?;
    let redis = cache::client(&config.redis)?;
    let clusters = convert::clusters(&config).map_err(|error| Usage(error.to_string()))?;
    let (config, keyring, clusters) = (Arc::new(config), Arc::new(keyring), Arc::new(clusters));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        // Before the workers: from here on no signal kills the process half-way.
        let signals = Signals::listen().context("Failed to take over the signals")?;
        let inherited = match previous {
            Some(previous) => Some(previous.sockets(&config, start::workers(&config)?.0)?),
            None => None,
        };
        let http = previous.as_mut().and_then(|previous| previous.http(&config));
        let pages = match http {
            Some(listener) => http::Server::take_over(listener)?,
            None => http::Server::bind(config.http.listen).await?,
        };
        let mut prepared = start::prepare(&config, &clusters, &keyring, inherited)?;
        let draining = previous.as_ref().is_some_and(Previous::is_draining);
        let flows = previous.as_ref().map(Previous::flows).transpose()?;
        let restored = prepared.restore(&flows.unwrap_or_default(), draining);
        let place = Place {
            path: config.admin.socket.clone(),
            group: config.admin.group.clone(),
            take_over: previous.is_some(),
        };
        let admin = admin::Server::bind(&place, Limits::default())?;
        let mut started = prepared.start()?;
        if let Some(previous) = previous.take() {
            previous.serving(restored);
            let Restored { taken: flows, refused } = restored;
            info!(flows, refused, "took over from the process before");
        }
        started.sockets.push(pages.listener()?);
        let Started { fleet, threads, engine, sockets, ended } = started;
        let relay =
            Relay::new(Parts { fleet, engine, sockets, sources, log, config, keyring, draining });
        let relay = Arc::new(relay);
        find_missed_flows(&relay, redis, restored.taken > 0);
        let metrics = Arc::new(Metrics::new(&relay));
        let shown = Arc::new(RelayPages::new(Arc::clone(&relay), metrics));
        let pages = tokio::spawn(pages.serve(Arc::clone(&shown)));
        let admin = tokio::spawn(admin.serve(Arc::new(RelayAdmin::new(Arc::clone(&relay)))));
        let result = serve(&relay, &shown, pages, signals, ended).await;
        // Its end removes the socket's file.
        admin.abort();
        let _ = admin.await;
        relay.fleet().stop();
        join(threads).and(result)
    })
}

/// Keeps the directory of flows and the flow cache, for as long as there is a relay.
fn find_missed_flows(relay: &Arc<Relay>, redis: Option<redis::Client>, full: bool) {
    let config = relay.config();
    let ttl = config.flows.idle_assured;
    let cache = redis.map(|client| {
        Cache::start(&client, &config.redis, ttl, Arc::clone(relay.cache_counters()))
    });
    let flows_max = relay.fleet().len() * config.flows.per_worker as usize;
    // Twice in its life, so that one write may be lost.
    let directory = Directory::new(flows_max, cache.is_some().then_some(ttl / 2));
    tokio::spawn(recall::run(Arc::downgrade(relay), directory, cache, full));
}

/// Serves until it is time to stop.
async fn serve(
    relay: &Arc<Relay>,
    shown: &RelayPages,
    pages: JoinHandle<()>,
    mut signals: Signals,
    mut ended: mpsc::UnboundedReceiver<usize>,
) -> Result<()> {
    let notifier = Notifier::from_environment()?;
    let tell = |state: State<'_>| {
        // The service manager hears the next one; serving matters more.
        if let Err(error) = notifier.tell(state) {
            warn!("the service manager was not told: {error}");
        }
    };
    tell(State::Ready);
    info!(workers = relay.fleet().len(), "ready");
    let watchdog = notifier.watchdog_interval().unwrap_or(Duration::from_secs(3_600));
    let mut watchdog = time::interval(watchdog);
    let mut stop_at: Option<Instant> = None;
    let mut look = time::interval(DRAIN_LOOK);
    loop {
        tokio::select! {
            worker = ended.recv() => {
                bail!("worker {} ended by itself", worker.unwrap_or_default());
            }
            event = signals.next() => match event {
                Event::Drain => {
                    let deadline = relay.config().drain.deadline;
                    info!(?deadline, flows = relay.flows(), "draining; once more to stop at once");
                    tell(State::Stopping);
                    relay.set_stopping();
                    relay.set_drain(true).await?;
                    stop_at = Some(Instant::now() + deadline);
                    // The numbers to look at are those of a tick from now.
                    look.reset();
                }
                Event::StopNow => {
                    info!(flows = relay.flows(), "stopping at once");
                    return Ok(());
                }
                Event::Reload => {
                    tell(State::Reloading);
                    reload(relay).await;
                    tell(State::Ready);
                }
                // On its own, so that signals and the watchdog are served meanwhile.
                Event::Upgrade => drop(tokio::spawn(upgrade_by_signal(Arc::clone(relay)))),
            },
            process = relay.successor() => {
                tell(State::MainProcess(process));
                // The listener is the other's now; these numbers stand still.
                pages.abort();
                // Whoever asked for it is told first.
                time::sleep(LAST_WORDS).await;
                return Ok(());
            }
            _ = look.tick(), if stop_at.is_some() => {
                if relay.flows() == 0 {
                    info!("drained");
                    return Ok(());
                }
                if stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                    warn!(flows = relay.flows(), "the drain deadline has passed: stopping");
                    return Ok(());
                }
            }
            // A relay with a stuck worker is as good as dead: then the manager restarts it.
            _ = watchdog.tick() => if shown.live().is_ok() {
                tell(State::Watchdog);
            },
        }
    }
}

async fn upgrade_by_signal(relay: Arc<Relay>) {
    if let Err(reason) = upgrade(&relay).await {
        error!("not upgraded, this process goes on: {reason}");
    }
}

async fn reload(relay: &Relay) {
    match relay.reload().await {
        Ok(report) => {
            let generation = report.generation;
            info!(generation, live = ?report.live, "reloaded");
            for change in report.needs_restart {
                warn!("takes a restart: {change}");
            }
            for warning in report.warnings {
                warn!("{warning}");
            }
        }
        Err(reason) => error!("not reloaded, everything stays as it was: {reason}"),
    }
}

/// Waits for the workers' ends, but not for ever.
fn join(threads: Vec<thread::JoinHandle<io::Result<()>>>) -> Result<()> {
    let deadline = std::time::Instant::now() + STOP_TIMEOUT;
    for (worker, thread) in threads.into_iter().enumerate() {
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            warn!(worker, "did not end in time");
            continue;
        }
        // A panic has aborted the process already.
        if let Ok(result) = thread.join() {
            result.with_context(|| format!("worker {worker} failed"))?;
        }
    }
    Ok(())
}
