//! The results as a table for the terminal, as Markdown and as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kit::host::Host;
use kit::report::{aligned, line, markdown, spread, write_files};
use kit::statistics::Spread;
use serde_json::json;

use crate::run::{Egress, LOSS_MAX, PACKETS_A_SECOND, Searched, Step, best};

/// Of the JSON file: raised when a field changes its meaning.
const SCHEMA: u32 = 2;
/// What the generator is to drive from one core.
const WANTED: f64 = 300_000.0;

/// Everything a result file needs.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) host: Host,
    pub(crate) window: Duration,
    pub(crate) bytes: u16,
    pub(crate) engine: String,
    /// What else ran: the load average before.
    pub(crate) load_before: String,
    pub(crate) has_precedence: bool,
    pub(crate) searches: Vec<Searched>,
}

const HEADINGS: [&str; 9] = [
    "packets leave by",
    "packets/s",
    "generator µs/packet",
    "busy %",
    "echo µs/packet",
    "p50 ms",
    "p99 ms",
    "late p99 ms",
    "what ended it",
];

impl Report {
    /// For people who wait.
    pub(crate) fn to_terminal(&self) -> String {
        let mut text = aligned(&HEADINGS, 1, &self.table());
        line(&mut text, format_args!("\n{}", self.verdict()));
        text
    }

    /// Writes both files.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let rates = |egress| self.rates(egress, 1.0).map(Spread::to_json);
        let json = json!({
            "schema": SCHEMA,
            "host": self.host.to_json(),
            "how": self.how(),
            "packets_per_second": {
                "socket": rates(Egress::Socket),
                "direct": rates(Egress::Direct),
            },
            "wanted": WANTED,
            "met": self.is_met(),
            "searches": self.searches,
        });
        let json = serde_json::to_string_pretty(&json).context("Failed to write JSON")?;
        let text = format!(
            "# The load generator\n\n{}- measured: {}\n\n{}\n\n{}{HOW_TO_READ}",
            self.host.to_markdown(),
            self.how(),
            self.verdict(),
            markdown(&HEADINGS, 1, &self.table()),
        );
        let files = [("md", text.as_str()), ("json", json.as_str())];
        write_files(folder, &self.host.file_stem("loadgen"), &files)
    }

    /// In so many packets a second.
    fn rates(&self, egress: Egress, unit: f64) -> Option<Spread> {
        let searches = self.searches.iter().filter(|search| search.egress == egress);
        // A search in which nothing was driven counts.
        Spread::of(searches.map(|search| best(&search.steps).map_or(0.0, |step| step.rate / unit)))
    }

    fn is_met(&self) -> bool {
        self.rates(Egress::Direct, 1.0).is_some_and(|rates| rates.median >= WANTED)
    }

    fn verdict(&self) -> String {
        let thousands = |egress| spread(self.rates(egress, 1000.0), 0);
        let verdict = if self.is_met() { "PASS" } else { "MISS" };
        format!(
            "{verdict}: from one core, flows drives {} thousand packets/s out and as many back by direct \
             egress (at least {:.0} thousand wanted), {} thousand by sockets.",
            thousands(Egress::Direct),
            WANTED / 1000.0,
            thousands(Egress::Socket),
        )
    }

    fn how(&self) -> String {
        format!(
            "two network namespaces joined by veth; ringway-loadgen flows ({} engine) on core 1 against \
             sink --direct on core 0, both with the same egress; \
             {PACKETS_A_SECOND} packets/s of {} bytes a flow, each flow from an address of its own; steps \
             of {} s within 5 %, of which no more than {:.1} % may be lost, and in which the generator \
             must not call itself the bottleneck; load average before: {}; {} precedence over other \
             sessions of the machine",
            self.engine,
            self.bytes,
            self.window.as_secs(),
            LOSS_MAX * 100.0,
            self.load_before,
            if self.has_precedence { "with" } else { "without" },
        )
    }

    fn table(&self) -> Vec<Vec<String>> {
        let row = |Searched { egress, steps }: &Searched| {
            let name = egress.name().to_owned();
            let ended = steps.iter().rfind(|step| !is_driven(step));
            let ended = ended.map_or_else(String::new, |step| match step.bottlenecks.first() {
                Some(reason) => format!("at {:.0}: {reason}", step.rate),
                None => format!("at {:.0}: {:.2} % lost", step.rate, step.loss * 100.0),
            });
            let Some(step) = best(steps) else {
                let mut cells = vec!["–".to_owned(); HEADINGS.len()];
                cells[0] = name;
                cells[HEADINGS.len() - 1] = ended;
                return cells;
            };
            vec![
                name,
                format!("{:.0}", step.rate),
                format!("{:.2}", step.generator_us),
                format!("{:.0}", step.busy * 100.0),
                format!("{:.2}", step.echo_us),
                format!("{:.2}", step.p50_ms),
                format!("{:.2}", step.p99_ms),
                format!("{:.2}", step.late_p99_ms),
                ended,
            ]
        };
        let of = |egress| self.searches.iter().filter(move |search| search.egress == egress);
        Egress::ALL.into_iter().flat_map(of).map(row).collect()
    }
}

fn is_driven(step: &Step) -> bool {
    step.bottlenecks.is_empty() && step.loss <= LOSS_MAX
}

const HOW_TO_READ: &str = "
## How to read it

- *µs/packet* is the CPU time of a packet out and back, user and system, of the generator's thread and of
  the echo's process. On a veth pair the sender pays for the receiver's network stack: the generator for the
  echo's, the echo for the generator's. With a network card, whoever has its interrupts pays.
- *Busy* is of the time in which it sent.
- Latency counts from when a packet was due, so it has the generator's own lateness in it.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::of;

    #[test]
    fn a_report_names_the_rate_the_verdict_and_what_ended_the_search() {
        let direct = |steps| Searched { egress: Egress::Direct, steps };
        let searches = vec![
            direct(vec![
                of(200e3, &[], 0.0),
                of(320e3, &[], 0.0),
                of(400e3, &["it sent late"], 0.0),
            ]),
            Searched { egress: Egress::Socket, steps: vec![of(150e3, &[], 0.0)] },
            direct(vec![of(310e3, &[], 0.0), of(330e3, &[], 0.02)]),
            direct(vec![of(200e3, &["its threads were 99 % busy"], 0.0)]),
        ];
        let report = Report {
            host: Host::observe(),
            window: Duration::from_secs(4),
            bytes: 160,
            engine: "auto".to_owned(),
            load_before: "0.05".to_owned(),
            has_precedence: true,
            searches,
        };
        let text = report.to_terminal();
        for part in ["320000", "at 400000: it sent late", "at 330000: 2.00 % lost", "99 % busy"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("PASS: from one core, flows drives 310 (0–320) thousand"), "{text}");
        assert!(text.contains("wanted), 150 thousand by sockets"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
        let stem = report.host.file_stem("loadgen");
        let json = std::fs::read_to_string(folder.path().join(format!("{stem}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["met"], &json["packets_per_second"]["direct"]["median"]),
            (&true.into(), &310e3.into())
        );
    }
}
