//! The families that the exporter cannot hold, written in the text format by hand: counters of
//! seconds (its counters are whole numbers), histograms that the workers have counted already (it
//! takes single values only), and peers, which come and go.

use super::declare::Row;
use crate::worker::{BUCKETS, Histogram};
use std::fmt::{self, Write};

/// Metrics text in the making.
#[derive(Debug)]
pub(super) struct Text(String);

impl Text {
    pub(super) const fn after(text: String) -> Self {
        Self(text)
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Begins a metric.
    pub(super) fn family(&mut self, row: &Row) {
        let Row { name, kind, help, .. } = row;
        self.put(format_args!("# HELP {name} {}\n", Escaped(help, Place::Help)));
        self.put(format_args!("# TYPE {name} {}\n", kind.as_str()));
    }

    /// One number of a metric.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{}\"", Escaped(text, Place::Label)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
    }

    /// One worker's histogram, as [`Histogram::write`] wrote it, with each value times `unit`.
    pub(super) fn histogram(
        &mut self,
        row: &Row,
        worker: &str,
        written: &[u64; Histogram::LEN],
        unit: f64,
    ) {
        let bucket_name = format!("{}_bucket", row.name);
        let (counts, sum) = written.split_at(BUCKETS);
        let mut below = 0;
        for (bucket, count) in counts.iter().enumerate() {
            below += count;
            let bound = Histogram::bound(bucket)
                .map_or_else(|| "+Inf".to_owned(), |bound| scaled(bound, unit).to_string());
            self.sample(&bucket_name, &[("worker", worker), ("le", &bound)], below);
        }
        let sum = scaled(sum.iter().sum(), unit);
        self.sample(&format!("{}_sum", row.name), &[("worker", worker)], sum);
        self.sample(&format!("{}_count", row.name), &[("worker", worker)], below);
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(arguments);
    }
}

/// A whole number in another unit. Beyond 2^53 the last digits are lost, as in every scraper.
#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are f64")]
pub(super) fn scaled(value: u64, unit: f64) -> f64 {
    // Dividing by the inverse gives 0.000128 where multiplying gives 0.00012799999999999999.
    value as f64 / (1.0 / unit).round()
}

/// Where a text stands: quotes are escaped in labels only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Help,
    Label,
}

struct Escaped<'a>(&'a str, Place);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 == Place::Label => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::metrics::declare::{LATENCY, PEER_UP};

    #[test]
    fn labels_and_helps_are_escaped() {
        let mut text = Text::after(String::new());
        let row = Row { help: "a \"b\" \\ c\nd.", ..PEER_UP };
        text.family(&row);
        text.sample("x", &[("a", "\"q\" \\ \n"), ("b", "")], 1);
        text.sample("y", &[], 0.5);
        let expected = "# HELP relay_peer_up a \"b\" \\\\ c\\nd.\n# TYPE relay_peer_up gauge\n\
                        x{a=\"\\\"q\\\" \\\\ \\n\",b=\"\"} 1\ny 0.5\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_base_units() {
        let mut histogram = Histogram::new();
        for value_us in [1, 100, 100, u64::from(u32::MAX)] {
            histogram.record(value_us);
        }
        let mut written = [0; Histogram::LEN];
        histogram.write(&mut written);
        let mut text = Text::after(String::new());
        text.histogram(&LATENCY, "3", &written, 1e-6);
        let text = text.finish();
        for line in [
            "relay_latency_seconds_bucket{worker=\"3\",le=\"0.000001\"} 1",
            "relay_latency_seconds_bucket{worker=\"3\",le=\"0.000064\"} 1",
            "relay_latency_seconds_bucket{worker=\"3\",le=\"0.000128\"} 3",
            "relay_latency_seconds_bucket{worker=\"3\",le=\"4.194304\"} 3",
            "relay_latency_seconds_bucket{worker=\"3\",le=\"+Inf\"} 4",
            "relay_latency_seconds_sum{worker=\"3\"} 4294.967496",
            "relay_latency_seconds_count{worker=\"3\"} 4",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in\n{text}");
        }
    }
}
