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
use anyhow::{Context as _, Result};
use service::admin::{self, Limits, Place};
use service::config::{ReloadReport, Sources};
use service::exit::Usage;
use service::http::Pages as _;
use service::life::{self, Life};
use service::signal::Signals;
use service::{http, keyfile};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use wire::hint::{ClusterId, TransceiverId};

/// Runs a transceiver until it is told to stop.
pub fn run(sources: Sources) -> Result<()> {
    let (config, log) = life::begin::<Config>(&sources)?;
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
        let serving = Serving { transceiver: Arc::clone(&transceiver), pages: shown };
        let result = life::serve(&serving, signals, ended).await;
        // Its end removes the socket's file.
        admin.abort();
        let _ = admin.await;
        // A shard that takes no orders is stuck, and ends with the process.
        let _ = transceiver.calls().tell_all(|| Order::Stop);
        life::join(Serving::THREAD, threads).and(result.map(drop))
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

/// The transceiver as what serves.
struct Serving {
    transceiver: Arc<Transceiver>,
    pages: Arc<TransceiverPages>,
}

impl Life for Serving {
    const THREAD: &'static str = "shard";
    const WORK: &'static str = "calls";

    fn threads(&self) -> usize {
        self.transceiver.calls().loads().len()
    }

    fn work(&self) -> u64 {
        self.transceiver.calls().count().into()
    }

    fn is_alive(&self) -> bool {
        self.pages.live().is_ok()
    }

    fn drain_deadline(&self) -> Duration {
        self.transceiver.config().drain.deadline
    }

    async fn drain(&self) -> Result<()> {
        if let Err(error) = self.transceiver.calls().set_drain(true) {
            // Signaling refuses new calls already.
            warn!("{error}");
        }
        Ok(())
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        self.transceiver.reload().await
    }

    fn is_replaced(&self) -> bool {
        // Its calls would not survive another: a reload is a reload.
        false
    }

    fn upgrade(&self) -> JoinHandle<()> {
        warn!("a transceiver holds its calls' keys and cannot hand them over: drain it");
        tokio::spawn(std::future::ready(()))
    }

    async fn successor(&self) -> u32 {
        std::future::pending().await
    }
}
