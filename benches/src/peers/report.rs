//! The results as a table for the terminal, as Markdown, as JSON and as a picture.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::host::Host;
use kit::plan::SHARDS;
use kit::report::{aligned, line, markdown, nothing, spread, write_files};
use kit::statistics::Spread;
use kit::svg::{Bar as Drawn, Panel, draw};
use serde_json::json;

use crate::candidate::Role;
use crate::results::Row;
use crate::speech::PAYLOAD_BYTES;
use crate::subject::{BACKLOG_MS_MAX, LOSS_MAX};
use crate::verdicts::{Bar, Verdict, bars, verdicts};

/// Of the JSON file: raised when a field changes its meaning.
const SCHEMA: u32 = 1;

/// How it was measured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Repetitions.
    pub(crate) reps: u32,
    /// The length of each measurement at a fixed rate.
    pub(crate) window: Duration,
    /// The length of each step of the search.
    pub(crate) search_window: Duration,
    /// Fixed rates.
    pub(crate) rates: Vec<u32>,
    /// Flows.
    pub(crate) flows: u32,
    /// Whether other sessions of the machine had to stand back.
    pub(crate) has_precedence: bool,
    /// Who was left out, and why.
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
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// For people who wait.
    pub(crate) fn to_terminal(&self) -> String {
        let headings = self.headings();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut text = aligned(&headings, 1, &self.table());
        text.push('\n');
        for verdict in verdicts(&self.rows) {
            line(&mut text, format_args!("{}", verdict.words().replace("**", "")));
        }
        text.push('\n');
        for bar in bars(&self.rows) {
            let verdict = if bar.is_met() { "PASS" } else { "MISS" };
            let Bar { what, is, most } = bar;
            line(&mut text, format_args!("{verdict}  {what}: {is:.2} (at most {most:.2})"));
        }
        for missing in &self.settings.missing {
            line(&mut text, format_args!("left out: {missing}"));
        }
        text
    }

    /// Writes all files.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let settings = &self.settings;
        let json = json!({
            "schema": SCHEMA,
            "host": self.host.to_json(),
            "how": self.how(),
            "reps": settings.reps,
            "window_seconds": settings.window.as_secs_f64(),
            "search_window_seconds": settings.search_window.as_secs_f64(),
            "flows": settings.flows,
            "payload_bytes": PAYLOAD_BYTES,
            "loss_max": LOSS_MAX,
            "backlog_ms_max": BACKLOG_MS_MAX,
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "bars": bars(&self.rows).iter().map(|bar| json!({
                "bar": bar.what, "is": bar.is, "most": bar.most, "met": bar.is_met(),
            })).collect::<Vec<_>>(),
            "left_out": settings.missing,
        });
        let json = serde_json::to_string_pretty(&json).context("Failed to write JSON")?;
        let (text, svg) = (self.to_markdown(), self.to_svg());
        let files = [("md", text.as_str()), ("json", json.as_str()), ("svg", svg.as_str())];
        write_files(folder, &self.host.file_stem("peers"), &files)
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("# Ringway and its peers\n\n{}", self.host.to_markdown());
        line(&mut text, format_args!("- measured: {}\n", self.how()));
        let headings = self.headings();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        text.push_str(&markdown(&headings, 1, &self.table()));
        text.push_str("\n## Who wins\n\nRingway as it ships beside the best peer in each figure. ");
        text.push_str("Below a difference of 10 % nobody does.\n\n");
        text.push_str(
            "| figure | Ringway | best peer | ratio | winner |\n|---|---:|---:|---:|---|\n",
        );
        for verdict in verdicts(&self.rows).iter().map(Verdict::words) {
            line(&mut text, format_args!("| {verdict} |"));
        }
        let bars = bars(&self.rows);
        if !bars.is_empty() {
            text.push_str("\n## Bars\n\n| | bar | is | at most |\n|---|---|---:|---:|\n");
            for bar in bars {
                let verdict = if bar.is_met() { "PASS" } else { "MISS" };
                let Bar { what, is, most } = bar;
                line(&mut text, format_args!("| {verdict} | {what} | {is:.2} | {most:.2} |"));
            }
        }
        text.push_str("\n## Who is who\n\n");
        for row in &self.rows {
            let version = row.version.as_deref().map_or(String::new(), |it| format!(" ({it})"));
            line(
                &mut text,
                format_args!("- `{}`: {}{version}", row.candidate.name, row.candidate.about),
            );
        }
        for missing in &self.settings.missing {
            line(&mut text, format_args!("- left out: {}", missing.replace('\n', " ")));
        }
        text.push_str(HOW_TO_READ);
        text
    }

    fn to_svg(&self) -> String {
        let panel = |title: String, figure: &dyn Fn(&Row) -> Option<Spread>| {
            let bars = self.rows.iter().filter_map(|row| {
                let ours = row.candidate.role == Role::Ringway;
                Some(Drawn { label: row.candidate.name.to_owned(), value: figure(row)?, ours })
            });
            Panel { title, bars: bars.collect() }
        };
        let mut panels = Vec::new();
        for &rate in &self.settings.rates {
            let title = format!("CPU µs per relayed packet at {rate} round trips/s");
            panels.push(panel(title, &|row| row.at(rate, |cost| Some(cost.cpu_us))));
        }
        panels.push(panel("CPU µs per relayed packet at its limit".to_owned(), &|row| {
            row.at_limit(|cost| Some(cost.cpu_us))
        }));
        panels.push(panel("Most round trips/s, thousands".to_owned(), &|row| {
            row.at_limit(|cost| Some(cost.rate / 1000.0))
        }));
        for &rate in &self.settings.rates {
            let title = format!("Median round trip at {rate} round trips/s, µs");
            panels.push(panel(title, &|row| row.at(rate, |cost| cost.median_us)));
        }
        draw("Ringway and its peers, one worker on one core", &panels)
    }

    fn headings(&self) -> Vec<String> {
        let rates = &self.settings.rates;
        let mut headings = vec!["candidate".to_owned()];
        headings.extend(rates.iter().map(|rate| format!("CPU µs/packet at {}", thousands(*rate))));
        headings.push("at its limit".to_owned());
        headings.push("most round trips, k/s".to_owned());
        headings.extend(rates.iter().map(|rate| format!("p50 / p99 µs at {}", thousands(*rate))));
        headings.extend(["RSS MB", "KB/flow", "threads", "sockets"].map(str::to_owned));
        headings
    }

    fn table(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &Row) -> Vec<String> {
        let rates = &self.settings.rates;
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(nothing, |value| format!("{value:.digits$}"))
        };
        let mut cells = vec![row.candidate.name.to_owned()];
        for &rate in rates {
            let lost = row.at(rate, |cost| Some(cost.loss)).map_or(0.0, |loss| loss.median);
            let mut cell = spread(row.at(rate, |cost| Some(cost.cpu_us)), 2);
            if lost > LOSS_MAX {
                cell = format!("{cell} [lost {:.1} %]", lost * 100.0);
            }
            cells.push(cell);
        }
        cells.push(spread(row.at_limit(|cost| Some(cost.cpu_us)), 2));
        let most = spread(row.at_limit(|cost| Some(cost.rate / 1000.0)), 0);
        cells.push(if row.limit_is_at_least() { format!("≥ {most}") } else { most });
        for &rate in rates {
            let median = |figure: fn(&crate::subject::Cost) -> Option<f64>| {
                number(row.at(rate, figure).map(|spread| spread.median), 0)
            };
            cells.push(format!("{} / {}", median(|it| it.median_us), median(|it| it.p99_us)));
        }
        cells.push(number(row.weight(|it| it.rss_kb).map(|kb| kb / 1024.0), 0));
        cells.push(number(row.kb_per_flow(), 1));
        cells.push(number(row.weight(|it| it.threads), 0));
        cells.push(number(row.weight(|it| it.sockets), 0));
        cells
    }

    fn how(&self) -> String {
        let Settings { reps, window, search_window, flows, has_precedence, .. } = &self.settings;
        format!(
            "{reps} interleaved repetitions (median, and least to most), {:.1} s at each fixed rate \
             and {:.1} s at each step of the search; {flows} flows, {SHARDS} backends, \
             {PAYLOAD_BYTES}-byte packets evenly spaced; the candidate on core 0, clients and \
             backends on core 1; {} precedence over other sessions of the machine",
            window.as_secs_f64(),
            search_window.as_secs_f64(),
            if *has_precedence { "with" } else { "without" },
        )
    }
}

