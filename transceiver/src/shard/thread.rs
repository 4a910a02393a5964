//! A shard's thread: moves datagrams between the engine and the core, and keeps the time.

use super::core::Core;
use super::numbers::{Numbers, Slot};
use super::order::Orders;
use engine::{Arrivals, Engine, Link, Outbox, Wait, clock};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tunnel's socket is the only one.
const TUNNEL: Link = Link(0);
/// Numbers are published this often.
const PUBLISH: Duration = Duration::from_millis(100);

/// Room in the outbox for whatever one datagram or one session can cause: a data channel's window,
/// with the bundle that it fills on the way.
pub const ROOM_BYTES: usize = 512 << 10;
/// The same in datagrams.
pub const ROOM_DATAGRAMS: usize = 512;

/// What a shard's thread is made of.
pub struct Parts {
    /// Moves datagrams. Its only link is the tunnel's socket.
    pub engine: Box<dyn Engine>,
    /// Decides.
    pub core: Core,
    /// Where orders come from.
    pub orders: Orders,
    /// Where numbers go.
    pub slot: Arc<Slot>,
}

/// An outbox for [`Parts::engine`] that fits the room a turn needs.
pub const fn outbox() -> engine::OutboxSettings {
    engine::OutboxSettings { datagrams_max: 4_096, bytes_max: 4 << 20 }
}

/// Works until told to stop. To be called on the shard's thread. An error is one that no next turn
/// can get over.
pub fn run(parts: Parts) -> io::Result<()> {
    Thread::new(parts).run()
}

struct Thread {
    parts: Parts,
    numbers: Numbers,
    /// The engine's clock and the core's, at one moment.
    epoch: (u64, Instant),
    publish_at: Instant,
    outbox_full: u64,
}

impl Thread {
    fn new(parts: Parts) -> Self {
        let epoch = (parts.engine.now_ns(), Instant::now());
        Self { parts, numbers: Numbers::new(), epoch, publish_at: epoch.1, outbox_full: 0 }
    }

    fn now(&self) -> Instant {
        self.epoch.1 + Duration::from_nanos(self.parts.engine.now_ns() - self.epoch.0)
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let now = self.now();
            let deadline = self.parts.core.next_deadline().unwrap_or(self.publish_at);
            let timeout = deadline.min(self.publish_at).saturating_duration_since(now);
            self.parts.engine.wait(Wait { timeout, coalesce: Duration::ZERO })?;
            self.numbers.own.wakes += 1;
            let now = self.now();
            self.take_datagrams(now)?;
            while self.step(|core, send| core.run_one_rung(now, send))? {}
            while self.step(|core, send| core.run_one_due(now, send))? {}
            let goes_on = self.obey(now)?;
            while self.step(|core, send| core.close_one(send))? {}
            self.parts.engine.flush()?;
            if now >= self.publish_at || !goes_on {
                self.publish(now)?;
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn take_datagrams(&mut self, now: Instant) -> io::Result<()> {
        let Parts { engine, core, .. } = &mut self.parts;
        loop {
            let (arrivals, outbox) = engine.halves();
            let full = &mut self.outbox_full;
            Self::take_while_room(arrivals, outbox, core, full, now);
            if arrivals.is_empty() {
                return Ok(());
            }
            engine.flush()?;
        }
    }

    fn take_while_room(
        arrivals: &mut Arrivals,
        outbox: &mut Outbox,
        core: &mut Core,
        full: &mut u64,
        now: Instant,
    ) {
        while has_room(outbox)
            && let Some(arrival) = arrivals.pop()
        {
            core.on_datagram(arrival.source, arrival.bytes, now, &mut |to, datagram| {
                push(outbox, full, to, datagram);
            });
        }
    }

    fn obey(&mut self, now: Instant) -> io::Result<bool> {
        let mut goes_on = true;
        while let Some(order) = self.parts.orders.take() {
            goes_on &= self.step(|core, send| core.on_order(order, now, send))?;
        }
        Ok(goes_on)
    }

    /// One step of the core, with room for what it may send.
    fn step<T>(
        &mut self,
        work: impl FnOnce(&mut Core, &mut dyn FnMut(SocketAddr, &[u8])) -> T,
    ) -> io::Result<T> {
        let Parts { engine, core, .. } = &mut self.parts;
        if !has_room(engine.halves().1) {
            engine.flush()?;
        }
        let outbox = engine.halves().1;
        let full = &mut self.outbox_full;
        Ok(work(core, &mut |to, datagram| push(outbox, full, to, datagram)))
    }

    fn publish(&mut self, now: Instant) -> io::Result<()> {
        let Parts { engine, core, slot, .. } = &mut self.parts;
        let numbers = &mut self.numbers;
        let counters = core.counters();
        counters.dropped_outbox_full = self.outbox_full;
        counters.write(&mut numbers.counters);
        counters.write_histograms(&mut numbers.histograms);
        numbers.engine = engine.statistics().values();
        let now_ns = engine.now_ns();
        numbers.own.cpu_ns = clock::thread_cpu_ns();
        numbers.own.wall_ns = now_ns - self.epoch.0;
        numbers.own.ticked_at_us = now_ns / 1_000;
        numbers.own.kernel_drops = engine.link_drops(TUNNEL)?;
        slot.store(numbers);
        self.publish_at = now + PUBLISH;
        Ok(())
    }
}

fn has_room(outbox: &Outbox) -> bool {
    outbox.room_datagrams() >= ROOM_DATAGRAMS && outbox.room_bytes() >= ROOM_BYTES
}

fn push(outbox: &mut Outbox, full: &mut u64, to: SocketAddr, datagram: &[u8]) {
    if outbox.push(TUNNEL, to, datagram).is_err() {
        *full += 1;
    }
}
