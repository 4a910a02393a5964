//! The results as a table for the terminal, as Markdown and as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::host::Host;
use kit::plan::SHARDS;
use kit::report::{aligned, line, markdown, nothing, spread, write_files};
use kit::statistics::Spread;
use serde_json::{Value, json};

use super::{Row, Step};
use crate::speech::PAYLOAD_BYTES;
use crate::subject::LOSS_MAX;
use crate::trips::Trips;

/// Of the JSON file: raised when a field changes its meaning.
const SCHEMA: u32 = 1;

/// Everything a result file needs.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) host: Host,
    pub(super) reps: u32,
    pub(super) window: Duration,
    pub(super) search_window: Duration,
    pub(super) flows: u32,
    pub(super) has_precedence: bool,
    pub(super) rows: Vec<Row>,
}

/// The columns that are names.
const NAMES: usize = 2;
const HEADINGS: [&str; 10] = [
    "candidate",
    "load",
    "k round trips/s",
    "added p50 µs",
    "added p99 µs",
    "through p50 / p99",
    "without p50 / p99",
    "CPU µs/packet",
    "busy %",
    "lost %",
];

impl Report {
    /// For people who wait.
    pub(super) fn to_terminal(&self) -> String {
        let rows: Vec<Vec<String>> = self.table().collect();
        let mut text = aligned(&HEADINGS, NAMES, &rows);
        text.push('\n');
        for row in &self.rows {
            line(&mut text, format_args!("{}", capacity(row)));
        }
        text
    }

    /// Writes all files.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let json = json!({
            "schema": SCHEMA,
            "host": self.host.to_json(),
            "how": self.how(),
            "reps": self.reps,
            "window_seconds": self.window.as_secs_f64(),
            "search_window_seconds": self.search_window.as_secs_f64(),
            "flows": self.flows,
            "payload_bytes": PAYLOAD_BYTES,
            "loss_max": LOSS_MAX,
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        });
        let json = serde_json::to_string_pretty(&json).context("Failed to write JSON")?;
        let text = self.to_markdown();
        let files = [("md", text.as_str()), ("json", json.as_str())];
        write_files(folder, &self.host.file_stem("latency"), &files)
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("# Added latency\n\n{}", self.host.to_markdown());
        line(&mut text, format_args!("- measured: {}\n", self.how()));
        for row in &self.rows {
            line(&mut text, format_args!("- {}", capacity(row)));
        }
        text.push('\n');
        let rows: Vec<Vec<String>> = self.table().collect();
        text.push_str(&markdown(&HEADINGS, NAMES, &rows));
        text.push_str(HOW_TO_READ);
        text
    }

    fn how(&self) -> String {
        format!(
            "{} repetitions of {:.1} s at each share (median, and least to most), after as many searches \
             for the capacity with steps of {:.1} s; {} flows, {SHARDS} backends, {PAYLOAD_BYTES}-byte \
             packets evenly spaced; the relay's one worker on core 0, clients and backends on core 1; {} \
             precedence over other sessions of the machine",
            self.reps,
            self.window.as_secs_f64(),
            self.search_window.as_secs_f64(),
            self.flows,
            if self.has_precedence { "with" } else { "without" },
        )
    }

    fn table(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().flat_map(|row| row.steps.iter().map(|step| cells(row, step)))
    }
}

fn cells(row: &Row, step: &Step) -> Vec<String> {
    let median = |figure: Option<Spread>, digits: usize| {
        figure.map_or_else(nothing, |spread| format!("{:.digits$}", spread.median))
    };
    let both = |p50: Option<Spread>, p99: Option<Spread>| {
        format!("{} / {}", median(p50, 0), median(p99, 0))
    };
    vec![
        row.candidate.name.to_owned(),
        format!("{} %", step.share),
        format!("{:.1}", step.rate / 1000.0),
        spread(step.added_p50(), 0),
        spread(step.added_p99(), 0),
        both(step.spread(|_, it| it.median_us), step.spread(|_, it| it.p99_us)),
        both(step.spread(|it, _| it.median_us), step.spread(|it, _| it.p99_us)),
        spread(step.spread(|_, it| Some(it.cpu_us)), 2),
        median(step.spread(|_, it| Some(it.utilisation * 100.0)), 0),
        median(step.spread(|_, it| Some(it.loss * 100.0)), 2),
    ]
}

fn capacity(row: &Row) -> String {
    let generator = if row.limits.iter().any(|limit| limit.at_least) {
        " at least (in a search the generator gave out first)"
    } else {
        ""
    };
    let thousands = Spread::of(row.limits.iter().map(|limit| limit.cost.rate / 1000.0));
    let packets = thousands.map_or_else(nothing, |it| format!("{:.0}", it.median * 2.0));
    format!(
        "{}, {}: one worker on one core carries {} thousand round trips/s{generator}, which is {packets} \
         thousand packets/s relayed",
        row.candidate.name,
        row.candidate.about,
        spread(thousands, 0),
    )
}

