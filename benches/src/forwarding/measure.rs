//! One measurement: from a quiet path, inject, until the path is quiet again.
//!
//! Quiet at both ends means that what is counted at the sink is exactly what the CPU time in
//! between was spent on. Nothing is in flight at either reading.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::arrivals::{datagrams_between, packets_in};
use crate::cases::{Direction, Load};
use crate::rig::{Driven, Rig};
use crate::subject::{Subject, origin};
use crate::traffic::{FRAMES_OF_A_DATAGRAM, FromClients};
use kit::cpu::{CpuTime, stolen_ns};
use kit::namespaces::Arrival;
use kit::schedule::Pace;
use kit::statistics::percentile;

/// Caches, the flow table and the process's own pace settle in this time.
const WARM_UP: Duration = Duration::from_millis(100);
/// How long the core is watched without traffic, to know what the traffic is not to blame for.
const BASELINE: Duration = Duration::from_millis(300);
/// Fills the receive buffer of a process that is stopped: 4 MiB, some 5,500 packets.
const HOLD: Duration = Duration::from_millis(12);
/// Shorter than any candidate takes to empty it.
const RUN: Duration = Duration::from_millis(5);
/// Offered to a relay in reverse at saturation, packets a second: two to three times what one core
/// carries. Bundles could be injected ten times as fast; they would only be thrown away.
const REVERSE_FLOOD: f64 = 900_000.0;
/// Less of its core than this, with packets lost, and the worker was starved by somebody else.
const UTILISATION_MIN: f64 = 0.9;
const LOSS_OF_THE_STARVED: f64 = 0.01;
/// If it did not even wait for its core, the loss is its own.
const WAITING_OF_THE_STARVED: f64 = 0.02;
/// The host took more than this from the core: the measurement says little.
const STEAL_MAX: f64 = 0.1;

/// What packets cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// CPU time of all threads of the process, user and system, for each packet that arrived.
    pub(crate) cpu_us: f64,
    /// The core's time that nobody else could have had, for each packet that arrived.
    pub(crate) core_us: Option<f64>,
    /// Packets offered, thousands a second.
    pub(crate) offered_kpps: f64,
    /// Packets that arrived, thousands a second.
    pub(crate) arrived_kpps: f64,
    /// The share of packets that did not arrive.
    pub(crate) loss: f64,
    /// The share of its core that the process had.
    pub(crate) utilisation: f64,
    /// The share of the time in which the process waited for its core.
    pub(crate) waiting: f64,
    /// The share of the time that the host took from the core.
    pub(crate) stolen: f64,
    /// Packets in each datagram that the process sent towards the shards.
    pub(crate) bundled: f64,
    /// The share of datagrams that the generator did not send at their own moment.
    pub(crate) bunched: f64,
}

impl Cost {
    /// Whether somebody else had the worker's core while it had work.
    pub(crate) fn is_starved(&self) -> bool {
        self.stolen > STEAL_MAX
            || self.utilisation < UTILISATION_MIN
                && self.loss > LOSS_OF_THE_STARVED
                && self.waiting > WAITING_OF_THE_STARVED
    }
}

/// How long packets were under way, from injection to the arrival at the other device's IP stack.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    /// Half of the packets were faster.
    pub(crate) median_us: f64,
    /// 99 of 100 were faster.
    pub(crate) p99_us: f64,
    /// The share of packets that did not arrive.
    pub(crate) loss: f64,
    /// The share of datagrams that the generator did not send at their own moment.
    pub(crate) bunched: f64,
}

/// Datagrams to inject, by load.
fn pace(subject_bundles: bool, direction: Direction, load: Load) -> (Pace, f64) {
    let packets = match direction {
        Direction::Reverse if subject_bundles => f64::from(FRAMES_OF_A_DATAGRAM),
        Direction::Forward | Direction::Reverse => 1.0,
    };
    let pace = match (load, direction) {
        (Load::Paced(kpps), _) => Pace::Even(f64::from(kpps) * 1000.0 / packets),
        (Load::Saturation, Direction::Reverse) if subject_bundles => {
            Pace::Even(REVERSE_FLOOD / packets)
        }
        (Load::Saturation, _) => Pace::Unpaced,
    };
    (pace, packets)
}

