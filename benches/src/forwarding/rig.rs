//! Everything around the process under test: the network, both generators, both sinks, and the
//! drive loop that injects on time and looks after the sinks in between.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::cases::Direction;
use crate::traffic::Source;
use kit::counters::{Counters, Traffic};
use kit::cpu::{GENERATOR_CORE, Precedence, pin};
use kit::inbox::{Inbox, now_ns};
use kit::injector::{BATCH, Batch, Injector};
use kit::namespaces::Topology;
use kit::plan::{CLIENT_PORT, SHARDS, shard};
use kit::schedule::{Pace, Schedule};
use kit::soaker::Soaker;
use kit::stop::Stop;

/// A drained path shows no packet for this long.
const QUIET: Duration = Duration::from_millis(10);
/// The longest that a path may take to drain: a receive buffer's worth.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// One side of the process under test: what is injected there, and what arrives there.
#[derive(Debug)]
pub(crate) struct Side {
    /// Puts frames onto the side's device.
    pub(crate) injector: Injector,
    /// Counts what passes that device.
    pub(crate) counters: Counters,
    /// The sockets that packets arrive at.
    pub(crate) inboxes: Vec<Inbox>,
}

impl Side {
    /// Throws away what waits in the sockets.
    pub(crate) fn empty(&mut self) -> Result<()> {
        self.inboxes.iter_mut().try_for_each(Inbox::empty)
    }
}

/// What the drive loop did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Driven {
    /// Datagrams injected.
    pub(crate) datagrams: u64,
    /// From the first to the last.
    pub(crate) elapsed: Duration,
    /// The share of datagrams that did not leave at their own moment.
    pub(crate) bunched_share: f64,
}

/// The whole bench. Dropping it takes everything down.
#[derive(Debug)]
pub(crate) struct Rig {
    /// Where the clients are.
    pub(crate) clients: Side,
    /// Where the shards are.
    pub(crate) shards: Side,
    /// Measures what the worker's core has left.
    pub(crate) soaker: Soaker,
    /// The network. After the sockets, so that these are closed first.
    pub(crate) topology: Topology,
    /// Precedence over other sessions.
    pub(crate) precedence: Precedence,
    /// Whether the user wants to stop.
    pub(crate) stop: Stop,
    batch: Batch,
}

impl Rig {
    /// Builds everything, and pins this process to the generator's core.
    pub(crate) fn build(folder: &Path, stop: Stop) -> Result<Self> {
        let topology = Topology::build()?;
        let precedence = Precedence::take();
        pin(Pid::from_raw(0), GENERATOR_CORE).context("the benchmark needs two cores, 0 and 1")?;
        let clients = topology.client.within(|| {
            anyhow::Ok(Side {
                injector: Injector::new("c0")?,
                counters: Counters::open("c0")?,
                inboxes: vec![Inbox::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?],
            })
        })??;
        let shards = topology.shard.within(|| {
            let inboxes = (0..SHARDS).map(|index| Inbox::bind(shard(index)));
            anyhow::Ok(Side {
                injector: Injector::new("s0")?,
                counters: Counters::open("s0")?,
                inboxes: inboxes.collect::<Result<_>>()?,
            })
        })??;
        let soaker = Soaker::start(folder)?;
        Ok(Self { clients, shards, soaker, topology, precedence, stop, batch: Batch::new() })
    }

    /// Injects from `source` for `duration`, calling `idle` whenever nothing is due.
    pub(crate) fn drive(
        &mut self,
        from: From,
        source: &mut dyn Source,
        pace: Pace,
        duration: Duration,
        mut idle: impl FnMut(&mut Side) -> Result<()>,
    ) -> Result<Driven> {
        let (injector, sink) = match from {
            From::Clients => (&mut self.clients.injector, &mut self.shards),
            From::Shards => (&mut self.shards.injector, &mut self.clients),
        };
        let mut schedule = Schedule::new(pace);
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed();
            if elapsed >= duration || self.stop.is_asked() {
                self.stop.check()?;
                return Ok(Driven {
                    datagrams: schedule.total(),
                    elapsed,
                    bunched_share: schedule.bunched_share(),
                });
            }
            let due = schedule.due(elapsed, BATCH);
            if due == 0 {
                idle(sink)?;
                std::hint::spin_loop();
                continue;
            }
            let now = now_ns();
            self.batch.clear();
            for _ in 0..due {
                self.batch.push(|frame| source.next(frame, now));
            }
            injector.inject(&self.batch)?;
            schedule.sent(self.batch.len());
        }
    }

    /// Waits until nothing more arrives on either side.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut last = self.arrived()?;
        while Instant::now() < deadline {
            std::thread::sleep(QUIET);
            let now = self.arrived()?;
            if now == last {
                return Ok(());
            }
            last = now;
        }
        Ok(())
    }

    /// The side that a direction's packets arrive at.
    pub(crate) const fn sink(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Forward => &mut self.shards,
            Direction::Reverse => &mut self.clients,
        }
    }

    fn arrived(&mut self) -> Result<(u64, u64)> {
        Ok((self.clients.counters.read()?.received, self.shards.counters.read()?.received))
    }

    /// The device counters of the side that a direction's packets arrive at.
    pub(crate) fn traffic(&mut self, direction: Direction) -> Result<Traffic> {
        self.sink(direction).counters.read()
    }
}

/// Which side injects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Clients, towards the shards.
    Clients,
    /// Shards, towards the clients.
    Shards,
}
