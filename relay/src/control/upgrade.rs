//! Hot upgrade: the next process takes over the very sockets and all flows, and no packet is lost.
//!
//! ```text
//!   this process                                    the next process
//!   starts the program, sends its sockets ────────► checks configuration, keys, sockets;
//!        (serves on)                       ◄─ready─ makes engines and routers
//!   workers stop receiving, forward what
//!   they have; the kernel queues the rest ─flows──► restores them, takes the admin socket's path
//!   ends                                  ◄serving─ starts its workers
//! ```
//!
//! The groups of sockets never change, so the kernel gives every client to the same worker as
//! before. Until the next process says that it serves, this one can go on: whatever fails before
//! then (no such program, a configuration that does not hold, another number of workers, a crash)
//! ends the next process and leaves everything as it was.
//!
//! Both sides are in this program, and both may be of another version than the other: what they say
//! is JSON and the flows have a version of their own.

mod next;
mod offer;
mod previous;

pub(super) use next::Next;
pub(super) use previous::Previous;

use super::relay::Relay;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The file of this very process, whatever became of its name.
const RUNNING: &str = "/proc/self/exe";

/// Set for the next process, which then finds a channel at its standard input.
const VARIABLE: &str = "RINGWAY_HANDOVER";

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that serves now.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// Flows that it has taken over.
    pub flows: u64,
    /// Flows that it has not, because its configuration has no place for them.
    pub flows_refused: u64,
    /// How long packets waited in the sockets' queues.
    pub waited_us: u64,
}

/// Hands everything to a new process of this program. On an error this one goes on.
pub(super) async fn upgrade(relay: &Arc<Relay>) -> Result<Upgraded, String> {
    // No reload meanwhile, and no second upgrade.
    let _alone = relay.alone().await;
    if relay.is_stopping() {
        return Err("this relay is stopping".to_owned());
    }
    if std::process::id() == 1 {
        return Err("this relay is process 1 of its container, which ends with it: replace the \
                    container, or run the relay under an init"
            .to_owned());
    }
    let starter = Arc::clone(relay);
    let next = blocking(move || Next::start(&starter)).await?;
    info!(process = next.process(), version = next.version(), "the next process is ready");

    let paused = Instant::now();
    let result = match relay.fleet().stand_by().await {
        Ok(flows) => blocking(move || next.hand_over(&flows)).await,
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(mut upgraded) => {
            upgraded.waited_us = u64::try_from(paused.elapsed().as_micros()).unwrap_or(u64::MAX);
            relay.handed_over(upgraded.process);
            info!(?upgraded, "handed over");
            Ok(upgraded)
        }
        Err(reason) => {
            // The next process is gone by now: nobody else reads the sockets.
            relay.fleet().resume().await;
            let waited = paused.elapsed();
            warn!(?waited, "the workers go on");
            Err(reason)
        }
    }
}

/// Whether an upgrade would start another program than the one that runs, as far as that can be told.
pub(super) fn is_program_replaced() -> bool {
    let name = next::program();
    let name = Path::new(&name);
    // One without a folder was found on the PATH.
    if name.parent().is_none_or(|folder| folder.as_os_str().is_empty()) {
        return false;
    }
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let (there, here) = (identity(name), identity(Path::new(RUNNING)));
    there.is_some() && here.is_some() && there != here
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// How long the next process may take to be ready: it allocates all its tables.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to serve. Packets wait meanwhile.
const SERVING_PATIENCE: Duration = Duration::from_secs(2);