/// Measures the cost of one load.
pub(crate) fn cost(
    rig: &mut Rig,
    subject: &mut Subject,
    direction: Direction,
    load: Load,
    window: Duration,
) -> Result<Cost> {
    let (_, packets_each) = pace(subject.has_tunnel(), direction, load);
    rig.topology.arrivals(Arrival::Dropped)?;
    inject(rig, subject, direction, load, WARM_UP)?;
    rig.drain()?;

    rig.topology.arrivals(Arrival::Delivered)?;
    let probed = subject.probe(rig)?;
    rig.topology.arrivals(Arrival::Dropped)?;
    let soaked = matches!(load, Load::Paced(_));
    let lost_at_rest = if soaked { lost_at_rest(rig)? } else { 0.0 };

    let before = Reading::take(rig, subject, soaked)?;
    let traffic_before = rig.traffic(direction)?;
    let driven = inject(rig, subject, direction, load, window)?;
    rig.drain()?;
    let sink = rig.traffic(direction)?;
    let spent = Reading::take(rig, subject, soaked)?.since(&before);
    if soaked {
        rig.soaker.rest()?;
    }
    subject.process.check()?;

    rig.topology.arrivals(Arrival::Delivered)?;
    let sealed = match (probed, subject.probe(rig)?) {
        (Some(before), Some(after)) => Some(datagrams_between(&before, &after)),
        _ => None,
    };
    let bytes = sink.since(traffic_before).received_payload_bytes();
    let arrived = packets_in(direction, bytes, sealed) as f64;
    let offered = driven.datagrams as f64 * packets_each;
    let (injecting_ns, wall_ns) = (driven.elapsed.as_nanos() as f64, spent.wall_ns);
    // A full queue is worked off after the last injection, at the same pace.
    let carrying_ns = injecting_ns.max(spent.cpu.run_ns as f64);
    let lost_ns = (1.0 - lost_at_rest) * wall_ns - spent.spun_ns - spent.stolen_ns;
    Ok(Cost {
        cpu_us: spent.cpu.run_ns as f64 / arrived / 1000.0,
        core_us: soaked.then_some(lost_ns / arrived / 1000.0),
        offered_kpps: offered / injecting_ns * 1e6,
        arrived_kpps: arrived / carrying_ns * 1e6,
        loss: (1.0 - arrived / offered).max(0.0),
        utilisation: (spent.cpu.run_ns as f64 / injecting_ns).min(1.0),
        waiting: spent.cpu.wait_ns as f64 / wall_ns,
        stolen: spent.stolen_ns / wall_ns,
        bundled: match (direction, sealed) {
            (Direction::Forward, Some(datagrams)) => arrived / datagrams.max(1) as f64,
            _ => 1.0,
        },
        bunched: driven.bunched_share,
    })
}

/// Offers a load for a while.
fn inject(
    rig: &mut Rig,
    subject: &mut Subject,
    direction: Direction,
    load: Load,
    duration: Duration,
) -> Result<Driven> {
    if (direction, load) == (Direction::Forward, Load::Saturation) {
        return keep_full(rig, subject, direction, duration);
    }
    let (pace, _) = pace(subject.has_tunnel(), direction, load);
    rig.drive(origin(direction), &mut *subject.ends(direction).0, pace, duration, |_| Ok(()))
}

/// Keeps the queue of a process full that takes more than one core can inject.
///
/// Without this there are two states that last: one in which the worker has caught up and sleeps
/// between packets, while the generator, who pays for waking it each time, is too slow to ever get
/// ahead; and saturation, in which nobody is ever woken. Only the second is what is asked for.
fn keep_full(
    rig: &mut Rig,
    subject: &mut Subject,
    direction: Direction,
    duration: Duration,
) -> Result<Driven> {
    let from = origin(direction);
    let mut source = FromClients::new(subject.clients());
    let mut total = Driven { datagrams: 0, elapsed: Duration::ZERO, bunched_share: 0.0 };
    let start = Instant::now();
    while start.elapsed() < duration {
        subject.process.signal(Signal::SIGSTOP)?;
        let held = rig.drive(from, &mut source, Pace::Unpaced, HOLD, |_| Ok(()))?;
        subject.process.signal(Signal::SIGCONT)?;
        let ran = rig.drive(from, &mut source, Pace::Unpaced, RUN, |_| Ok(()))?;
        total.datagrams += held.datagrams + ran.datagrams;
        total.elapsed += ran.elapsed;
    }
    Ok(total)
}

