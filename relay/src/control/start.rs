//! Starts the workers: sockets first, all of them, then one thread for each.
//!
//! Everything that can fail does so before the first thread runs, so a relay either starts whole or
//! says why it does not.

use super::config::Config;
use super::convert;
use super::fleet::{Fleet, Member};
use crate::core::{Clusters, Random, Router};
use crate::worker::{Orders, Parts, Room, Slot, Worker};
use anyhow::{Context as _, Result};
use engine::sockets::{self, BoundSocket, SocketSettings};
use engine::{Engine, EngineKind, LinkSettings, LinkSocket, OutboxSettings, affinity};
use service::exit::AbortOnPanic;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};
use tokio::sync::mpsc;
use tracing::{info, warn};
use wire::keyring::Keyring;

/// How datagrams are moved, and why so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineChoice {
    /// The engine's name.
    pub name: &'static str,
    /// Why it was taken, in a line.
    pub reason: String,
}

/// The workers, running.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) fleet: Fleet,
    pub(super) threads: Vec<JoinHandle<io::Result<()>>>,
    pub(super) engine: EngineChoice,
    /// Tells of workers that have ended.
    pub(super) ended: mpsc::UnboundedReceiver<usize>,
}

/// Binds all sockets and starts all workers.
pub(super) fn start(
    config: &Config,
    clusters: &Arc<Clusters>,
    keyring: &Arc<Keyring>,
) -> Result<Started> {
    let cpus = cpus(config)?;
    let workers = config.workers.on(cpus.len());
    if workers > cpus.len() {
        warn!(workers, cpus = cpus.len(), "more workers than cores: some share one");
    }
    let choice = kind(config).resolve().context("Failed to use the engine that is configured")?;
    info!(reason = %choice.reason, workers, "the engine is chosen");

    let links = bind_all(config, workers, &cpus)?;
    let settings = engine_settings(config);
    let (ended_tx, ended) = mpsc::unbounded_channel();
    let mut ready = Vec::with_capacity(workers);
    for (worker, links) in links.into_iter().enumerate() {
        let engine = choice
            .kind
            .open(links, &settings)
            .with_context(|| format!("Failed to set up the engine of worker {worker}"))?;
        let router = Router::new(
            convert::settings(config),
            Arc::clone(clusters),
            Arc::clone(keyring),
            random(),
        );
        let router = router.context("Failed to build a router from the configuration")?;
        ready.push((engine, router));
    }
    let name = ready.first().map_or("none", |(engine, _)| engine.name());
    let mut members = Vec::with_capacity(workers);
    for (worker, (engine, router)) in ready.into_iter().enumerate() {
        let cpu = cpus[worker % cpus.len()];
        members.push(spawn(config, worker, cpu, engine, router, ended_tx.clone())?);
    }
    let (fleet, threads) = Fleet::new(members);
    let engine = EngineChoice { name, reason: choice.reason };
    Ok(Started { fleet, threads, engine, ended })
}

fn kind(config: &Config) -> EngineKind {
    match config.engine {
        super::config::Engine::Auto => EngineKind::Auto,
        super::config::Engine::Uring => EngineKind::Uring,
        super::config::Engine::Mmsg => EngineKind::Mmsg,
    }
}

/// The cores for workers: those asked for, as far as this process may use them. A container that
/// gives fewer cores than the file names is no reason not to start.
fn cpus(config: &Config) -> Result<Vec<usize>> {
    let allowed = affinity::allowed_cpus().context("Failed to ask which cores may be used")?;
    let wanted = config.cpus.as_slice().iter().map(|cpu| usize::from(*cpu));
    let (usable, missing): (Vec<_>, Vec<_>) = wanted.partition(|cpu| allowed.contains(cpu));
    if !missing.is_empty() {
        warn!(?missing, ?allowed, "some of `cpus` may not be used by this process: ignored");
    }
    Ok(if usable.is_empty() { allowed } else { usable })
}