fn thousands(rate: u32) -> String {
    if rate.is_multiple_of(1000) { format!("{}k", rate / 1000) } else { rate.to_string() }
}

const HOW_TO_READ: &str = "
## How to read it

- A *round trip* goes from a client through the candidate to a backend, which sends it back the same
  way: two relayed packets. *CPU* is the run time of all threads of the candidate's processes, user
  and system, by the scheduler's clock, over all packets that came through it. Every measurement
  begins and ends with a quiet path.
- *Its limit* is the highest rate that it carries with at most 0.1 % lost and no more than 20 ms of packets
  still under way at the end, within 5 %, by search; `≥`: the generator gave out first. Buffers are large (4
  MiB towards clients, where a candidate lets one say so), so loss alone would begin too late.
- *p50 / p99* are of round trips, from the moment that a packet was due to be sent.
- *RSS* is of all its processes with the flows in the table; *KB/flow* is what each of some thousands
  more adds. The kernel's memory for sockets is in neither: count the *sockets*. Ringway allocates its
  table at start, for 262,144 flows and 16,384 new ones.
- Ringway does more for each packet than any of the others: a hint is decrypted and integrity checked
  before there is a flow, and the way to the backends is sealed with AES-128-GCM. The echo's sealing is
  on the generator's core, as a transceiver's would be on another host.
