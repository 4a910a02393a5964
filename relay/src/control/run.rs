//! The relay's life: start, serve, reload, drain, stop.

use super::admin::RelayAdmin;
use super::config::Config;
use super::convert;
use super::metrics::Metrics;
use super::pages::RelayPages;
use super::relay::Relay;
use super::start::{self, Started};
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
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::mpsc;
use tokio::time::{self, Instant};
use tracing::{error, info, warn};

/// How often a draining relay looks whether its flows have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long workers may take to end. They do so within a batch.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a relay until it is told to stop.
pub fn run(sources: Sources) -> Result<()> {
    let Loaded { config, warnings } = sources.load::<Config>()?;
    let log =
        Log::start(config.log.format, &config.log.level).context("Failed to start the log")?;
    for warning in warnings.into_iter().chain(config.remarks()) {
        warn!("{warning}");
    }
    let keyring = keyfile::load(&config.keys).map_err(|error| Usage(error.to_string()))?;
    let clusters = convert::clusters(&config).map_err(|error| Usage(error.to_string()))?;
    let (keyring, clusters) = (Arc::new(keyring), Arc::new(clusters));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        // Before the workers: from here on no signal kills the process half-way.
        let signals = Signals::listen().context("Failed to take over the signals")?;
        let pages = http::Server::bind(config.http.listen).await?;
        let place = Place {
            path: config.admin.socket.clone(),
            group: config.admin.group.clone(),
            take_over: false,
        };
        let admin = admin::Server::bind(&place, Limits::default())?;
        let started = start::start(&config, &clusters, &keyring)?;
        let Started { fleet, threads, engine, ended } = started;
        let relay = Relay::new(fleet, engine, sources, log, Arc::new(config), keyring);
        let relay = Arc::new(relay);
        let metrics = Arc::new(Metrics::new(&relay));
        let shown = Arc::new(RelayPages::new(Arc::clone(&relay), metrics));
        tokio::spawn(pages.serve(Arc::clone(&shown)));
        let admin = tokio::spawn(admin.serve(Arc::new(RelayAdmin::new(Arc::clone(&relay)))));
        let result = serve(&relay, &shown, signals, ended).await;
        // Its end removes the socket's file.
        admin.abort();
        let _ = admin.await;
        relay.fleet().stop();
        join(threads).and(result)
    })
}

/// Serves until it is time to stop.
async fn serve(
    relay: &Relay,
    pages: &RelayPages,
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
                Event::Upgrade => warn!("hot upgrade is not built yet: restart instead"),
            },
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
            _ = watchdog.tick() => if pages.live().is_ok() {
                tell(State::Watchdog);
            },
        }
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
fn join(threads: Vec<JoinHandle<io::Result<()>>>) -> Result<()> {
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
