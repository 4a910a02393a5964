//! A thread of flows: the generator's hands and ears.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engine::{Engine, EngineKind, Link, Wait, affinity, clock};
use service::network::Cidr;

use super::generator::{Generator, Outgoing, Settings};
use super::origins::{self, Opened, Origins};
use super::packet::PACKET_BYTES_MAX;
use super::sessions::Sessions;
use crate::control::{Control, Share, WINDOW_INTERVAL, Window, Windows};
use crate::direct::Direct;
use crate::measure::{Nanoseconds, SECOND};

/// Packets sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 64;
/// The longest sleep, so that orders are seen.
const SLEEP_MAX: Duration = Duration::from_millis(10);

/// What a thread of flows needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Where packets go.
    pub target: SocketAddr,
    /// Where they come from.
    pub sources: Option<Cidr>,
    /// The most flows of this thread.
    pub flows_max: u32,
    /// What they do.
    pub flows: Settings,
    /// How datagrams are moved.
    pub engine: EngineKind,
    /// Whether packets go past the kernel's UDP, if `sources` says where from.
    pub direct_egress: bool,
    /// Where the thread runs; anywhere if it is `None`.
    pub cpu: Option<usize>,
}

/// A thread of flows that is ready to begin.
pub struct Worker {
    cpu: Option<usize>,
    share: Share,
    engine: Box<dyn Engine>,
    direct: Option<Direct>,
    origins: Origins,
    links: u8,
    generator: Generator,
    /// What was handed in already.
    drops: u64,
    refused: u64,
    frames: u64,
    cpu_ns: Nanoseconds,
    window_from: Nanoseconds,
}

impl Worker {
    /// Opens the sockets. Returns what the user should know beside the worker.
    pub fn new(
        settings: &WorkerSettings,
        share: Share,
        sessions: Sessions,
        run: u32,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let Opened { origins, links, notes } =
            origins::open(settings.target, settings.sources.as_ref(), settings.flows_max)?;
        let count = u8::try_from(links.len()).unwrap_or(u8::MAX);
        let engine = settings
            .engine
            .open(links, &engine::Settings::default())
            .context("Failed to set up the engine")?;
        let open = || Direct::open(Some(settings.target.ip()), share.index);
        let direct = settings.direct_egress.then(open).transpose()?;
        let worker = Self {
            cpu: settings.cpu,
            share,
            engine,
            direct,
            origins,
            links: count,
            generator: Generator::new(settings.flows, sessions, run),
            drops: 0,
            refused: 0,
            frames: 0,
            cpu_ns: 0,
            window_from: 0,
        };
        Ok((worker, notes))
    }

    /// Which engine it got.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// Carries out orders until the last has been: to stop.
    pub fn run(mut self, control: &Arc<Control>, windows: &Windows) -> anyhow::Result<()> {
        affinity::name_thread(&format!("flows-{}", self.share.index));
        affinity::precise_sleeps();
        if let Some(cpu) = self.cpu {
            affinity::pin(cpu)?;
        }
        self.cpu_ns = clock::thread_cpu_ns();
        self.window_from = self.engine.now_ns();
        let (mut epoch, mut stop) = (0, false);
        loop {
            if let Some(order) = control.newer_than(epoch) {
                self.hand_in(epoch, windows)?;
                epoch = order.epoch;
                stop = order.stop;
                self.generator.set_load(self.share.of(&order));
            }
            self.send()?;
            self.receive()?;
            if self.engine.now_ns() >= self.window_from + WINDOW_INTERVAL {
                self.hand_in(epoch, windows)?;
            }
            if stop && self.generator.is_idle() {
                return self.hand_in(epoch, windows);
            }
        }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let mut packet = [0; PACKET_BYTES_MAX];
        for _ in 0..SENDS_PER_TURN {
            let now = self.engine.now_ns();
            let Some(outgoing) = self.generator.poll(now, &mut packet) else { break };
            let Outgoing { flow, length, .. } = outgoing;
            let packet = &packet[..length];
            let direct = self.direct.as_mut();
            let gone =
                direct.is_some_and(|direct| direct_send(direct, &self.origins, flow, packet, now));
            if !gone && !self.origins.send(&mut *self.engine, flow, packet) {
                self.generator.refused(outgoing);
            }
        }
        if let Some(direct) = &mut self.direct {
            direct.flush();
        }
        self.engine.flush().context("Failed to send")
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let now = self.engine.now_ns();
        let next = self.generator.next_due().unwrap_or(now + SECOND);
        let timeout = Duration::from_nanos(next.saturating_sub(now)).min(SLEEP_MAX);
        self.engine.wait(Wait { timeout, ..Wait::default() }).context("Failed to receive")?;
        let mut now = self.engine.now_ns();
        let (arrivals, _) = self.engine.halves();
        let mut read = 0u32;
        while let Some(arrival) = arrivals.pop() {
            if self.origins.is_target(arrival.source) {
                self.generator.on_packet(arrival.bytes, now);
            } else {
                self.generator.on_foreign();
            }
            read += 1;
            if read.is_multiple_of(64) {
                now = clock::monotonic_ns();
            }
        }
        Ok(())
    }

    fn hand_in(&mut self, epoch: u64, windows: &Windows) -> anyhow::Result<()> {
        let now = self.engine.now_ns();
        let cpu_ns = clock::thread_cpu_ns();
        let mut drops = 0;
        for link in 0..self.links {
            drops += self.engine.link_drops(Link(link)).context("Failed to ask a socket")?;
        }
        let frames = self.direct.as_mut().map_or(0, |direct| {
            direct.keep_up();
            direct.frames()
        });
        let statistics = self.engine.statistics();
        let refused = statistics.send_refused + statistics.send_errors;
        let active = self.generator.active();
        let mut measurement = self.generator.take_window();
        // What the engine could not send is counted as sent and lost; this says whose fault it was.
        measurement.generator.refused += refused.saturating_sub(self.refused);
        measurement.generator.receive_drops += drops.saturating_sub(self.drops);
        measurement.generator.frames += frames.saturating_sub(self.frames);
        measurement.generator.cpu_ns += cpu_ns.saturating_sub(self.cpu_ns);
        measurement.generator.thread_ns += now.saturating_sub(self.window_from);
        (self.drops, self.refused, self.frames) = (drops, refused, frames);
        (self.cpu_ns, self.window_from) = (cpu_ns, now);
        let window = Window { worker: self.share.index, epoch, active, measurement };
        windows.send(window).context("nobody takes measurements any more")
    }
}

/// By direct egress, if the flow has an address of its own and the packet can go that way.
fn direct_send(
    direct: &mut Direct,
    origins: &Origins,
    flow: u32,
    packet: &[u8],
    now: Nanoseconds,
) -> bool {
    let Some(source) = origins.of(flow).source else { return false };
    direct.send(source.into(), origins.target(), packet, now)
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("share", &self.share)
            .field("engine", &self.engine.name())
            .finish_non_exhaustive()
    }
}
