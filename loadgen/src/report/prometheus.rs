//! The state of a running test in the Prometheus text format.

use std::fmt::Write;

use crate::conduct::Moment;
use crate::measure::{Counts, Generator, Measurement};

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Everything up to this moment.
#[must_use]
pub fn render(kind: &str, moment: &Moment, total: &Measurement) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, form: &str, rows: &[(String, f64)]| {
        let name = format!("ringway_loadgen_{name}");
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {form}");
        for (labels, value) in rows {
            let labels = if labels.is_empty() { String::new() } else { format!(",{labels}") };
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"{labels}}} {value}");
        }
    };
    let one = |value: f64| [(String::new(), value)];
    metric("active", "Calls or flows at this moment.", "gauge", &one(f64::from(moment.active)));
    metric("elapsed_seconds", "Since the test began.", "gauge", &one(moment.elapsed.as_secs_f64()));
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but f64")]
    for (rows, values) in [
        (Counts::ROWS, &total.counts.values()[..]),
        (Generator::ROWS, &total.generator.values()[..]),
    ] {
        for ((name, help), value) in rows.iter().zip(values) {
            metric(&format!("{name}_total"), help, "counter", &one(*value as f64));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but f64")]
    let causes: Vec<(String, f64)> = total
        .failures
        .iter()
        .map(|(cause, count)| (format!("cause=\"{}\"", cause.replace('"', "'")), *count as f64))
        .collect();
    metric("failures_total", "Calls or flows that failed, by cause.", "counter", &causes);
    for (name, help, histogram) in [
        (
            "round_trip_seconds",
            "Round trip of media, from when each packet was due.",
            &total.latency.corrected,
        ),
        (
            "round_trip_uncorrected_seconds",
            "The same as a closed loop would have it.",
            &total.latency.uncorrected,
        ),
        ("lateness_seconds", "How late the generator sent.", &total.lateness),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds up to 104 days are exact")]
        let rows: Vec<(String, f64)> = QUANTILES
            .iter()
            .map(|quantile| {
                let value = histogram.value_at_quantile(*quantile) as f64 / 1e9;
                (format!("quantile=\"{quantile}\""), value)
            })
            .collect();
        metric(name, help, "gauge", &rows);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::story;

    #[test]
    fn every_line_is_of_the_format() {
        let story = story(50, 5);
        let text = render("flows", &story.seconds[0], &story.total);
        for wanted in [
            "ringway_loadgen_sent_total{kind=\"flows\"} 1000",
            "ringway_loadgen_failures_total{kind=\"flows\",cause=\"no answer to any check\"} 1",
            "ringway_loadgen_round_trip_seconds{kind=\"flows\",quantile=\"0.99\"} 0.05",
            "ringway_loadgen_active{kind=\"flows\"} 4",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.ends_with('}'), "{line}");
        }
    }
}
