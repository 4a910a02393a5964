//! The text itself.

use super::{Kind, Row};
use std::fmt::{self, Write};

/// Metrics text in the making.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// A text that begins with another, of whole lines.
    pub const fn after(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }

    /// Begins a metric.
    pub fn family(&mut self, row: &Row) {
        self.begin(row.name, row.kind, row.help);
    }

    /// Begins a metric that is declared elsewhere.
    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        self.put(format_args!("# HELP {name} {}\n", Escaped(help, Place::Help)));
        self.put(format_args!("# TYPE {name} {}\n", kind.as_str()));
    }

    /// One number of a metric.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{}\"", Escaped(text, Place::Label)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
    }

    /// One histogram. `written` is the count of each bucket and then the sum of all values, `bound`
    /// the largest value of a bucket (none for the last); each value counts `unit`.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        written: &[u64],
        bound: impl Fn(usize) -> Option<u64>,
        unit: f64,
    ) {
        let Some((sum, counts)) = written.split_last() else { return };
        let bucket_name = format!("{name}_bucket");
        let mut below = 0;
        for (bucket, count) in counts.iter().enumerate() {
            below += count;
            let bound = bound(bucket)
                .map_or_else(|| "+Inf".to_owned(), |bound| scaled(bound, unit).to_string());
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&bucket_name, &labels, below);
        }
        self.sample(&format!("{name}_sum"), labels, scaled(*sum, unit));
        self.sample(&format!("{name}_count"), labels, below);
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(arguments);
    }
}

/// A whole number in another unit. Beyond 2^53 the last digits are lost, as in every scraper.
#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are f64")]
pub fn scaled(value: u64, unit: f64) -> f64 {
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

    #[test]
    fn labels_and_helps_are_escaped() {
        let mut text = Text::after(String::new());
        let row = Row::gauge("peer_up", &[], "a \"b\" \\ c\nd.");
        text.family(&row);
        text.sample("x", &[("a", "\"q\" \\ \n"), ("b", "")], 1);
        text.sample("y", &[], 0.5);
        let expected = "# HELP peer_up a \"b\" \\\\ c\\nd.\n# TYPE peer_up gauge\n\
                        x{a=\"\\\"q\\\" \\\\ \\n\",b=\"\"} 1\ny 0.5\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_base_units() {
        let bound = |bucket| [1, 64, 128].get(bucket).copied();
        let mut text = Text::default();
        text.histogram("x_seconds", &[("worker", "3")], &[1, 0, 2, 1, 4_294_967_496], bound, 1e-6);
        let expected = "\
x_seconds_bucket{worker=\"3\",le=\"0.000001\"} 1
x_seconds_bucket{worker=\"3\",le=\"0.000064\"} 1
x_seconds_bucket{worker=\"3\",le=\"0.000128\"} 3
x_seconds_bucket{worker=\"3\",le=\"+Inf\"} 4
x_seconds_sum{worker=\"3\"} 4294.967496
x_seconds_count{worker=\"3\"} 4
";
        assert_eq!(text.finish(), expected);
    }
}
