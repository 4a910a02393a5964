//! Starts the shards: sockets first, all of them, then one thread for each.
//!
//! Everything that can fail does so before the first thread runs, so a transceiver either starts
//! whole or says why it does not.

use super::config::{self, Config, Identity};
use crate::backend::Board;
use crate::calls::ShardHandles;
use crate::ingress::{Ingress, RelayWatch};
use crate::shard::core::{Core, Settings};
use crate::shard::thread::{Parts, outbox, run};
use crate::shard::{Limits, Orders, Slot};
use anyhow::{Context as _, Result};
use engine::sockets::{self, SocketSettings};
use engine::{Engine, EngineKind, LinkSettings, LinkSocket, affinity};
use service::exit::{AbortOnPanic, Usage};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};
use tokio::sync::mpsc;
use tracing::{info, warn};
use wire::hint::TransceiverId;
use wire::keyring::Keyring;

/// The longest packet between a client and its session. WebRTC keeps below 1,300 bytes; relays pass
/// on no more than this by default.
const PACKET_BYTES_MAX: u16 = 2_048;
/// A tunnel datagram's header, tag and frame headers around one such packet, with room to spare.
const TUNNEL_OVERHEAD_BYTES: u16 = 256;
/// Buffers of a shard's ring: a burst of a thousand calls, and of a frame for each.
const RING_BUFFERS: u16 = 2_048;
/// How datagrams are moved, and why so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineChoice {
    /// The engine's name.
    pub name: &'static str,
    /// Why it was taken, in a line.
    pub reason: String,
}

/// The shards, running.
pub(super) struct Started {
    pub(super) handles: Vec<ShardHandles>,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) threads: Vec<JoinHandle<io::Result<()>>>,
    pub(super) engine: EngineChoice,
    /// What the shards hear of relays.
    pub(super) watch: Arc<RelayWatch>,
    /// Tells relays this process from the one before.
    boot: u64,
    /// Tells of shards that have ended.
    pub(super) ended: mpsc::UnboundedReceiver<usize>,
}

/// Binds all sockets and starts all shards.
pub(super) fn start(config: &Config, keyring: &Arc<Keyring>) -> Result<Started> {
    let cpus = cpus(config)?;
    let shards = config.shards.on(cpus.len());
    if shards > cpus.len() {
        warn!(shards, cpus = cpus.len(), "more shards than cores: some share one");
    }
    let choice = kind(config).resolve().context("Failed to use the engine that is configured")?;
    info!(reason = %choice.reason, shards, "the engine is chosen");

    let settings = engine::Settings { outbox: outbox(), ..engine::Settings::default() };
    let mut engines = Vec::with_capacity(shards);
    for (shard, link) in bind_all(config, shards)?.into_iter().enumerate() {
        let engine = choice.kind.open(vec![link], &settings);
        engines
            .push(engine.with_context(|| format!("Failed to set up the engine of shard {shard}"))?);
    }
    let name = engines.first().map_or("none", |engine| engine.name());
    let (ended_tx, ended) = mpsc::unbounded_channel();
    let mut started = Started {
        handles: Vec::with_capacity(shards),
        slots: Vec::with_capacity(shards),
        threads: Vec::with_capacity(shards),
        engine: EngineChoice { name, reason: choice.reason },
        watch: Arc::default(),
        boot: boot(),
        ended,
    };
    for (shard, engine) in engines.into_iter().enumerate() {
        let cpu = cpus[shard % cpus.len()];
        spawn(&mut started, config, keyring, (shard, cpu), engine, ended_tx.clone())?;
    }
    Ok(started)
}

fn kind(config: &Config) -> EngineKind {
    match config.engine {
        config::Engine::Auto => EngineKind::Auto,
        config::Engine::Uring => EngineKind::Uring,
        config::Engine::Mmsg => EngineKind::Mmsg,
    }
}

/// The cores for shards: those asked for, as far as this process may use them. A container that
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

/// A number that no other start of this process has. Zero would say nothing.
fn boot() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random source works");
    u64::from_be_bytes(bytes) | 1
}

/// The tunnel socket of each shard.
fn bind_all(config: &Config, shards: usize) -> Result<Vec<LinkSocket>> {
    let tunnel = &config.tunnel;
    let datagram_bytes_max = tunnel.mtu.max(PACKET_BYTES_MAX) + TUNNEL_OVERHEAD_BYTES;
    let link = LinkSettings {
        buffers: RING_BUFFERS,
        datagram_bytes_max: u32::from(datagram_bytes_max).next_multiple_of(64),
        // Bundles are already as long as the path allows: nothing there for GSO to merge.
        gso: false,
        ..LinkSettings::default()
    };
    let mut links = Vec::with_capacity(shards);
    for shard in 0..shards {
        let offset = u16::try_from(shard).context("more shards than ports")?;
        let port = tunnel.port_base.checked_add(offset).context("no port left")?;
        let settings = SocketSettings {
            receive_buffer_bytes: u32::try_from(tunnel.receive_socket_bytes).ok(),
            ..SocketSettings::tunnel(SocketAddr::new(tunnel.address, port))
        };
        let bound = sockets::bind_patiently(&settings)
            .with_context(|| format!("Failed to open the tunnel of shard {shard}"))?;
        if shard == 0 && bound.buffers.is_clamped() {
            let address = bound.address;
            warn!(%address, "socket buffers are smaller than asked for: {}", bound.buffers);
        }
        links.push(LinkSocket { socket: bound.socket, settings: link });
    }
    Ok(links)
}

