//! Latency histograms: what was measured from the time a packet was due, and beside it what a
//! closed loop would have said.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Nanoseconds, milliseconds};

/// Two digits after the first: 0.1 % of the value.
const SIGNIFICANT_DIGITS: u8 = 3;
/// Finer than a microsecond is noise.
const LEAST_NS: u64 = 1_000;
/// Longer is as good as never, and would only cost memory.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds, which grows as it needs to.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(LEAST_NS, 2 * LEAST_NS, SIGNIFICANT_DIGITS)
        .expect("these bounds are valid");
    histogram.auto(true);
    histogram
}

/// Records a latency.
pub fn record(histogram: &mut Histogram<u64>, value: Nanoseconds) {
    // It grows by itself, and the clamp bounds how far.
    let _ = histogram.record(value.min(LONGEST_NS));
}

/// The same packets, counted twice.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Every packet that came back, from when it was due to be sent.
    pub corrected: Histogram<u64>,
    /// What a closed loop sees (one packet at a time per flow, from when it was really sent). While
    /// the target stalls it asks nothing, so it misses nearly all of the stall.
    pub uncorrected: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { corrected: histogram(), uncorrected: histogram() }
    }
}

impl Latencies {
    /// Adds what another has.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.corrected, &other.corrected);
        merge(&mut self.uncorrected, &other.uncorrected);
    }
}

/// Adds one histogram to another.
pub(super) fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // Both grow by themselves and have the same digits, so nothing can fail to fit.
    let _ = into.add(from);
}

/// A histogram in a few numbers, in milliseconds. All zero if nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// The least.
    pub min_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// Nine of ten are no longer than this.
    pub p90_ms: f64,
    /// 95 of a hundred.
    pub p95_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// 999 of a thousand.
    pub p999_ms: f64,
    /// 9,999 of ten thousand.
    pub p9999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Summary {
    /// Of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            min_ms: milliseconds(histogram.min()),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: milliseconds(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_that_were_put_in() {
        let mut histogram = histogram();
        for value in 1..=1000u64 {
            record(&mut histogram, value * 1_000_000);
        }
        let summary = Summary::of(&histogram);
        assert_eq!(summary.count, 1000);
        for (is, want) in [
            (summary.min_ms, 1.0),
            (summary.p50_ms, 500.0),
            (summary.p99_ms, 990.0),
            (summary.p999_ms, 999.0),
            (summary.max_ms, 1000.0),
        ] {
            assert!((is - want).abs() <= want * 0.002, "{is} for {want}");
        }
        assert_eq!(Summary::of(&super::histogram()), Summary::default());
    }

    #[test]
    fn for_ever_is_an_hour() {
        let mut histogram = histogram();
        record(&mut histogram, u64::MAX);
        assert!(histogram.max() >= LONGEST_NS && histogram.max() < LONGEST_NS / 100 * 101);
    }
}
