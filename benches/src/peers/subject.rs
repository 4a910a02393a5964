//! A running candidate: its flows set up, its round trips measured, its weight taken.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kit::cpu::{CpuTime, stolen_ns};
use kit::process::Process;
use kit::relay::{Files, wait_for_ports};
use kit::search::{Bound, Outcome, Search};
use kit::sessions::Sessions;
use serde::Serialize;

use crate::bench::Bench;
use crate::candidate::{Candidate, Launch};
use crate::footprint::Footprint;
use crate::speech::{Heard, Speech};

/// How long a process may take to start, and to carry a packet for every client.
const ESTABLISH_MAX: Duration = Duration::from_secs(30);
/// A candidate carries a rate if it loses no more than this share.
pub(crate) const LOSS_MAX: f64 = 0.001;
/// And if no more than this is still in its buffers at the end: one that falls behind loses nothing
/// for as long as these last.
pub(crate) const BACKLOG_MS_MAX: f64 = 20.0;
/// The generator offers a rate if it misses no more than this share of it.
const OFFERED_MIN: f64 = 0.98;

/// What round trips at one rate cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Round trips a second that were wanted.
    pub(crate) rate: f64,
    /// Round trips a second that were begun.
    pub(crate) offered: f64,
    /// The share of them that did not end.
    pub(crate) loss: f64,
    /// What was still under way when the last was sent, in milliseconds of the rate.
    pub(crate) backlog_ms: f64,
    /// CPU time of all threads, user and system, for each packet relayed: a round trip is two.
    pub(crate) cpu_us: f64,
    /// The share of its core that the candidate had.
    pub(crate) utilisation: f64,
    /// The share of the time in which it waited for its core.
    pub(crate) waiting: f64,
    /// The share of the time that the host took from its core.
    pub(crate) stolen: f64,
    /// Half of the round trips were faster, counted from when they were due.
    pub(crate) median_us: Option<f64>,
    /// 99 of 100 were.
    pub(crate) p99_us: Option<f64>,
    /// The share of packets that left more than half a millisecond late.
    pub(crate) late: f64,
}

impl Cost {
    fn outcome(&self) -> Outcome {
        if self.loss <= LOSS_MAX && self.backlog_ms <= BACKLOG_MS_MAX {
            if self.offered >= OFFERED_MIN * self.rate {
                Outcome::Carried
            } else {
                Outcome::NotOffered
            }
        } else {
            Outcome::Lost
        }
    }
}

/// The highest rate carried.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Limit {
    /// What it cost there.
    pub(crate) cost: Cost,
    /// Whether the generator gave out before the candidate did.
    pub(crate) at_least: bool,
}

/// A running candidate.
#[derive(Debug)]
pub(crate) struct Subject {
    process: Process,
    group: Vec<u32>,
    speech: Speech,
    flows: u32,
}

impl Subject {
    /// Starts a candidate; it will have at most so many flows.
    pub(crate) fn start(
        bench: &Bench,
        candidate: &Candidate,
        program: &Path,
        folder: &Path,
        flows_max: u32,
    ) -> Result<Self> {
        wait_for_ports(&bench.topology.relay)?;
        let mut arguments = candidate.prepare(folder)?;
        let speech =
            if let Launch::Relay { engine, coalesce_us_max, direct, shard_of } = candidate.launch {
                let (sessions, keyring) = Sessions::generate_on(flows_max, shard_of)?;
                let files = Files::write(folder, engine, coalesce_us_max, direct, &keyring)?;
                let config = files.config.display().to_string();
                arguments = ["run", "--config", &config].map(str::to_owned).to_vec();
                Speech::tunnel(sessions)
            } else {
                Speech::plain(candidate.dialect)
            };
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let log = folder.join(format!("{}.log", candidate.name));
        let namespace = Some(&bench.topology.relay);
        let process = Process::start(namespace, program.as_os_str(), &arguments, log)?;
        Ok(Self { process, group: Vec::new(), speech, flows: 0 })
    }