fn spawn(
    started: &mut Started,
    config: &Config,
    keyring: &Arc<Keyring>,
    (shard, cpu): (usize, usize),
    engine: Box<dyn Engine>,
    ended: mpsc::UnboundedSender<usize>,
) -> Result<()> {
    let board = Board::new(Some(engine.waker()));
    let orders = Orders::new();
    let calls = Arc::new(AtomicU32::new(0));
    let slot = Arc::new(Slot::new());
    let settings = Settings {
        tunnel_mtu_bytes: config.tunnel.mtu.into(),
        packet_bytes_max: PACKET_BYTES_MAX.into(),
        limits: limits(config),
        ingress: config.ingress.clone().into(),
        watch: Arc::clone(&started.watch),
        boot: started.boot,
        board: board.clone(),
        calls: Arc::clone(&calls),
        // That it fails once it has worked does not happen on Linux; who cannot draw unique sender
        // ids must not go on.
        random: Box::new(|bytes| getrandom::fill(bytes).expect("the kernel's random source works")),
    };
    let desk = orders.desk(engine.waker(), board);
    let core = Core::new(settings, Arc::clone(keyring), Instant::now());
    let parts = Parts { engine, core, orders, slot: Arc::clone(&slot) };
    let thread = thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
        // A session's panic is isolated further in; one of the shard's own is not to be survived.
        let _loud = AbortOnPanic;
        if let Err(error) = affinity::pin(cpu) {
            warn!(shard, cpu, "not pinned to its core: {error}");
        }
        affinity::precise_sleeps();
        let result = run(parts);
        // Control may have ended already.
        let _ = ended.send(shard);
        result
    });
    started.threads.push(thread.context("Failed to start a shard's thread")?);
    started.handles.push(ShardHandles { desk, calls });
    started.slots.push(slot);
    Ok(())
}

/// The bounds of each shard that can change.
pub(super) const fn limits(config: &Config) -> Limits {
    Limits {
        calls_max: config.calls.per_shard_max,
        call_time_max: config.calls.time_max,
        lost_after: config.calls.lost_after,
    }
}

/// What the relays know this transceiver by.
pub(super) fn identity(config: &Config) -> Result<TransceiverId> {
    let of = |address: Ipv4Addr| TransceiverId(u32::from(address));
    match (config.transceiver, config.tunnel.address) {
        (Identity::Number(number), _) => Ok(TransceiverId(number)),
        (Identity::Address(address), _) => Ok(of(address)),
        (Identity::Auto, IpAddr::V4(address)) if !address.is_unspecified() => Ok(of(address)),
        (Identity::Auto, _) => own_address(&config.ingress).map(of),
    }
}

/// The address from which this host would send to a relay. Asks the routing table; sends nothing.
fn own_address(ingress: &[Ingress]) -> Result<Ipv4Addr> {
    let relay = ingress.iter().map(|ingress| ingress.address).find(SocketAddr::is_ipv4);
    let own = relay.and_then(|relay| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(relay).ok()?;
        match socket.local_addr().ok()?.ip() {
            IpAddr::V4(address) if !address.is_unspecified() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    });
    let unknown = || {
        Usage(
            "transceiver = \"auto\": this host's IPv4 address towards the relays cannot be found \
             out; write it as `transceiver`, or as `tunnel.address`"
                .to_owned(),
        )
    };
    own.ok_or_else(|| unknown().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity_of(transceiver: Identity, tunnel: &str, ingress: &[&str]) -> Result<u32> {
        let mut config = Config { transceiver, ..Config::default() };
        config.tunnel.address = tunnel.parse().unwrap();
        config.ingress = ingress.iter().map(|address| address.parse().unwrap()).collect();
        identity(&config).map(|id| id.0)
    }

    #[test]
    fn a_transceiver_finds_out_what_it_is_called() {
        let loopback = u32::from(Ipv4Addr::LOCALHOST);
        let address = Ipv4Addr::new(10, 1, 0, 7);
        let table = [
            (Identity::Number(7), "0.0.0.0", 7),
            (Identity::Number(7), "10.0.0.1", 7),
            (Identity::Address(address), "0.0.0.0", u32::from(address)),
            (Identity::Auto, "10.1.0.7", u32::from(address)),
            // The route to a loopback address is from one.
            (Identity::Auto, "0.0.0.0", loopback),
        ];
        for (transceiver, tunnel, expected) in table {
            let id = identity_of(transceiver, tunnel, &["[::1]:3478", "127.0.0.1:3478"]);
            assert_eq!(id.unwrap(), expected, "{transceiver:?} {tunnel}");
        }
        let error = identity_of(Identity::Auto, "0.0.0.0", &["[::1]:3478"]).unwrap_err();
        assert!(error.to_string().contains("write it as `transceiver`"), "{error}");
        assert!(error.is::<Usage>());
    }
}
