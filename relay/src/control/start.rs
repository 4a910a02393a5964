//! Starts the workers: sockets first, all of them, then one thread for each.
//!
//! Everything that can fail does so before the first thread runs, so a relay either starts whole or
//! says why it does not.

use super::config::Config;
use super::convert;
use super::direct::{self, Direct, Keeper};
use super::fleet::{Fleet, Member};
use crate::core::{Clusters, Command, FlowRecord, Now, Random, Restored, Router};
use crate::worker::{Orders, Parts, Reports, Room, Slot, Worker};
use anyhow::{Context as _, Result};
use engine::direct::Egress;
use engine::sockets::{self, BoundSocket, SocketSettings};
use engine::{Engine, EngineKind, LinkSettings, LinkSocket, OutboxSettings, affinity};
use service::exit::AbortOnPanic;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};
use tokio::sync::{Notify, mpsc};
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
    pub(super) direct: Direct,
    pub(super) keeper: Option<Keeper>,
    /// All sockets once more: of each worker its listeners' in their order, then its tunnel's.
    pub(super) sockets: Vec<OwnedFd>,
    /// Tells of workers that have ended.
    pub(super) ended: mpsc::UnboundedReceiver<usize>,
}

/// Everything that workers are made of, with nothing running yet.
pub(super) struct Prepared {
    config: Arc<Config>,
    cpus: Vec<usize>,
    ready: Vec<(Box<dyn Engine>, Router)>,
    engine: EngineChoice,
    direct: direct::Prepared,
    sockets: Vec<OwnedFd>,
}

/// How many workers a configuration means on this host, and on which cores.
pub(super) fn workers(config: &Config) -> Result<(usize, Vec<usize>)> {
    let cpus = cpus(config)?;
    Ok((config.workers.on(cpus.len()), cpus))
}

/// Binds all sockets, or takes those of the process before, worker by worker in the order of
/// [`Started::sockets`]; then makes engines and routers. A worker receives nothing before it runs.
pub(super) fn prepare(
    config: &Arc<Config>,
    clusters: &Arc<Clusters>,
    keyring: &Arc<Keyring>,
    inherited: Option<Vec<OwnedFd>>,
) -> Result<Prepared> {
    let (workers, cpus) = workers(config)?;
    if workers > cpus.len() {
        warn!(workers, cpus = cpus.len(), "more workers than cores: some share one");
    }
    let choice = kind(config).resolve().context("Failed to use the engine that is configured")?;
    info!(reason = %choice.reason, workers, "the engine is chosen");

    let direct = direct::prepare(config, workers, inherited.is_some())?;
    let links = match inherited {
        Some(sockets) => adopt_all(config, sockets, workers, &cpus)?,
        None => bind_all(config, workers, &cpus)?,
    };
    let copies = links.iter().flatten().map(|link| link.socket.try_clone());
    let sockets = copies.collect::<io::Result<_>>().context("Failed to keep the sockets")?;
    let settings = engine_settings(config);
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
    let engine = EngineChoice { name, reason: choice.reason };
    Ok(Prepared { config: Arc::clone(config), cpus, ready, engine, direct, sockets })
}

impl Prepared {
    /// Gives each worker the flows of its predecessor. In parallel: packets are waiting.
    pub(super) fn restore(&mut self, flows: &[Vec<FlowRecord>], draining: bool) -> Restored {
        let one = |engine: &dyn Engine, router: &mut Router, flows: &[FlowRecord]| {
            let monotonic_us = engine.now_ns() / 1_000;
            let now = Now { monotonic_us, hint_time: crate::worker::hint_time() };
            if draining {
                router.on_command(Command::Drain(true), now);
            }
            router.restore(flows, now)
        };
        let mut sum = Restored::default();
        thread::scope(|scope| {
            let workers = self.ready.iter_mut().zip(flows).map(|((engine, router), flows)| {
                scope.spawn(move || one(&**engine, router, flows))
            });
            for worker in workers.collect::<Vec<_>>() {
                // A panic goes on here, and ends this process before it serves.
                let restored = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
                sum.taken += restored.taken;
                sum.refused += restored.refused;
            }
        });
        sum
    }

