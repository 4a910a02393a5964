//! Metrics in the Prometheus text format: how they are declared, written and documented.
//!
//! Nothing is counted here. Whoever counts declares each metric once, as a [`Row`] or a
//! [`Declaration`]; the text and the table in the documentation follow from that.

pub mod strict;
mod text;

pub use text::{Text, scaled};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As the text format says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Its name, unit last.
    pub name: String,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: Vec<&'static str>,
    /// What it says.
    pub help: String,
}

/// A metric that is declared by hand.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name, unit last.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Row {
    /// A number that only grows.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A number that goes up and down.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// Counts by size.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }
}

impl From<&Row> for Declaration {
    fn from(row: &Row) -> Self {
        Self {
            name: row.name.to_owned(),
            kind: row.kind,
            labels: row.labels.to_vec(),
            help: row.help.to_owned(),
        }
    }
}

/// The metrics as a table of the documentation, in Markdown.
#[must_use]
pub fn markdown(metrics: &[Declaration]) -> String {
    let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let labels = metric.labels.join(", ");
        let help = cell(&metric.help);
        let row = format!("| `{}` | {} | {labels} | {help} |\n", metric.name, metric.kind.as_str());
        table.push_str(&row);
    }
    table
}

/// A text that cannot end its cell in a Markdown table.
#[must_use]
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A part of a whole; zero if there is no whole.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
