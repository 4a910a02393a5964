//! Alerts, recording rules, dashboards and the runbook: none may name a metric, a label or a reason that
//! its program does not have, and none of these may be left without a word. What programs have is what
//! their own tests keep `docs/metrics*.md` equal to. Checks that need promtool are skipped with a line
//! where it is missing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::{read, run};

/// A program that is watched, and the documents about it.
struct Watched {
    prefix: &'static str,
    metrics: &'static str,
    rules: &'static str,
    tests: &'static str,
    dashboard: &'static str,
    /// Its sections of the runbook.
    alerts_section: &'static str,
    drops_section: &'static str,
}

const RELAY: Watched = Watched {
    prefix: "relay_",
    metrics: "docs/metrics.md",
    rules: "deploy/prometheus/relay-rules.yml",
    tests: "deploy/prometheus/relay-rules.test.yml",
    dashboard: "deploy/grafana/ringway-relay.json",
    alerts_section: "### Alerts of relays",
    drops_section: "### What relays drop",
};

const TRANSCEIVER: Watched = Watched {
    prefix: "transceiver_",
    metrics: "docs/metrics-transceiver.md",
    rules: "deploy/prometheus/transceiver-rules.yml",
    tests: "deploy/prometheus/transceiver-rules.test.yml",
    dashboard: "deploy/grafana/ringway-transceiver.json",
    alerts_section: "### Alerts of transceivers",
    drops_section: "### What transceivers drop",
};

const ALL: [Watched; 2] = [RELAY, TRANSCEIVER];

/// What a program exports: metrics by name with their kind and labels, and reasons for drops.
struct Documented {
    text: String,
    metrics: BTreeMap<String, (String, String)>,
    reasons: BTreeSet<String>,
}

impl Watched {
    fn documented(&self) -> Documented {
        let text = read(self.metrics);
        let (mut metrics, mut reasons) = (BTreeMap::new(), BTreeSet::new());
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
            match (name, cells.len()) {
                (Some(name), 6) => {
                    metrics.insert(name.to_owned(), (cells[2].to_owned(), cells[3].to_owned()));
                }
                (Some(reason), 4) => {
                    reasons.insert(reason.to_owned());
                }
                _ => {}
            }
        }
        assert!(metrics.len() > 50 && reasons.len() > 15, "{} has another form now", self.metrics);
        Documented { text, metrics, reasons }
    }

    /// Queries: the rules' expressions, and all of the dashboard.
    fn queries(&self) -> Vec<String> {
        let mut all = Vec::new();
        let rules = read(self.rules);
        let lines: Vec<&str> = rules.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if let Some(rest) = line.trim().strip_prefix("expr: ") {
                let depth = line.len() - line.trim_start().len();
                let deeper = |line: &&&str| line.len() - line.trim_start().len() > depth;
                let more = lines[index + 1..].iter().take_while(deeper).copied();
                all.push(std::iter::once(rest).chain(more).collect::<Vec<_>>().join(" "));
            }
        }
        let dashboard: serde_json::Value = serde_json::from_str(&read(self.dashboard)).unwrap();
        gather(&dashboard, &mut all);
        assert!(all.len() > 60, "{}", all.len());
        all
    }

    /// All words of a query that could be a metric of this program.
    fn names<'a>(&self, query: &'a str) -> BTreeSet<&'a str> {
        words(query).filter(|word| word.starts_with(self.prefix)).collect()
    }

    /// What the rules have of this kind: `alert` or `record`.
    fn rules_of(&self, kind: &str) -> BTreeSet<String> {
        let start = format!("- {kind}: ");
        let rules = read(self.rules);
        let names = rules.lines().filter_map(|line| line.trim().strip_prefix(start.as_str()));
        names.map(str::to_owned).collect()
    }
}

fn words(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}

fn gather(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "expr" || name == "query" => into.push(text.to_owned()),
                    _ => gather(value, into),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| gather(value, into)),
        _ => {}
    }
}

/// Values of a label that a query compares with.
fn compared<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for operator in ["=", "=~", "!=", "!~"] {
        for part in text.split(&format!("{label}{operator}\"")).skip(1) {
            values.extend(part.split('"').next().unwrap_or_default().split('|'));
        }
    }
    values
}