    /// Sets flows up until there are so many.
    pub(crate) fn establish(&mut self, bench: &mut Bench, flows: u32) -> Result<()> {
        let (first, last) = (self.flows, self.speech.steps());
        let mut steps: Vec<u8> = vec![0; (flows - first) as usize];
        let deadline = Instant::now() + ESTABLISH_MAX;
        loop {
            let missing: Vec<(u32, u8)> =
                (first..).zip(steps.iter().copied()).filter(|(_, step)| *step < last).collect();
            if missing.is_empty() {
                break;
            }
            bench.stop.check()?;
            self.process.check()?;
            ensure!(
                Instant::now() < deadline,
                "{} of {} flows are not set up after {} s (the first one is at step {}); it says: {}",
                missing.len(),
                steps.len(),
                ESTABLISH_MAX.as_secs(),
                missing[0].1,
                self.process.last_words()
            );
            // One flow tells whether anybody is there yet.
            let all_new = missing.len() == steps.len() && missing.iter().all(|it| it.1 == 0);
            let asked = if all_new { &missing[..1] } else { &missing[..] };
            bench.set_up(&mut self.speech, asked, |heard| {
                let (client, step) = match heard {
                    Heard::Done(client, step) => (client, step),
                    Heard::Media { client, .. } => (client, last),
                    Heard::Nothing => return,
                };
                let place = client.checked_sub(first).and_then(|it| steps.get_mut(it as usize));
                if let Some(at) = place {
                    *at = step.max(*at);
                }
            })?;
        }
        self.flows = flows;
        self.group = self.process.group();
        Ok(())
    }

    /// Measures round trips at a rate, from a quiet path to a quiet path: nothing is in flight when
    /// the clocks are read.
    pub(crate) fn cost(&mut self, bench: &mut Bench, rate: f64, window: Duration) -> Result<Cost> {
        bench.warm_up(&mut self.speech, self.flows, rate)?;
        let (start, before, stolen) = (Instant::now(), self.cpu_time(), stolen_ns());
        let trips = bench.round_trips(&mut self.speech, self.flows, rate, window)?;
        let spent = self.cpu_time().since(before);
        let wall_ns = start.elapsed().as_nanos() as f64;
        self.process.check()?;
        Ok(Cost {
            rate,
            offered: trips.sent as f64 / trips.elapsed.as_secs_f64(),
            loss: trips.loss(),
            backlog_ms: trips.backlog_ms,
            cpu_us: spent.run_ns as f64 / (trips.up + trips.back).max(1) as f64 / 1000.0,
            utilisation: (spent.run_ns as f64 / trips.elapsed.as_nanos() as f64).min(1.0),
            waiting: spent.wait_ns as f64 / wall_ns,
            stolen: (stolen_ns() - stolen) as f64 / wall_ns,
            median_us: trips.median_us,
            p99_us: trips.p99_us,
            late: trips.late,
        })
    }

    /// Looks for the highest rate that it carries.
    pub(crate) fn limit(
        &mut self,
        bench: &mut Bench,
        start: f64,
        window: Duration,
    ) -> Result<Option<Limit>> {
        let mut search = Search::from(start);
        let mut best: Option<Cost> = None;
        while let Some(rate) = search.next() {
            let cost = self.cost(bench, rate, window)?;
            let outcome = cost.outcome();
            if outcome == Outcome::Carried {
                best = Some(cost);
            }
            search.tell(outcome);
        }
        let at_least = search.bound() != Some(Bound::Candidate);
        Ok(best.map(|cost| Limit { cost, at_least }))
    }

    /// What it weighs now.
    pub(crate) fn footprint(&self) -> Footprint {
        Footprint::of(&self.process.group())
    }

    fn cpu_time(&self) -> CpuTime {
        CpuTime::of_all(&self.group)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cost(rate: f64, cpu_us: f64, median_us: f64) -> Cost {
        Cost {
            rate,
            offered: rate,
            loss: 0.0,
            backlog_ms: 0.5,
            cpu_us,
            utilisation: 0.5,
            waiting: 0.0,
            stolen: 0.0,
            median_us: Some(median_us),
            p99_us: Some(median_us * 3.0),
            late: 0.0,
        }
    }

    #[test]
    fn a_rate_counts_only_if_it_was_offered_and_carried() {
        let good = cost(100_000.0, 4.0, 50.0);
        for (name, cost, want) in [
            ("carried", good, Outcome::Carried),
            ("a little lost", Cost { loss: 0.001, ..good }, Outcome::Carried),
            ("too much lost", Cost { loss: 0.0011, ..good }, Outcome::Lost),
            ("fallen behind", Cost { backlog_ms: 30.0, ..good }, Outcome::Lost),
            ("not offered", Cost { offered: 97_000.0, ..good }, Outcome::NotOffered),
        ] {
            assert_eq!(cost.outcome(), want, "{name}");
        }
    }
}
