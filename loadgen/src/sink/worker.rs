//! A thread of the far end: one shard on its tunnel socket, or the far end without a relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use engine::sockets::{self, Fragmentation, SocketSettings};
use engine::{Engine, EngineKind, LinkSettings, LinkSocket, Outbox, Wait, affinity};
use wire::keyring::Keyring;
use wire::tunnel::SenderId;

use super::echo::Echo;
use super::shard::Shard;
use crate::direct::Direct;
use crate::flows::PACKET_BYTES_MAX;
use crate::host;
use crate::measure::SECOND;

const SLEEP_MAX: Duration = Duration::from_millis(100);
const BUFFER_BYTES: u32 = 8 << 20;
/// A tunnel datagram at most: jumbo frames.
const DATAGRAM_BYTES_MAX: u32 = 9_000;

/// What a thread of the far end needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether clients come through a relay's tunnel, and the tunnel's MTU if so.
    pub tunnel_mtu: Option<usize>,
    /// How datagrams are moved.
    pub engine: EngineKind,
    /// Whether answers go past the kernel's UDP.
    pub direct_egress: bool,
    /// Which of the far end's threads it is.
    pub index: u32,
    /// Where the thread runs.
    pub cpu: Option<usize>,
}

/// What all threads have done so far, for whoever looks.
#[derive(Debug, Default)]
pub struct Progress {
    /// Packets sent back.
    pub packets: AtomicU64,
    /// Checks answered.
    pub checks: AtomicU64,
    /// Checks, datagrams and packets that were none for us.
    pub refused: AtomicU64,
    /// Datagrams dropped by the kernel before they were seen.
    pub drops: AtomicU64,
}

enum FarEnd {
    Shard(Box<Shard>),
    Direct(Box<Echo>),
}

/// A far end that listens.
pub struct Worker {
    far_end: FarEnd,
    engine: Box<dyn Engine>,
    direct: Option<Direct>,
    cpu: Option<usize>,
    address: SocketAddr,
}

impl Worker {
    /// Opens the socket.
    pub fn new(settings: &WorkerSettings, keyring: &Keyring) -> anyhow::Result<Self> {
        let far_end = match settings.tunnel_mtu {
            Some(mtu) => {
                let mut sender = [0; 8];
                getrandom::fill(&mut sender).context("the system gave no random bytes")?;
                let clock = host::clock_id();
                FarEnd::Shard(Box::new(Shard::new(keyring, SenderId(sender), clock, mtu)))
            }
            None => FarEnd::Direct(Box::new(Echo::new(keyring.clone(), host::clock_id()))),
        };
        let tunnel = SocketSettings::tunnel(settings.address);
        let bound = sockets::bind_patiently(&SocketSettings {
            receive_buffer_bytes: Some(BUFFER_BYTES),
            send_buffer_bytes: Some(BUFFER_BYTES),
            // What clients send is short.
            fragmentation: match settings.tunnel_mtu {
                Some(_) => tunnel.fragmentation,
                None => Fragmentation::Never,
            },
            ..tunnel
        })?;
        let link =
            LinkSettings { datagram_bytes_max: DATAGRAM_BYTES_MAX, ..LinkSettings::default() };
        let links = vec![LinkSocket { socket: bound.socket, settings: link }];
        let engine = settings
            .engine
            .open(links, &engine::Settings::default())
            .context("Failed to set up the engine")?;
        let open = || Direct::open(None, settings.index);
        let direct = settings.direct_egress.then(open).transpose()?;
        Ok(Self { far_end, engine, direct, cpu: settings.cpu, address: bound.address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool, progress: &Progress) -> anyhow::Result<()> {
        affinity::name_thread("sink");
        if let Some(cpu) = self.cpu {
            affinity::pin(cpu)?;
        }
        let mut published = [0; 4];
        let mut kept_up_ns = self.engine.now_ns();
        while !stop.load(Ordering::Relaxed) {
            self.engine
                .wait(Wait { timeout: SLEEP_MAX, ..Wait::default() })
                .context("Failed to receive")?;
            self.answer();
            if let Some(direct) = &mut self.direct {
                direct.flush();
            }
            self.engine.flush().context("Failed to send")?;
            self.publish(progress, &mut published);
            let now = self.engine.now_ns();
            if let Some(direct) = &mut self.direct
                && now >= kept_up_ns + SECOND
            {
                kept_up_ns = now;
                direct.keep_up();
            }
        }
        Ok(())
    }

    fn answer(&mut self) {
        let now = self.engine.now_ns();
        let from = self.address;
        let direct = &mut self.direct;
        let (arrivals, outbox) = self.engine.halves();
        let mut send = |outbox: &mut Outbox, link, to, bytes: &[u8]| {
            if direct.as_mut().is_none_or(|direct| !direct.send(from, to, bytes, now)) {
                // There is room; if there were none, it would be lost as on any network.
                let _ = outbox.push(link, to, bytes);
            }
        };
        // One datagram may hold many frames, each answered: leave room for all of them.
        let room = |outbox: &Outbox| {
            outbox.room_datagrams() > 64 && outbox.room_bytes() > 4 * DATAGRAM_BYTES_MAX as usize
        };
        match &mut self.far_end {
            FarEnd::Shard(shard) => {
                let mut link = engine::Link(0);
                while room(outbox)
                    && let Some(arrival) = arrivals.pop()
                {
                    link = arrival.link;
                    let mut back = |to, bytes: &[u8]| send(outbox, link, to, bytes);
                    shard.on_datagram(arrival.source, arrival.bytes, now, &mut back);
                }
                shard.flush(&mut |to, bytes| send(outbox, link, to, bytes));
            }
            FarEnd::Direct(echo) => {
                let mut answer = [0; PACKET_BYTES_MAX];
                while room(outbox)
                    && let Some(arrival) = arrivals.pop()
                {
                    let client = arrival.source.into();
                    if let Some(length) = echo.answer(client, arrival.bytes, now, &mut answer) {
                        send(outbox, arrival.link, arrival.source, &answer[..length]);
                    }
                }
            }
        }
    }

    fn publish(&mut self, progress: &Progress, published: &mut [u64; 4]) {
        let (echo, refused) = match &self.far_end {
            FarEnd::Shard(shard) => (shard.counts().1, shard.counts().0.refused),
            FarEnd::Direct(echo) => (echo.counts(), 0),
        };
        let refused = refused + echo.foreign + echo.checks_refused;
        let drops = self.engine.link_drops(engine::Link(0)).unwrap_or(published[3]);
        let now = [echo.media, echo.checks, refused, drops];
        let places = [&progress.packets, &progress.checks, &progress.refused, &progress.drops];
        for ((place, now), before) in places.into_iter().zip(now).zip(published) {
            place.fetch_add(now.saturating_sub(*before), Ordering::Relaxed);
            *before = now;
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("address", &self.address).finish_non_exhaustive()
    }
}
