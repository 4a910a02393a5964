//! One worker: a pinned thread with sockets, a router and numbers of its own.
//!
//! ```text
//!   ┌─► wait ──► route ──► seal and flush ──► tick ──► publish ─┐
//!   └──────────────────────────────────────────────────────────┘
//! ```
//!
//! It decides nothing: the router does. It shares nothing: orders come by a bounded queue, numbers
//! leave by a row of atomics. A panic in a worker ends the whole process, because a relay that has
//! silently lost a core drops a share of all calls, while one that restarts drops none for long.

mod coalesce;
mod order;
mod reports;
mod shed;
mod slot;
mod turn;

pub use engine::histogram::{BUCKETS, Histogram};
pub use order::{
    Desk, Order, Orders, QUEUE_ORDERS_MAX, QUEUE_RECALLS_MAX, Question, TooManyOrders,
};
pub use reports::{QUEUE_REPORTS_MAX, Report, Reports};
pub use slot::{Numbers, Own, Slot};
pub use turn::Room;

use crate::core::limits::TICK_INTERVAL_US;
use crate::core::{Command, Now, Router};
use coalesce::Coalescer;
use engine::direct::Egress;
use engine::{Engine, Link, Wait, clock, heap};
use shed::{Shedder, Signs};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use turn::Turn;
use wire::demux::PacketClass;
use wire::hint::HintTime;

/// Of every so many ticks, one is sampled: the kernel's receive timestamps are on for its duration.
/// They cost some nanoseconds a packet, so 1 in 100 costs far less than 1 %.
const SAMPLED_TICK_OF: u64 = 100;

/// How often a worker that stands by looks whether it is to go on. Packets wait meanwhile.
const STAND_BY_LOOK: Duration = Duration::from_micros(200);

/// What a worker is made of.
pub struct Parts {
    /// Moves datagrams. Its links are the listeners in their order, then the tunnel.
    pub engine: Box<dyn Engine>,
    /// Decides.
    pub router: Router,
    /// How many of the engine's links are listeners.
    pub listeners: u8,
    /// Room that the engine's outbox must have for whatever one arrival causes.
    pub room: Room,
    /// The longest a busy worker may wait for a fuller batch.
    pub coalesce_us_max: u32,
    /// The way to clients past their sockets, if there is to be one.
    pub direct: Option<Egress>,
    /// Where orders come from.
    pub orders: Orders,
    /// Where numbers go.
    pub slot: Arc<Slot>,
    /// Where flows and misses are told of.
    pub reports: Reports,
}

/// A worker, on its own thread.
pub struct Worker {
    engine: Box<dyn Engine>,
    router: Router,
    tunnel: Link,
    coalescer: Coalescer,
    orders: Orders,
    slot: Arc<Slot>,
    reports: Reports,
    numbers: Numbers,
    turn: Turn,
    shedder: Shedder,
    started_ns: u64,
    next_tick_us: u64,
    ticks: u64,
    allocations_at_start: u64,
    hint_time: HintTime,
}

impl Worker {
    /// Takes the parts. To be called on the worker's thread.
    pub fn new(parts: Parts) -> Self {
        let Parts { mut engine, router, listeners, room, coalesce_us_max, direct, .. } = parts;
        let (orders, slot, reports) = (parts.orders, parts.slot, parts.reports);
        let started_ns = engine.now_ns();
        let tunnel = Link(listeners);
        let turn = Turn::new(tunnel, room, direct);
        assert!(turn.has_room(engine.halves().1), "an empty outbox is too small for one arrival");
        Self {
            coalescer: Coalescer::new(coalesce_us_max.into(), started_ns / 1_000),
            turn,
            engine,
            router,
            tunnel,
            orders,
            slot,
            reports,
            numbers: Numbers::new(),
            shedder: Shedder::new(),
            started_ns,
            next_tick_us: started_ns / 1_000,
            ticks: 0,
            allocations_at_start: 0,
            hint_time: hint_time(),
        }
    }

    /// Works until told to stop. An error is one that no next turn can get over.
    pub fn run(mut self) -> io::Result<()> {
        let mut coalesce = Duration::ZERO;
        // The process before may have left its filter at the sockets.
        self.shed(0)?;
        self.allocations_at_start = heap::allocations();
        loop {
            let until_tick_us = self.next_tick_us.saturating_sub(self.engine.now_ns() / 1_000);
            let timeout = Duration::from_micros(until_tick_us);
            self.engine.wait(Wait { timeout, coalesce })?;
            let now = self.now();
            let packets = self.turn.run(&mut *self.engine, &mut self.router, now)?;
            coalesce = self.coalescer.after_batch(packets, now.monotonic_us);
            if packets > 0 {
                let wait_us = u64::try_from(coalesce.as_micros()).unwrap_or(u64::MAX);
                self.numbers.own.coalesce_us += wait_us;
                self.numbers.own.coalesce_now_us = wait_us;
            }
            if now.monotonic_us >= self.next_tick_us {
                self.tick(now)?;
            }
            self.reports.pass_on(&mut self.router);
            while let Some(recalled) = self.orders.take_recalled() {
                self.router.on_command(Command::Recall(recalled), now);
            }
            if !self.orders.is_empty() && self.obey(now)? {
                self.publish(now)?;
                return self.engine.flush();
            }
        }
    }

