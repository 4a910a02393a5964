//! Two reports side by side.

use std::fmt::Write;

use super::{Figures, Report, SCHEMA};

/// Reads a report from its file's text.
pub fn read(text: &str) -> Result<Report, String> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: String,
    }
    let schema: Schema =
        serde_json::from_str(text).map_err(|error| format!("is no report: {error}"))?;
    if schema.schema != SCHEMA {
        return Err(format!("has the schema {:?}; this program reads {SCHEMA:?}", schema.schema));
    }
    serde_json::from_str(text).map_err(|error| format!("is a damaged report: {error}"))
}

/// One figure of both: name, the two values, and whether less is better.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("packets/s", |figures| figures.packets_per_second),
    ("round trip p50 ms", |figures| figures.latency.p50_ms),
    ("round trip p90 ms", |figures| figures.latency.p90_ms),
    ("round trip p99 ms", |figures| figures.latency.p99_ms),
    ("round trip p99.9 ms", |figures| figures.latency.p999_ms),
    ("round trip max ms", |figures| figures.latency.max_ms),
    ("closed loop p99 ms", |figures| figures.latency_uncorrected.p99_ms),
    ("there p99 ms", |figures| figures.up.p99_ms),
    ("back p99 ms", |figures| figures.down.p99_ms),
    ("set-up p50 ms", |figures| phase(figures).p50_ms),
    ("set-up p99 ms", |figures| phase(figures).p99_ms),
    ("jitter p99 ms", |figures| figures.jitter.p99_ms),
    ("longest silence p99 ms", |figures| figures.gap.p99_ms),
    ("loss %", |figures| figures.loss * 100.0),
    ("failed %", |figures| figures.failure_share * 100.0),
    ("generator lateness p99 ms", |figures| figures.lateness.p99_ms),
];

fn phase(figures: &Figures) -> crate::measure::Summary {
    figures.phases.get(crate::slo::SETUP_PHASE).copied().unwrap_or_default()
}

/// The table, with the ratio of the second to the first; and a warning for what makes the two
/// incomparable.
#[must_use]
pub fn render(names: [&str; 2], reports: [&Report; 2]) -> String {
    let [a, b] = reports;
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    for (what, of_a, of_b) in [
        ("kind", a.kind.clone(), b.kind.clone()),
        ("mode", format!("{:?}", a.mode), format!("{:?}", b.mode)),
        ("load", a.result.load.to_string(), b.result.load.to_string()),
        ("host", a.host.name.clone(), b.host.name.clone()),
        ("kernel", a.host.kernel.clone(), b.host.kernel.clone()),
        ("engine", a.engine.clone(), b.engine.clone()),
    ] {
        if of_a != of_b {
            let _ = writeln!(text, "note: not the same {what}: {of_a} and {of_b}");
        }
    }
    for (name, report) in names.into_iter().zip(reports) {
        if !report.bottlenecks.is_empty() {
            let _ = writeln!(text, "note: in {name} the generator was the bottleneck");
        }
    }
    let [name_a, name_b] = names;
    let _ = writeln!(text, "{:<26} {name_a:>14} {name_b:>14} {:>8}", "", "ratio");
    for (name, value) in ROWS {
        let (of_a, of_b) = (value(&a.result), value(&b.result));
        if of_a == 0.0 && of_b == 0.0 {
            continue;
        }
        let ratio =
            if of_a > 0.0 { format!("{:>7.2}×", of_b / of_a) } else { format!("{:>8}", "–") };
        let _ = writeln!(text, "{name:<26} {of_a:>14.3} {of_b:>14.3} {ratio}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn ratios_are_of_the_second_to_the_first() {
        let (a, b) = (report(10, 10), report(25, 5));
        let text = render(["a.json", "b.json"], [&a, &b]);
        let row = |name: &str| {
            text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
        };
        assert!(row("round trip p99 ms").ends_with("2.50×"), "{text}");
        assert!(row("loss %").ends_with("0.50×"), "{text}");
        assert!(!text.contains("note:") && row("there p99").is_empty(), "{text}");
        let other = Report { engine: "mmsg".into(), ..report(10, 0) };
        let text = render(["a", "b"], [&a, &other]);
        assert!(text.contains("not the same engine: uring and mmsg"), "{text}");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let good = serde_json::to_string(&report(10, 0)).unwrap();
        assert_eq!(read(&good).unwrap().kind, "flows");
        for (text, part) in [
            ("", "no report"),
            ("{}", "no report"),
            ("{\"schema\":\"ringway-loadgen/9\"}", "has the schema"),
            ("{\"schema\":\"ringway-loadgen/1\"}", "damaged"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
