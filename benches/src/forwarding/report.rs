//! The results as a table for the terminal, as Markdown and as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cases::Load;
use crate::plots;
use crate::results::{Cell, Measured, Results};
use crate::targets::{Outcome, core_ratio, cpu_ratio, judge};
use crate::traffic::{FRAMES_OF_A_DATAGRAM, PAYLOAD_BYTES};
use kit::host::Host;
use kit::plan::SHARDS;
use kit::report::{aligned, line, markdown, nothing, spread, write_files};
use kit::statistics::Spread;

/// Per cent beyond the median that one repetition may lose in silence.
const LOSS_WORTH_A_WORD: f64 = 0.05;
/// Of the JSON file: raised when a field changes its meaning.
const SCHEMA: u32 = 2;

/// How it was measured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Repetitions.
    pub(crate) reps: u32,
    /// The length of each measurement.
    pub(crate) window: Duration,
    /// How often a starved measurement was made again.
    pub(crate) retries: u32,
    /// Whether other sessions of the machine had to stand back.
    pub(crate) has_precedence: bool,
    /// Candidates that did not run, and why.
    pub(crate) missing: Vec<String>,
}

/// Everything a result file needs.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where.
    pub(crate) host: Host,
    /// How.
    pub(crate) settings: Settings,
    /// What.
    pub(crate) results: Results,
}

/// The columns that are names.
const NAMES: usize = 4;
const HEADINGS: [&str; 13] = [
    "way",
    "load",
    "flows",
    "candidate",
    "CPU µs/packet",
    "× naive",
    "core µs/packet",
    "× naive",
    "kpps",
    "busy %",
    "lost %",
    "bundled",
    "latency µs p50 / p99",
];

impl Report {
    /// For people who wait.
    pub(crate) fn to_terminal(&self) -> String {
        let rows: Vec<Vec<String>> = self.rows().collect();
        let mut text = aligned(&HEADINGS, NAMES, &rows);
        text.push('\n');
        for outcome in judge(&self.results) {
            let (verdict, candidate, what) = (outcome.verdict(), outcome.candidate, outcome.what);
            let (is, most, unit) = (outcome.is, outcome.most, outcome.unit);
            line(
                &mut text,
                format_args!("{verdict}  {candidate}: {what}: {is:.2} {unit} (at most {most:.2})"),
            );
        }
        for missing in &self.settings.missing {
            line(&mut text, format_args!("not measured: {missing}"));
        }
        text
    }

    /// For the repository.
    fn to_markdown(&self) -> String {
        let mut text = format!("# Forwarding\n\n{}", self.host.to_markdown());
        line(&mut text, format_args!("- measured: {}\n", self.how()));
        let rows: Vec<Vec<String>> = self.rows().collect();
        text.push_str(&markdown(&HEADINGS, NAMES, &rows));
        let outcomes = judge(&self.results);
        if !outcomes.is_empty() {
            text.push_str("\n## Targets\n\n| | candidate | target | is | at most |\n|---|---|---|---:|---:|\n");
            for outcome in outcomes {
                let (verdict, candidate, what) =
                    (outcome.verdict(), outcome.candidate, outcome.what);
                let (is, most, unit) = (outcome.is, outcome.most, outcome.unit);
                line(
                    &mut text,
                    format_args!(
                        "| {verdict} | {candidate} | {what} | {is:.2} {unit} | {most:.2} |"
                    ),
                );
            }
        }
        text.push_str(HOW_TO_READ);
        for missing in &self.settings.missing {
            line(&mut text, format_args!("- Did not run: {}", missing.replace('\n', " ")));
        }
        text
    }

    fn how(&self) -> String {
        let Settings { reps, window, retries, has_precedence, .. } = &self.settings;
        format!(
            "{reps} interleaved repetitions of {:.1} s (median, and least to most), {SHARDS} shards, {PAYLOAD_BYTES}-byte packets, tunnel MTU 1472, shard → relay \
             {FRAMES_OF_A_DATAGRAM} packets a datagram; worker on core 0, generator and sink on \
             core 1; starved measurements made again up to {retries} times; {}",
            window.as_secs_f64(),
            if *has_precedence {
                "with precedence over other sessions"
            } else {
                "without precedence over other sessions"
            }
        )
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.results.cells().map(|(cell, measured)| self.row(cell, measured))
    }

    fn row(&self, cell: &Cell, measured: &Measured) -> Vec<String> {
        let mut cpu = spread(measured.cost(|cost| cost.cpu_us), 2);
        if !measured.starved.is_empty() {
            cpu = format!("{cpu} [{} starved]", measured.starved.len());
        }
        let median = |figure: Option<Spread>, digits: usize| {
            figure.map_or_else(nothing, |spread| format!("{:.digits$}", spread.median))
        };
        let ratio = |ratio: Option<f64>| ratio.map_or_else(nothing, |ratio| format!("{ratio:.2}"));
        let latency = match (measured.latency(|it| it.median_us), measured.latency(|it| it.p99_us))
        {
            (Some(p50), Some(p99)) => format!("{:.0} / {:.0}", p50.median, p99.median),
            _ => nothing(),
        };
        vec![
            cell.direction.name().to_owned(),
            cell.load.to_string(),
            cell.flows.to_string(),
            cell.candidate.to_string(),
            cpu,
            ratio(cpu_ratio(&self.results, cell)),
            spread(measured.core(), 2),
            ratio(core_ratio(&self.results, cell)),
            median(measured.cost(|cost| cost.arrived_kpps), 0),
            median(measured.cost(|cost| cost.utilisation * 100.0), 0),
            match cell.load {
                // Whatever was offered too much.
                Load::Saturation => nothing(),
                Load::Paced(_) => match measured.cost(|cost| cost.loss * 100.0) {
                    Some(loss) if loss.max - loss.median > LOSS_WORTH_A_WORD => {
                        format!("{:.1} (≤ {:.1})", loss.median, loss.max)
                    }
                    loss => median(loss, 1),
                },
            },
            median(measured.cost(|cost| cost.bundled), 1),
            latency,
        ]
    }

