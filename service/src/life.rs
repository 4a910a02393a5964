//! The life of a process that serves: it is ready, reloads, drains, stops, or hands over.
//!
//! The process says by [`Life`] what these mean to it; here is when they happen, what the log says,
//! and what the service manager hears.

use std::time::Duration;
use std::{io, thread};

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};
use tracing::{error, info, warn};

use crate::config::{Loaded, Process, ReloadReport, Sources};
use crate::log::Log;
use crate::notify::{Notifier, State};
use crate::signal::{Event, Signals};

/// How often a draining process looks whether its work has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long threads may take to end. They do so within a batch.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A process that serves.
#[expect(async_fn_in_trait, reason = "awaited where it is called, on one thread")]
pub trait Life {
    /// What one of its threads is called: `worker`.
    const THREAD: &'static str;
    /// What a drain waits for: `flows`.
    const WORK: &'static str;

    /// How many threads do the work.
    fn threads(&self) -> usize;
    /// How much of its work there is now.
    fn work(&self) -> u64;
    /// Whether every thread moves.
    fn is_alive(&self) -> bool;
    /// How long a drain may take.
    fn drain_deadline(&self) -> Duration;
    /// Begins to stop: takes no new work. On an error the process stops at once.
    async fn drain(&self) -> Result<()>;
    /// Reads the configuration again.
    async fn reload(&self) -> Result<ReloadReport, String>;
    /// Whether the program's file is another by now than the one that runs.
    fn is_replaced(&self) -> bool;
    /// Begins to hand over to a new process. The task ends when that is done or has failed.
    fn upgrade(&self) -> JoinHandle<()>;
    /// Waits until another process serves in place of this one, and says which.
    async fn successor(&self) -> u32;
}

/// Why a process serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// Another process serves.
    Replaced,
}

/// Loads a process's configuration and starts its log, with what is odd about the one as the first
/// lines of the other.
pub fn begin<C: Process>(sources: &Sources) -> Result<(C, Log)> {
    let Loaded { config, warnings } = sources.load::<C>()?;
    let wanted = config.log();
    let log = Log::start(wanted.format, &wanted.level).context("Failed to start the log")?;
    for warning in warnings.into_iter().chain(config.remarks()) {
        warn!("{warning}");
    }
    Ok((config, log))
}

/// Serves until it is time to stop. `ended` tells of a thread that has ended by itself, by number.
pub async fn serve<L: Life>(
    process: &L,
    mut signals: Signals,
    mut ended: UnboundedReceiver<usize>,
) -> Result<End> {
    let notifier = Notifier::from_environment()?;
    let tell = |state: State<'_>| {
        // The service manager hears the next one; serving matters more.
        if let Err(error) = notifier.tell(state) {
            warn!("the service manager was not told: {error}");
        }
    };
    tell(State::Ready);
    info!(threads = process.threads(), "ready");
    let watchdog = notifier.watchdog_interval().unwrap_or(Duration::from_secs(3_600));
    let mut watchdog = time::interval(watchdog);
    let mut stop_at: Option<Instant> = None;
    let mut look = time::interval(DRAIN_LOOK);
    // An upgrade that the service manager waits for.
    let mut awaited: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            thread = ended.recv() => {
                bail!("{} {} ended by itself", L::THREAD, thread.unwrap_or_default());
            }
            event = signals.next() => match event {
                Event::Drain => {
                    let deadline = process.drain_deadline();
                    let left = process.work();
                    info!(?deadline, left, "draining {}; once more to stop at once", L::WORK);
                    tell(State::Stopping);
                    process.drain().await?;
                    stop_at = Some(Instant::now() + deadline);
                    // The numbers to look at are those of a tick from now.
                    look.reset();
                }
                Event::StopNow => {
                    info!(left = process.work(), "stopping {} at once", L::WORK);
                    return Ok(End::Stopped);
                }
                // As operators expect it of a reload after an update: it is the new program that reads
                // the configuration.
                Event::Reload if process.is_replaced() => {
                    info!("the program has been replaced: this reload is an upgrade");
                    tell(State::Reloading);
                    awaited = Some(process.upgrade());
                }
                Event::Reload => {
                    tell(State::Reloading);
                    reload(process).await;
                    tell(State::Ready);
                }
                Event::Upgrade => drop(process.upgrade()),
            },
            successor = process.successor() => {
                // While this is still the main process, to which the manager listens.
                if awaited.is_some() {
                    tell(State::Ready);
                }
                tell(State::MainProcess(successor));
                return Ok(End::Replaced);
            }
            () = over(&mut awaited) => tell(State::Ready),
            _ = look.tick(), if stop_at.is_some() => {
                let left = process.work();
                if left == 0 {
                    info!("drained");
                    return Ok(End::Stopped);
                }
                if stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                    warn!(left, "the drain deadline has passed: stopping");
                    return Ok(End::Stopped);
                }
            }
            // A process with a stuck thread is as good as dead: then the manager restarts it.
            _ = watchdog.tick() => if process.is_alive() {
                tell(State::Watchdog);
            },
        }
    }
}

/// Waits until a task has ended, and forgets it. For ever, if there is none.
async fn over(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(running) => {
            // What failed is in the log already.
            let _ = running.await;
            *task = None;
        }
        None => std::future::pending().await,
    }
}

async fn reload(process: &impl Life) {
    match process.reload().await {
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

/// Waits for the ends of threads, but not for ever. `name` is what one is called: `worker`.
pub fn join(name: &str, threads: Vec<thread::JoinHandle<io::Result<()>>>) -> Result<()> {
    let deadline = std::time::Instant::now() + STOP_TIMEOUT;
    for (number, thread) in threads.into_iter().enumerate() {
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            warn!("{name} {number} did not end in time");
            continue;
        }
        // A panic has aborted the process already.
        if let Ok(result) = thread.join() {
            result.with_context(|| format!("{name} {number} failed"))?;
        }
    }
    Ok(())
}
