//! `latency`: what the relay adds to a round trip, at shares of what one worker carries.
//!
//! First the capacity is searched for. Then, at each share of it, the same round trips are made twice
//! in a row: without a relay, the kernel of the relay's namespace forwarding between the same
//! devices, and through the relay. The difference is the relay's.

mod report;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kit::host::Host;
use kit::plan::{CLIENT_NETWORK, PUBLIC, SHARD_IP, TUNNEL};
use kit::report::{progress, warn_if_unoptimised};
use kit::statistics::Spread;
use kit::stop::Stop;

use crate::bench::Bench;
use crate::candidate::{ALL, Candidate, Dialect};
use crate::command_line::Latency;
use crate::speech::Speech;
use crate::subject::{Cost, Limit, Subject};
use crate::trips::Trips;
use report::Report;

/// Shares of capacity, in per cent.
const SHARES: [u32; 3] = [10, 50, 90];
/// The search begins here, in round trips a second.
const SEARCH_START: f64 = 80_000.0;

/// One share of one candidate's capacity.
#[derive(Debug)]
struct Step {
    /// Per cent of capacity.
    share: u32,
    /// Round trips a second.
    rate: f64,
    /// Repetitions: without the relay, and through it.
    pairs: Vec<(Trips, Cost)>,
}

/// One candidate.
#[derive(Debug)]
struct Row {
    candidate: Candidate,
    limits: Vec<Limit>,
    steps: Vec<Step>,
}

impl Row {
    /// The median of all searches.
    fn capacity(&self) -> Option<Spread> {
        Spread::of(self.limits.iter().map(|limit| limit.cost.rate))
    }
}

impl Step {
    /// A figure of both ways, repetition by repetition.
    fn spread(&self, figure: impl Fn(&Trips, &Cost) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.pairs.iter().filter_map(|(direct, through)| figure(direct, through)))
    }
}

/// Measures, prints, and writes the report.
#[expect(clippy::print_stdout, reason = "the table is this program's output")]
pub(crate) fn run(options: &Latency) -> Result<()> {
    warn_if_unoptimised();
    let stop = Stop::listen()?;
    let relay = kit::relay::program(options.relay.as_deref())?;
    ensure!(relay.is_file(), "{} is not built: make build", relay.display());
    let folder = tempfile::tempdir().context("Failed to make a folder for the run's files")?;
    let mut bench = Bench::build(stop)?;
    let has_precedence = bench.precedence.is_taken();
    forward(&bench)?;
    // As it ships, and with nothing between a packet and the worker's waking up.
    let wanted = ["ringway", "ringway-eager"];
    let candidates = ALL.iter().filter(|candidate| wanted.contains(&candidate.name));
    let mut rows: Vec<Row> = candidates
        .map(|&candidate| Row { candidate, limits: Vec::new(), steps: Vec::new() })
        .collect();
    let reps = options.reps();
    for rep in 1..=reps {
        for row in &mut rows {
            let mut subject = start(&mut bench, row.candidate, &relay, folder.path(), options)?;
            let limit = subject.limit(&mut bench, SEARCH_START, options.search_window())?;
            let limit = limit.context("the relay carries nothing, at any rate")?;
            let (rate, us) = (limit.cost.rate / 1000.0, limit.cost.cpu_us);
            progress(&format!(
                "search {rep} of {reps}: {}: {rate:.0} k round trips/s at {us:.2} µs/packet",
                row.candidate.name
            ));
            row.limits.push(limit);
        }
    }
    for row in &mut rows {
        let capacity = row.capacity().map_or(0.0, |spread| spread.median);
        let step =
            |share| Step { share, rate: capacity * f64::from(share) / 100.0, pairs: Vec::new() };
        row.steps = SHARES.map(step).into();
    }
    for rep in 1..=reps {
        for row in &mut rows {
            let mut subject = start(&mut bench, row.candidate, &relay, folder.path(), options)?;
            for step in &mut row.steps {
                let pair = pair(&mut bench, &mut subject, step.rate, options)?;
                progress(&format!(
                    "repetition {rep} of {reps}: {} at {} %: p50 {:.0} µs, {:.0} of them without",
                    row.candidate.name,
                    step.share,
                    pair.1.median_us.unwrap_or(f64::NAN),
                    pair.0.median_us.unwrap_or(f64::NAN),
                ));
                step.pairs.push(pair);
            }
        }
    }
    drop(bench);
    let report = Report {
        host: Host::observe(),
        reps,
        window: options.window(),
        search_window: options.search_window(),
        flows: options.flows,
        has_precedence,
        rows,
    };
    println!("{}", report.to_terminal());
    report.write(&options.results)
}

fn start(
    bench: &mut Bench,
    candidate: Candidate,
    relay: &Path,
    folder: &Path,
    options: &Latency,
) -> Result<Subject> {
    bench.stop.check()?;
    let mut subject = Subject::start(bench, &candidate, relay, folder, options.flows)?;
    subject.establish(bench, options.flows)?;
    Ok(subject)
}

/// The same round trips without the relay and through it.
fn pair(
    bench: &mut Bench,
    subject: &mut Subject,
    rate: f64,
    options: &Latency,
) -> Result<(Trips, Cost)> {
    let mut direct = Speech::plain(Dialect::Direct);
    bench.warm_up(&mut direct, options.flows, rate)?;
    let without = bench.round_trips(&mut direct, options.flows, rate, options.window())?;
    ensure!(without.back > 0, "no packet came back without a relay: does the kernel forward?");
    Ok((without, subject.cost(bench, rate, options.window())?))
}

/// Has the kernel forward between clients and backends: the way without a relay.
fn forward(bench: &Bench) -> Result<()> {
    let topology = &bench.topology;
    topology.relay.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("Failed to switch forwarding on")
    })?;
    let (public, tunnel) = (PUBLIC.ip().to_string(), TUNNEL.ip().to_string());
    topology.client.run(|| route(&SHARD_IP.to_string(), &public))?;
    topology.shard.run(|| route(CLIENT_NETWORK, &tunnel))
}

fn route(to: &str, via: &str) -> Result<()> {
    let made = Command::new("ip").args(["route", "replace", to, "via", via]).status();
    ensure!(made.context("Failed to run `ip`")?.success(), "no route to {to} via {via}");
    Ok(())
}