    /// Starts all workers.
    pub(super) fn start(self) -> Result<Started> {
        let Self { config, cpus, ready, engine, direct, sockets } = self;
        let direct::Prepared { direct, egresses, keeper } = direct;
        let mut egresses = egresses.into_iter();
        let (ended_tx, ended) = mpsc::unbounded_channel();
        let told = Arc::new(Notify::new());
        let mut members = Vec::with_capacity(ready.len());
        for (worker, (engine, router)) in ready.into_iter().enumerate() {
            let cpu = cpus[worker % cpus.len()];
            let thread = Thread { worker, cpu, engine, router, direct: egresses.next() };
            members.push(spawn(&config, thread, &told, ended_tx.clone())?);
        }
        let (fleet, threads) = Fleet::new(members, told);
        Ok(Started { fleet, threads, engine, direct, keeper, sockets, ended })
    }
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
///
/// The tunnels' are bound first. They are nobody else's, so once they are bound, a process that was
/// killed a moment ago has lost all its sockets. If members of its groups were still there, the
/// kernel would number ours in another order, and clients would come to other workers than before.
fn bind_all(config: &Config, workers: usize, cpus: &[usize]) -> Result<Vec<Vec<LinkSocket>>> {
    let mut add = Adder::new(config);
    let mut tunnels = Vec::with_capacity(workers);
    for worker in 0..workers {
        tunnels.push(sockets::bind_patiently(&tunnel(config, worker)?)?);
    }
    let mut links: Vec<Vec<LinkSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for listen in &config.listen {
        let group = sockets::bind_group(&public(config, *listen), workers)?;
        if config.steer_by_cpu {
            steer(&group[0].socket, workers, cpus)
                .with_context(|| format!("Failed to steer {listen} by receiving core"))?;
        }
        info!(address = %group[0].address, "listening for clients");
        for (links, bound) in links.iter_mut().zip(group) {
            add.add(links, bound, config.gso);
        }
    }
    for (links, tunnel) in links.iter_mut().zip(tunnels) {
        // Bundles are already as long as the path allows: nothing there for GSO to merge.
        add.add(links, tunnel, false);
    }
    Ok(links)
}

/// Steers a group by receiving core.
fn steer(first: &OwnedFd, workers: usize, cpus: &[usize]) -> io::Result<()> {
    if workers < 2 {
        return Ok(());
    }
    engine::steering::by_cpu(first, &cpus[..workers.min(cpus.len())])
}

/// Waits a moment until nobody has the public addresses: a process that was killed may still be about
/// to lose its sockets, and as members of a group they would swallow packets.
pub(super) fn wait_until_free(config: &Config) -> Result<()> {
    for listen in &config.listen {
        sockets::bind_patiently(&SocketSettings { reuse_port: false, ..public(config, *listen) })?;
    }
    Ok(())
}

/// The same from sockets of the process before, which are there in this very order.
fn adopt_all(
    config: &Config,
    sockets: Vec<OwnedFd>,
    workers: usize,
    cpus: &[usize],
) -> Result<Vec<Vec<LinkSocket>>> {
    // `steer_by_cpu` and `cpus` may have changed since the groups were bound.
    for (listen, first) in config.listen.iter().zip(&sockets) {
        let steered = if config.steer_by_cpu {
            steer(first, workers, cpus)
        } else {
            engine::steering::by_hash(first)
        };
        steered.with_context(|| format!("Failed to steer what comes to {listen}"))?;
    }
    let mut sockets = sockets.into_iter();
    let mut all = Vec::new();
    let mut add = Adder::new(config);
    for worker in 0..workers {
        let mut links = Vec::new();
        for (place, settings) in socket_settings(config, worker)?.iter().enumerate() {
            let socket = sockets.next().context("there are too few sockets")?;
            let gso = config.gso && place < config.listen.len();
            add.add(&mut links, sockets::adopt(socket, settings)?, gso);
        }
        all.push(links);
    }
    Ok(all)
}

/// What a worker's sockets are, in their order.
pub(super) fn socket_settings(config: &Config, worker: usize) -> Result<Vec<SocketSettings>> {
    let mut settings: Vec<_> = config.listen.iter().map(|it| public(config, *it)).collect();
    settings.push(tunnel(config, worker)?);
    Ok(settings)
}

fn public(config: &Config, listen: SocketAddr) -> SocketSettings {
    let receive_buffer_bytes = u32::try_from(config.buffers.receive_socket_bytes).ok();
    SocketSettings { receive_buffer_bytes, ..SocketSettings::public(listen) }
}

fn tunnel(config: &Config, worker: usize) -> Result<SocketSettings> {
    let offset = u16::try_from(worker).context("more workers than ports")?;
    let port = config.tunnel.port_base.checked_add(offset).context("no port left")?;
    let address = SocketAddr::new(config.tunnel.address, port);
    let receive_buffer_bytes = u32::try_from(config.buffers.receive_socket_bytes).ok();
    Ok(SocketSettings { receive_buffer_bytes, ..SocketSettings::tunnel(address) })
}

/// Makes links of sockets, and warns once of buffers that came out small.
struct Adder {
    link: LinkSettings,
    clamped: bool,
}

impl Adder {
    fn new(config: &Config) -> Self {
        let link = LinkSettings {
            buffers: u16::try_from(config.buffers.ring_buffers).unwrap_or(u16::MAX),
            datagram_bytes_max: u32::try_from(config.buffers.buffer_bytes).unwrap_or(u32::MAX),
            huge_pages: config.buffers.huge_pages,
            ..LinkSettings::default()
        };
        Self { link, clamped: false }
    }

    fn add(&mut self, links: &mut Vec<LinkSocket>, bound: BoundSocket, gso: bool) {
        let BoundSocket { socket, address, buffers } = bound;
        if buffers.is_clamped() && !std::mem::replace(&mut self.clamped, true) {
            warn!(%address, "socket buffers are smaller than asked for: {buffers}");
        }
        links.push(LinkSocket { socket, settings: LinkSettings { gso, ..self.link } });
    }
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

/// What is one worker's alone.
struct Thread {
    worker: usize,
    cpu: usize,
    engine: Box<dyn Engine>,
    router: Router,
    direct: Option<Egress>,
}

fn spawn(
    config: &Config,
    thread: Thread,
    told: &Arc<Notify>,
    ended: mpsc::UnboundedSender<usize>,
) -> Result<Member> {
    let Thread { worker, cpu, engine, router, direct } = thread;
    let orders = Orders::new();
    let desk = orders.desk(engine.waker());
    let slot = Arc::new(Slot::new());
    let reports = Reports::new(Arc::clone(told));
    let parts = Parts {
        engine,
        router,
        listeners: u8::try_from(config.listen.len()).context("too many listeners")?,
        room: room(config),
        coalesce_us_max: config.coalesce_us_max,
        direct,
        orders,
        slot: Arc::clone(&slot),
        reports: reports.clone(),
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
    Ok(Member { desk, slot, reports, thread: thread.context("Failed to start a worker's thread")? })
}