- Differences under 10 % are noise.

## What was not measured

- A network card. On veth the sender pays for the receiver's network stack: each candidate's figures have
  the delivery to client and backend in them, and the generator pays for the delivery to the candidate. Ringway
  sends fewer, larger datagrams to its backends, and so pays for fewer deliveries.
- More than one worker, packets in bursts, lost and late packets, set-up of calls, IPv6.
- Candidates with settings for another purpose: Envoy and nginx can do much that none of this is about.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::row;

    fn report() -> Report {
        let settings = Settings {
            reps: 1,
            window: Duration::from_secs(1),
            search_window: Duration::from_secs(1),
            rates: vec![60_000],
            flows: 1_000,
            has_precedence: false,
            missing: vec!["quilkin: not installed".to_owned()],
        };
        let rows = vec![
            row("ringway", 3.0, 2.4, 120.0, 200.0),
            row("gorelay-batch", 6.5, 4.0, 40.0, 120.0),
        ];
        Report { host: Host::observe(), settings, rows }
    }

    #[test]
    fn the_terminal_shows_rows_verdicts_bars_and_who_is_missing() {
        let text = report().to_terminal();
        for wanted in [
            "gorelay-batch",
            "PASS  CPU at 60000 round trips/s, × best peer (gorelay-batch): 0.46",
            "| 3.00 | gorelay-batch",
            "left out: quilkin",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn all_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let report = report();
        report.write(folder.path()).unwrap();
        let stem = report.host.file_stem("peers");
        let read = |ending| {
            std::fs::read_to_string(folder.path().join(format!("{stem}.{ending}"))).unwrap()
        };
        assert!(
            read("md").contains("| ringway | 3.00 | 2.40 | 200 | 120 / 360 | 10 | 10.0 | 2 | 3 |")
        );
        assert!(read("md").contains("**gorelay-batch**"));
        let json: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
        assert_eq!(json["rows"][1]["candidate"], "gorelay-batch");
        assert!(read("svg").contains("CPU µs per relayed packet at 60000"));
    }
}
