//! Runs rows, one after the other, each on fresh processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command_line::Options;
use crate::findings::Findings;
use crate::namespaces::Network;
use crate::report::{self, Line};
use crate::rows::{ROWS, Row};

const CALLS: u16 = 200;
const CALLS_SHORT: u16 = 20;
/// Clients that were late by more had no CPU: the machine was busy with something else, and the row
/// is repeated, once.
const DISTURBED: Duration = Duration::from_millis(500);
/// How often an interruption is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What rows are run with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) network: Network,
    pub(crate) programs: PathBuf,
    pub(crate) calls: usize,
    pub(crate) short: bool,
    interrupted: Arc<AtomicBool>,
}

impl Run {
    /// Says what happens now.
    #[expect(clippy::unused_self, reason = "who has no run has nothing to say")]
    pub(crate) fn say(&self, text: &str) {
        report::say(&format!("  {text}"));
    }

    /// Waits, unless somebody interrupts.
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// The one or the other, for rows that take long.
    pub(crate) fn short_or<T>(&self, short: T, long: T) -> T {
        if self.short { short } else { long }
    }
}

/// Runs what was asked for; whether every promise was kept.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let rows = chosen(options)?;
    // Processes that an upgraded relay leaves behind come to us.
    nix::sys::prctl::set_child_subreaper(true).context("Failed to adopt processes")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("Failed to listen to signals")?;
    }
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().context("no folder")?.to_path_buf(),
    };
    for name in ["ringway-relay", "ringway-transceiver"] {
        ensure!(
            programs.join(name).is_file(),
            "there is no {name} in {}: build it there, or name its folder with --programs",
            programs.display()
        );
    }
    let calls = options.calls.unwrap_or(if options.short { CALLS_SHORT } else { CALLS });
    let network = Network::make().context("Hosts need root, iproute2 and network namespaces")?;
    let short = options.short;
    let run = Run { network, programs, calls: calls.into(), short, interrupted };
    let mut lines = Vec::new();
    for (row, number) in rows.iter().zip(1..) {
        report::say(&format!("{number}/{} {}: {}", rows.len(), row.name, row.fault));
        let mut findings = attempt(row, &run)?;
        if findings.late > DISTURBED {
            let late = findings.late.as_millis();
            run.say(&format!("disturbed: clients were late by {late} ms; once more"));
            findings = attempt(row, &run)?;
            findings
                .note(format!("the second attempt: in the first, clients were late by {late} ms"));
        }
        let line = Line { row, findings };
        report::say(&line.brief());
        lines.push(line);
    }
    report::table(&lines)?;
    if let Some(file) = &options.report {
        report::renew(file, &lines, calls.into())?;
        report::say(&format!("renewed: {}", file.display()));
    }
    Ok(lines.iter().all(|line| line.findings.broken.is_empty()))
}

fn attempt(row: &Row, run: &Run) -> Result<Findings> {
    (row.run)(run).or_else(|error| {
        run.check()?;
        Ok(failed(&error))
    })
}

/// A row that could not be run has kept nothing.
fn failed(error: &anyhow::Error) -> Findings {
    Findings { broken: vec![format!("could not be run: {error:#}")], ..Findings::default() }
}

fn chosen(options: &Options) -> Result<Vec<&'static Row>> {
    if options.rows.is_empty() {
        return Ok(ROWS.iter().filter(|row| row.short || !options.short).collect());
    }
    let find = |name: &String| {
        let found = ROWS.iter().find(|row| row.name == name);
        found.with_context(|| format!("there is no row {name:?}: see chaos --list"))
    };
    options.rows.iter().map(find).collect()
}
