//! `run`: all candidates, repetition by repetition, so that what the machine does meanwhile hits all
//! alike.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kit::host::Host;
use kit::report::{progress, warn_if_unoptimised};
use kit::stop::Stop;

use crate::bench::Bench;
use crate::candidate::{Candidate, Role};
use crate::command_line::Run;
use crate::report::{Report, Settings};
use crate::results::Row;
use crate::subject::Subject;

/// The search for the limit begins here.
const SEARCH_START: f64 = 60_000.0;

/// Runs everything and writes the report.
#[expect(clippy::print_stdout, reason = "the table is this program's output")]
pub(crate) fn run(options: &Run) -> Result<()> {
    warn_if_unoptimised();
    let candidates = options.candidates()?;
    let stop = Stop::listen()?;
    let relay = kit::relay::program(options.relay.as_deref())?;
    let (mut rows, mut programs, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        if let Some(program) = candidate.program(&options.tools, &relay)? {
            rows.push(Row::new(candidate, candidate.version(&program), &options.rates));
            programs.push(program);
        } else {
            leave_out(&mut missing, &candidate, how_to_get(&candidate));
        }
    }
    ensure!(!rows.is_empty(), "none of the candidates is installed");
    let folder = tempfile::tempdir().context("Failed to make a folder for the run's files")?;
    let mut bench = Bench::build(stop)?;
    let reps = options.reps();
    for rep in 0..reps {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Another one begins each time: whoever comes after a heavy neighbour is not always the same.
        order.rotate_left(rep as usize * rows.len() / reps as usize % rows.len());
        for index in order {
            let (row, program): (&mut Row, &PathBuf) = (&mut rows[index], &programs[index]);
            if missing.iter().any(|it: &String| it.starts_with(&prefix(&row.candidate))) {
                continue;
            }
            bench.stop.check()?;
            progress(&format!("repetition {} of {reps}: {}", rep + 1, row.candidate.name));
            let is_last = rep + 1 == reps;
            match measure(&mut bench, row, program, folder.path(), options, is_last) {
                Ok(()) => {}
                // One that cannot run must not cost the figures of the others.
                Err(error) if !bench.stop.is_asked() => {
                    leave_out(&mut missing, &row.candidate, &format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    let settings = Settings {
        reps,
        window: options.window(),
        search_window: options.search_window(),
        rates: options.rates.clone(),
        flows: options.flows,
        has_precedence: bench.precedence.is_taken(),
        missing,
    };
    drop(bench);
    let report = Report { host: Host::observe(), settings, rows };
    println!("{}", report.to_terminal());
    report.write(&options.results)
}

fn measure(
    bench: &mut Bench,
    row: &mut Row,
    program: &Path,
    folder: &Path,
    options: &Run,
    is_last: bool,
) -> Result<()> {
    let flows_max = options.flows.max(options.flows_for_memory);
    let mut subject = Subject::start(bench, &row.candidate, program, folder, flows_max)?;
    subject.establish(bench, options.flows)?;
    for (rate, costs) in &mut row.fixed {
        let cost = subject.cost(bench, f64::from(*rate), options.window())?;
        progress(&format!(
            "  {rate}/s: {:.2} µs/packet, p50 {:.0} µs, lost {:.2} %",
            cost.cpu_us,
            cost.median_us.unwrap_or(f64::NAN),
            cost.loss * 100.0
        ));
        costs.push(cost);
    }
    row.weights.push(subject.footprint());
    if !options.no_limit {
        let limit = subject.limit(bench, SEARCH_START, options.search_window())?;
        if let Some(limit) = limit {
            let (rate, us) = (limit.cost.rate / 1000.0, limit.cost.cpu_us);
            progress(&format!("  limit: {rate:.0} k/s at {us:.2} µs/packet"));
        }
        row.limits.extend(limit);
    }
    if is_last && options.flows_for_memory > options.flows {
        subject.establish(bench, options.flows_for_memory)?;
        let more = options.flows_for_memory - options.flows;
        row.weight_with_more = Some((more, subject.footprint()));
    }
    Ok(())
}

fn prefix(candidate: &Candidate) -> String {
    format!("{}: ", candidate.name)
}

fn leave_out(missing: &mut Vec<String>, candidate: &Candidate, why: &str) {
    let line = format!("{}{why}", prefix(candidate));
    progress(&format!("left out: {line}"));
    missing.push(line);
}

fn how_to_get(candidate: &Candidate) -> &'static str {
    match (candidate.role, candidate.name) {
        (Role::Ringway, _) => "not built: cargo build --release -p ringway-relay",
        (_, "quilkin") => "not installed: benches/peers/install.sh quilkin (compiles for minutes)",
        _ => "not installed: benches/peers/install.sh",
    }
}