/// The sockets of each worker: a member of every listener's group, in the listeners' order, and the
/// tunnel's last. Groups are bound worker by worker, so the kernel numbers them alike.
fn bind_all(config: &Config, workers: usize, cpus: &[usize]) -> Result<Vec<Vec<LinkSocket>>> {
    let receive_buffer_bytes = u32::try_from(config.buffers.receive_socket_bytes).ok();
    let buffers = u16::try_from(config.buffers.ring_buffers).unwrap_or(u16::MAX);
    let link = LinkSettings {
        buffers,
        datagram_bytes_max: u32::try_from(config.buffers.buffer_bytes).unwrap_or(u32::MAX),
        gso: config.gso,
        huge_pages: config.buffers.huge_pages,
        ..LinkSettings::default()
    };
    let mut links: Vec<Vec<LinkSocket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut clamped = false;
    let mut add = |links: &mut Vec<LinkSocket>, bound: BoundSocket, gso| {
        if bound.buffers.is_clamped() && !std::mem::replace(&mut clamped, true) {
            warn!(address = %bound.address, "socket buffers are smaller than asked for: {}", bound.buffers);
        }
        links.push(LinkSocket { socket: bound.socket, settings: LinkSettings { gso, ..link } });
    };
    for listen in &config.listen {
        let public = SocketSettings { receive_buffer_bytes, ..SocketSettings::public(*listen) };
        let group = sockets::bind_group(&public, workers)?;
        if config.steer_by_cpu && workers > 1 {
            engine::steering::by_cpu(&group[0].socket, &cpus[..workers.min(cpus.len())])
                .with_context(|| format!("Failed to steer {listen} by receiving core"))?;
        }
        info!(address = %group[0].address, "listening for clients");
        for (links, bound) in links.iter_mut().zip(group) {
            add(links, bound, config.gso);
        }
    }
    for (worker, links) in links.iter_mut().enumerate() {
        let offset = u16::try_from(worker).context("more workers than ports")?;
        let port = config.tunnel.port_base.checked_add(offset).context("no port left")?;
        let address = SocketAddr::new(config.tunnel.address, port);
        let tunnel = SocketSettings { receive_buffer_bytes, ..SocketSettings::tunnel(address) };
        // Bundles are already as long as the path allows: nothing there for GSO to merge.
        add(links, sockets::bind(&tunnel)?, false);
    }
    Ok(links)
}

fn engine_settings(config: &Config) -> engine::Settings {
    let room = room(config);
    engine::Settings {
        outbox: OutboxSettings {
            // Several arrivals' worth, so that most batches need one flush.
            datagrams_max: u16::try_from(4 * room.datagrams).unwrap_or(u16::MAX).max(4_096),
            bytes_max: u32::try_from(4 * room.bytes).unwrap_or(u32::MAX).max(2 << 20),
        },
        ..engine::Settings::default()
    }
}

fn room(config: &Config) -> Room {
    Room::for_arrival(usize::try_from(config.buffers.buffer_bytes).unwrap_or(usize::MAX / 8))
}

/// The system's random source. That it fails once it has worked does not happen on Linux; a relay
/// that cannot draw unique sender ids must not go on.
fn random() -> Random {
    Box::new(|bytes| getrandom::fill(bytes).expect("the kernel's random source works"))
}

fn spawn(
    config: &Config,
    worker: usize,
    cpu: usize,
    engine: Box<dyn Engine>,
    router: Router,
    ended: mpsc::UnboundedSender<usize>,
) -> Result<Member> {
    let orders = Orders::new();
    let desk = orders.desk(engine.waker());
    let slot = Arc::new(Slot::new());
    let parts = Parts {
        engine,
        router,
        listeners: u8::try_from(config.listen.len()).context("too many listeners")?,
        room: room(config),
        coalesce_us_max: config.coalesce_us_max,
        orders,
        slot: Arc::clone(&slot),
    };
    let thread = thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        let _loud = AbortOnPanic;
        if let Err(error) = affinity::pin(cpu) {
            warn!(worker, cpu, "not pinned to its core: {error}");
        }
        affinity::precise_sleeps();
        let result = Worker::new(parts).run();
        // Control may have ended already.
        let _ = ended.send(worker);
        result
    });
    Ok(Member { desk, slot, thread: thread.context("Failed to start a worker's thread")? })
}