impl Row {
    fn to_json(&self) -> Value {
        json!({
            "candidate": self.candidate.name,
            "about": self.candidate.about,
            "capacity_round_trips_per_second": self.capacity().map(Spread::to_json),
            "searches": self.limits,
            "shares": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Step {
    /// What a median round trip takes longer through the relay.
    fn added_p50(&self) -> Option<Spread> {
        self.spread(|direct, through| added(direct, through.median_us, direct.median_us))
    }

    /// By how much the 99th percentiles differ.
    fn added_p99(&self) -> Option<Spread> {
        self.spread(|direct, through| added(direct, through.p99_us, direct.p99_us))
    }

    fn to_json(&self) -> Value {
        let spread = |spread: Option<Spread>| spread.map(Spread::to_json);
        json!({
            "per_cent_of_capacity": self.share,
            "round_trips_per_second": self.rate,
            "added_median_us": spread(self.added_p50()),
            "added_p99_us": spread(self.added_p99()),
            "through": self.pairs.iter().map(|(_, through)| through).collect::<Vec<_>>(),
            "without": self.pairs.iter().map(|(direct, _)| without(direct)).collect::<Vec<_>>(),
        })
    }
}

/// Nothing where the way without the relay was too narrow: its packets waited for each other.
fn added(direct: &Trips, through: Option<f64>, without: Option<f64>) -> Option<f64> {
    (direct.loss() <= LOSS_MAX).then(|| Some(through? - without?)).flatten()
}

fn without(trips: &Trips) -> Value {
    json!({
        "median_us": trips.median_us,
        "p99_us": trips.p99_us,
        "loss": trips.loss(),
        "late": trips.late,
    })
}

const HOW_TO_READ: &str = "
## How to read it

- *Added* is a round trip through the relay less the same round trip without it, in the same repetition:
  same generator, same devices, same echo, the kernel forwarding between them. It has both ways in it: the
  relay is passed twice. *Added p99* is the difference of two percentiles, not a percentile of differences.
- A dash: without the relay, the core of clients and backends does the forwarding as well, and could not carry that
  rate. What is added is then a little less than what *through* says.
- Latency counts from the moment that a packet was due. At high rates the one thread that plays clients and
  backends is busy itself, in both measurements; with the relay it also seals and opens the tunnel.
- `ringway` waits up to 100 µs for company on each way while it is busy; `ringway-eager` does not.
- *Load* is of the median capacity: the highest rate at which no more than 0.1 % was lost, and no more than
  20 ms of packets were still under way at the end.
- p99 on a virtual machine measures the host as much as the relay: look at the spread.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::ALL;
    use crate::subject::Limit;
    use crate::subject::tests::cost;

    #[test]
    fn what_is_added_is_the_difference_of_each_repetition() {
        let direct = |median_us| Trips {
            sent: 10,
            up: 10,
            back: 10,
            elapsed: Duration::from_secs(1),
            backlog_ms: 0.0,
            median_us: Some(median_us),
            p99_us: Some(median_us * 2.0),
            late: 0.0,
        };
        let pairs =
            vec![(direct(10.0), cost(1e5, 4.0, 110.0)), (direct(30.0), cost(1e5, 4.0, 90.0))];
        let step = Step { share: 50, rate: 1e5, pairs };
        let narrow = Trips { back: 5, up: 5, ..direct(9e5) };
        let narrow = Step { share: 90, rate: 2e5, pairs: vec![(narrow, cost(2e5, 2.0, 700.0))] };
        let limits = vec![Limit { cost: cost(2e5, 2.5, 900.0), at_least: true }];
        let row = Row { candidate: ALL[0], limits, steps: vec![step, narrow] };
        let report = Report {
            host: Host::observe(),
            reps: 2,
            window: Duration::from_secs(2),
            search_window: Duration::from_secs(1),
            flows: 1000,
            has_precedence: true,
            rows: vec![row],
        };
        let text = report.to_terminal();
        assert!(text.contains("80 (60–100)"), "{text}");
        assert!(!text.contains("-899300"), "a way that was too narrow is no baseline: {text}");
        assert!(text.contains("200 thousand round trips/s at least"), "{text}");
        assert!(text.contains("400 thousand packets/s"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
        let stem = report.host.file_stem("latency");
        let read = |ending| {
            std::fs::read_to_string(folder.path().join(format!("{stem}.{ending}"))).unwrap()
        };
        assert!(read("md").contains("| ringway | 50 % | 100.0 | 80 (60–100) |"));
        let json: Value = serde_json::from_str(&read("json")).unwrap();
        assert_eq!(json["rows"][0]["shares"][0]["added_median_us"]["median"], 80.0);
    }
}
