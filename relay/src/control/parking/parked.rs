//! What was parked, at the start of the next process.

use super::flows::{self, Aged};
use super::{AGAIN, Named, PATIENCE, is_busy};
use crate::control::config::Config;
use crate::control::start;
use crate::core::{FlowRecord, FlowState};
use engine::inherited::{self, Inherited};
use engine::{clock, handover, sockets};
use service::notify::Notifier;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Everything that the manager has given to this process.
#[derive(Debug)]
pub(in crate::control) struct Parked(io::Result<Vec<Inherited>>);

/// What of it is of use.
#[derive(Debug, Default)]
pub(in crate::control) struct Taken {
    /// All sockets, in the order of a hot upgrade.
    pub(in crate::control) sockets: Option<Vec<OwnedFd>>,
    /// Flows of each worker. Empty without the sockets: clients may come to other workers then.
    pub(in crate::control) flows: Vec<Vec<FlowRecord>>,
}

impl Parked {
    /// To be called before anything is opened.
    pub(in crate::control) fn find() -> Self {
        Self(inherited::take())
    }

    /// Takes what fits this configuration, and has the manager let go of the rest.
    pub(in crate::control) fn take(
        self,
        config: &Config,
        workers: usize,
        notifier: &Notifier,
    ) -> Taken {
        let all = self.0.unwrap_or_else(|error| {
            warn!("nothing that was parked with the service manager is taken: {error}");
            Vec::new()
        });
        if all.is_empty() {
            return Taken::default();
        }
        let mut sockets: BTreeMap<usize, Vec<OwnedFd>> = BTreeMap::new();
        let mut flows: BTreeMap<usize, Vec<OwnedFd>> = BTreeMap::new();
        let (mut given_back, mut read) = (BTreeSet::new(), BTreeSet::new());
        for Inherited { name, descriptor } in all {
            match Named::parse(&name) {
                Some(Named::Sockets(worker)) => {
                    sockets.entry(worker).or_default().push(descriptor);
                    given_back.insert(name);
                }
                Some(Named::Flows(worker)) => {
                    flows.entry(worker).or_default().push(descriptor);
                    read.insert(name);
                }
                None => {
                    warn!(name, "the service manager keeps something that is not ours: given back");
                    read.insert(name);
                }
            }
        }
        // Before they are read.
        unpark(notifier, &read);
        match arrange(config, workers, sockets) {
            Ok(sockets) => {
                let count = sockets.len();
                info!(sockets = count, "took over the sockets parked with the service manager");
                let flows = (0..workers)
                    .map(|worker| newest(config, worker, flows.remove(&worker).unwrap_or_default()))
                    .collect();
                Taken { sockets: Some(sockets), flows }
            }
            Err(reason) => {
                warn!("the sockets parked with the service manager are given back: {reason}");
                unpark(notifier, &given_back);
                if let Err(error) = notifier.wait(PATIENCE) {
                    warn!("the service manager may still have old sockets: {error}");
                }
                if let Err(error) = start::wait_until_free(config) {
                    warn!("old sockets may still take packets: {error:#}");
                }
                Taken::default()
            }
        }
    }
}

/// All sockets in their order, if they are those that this configuration asks for. Otherwise all are
/// closed.
fn arrange(
    config: &Config,
    workers: usize,
    mut parked: BTreeMap<usize, Vec<OwnedFd>>,
) -> Result<Vec<OwnedFd>, String> {
    let mut all = Vec::new();
    for worker in 0..workers {
        let mut sockets = parked.remove(&worker).ok_or_else(|| {
            format!("there are none of worker {worker}, and {workers} are to run")
        })?;
        let settings =
            start::socket_settings(config, worker).map_err(|error| format!("{error:#}"))?;
        for settings in settings {
            let address = settings.address;
            let is_it =
                |socket: &OwnedFd| sockets::local_address(socket).is_ok_and(|it| it == address);
            let position = sockets.iter().position(is_it);
            let position =
                position.ok_or_else(|| format!("worker {worker} has none on {address}"))?;
            let socket = sockets.swap_remove(position);
            sockets::suits(&socket, &settings)
                .map_err(|error| format!("that of worker {worker} on {address}: {error}"))?;
            all.push(socket);
        }
        if let Some(other) = sockets.first() {
            let what = sockets::local_address(other)
                .map_or_else(|error| error.to_string(), |address| address.to_string());
            return Err(format!("worker {worker} has one more than is configured: {what}"));
        }
    }
    match parked.keys().next() {
        Some(worker) => Err(format!("there are some of worker {worker}, and {workers} are to run")),
        None => Ok(all),
    }
}

/// The flows of a worker, from whichever file is the newest that can be read.
fn newest(config: &Config, worker: usize, files: Vec<OwnedFd>) -> Vec<FlowRecord> {
    let now = Duration::from_nanos(clock::monotonic_ns());
    let idle = |state| match state {
        FlowState::New => config.flows.idle_new,
        FlowState::Assured => config.flows.idle_assured,
    };
    let mut newest: Option<Aged> = None;
    for file in files {
        let bytes = bytes_of(file).map_err(|error| error.to_string());
        let read = bytes
            .and_then(|bytes| flows::decode(&bytes, now, idle).map_err(|error| error.to_string()));
        match read {
            Ok(aged) if newest.as_ref().is_none_or(|newest| aged.age < newest.age) => {
                newest = Some(aged);
            }
            Ok(_) => {}
            Err(reason) => warn!(worker, "parked flows are not taken: {reason}"),
        }
    }
    let Aged { flows, ended, age } = newest.unwrap_or_default();
    debug!(worker, flows = flows.len(), ended, ?age, "parked flows");
    flows
}

/// Nothing but a file is read: it alone cannot keep us waiting.
fn bytes_of(file: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    handover::bytes_of(file.into())
}

fn unpark(notifier: &Notifier, names: &BTreeSet<String>) {
    let deadline = Instant::now() + PATIENCE;
    for name in names {
        let mut result = notifier.unpark(name);
        while is_busy(&result) && Instant::now() < deadline {
            thread::sleep(AGAIN);
            result = notifier.unpark(name);
        }
        if let Err(error) = result {
            warn!(name, "the service manager was not told to let go: {error}");
        }
    }
}