/// Starts the soaker; says what share of the core it does not get although there is no traffic.
fn lost_at_rest(rig: &mut Rig) -> Result<f64> {
    rig.soaker.spin()?;
    std::thread::sleep(Duration::from_millis(20));
    let (start, spun, stolen) = (Instant::now(), rig.soaker.spun_ns()?, stolen_ns());
    std::thread::sleep(BASELINE);
    let spun = rig.soaker.spun_ns()? - spun;
    let had = (spun + stolen_ns() - stolen) as f64;
    Ok((1.0 - had / start.elapsed().as_nanos() as f64).max(0.0))
}

/// All clocks at one moment, or what passed between two.
#[derive(Debug)]
struct Reading {
    at: Instant,
    cpu: CpuTime,
    wall_ns: f64,
    spun_ns: f64,
    stolen_ns: f64,
}

impl Reading {
    fn take(rig: &mut Rig, subject: &Subject, soaked: bool) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: subject.process.cpu_time()?,
            wall_ns: 0.0,
            spun_ns: if soaked { rig.soaker.spun_ns()? as f64 } else { 0.0 },
            stolen_ns: stolen_ns() as f64,
        })
    }

    fn since(self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.since(earlier.cpu),
            wall_ns: (self.at - earlier.at).as_nanos() as f64,
            spun_ns: self.spun_ns - earlier.spun_ns,
            stolen_ns: self.stolen_ns - earlier.stolen_ns,
            ..self
        }
    }
}

/// Measures how long packets are under way.
pub(crate) fn latency(
    rig: &mut Rig,
    subject: &mut Subject,
    direction: Direction,
    load: Load,
    window: Duration,
) -> Result<Latency> {
    let from = origin(direction);
    let (pace, packets_each) = pace(subject.has_tunnel(), direction, load);
    rig.topology.arrivals(Arrival::Delivered)?;
    rig.drive(from, &mut *subject.ends(direction).0, pace, WARM_UP, |_| Ok(()))?;
    rig.drain()?;
    stamp(rig, direction, true)?;
    let mut under_way_ns = Vec::new();
    let driven = {
        let (mut source, mut reader) = subject.ends(direction);
        let driven = rig.drive(from, &mut *source, pace, window, |sink| {
            reader.read(sink, &mut under_way_ns).map(|_| ())
        })?;
        rig.drain()?;
        while reader.read(rig.sink(direction), &mut under_way_ns)? > 0 {}
        driven
    };
    stamp(rig, direction, false)?;
    under_way_ns.sort_unstable();
    let at = |share| percentile(&under_way_ns, share).map_or(f64::NAN, |ns| f64::from(ns) / 1000.0);
    let offered = driven.datagrams as f64 * packets_each;
    Ok(Latency {
        median_us: at(0.5),
        p99_us: at(0.99),
        loss: (1.0 - under_way_ns.len() as f64 / offered).max(0.0),
        bunched: driven.bunched_share,
    })
}

fn stamp(rig: &mut Rig, direction: Direction, on: bool) -> Result<()> {
    let sink = rig.sink(direction);
    sink.empty()?;
    sink.inboxes.iter_mut().try_for_each(|inbox| inbox.stamp(on))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::cost as any_cost;

    #[test]
    fn only_who_waited_for_the_core_was_starved() {
        let lost = Cost { loss: 0.05, ..any_cost(1.0, None) };
        for (name, cost, want) in [
            ("nothing lost", any_cost(1.0, None), false),
            ("lost without waiting", lost, false),
            ("lost while waiting", Cost { waiting: 0.2, ..lost }, true),
            ("lost at full speed", Cost { waiting: 0.2, utilisation: 0.99, ..lost }, false),
            ("robbed by the host", Cost { stolen: 0.2, ..any_cost(1.0, None) }, true),
        ] {
            assert_eq!(cost.is_starved(), want, "{name}");
        }
    }

    #[test]
    fn bundles_are_paced_by_the_packets_in_them() {
        let paced = |bundles, direction| pace(bundles, direction, Load::Paced(50));
        assert_eq!(paced(false, Direction::Forward), (Pace::Even(50_000.0), 1.0));
        assert_eq!(paced(true, Direction::Forward), (Pace::Even(50_000.0), 1.0));
        assert_eq!(paced(false, Direction::Reverse), (Pace::Even(50_000.0), 1.0));
        assert_eq!(paced(true, Direction::Reverse), (Pace::Even(5_000.0), 10.0));
    }
}