    /// Writes both files.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let json = json!({
            "schema": SCHEMA,
            "host": self.host.to_json(),
            "how": self.how(),
            "window_seconds": self.settings.window.as_secs_f64(),
            "reps": self.settings.reps,
            "shards": SHARDS,
            "payload_bytes": PAYLOAD_BYTES,
            "cells": self.results.to_json(),
            "targets": judge(&self.results).iter().map(Outcome::to_json).collect::<Vec<_>>(),
            "did_not_run": self.settings.missing,
        });
        let json = serde_json::to_string_pretty(&json).context("Failed to write JSON")?;
        let plots = plots::draw(&self.results);
        let text = self.to_markdown();
        let mut files = vec![("md", text.as_str()), ("json", json.as_str())];
        files.extend(plots.iter().map(|(ending, plot)| (ending.as_str(), plot.as_str())));
        write_files(folder, &self.host.file_stem("forwarding"), &files)
    }
}

const HOW_TO_READ: &str = "
## How to read it

- *CPU* is the run time of all threads of the process, user and system, by the scheduler's clock,
  divided by the packets that arrived at the other end's device. Each measurement runs from a quiet
  path to a quiet path, so nothing is in flight at either reading.
- *core* is what a SCHED_IDLE process on the same core did not get, less what it did not get without
  traffic, divided likewise: it has the wake-ups and switches that CPU time misses.
- *latency* is from injection to arrival at the other device's IP stack, by kernel time stamps: all
  that the relay adds, and the way to it. Measured apart from cost.
- A measurement is *starved* if packets were lost although the process had less than 90 % of its
  core and waited for more, or if the host took more than 10 % of the core. It is made again, counted, and left out.
- *saturation*: the worker always has a full queue. Towards the shards one core cannot inject what a
  bundling relay carries, so the process is stopped for 12 ms while its queue fills, goes on for 5 ms
  while the injection goes on, and so forth; *kpps* and *busy* are about the time in which it ran.
- Candidates: `naive` is recvfrom and send, `mmsg` recvmmsg and sendmmsg with batches of 64: a flow
  table and an 8-byte header, nothing else. The relay does all it does: hint, flow table, counters,
  AES-GCM both ways. It bundles towards the shards; from the shards it gets bundles, the forwarders
  single packets. At a fixed rate in reverse, its packets therefore come ten at a time.
- Differences under 10 % are noise.

## What was not measured

- The worker's own receive softirq. On a veth pair the sender pays for the receiver's network
  stack: here the generator pays the worker's, about 0.7 µs a packet, and the worker pays the
  sink's first steps (the sink drops at its IP layer, to keep that small). On a network card the 0.7
  µs come back to the worker's core, for all candidates alike: ratios get less extreme there.
- Interrupt coalescing, offloads and queues of a real card; more than one worker; IPv6.
- Traffic in both directions at once.
";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::targets::tests::results;

    fn report() -> Report {
        let window = Duration::from_secs(1);
        let missing = vec!["relay-mmsg coalesce 0: no such file".to_owned()];
        let settings = Settings { reps: 1, window, retries: 2, has_precedence: true, missing };
        Report { host: Host::observe(), settings, results: results() }
    }

    #[test]
    fn the_terminal_gets_aligned_rows_and_verdicts() {
        let text = report().to_terminal();
        let widths: Vec<_> = text.lines().take(5).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
        assert!(text.contains("PASS  relay-uring coalesce 100: CPU, client → shard"), "{text}");
        assert!(text.contains("MISS  relay-uring coalesce 100: whole core"), "{text}");
        assert!(text.contains("not measured: relay-mmsg coalesce 0"), "{text}");
    }

    #[test]
    fn both_files_are_written_and_the_data_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let report = report();
        report.write(folder.path()).unwrap();
        let stem = report.host.file_stem("forwarding");
        let read = |ending| fs::read_to_string(folder.path().join(format!("{stem}.{ending}")));
        let markdown = read("md").unwrap();
        assert!(
            markdown.contains("| fwd | saturation | 1000 | naive | 3.00 | 1.00 |"),
            "{markdown}"
        );
        let data: serde_json::Value = serde_json::from_str(&read("json").unwrap()).unwrap();
        assert_eq!(data["cells"].as_array().unwrap().len(), 4);
        assert_eq!(data["targets"][0]["met"], true);
    }
}
