//! The transceiver's life: start, serve, reload, drain, stop.

use super::admin::TransceiverAdmin;
use super::config::Config;
use super::front;
use super::metrics::Metrics;
use super::pages::TransceiverPages;
use super::start::{self, Started};
use super::transceiver::{Parts, Transceiver, policy_of};
use crate::backend::Backends;
use crate::backend::echo::Echoes;
use crate::backend::parrot::Parrots;
use crate::calls::Calls;
use crate::shard::Order;
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
use wire::hint::{ClusterId, TransceiverId};

/// How often a draining transceiver looks whether its calls have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long shards may take to end. They say goodbye to every client, within milliseconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a transceiver until it is told to stop.
pub fn run(sources: Sources) -> Result<()> {
    let Loaded { config, warnings } = sources.load::<Config>()?;
    let log =
        Log::start(config.log.format, &config.log.level).context("Failed to start the log")?;
    for warning in warnings.into_iter().chain(config.remarks()) {
        warn!("{warning}");
    }
    let keyring = keyfile::load(&config.keys).map_err(|error| Usage(error.to_string()))?;
    let access = front::access(&config).map_err(|error| Usage(error.to_string()))?;
    let settings = front::settings(&config, access)?;
    let transceiver = start::identity(&config)?;
    let (keyring, config) = (Arc::new(keyring), Arc::new(config));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        // Before the shards: from here on no signal kills the process half-way.
        let signals = Signals::listen().context("Failed to take over the signals")?;
        let pages = http::Server::bind(config.http.listen).await?;
        let place = Place {
            path: config.admin.socket.clone(),
            group: config.admin.group.clone(),
            take_over: false,
        };
        let admin = admin::Server::bind(&place, Limits::default())?;
        let started = start::start(&config, &keyring)?;
        let Started { handles, slots, threads, engine, watch, ended, .. } = started;
        let cluster = ClusterId(config.cluster);
        let policy = policy_of(&config, keyring, cluster, transceiver);
        let calls = Calls::new(handles, backends(), policy, watch)
            .context("Failed to make a certificate")?
            .with_default(config.backend.as_str());
        let calls = Arc::new(calls);
        let signaling = front::start(&config, settings, Arc::clone(&calls)).await?;
        greet(&config, cluster, transceiver);
        let parts = Parts { calls, slots, engine, signaling, sources, log, config };
        let transceiver = Arc::new(Transceiver::new(parts));
        let metrics = Arc::new(Metrics::new(&transceiver));
        let shown = Arc::new(TransceiverPages::new(Arc::clone(&transceiver), metrics));
        tokio::spawn(pages.serve(Arc::clone(&shown)));
        let handler = TransceiverAdmin::new(Arc::clone(&transceiver));
        let admin = tokio::spawn(admin.serve(Arc::new(handler)));
        let result = serve(&transceiver, &shown, signals, ended).await;
        // Its end removes the socket's file.
        admin.abort();
        let _ = admin.await;
        // A shard that takes no orders is stuck, and ends with the process.
        let _ = transceiver.calls().tell_all(|| Order::Stop);
        join(threads).and(result)
    })
}

fn backends() -> Vec<Box<dyn Backends>> {
    vec![Box::new(Echoes), Box::new(Parrots)]
}

fn greet(config: &Config, ClusterId(cluster): ClusterId, TransceiverId(id): TransceiverId) {
    let address = std::net::Ipv4Addr::from(id);
    info!(cluster, id, as_address = %address, "the relays know this transceiver by its id");
    let relays = config.ingress.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    info!(relays, "clients are told these relays");
    info!("signaling on http://{}", config.signaling.listen);
}

/// Serves until it is time to stop.
async fn serve(
    transceiver: &Transceiver,
    pages: &TransceiverPages,
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
    let calls = transceiver.calls();
    tell(State::Ready);
    info!(shards = calls.loads().len(), "ready");
    let watchdog = notifier.watchdog_interval().unwrap_or(Duration::from_secs(3_600));
    let mut watchdog = time::interval(watchdog);
    let mut stop_at: Option<Instant> = None;
    let mut look = time::interval(DRAIN_LOOK);
    loop {
        tokio::select! {
            shard = ended.recv() => {
                bail!("shard {} ended by itself", shard.unwrap_or_default());
            }
            event = signals.next() => match event {
                Event::Drain => {
                    let deadline = transceiver.config().drain.deadline;
                    info!(?deadline, calls = calls.count(), "draining; once more to stop at once");
                    tell(State::Stopping);
                    if let Err(error) = calls.set_drain(true) {
                        // Signaling refuses new calls already.
                        warn!("{error}");
                    }
                    stop_at = Some(Instant::now() + deadline);
                }
                Event::StopNow => {
                    info!(calls = calls.count(), "stopping at once");
                    return Ok(());
                }
                Event::Reload => {
                    tell(State::Reloading);
                    reload(transceiver).await;
                    tell(State::Ready);
                }
                Event::Upgrade => {
                    warn!("a transceiver holds its calls' keys and cannot hand them over: drain it");
                }
            },
            _ = look.tick(), if stop_at.is_some() => {
                if calls.count() == 0 {
                    info!("drained");
                    return Ok(());
                }
                if stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                    warn!(calls = calls.count(), "the drain deadline has passed: stopping");
                    return Ok(());
                }
            }
            // A transceiver with a stuck shard is as good as dead: then the manager restarts it.
            _ = watchdog.tick() => if pages.live().is_ok() {
                tell(State::Watchdog);
            },
        }
    }
}

async fn reload(transceiver: &Transceiver) {
    match transceiver.reload().await {
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

/// Waits for the shards' ends, but not for ever.
fn join(threads: Vec<JoinHandle<io::Result<()>>>) -> Result<()> {
    let deadline = std::time::Instant::now() + STOP_TIMEOUT;
    for (shard, thread) in threads.into_iter().enumerate() {
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            warn!(shard, "did not end in time");
            continue;
        }
        // A panic has aborted the process already.
        if let Ok(result) = thread.join() {
            result.with_context(|| format!("shard {shard} failed"))?;
        }
    }
    Ok(())
}