#[test]
fn every_query_names_what_its_program_exports() {
    for watched in ALL {
        let Documented { text, metrics, reasons } = watched.documented();
        let recorded = watched.rules_of("record");
        let mut used = BTreeSet::new();
        for query in watched.queries() {
            for name in watched.names(&query) {
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                    let base = name.strip_suffix(end)?;
                    metrics.get(base).is_some_and(|(kind, _)| kind == "histogram").then_some(base)
                });
                let base = base.unwrap_or(name);
                assert!(
                    metrics.contains_key(base),
                    "{name} is not in {}: {query}",
                    watched.metrics
                );
                used.insert(base.to_owned());
            }
            for name in
                words(&query).filter(|word| word.starts_with("instance") && word.contains(':'))
            {
                assert!(recorded.contains(name), "{name} is not recorded: {query}");
            }
            for reason in compared(&query, "reason") {
                let ended =
                    query.contains("sessions_ended") && text.contains(&format!("`{reason}`"));
                let known = reasons.contains(reason) || ended || query.contains("_engine_info");
                assert!(known, "there is no reason {reason:?}: {query}");
            }
            for socket in compared(&query, "socket") {
                assert!(["public", "tunnel"].contains(&socket), "{socket}: {query}");
            }
        }
        assert!(used.len() > 35, "{used:?}");
    }
}

#[test]
fn every_query_groups_by_labels_that_there_are() {
    for watched in ALL {
        let Documented { metrics, .. } = watched.documented();
        let mut grouped = 0;
        for query in watched.queries() {
            // Of a query with several metrics, a label must be one of any of them.
            let names = watched.names(&query);
            let labels: BTreeSet<&str> = metrics
                .iter()
                .filter(|(name, _)| names.iter().any(|used| used.starts_with(name.as_str())))
                .flat_map(|(_, (_, labels))| labels.split(", "))
                .chain(["instance", "job", "le"])
                .collect();
            if names.is_empty() {
                continue;
            }
            for part in query.split(" by (").skip(1).chain(query.split("without (").skip(1)) {
                for label in part.split(')').next().unwrap().split(", ") {
                    assert!(labels.contains(label), "{label} is no label there: {query}");
                    grouped += 1;
                }
            }
        }
        assert!(grouped > 30, "{grouped}");
    }
}

#[test]
fn every_alert_is_tested_as_it_fires_and_as_it_does_not() {
    for watched in ALL {
        let tests = read(watched.tests);
        let alerts = watched.rules_of("alert");
        assert!(alerts.len() >= 15);
        for alert in alerts {
            let quiet = format!("{{ eval_time: 70m, alertname: {alert} }}");
            assert!(tests.contains(&quiet), "{alert} is not tested to be quiet");
            let fires =
                format!("        alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
            assert!(tests.contains(&fires), "{alert} is not tested to fire");
        }
    }
}

/// The chart carries them by links, which an archive or a checkout could have lost.
#[test]
fn the_chart_has_the_same_rules_and_dashboards() {
    for watched in ALL {
        for file in [watched.rules, watched.dashboard] {
            let (_, name) = file.rsplit_once('/').unwrap();
            assert_eq!(read(&format!("deploy/helm/ringway/files/{name}")), read(file));
        }
    }
}

#[test]
fn promtool_agrees() {
    for watched in ALL {
        let Some((good, text)) = run("promtool", &["check", "rules", watched.rules]) else {
            return;
        };
        assert!(good, "{text}");
        let (good, text) = run("promtool", &["test", "rules", watched.tests]).unwrap();
        assert!(good, "{text}");
    }
}

/// What a table of the runbook has entries for: the names in the first cells of its rows. Each row
/// says what it means and what to do.
fn runbook(section: &str) -> BTreeSet<String> {
    let text = read("docs/operating.md");
    let mut lines = text.lines().skip_while(|line| *line != section);
    assert!(lines.next().is_some(), "docs/operating.md has no section {section:?}");
    let mut names = BTreeSet::new();
    for line in lines.take_while(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let named = cells.get(1).copied().unwrap_or_default();
        if !named.starts_with('`') {
            continue;
        }
        assert_eq!(cells.len(), 5, "not three cells: {line}");
        assert!(cells[2].len() > 10 && cells[3].len() > 5, "too little said: {line}");
        for name in named.split('`').skip(1).step_by(2) {
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }
    names
}

#[test]
fn the_runbook_has_every_alert_and_no_other() {
    for watched in ALL {
        assert_eq!(runbook(watched.alerts_section), watched.rules_of("alert"));
    }
}

#[test]
fn the_runbook_has_every_reason_for_a_drop_and_no_other() {
    for watched in ALL {
        assert_eq!(runbook(watched.drops_section), watched.documented().reasons);
    }
}
