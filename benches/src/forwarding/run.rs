//! `run`: all cases, repetition by repetition, so that what the machine does meanwhile hits all alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cases::{Candidate, Cases, Load};
use crate::command_line::Run;
use crate::measure;
use crate::report::{Report, Settings};
use crate::results::{Cell, Results};
use crate::rig::Rig;
use crate::subject::Subject;
use kit::host::Host;
use kit::report::{progress, warn_if_unoptimised};
use kit::stop::Stop;

/// How often a starved measurement is made again.
const RETRIES: u32 = 2;

/// Runs everything and writes the report.
#[expect(clippy::print_stdout, reason = "the table is this program's output")]
pub(crate) fn run(options: &Run) -> Result<()> {
    warn_if_unoptimised();
    let stop = Stop::listen()?;
    let mut cases = Cases::of(&options.cases)?;
    let relay = relay_program(options.relay.as_deref(), &mut cases)?;
    let folder = tempfile::tempdir().context("Failed to make a folder for the run's files")?;
    let mut rig = Rig::build(folder.path(), stop)?;
    let mut results = Results::default();
    let mut missing = Vec::new();
    let (reps, window) = (options.reps(), options.window());
    for rep in 0..reps {
        // Another one begins each time: whoever comes after a heavy neighbour is not always the same.
        let mut subjects = subjects(&cases);
        let shift = rep as usize % subjects.len().max(1);
        subjects.rotate_left(shift);
        for (candidate, flows) in subjects {
            rig.stop.check()?;
            progress(&format!("repetition {} of {reps}: {candidate}, {flows} flows", rep + 1));
            let started = Subject::start(&mut rig, candidate, flows, &relay, folder.path());
            let mut subject = match started {
                Ok(subject) => subject,
                // A relay that cannot run must not cost the figures of the others.
                Err(error) if candidate.engine.is_relay() && !rig.stop.is_asked() => {
                    progress(&format!("{candidate} is left out: {error:#}"));
                    missing.push(format!("{candidate}: {error:#}"));
                    cases.candidates.retain(|&other| other != candidate);
                    continue;
                }
                Err(error) => return Err(error),
            };
            measure_all(&mut rig, &mut subject, candidate, &cases, window, &mut results)?;
        }
    }
    let settings = Settings {
        reps,
        window,
        retries: RETRIES,
        has_precedence: rig.precedence.is_taken(),
        missing,
    };
    drop(rig);
    let report = Report { host: Host::observe(), settings, results };
    println!("{}", report.to_terminal());
    report.write(&options.results)
}

/// The processes under test, and how many flows each of them is given.
fn subjects(cases: &Cases) -> Vec<(Candidate, u32)> {
    let each = cases
        .flows
        .iter()
        .flat_map(|&flows| cases.candidates.iter().map(move |&candidate| (candidate, flows)));
    each.filter(|&(candidate, flows)| cases.wants(candidate, flows)).collect()
}

fn measure_all(
    rig: &mut Rig,
    subject: &mut Subject,
    candidate: Candidate,
    cases: &Cases,
    window: Duration,
    results: &mut Results,
) -> Result<()> {
    for &direction in &cases.directions {
        for &load in &cases.loads {
            let measured =
                results.entry(Cell { direction, load, flows: subject.clients(), candidate });
            for _ in 0..=RETRIES {
                let cost = measure::cost(rig, subject, direction, load, window)?;
                if !cost.is_starved() {
                    measured.costs.push(cost);
                    break;
                }
                measured.starved.push(cost);
            }
            if matches!(load, Load::Paced(_)) {
                measured.latencies.push(measure::latency(rig, subject, direction, load, window)?);
            }
        }
    }
    Ok(())
}

/// Finds the relay's program. Without one, only the forwarders are measured, if that was not asked
/// otherwise.
pub(crate) fn relay_program(given: Option<&Path>, cases: &mut Cases) -> Result<PathBuf> {
    let path = kit::relay::program(given)?;
    if !path.exists() {
        ensure!(
            given.is_none(),
            "{} does not exist: build it with `cargo build --release -p ringway-relay`",
            path.display()
        );
        progress("there is no ringway-relay beside this program: only forwarders are measured");
        cases.candidates.retain(|candidate| !candidate.engine.is_relay());
        ensure!(!cases.candidates.is_empty(), "and no forwarders are among the cases");
    }
    // The process under test starts elsewhere.
    std::path::absolute(&path).with_context(|| format!("Failed to resolve {}", path.display()))
}