    fn now(&self) -> Now {
        Now { monotonic_us: self.engine.now_ns() / 1_000, hint_time: self.hint_time }
    }

    fn tick(&mut self, now: Now) -> io::Result<()> {
        self.hint_time = hint_time();
        self.ticks += 1;
        self.turn.tick(&mut *self.engine, &mut self.router, now)?;
        self.sample()?;
        self.next_tick_us = now.monotonic_us + TICK_INTERVAL_US;
        self.publish(now)?;
        self.make_room()
    }

    /// Has checks give way to everything else while they are more than this worker can take.
    fn make_room(&mut self) -> io::Result<()> {
        let mut fill_percent = 0;
        for link in (0..self.tunnel.0).map(Link) {
            fill_percent = fill_percent.max(self.engine.fill_percent(link)?);
        }
        let received = self.router.counters().client_received_packets;
        let shed_before = self.shedder.shed();
        let signs = Signs {
            fill_percent,
            kernel_drops: self.numbers.own.kernel_drops_public + shed_before,
            stun: received[PacketClass::Stun as usize],
            packets: received.iter().sum(),
        };
        let changed = self.shedder.after_tick(signs);
        let halvings = self.shedder.halvings();
        self.router.count_shed(self.shedder.shed() - shed_before, halvings);
        if changed { self.shed(halvings) } else { Ok(()) }
    }

    fn shed(&mut self, halvings: u8) -> io::Result<()> {
        for link in (0..self.tunnel.0).map(Link) {
            self.engine.shed(link, halvings)?;
        }
        Ok(())
    }

    /// Switches receive timestamps on at the start of a sampled tick, and off at its end.
    fn sample(&mut self) -> io::Result<()> {
        let on = match self.ticks % SAMPLED_TICK_OF {
            1 => true,
            2 => false,
            _ => return Ok(()),
        };
        for link in (0..=self.tunnel.0).map(Link) {
            self.engine.timestamps(link, on)?;
        }
        Ok(())
    }

    /// Carries out what is in the queue; tells whether the worker is to stop.
    fn obey(&mut self, now: Now) -> io::Result<bool> {
        // Commands may allocate: that is what makes them commands.
        let before = heap::allocations();
        let mut stop = false;
        let mut standing_by = false;
        loop {
            match self.orders.take() {
                Some(Order::Ask(Question { command, answer })) => {
                    let reply = self.router.on_command(command, now);
                    // Who asked may have gone.
                    let _ = answer.send(reply);
                }
                Some(Order::CoalesceUsMax(budget_us)) => {
                    self.coalescer.set_budget(budget_us.into());
                }
                Some(Order::Direct(delivery)) => self.turn.deliver_by(*delivery),
                Some(Order::StandBy(flows)) => {
                    self.stop_receiving()?;
                    standing_by = true;
                    // If nobody waits for them any more, an order to go on follows.
                    let _ = flows.send(self.router.records(self.now()));
                }
                Some(Order::Resume) => standing_by = false,
                Some(Order::Stop) => {
                    stop = true;
                    standing_by = false;
                }
                // The engine is not to be waited for: that would receive.
                None if standing_by => thread::sleep(STAND_BY_LOOK),
                None => break,
            }
        }
        self.allocations_at_start += heap::allocations() - before;
        Ok(stop)
    }

    /// Leaves what has not been received in the sockets, and forwards all that has.
    fn stop_receiving(&mut self) -> io::Result<()> {
        loop {
            self.engine.pause()?;
            let now = self.now();
            // What this flushes leaves with the next pause.
            if self.turn.run(&mut *self.engine, &mut self.router, now)? == 0 {
                return Ok(());
            }
        }
    }

    fn publish(&mut self, now: Now) -> io::Result<()> {
        self.router.counters().write(&mut self.numbers.counters);
        self.numbers.engine = self.engine.statistics().values();
        self.turn.write(&mut self.numbers);
        let own = &mut self.numbers.own;
        own.cpu_ns = clock::thread_cpu_ns();
        own.wall_ns = self.engine.now_ns() - self.started_ns;
        own.allocations = heap::allocations() - self.allocations_at_start;
        own.ticked_at_us = now.monotonic_us;
        own.kernel_drops_tunnel = self.engine.link_drops(self.tunnel)?;
        own.kernel_drops_public = 0;
        for link in (0..self.tunnel.0).map(Link) {
            own.kernel_drops_public += self.engine.link_drops(link)?;
        }
        // What was shed is counted as that.
        own.kernel_drops_public = own.kernel_drops_public.saturating_sub(self.shedder.shed());
        self.slot.store(&self.numbers);
        Ok(())
    }
}

/// Wall-clock time in the unit of hints.
pub(crate) fn hint_time() -> HintTime {
    HintTime::at(Duration::from_nanos(clock::realtime_ns()))
}
