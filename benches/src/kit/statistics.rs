//! Medians, spreads and percentiles. Few values, far from normal: nothing here assumes a shape.

use serde_json::{Value, json};

/// The middle of repeated measurements and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let count = values.len();
        let upper = values[count / 2];
        let median = if count.is_multiple_of(2) {
            f64::midpoint(values[count / 2 - 1], upper)
        } else {
            upper
        };
        Some(Self { median, min, max, count })
    }

    /// For the result file.
    pub fn to_json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max, "count": self.count })
    }
}

/// The value at `share` (0 to 1) of sorted values, by nearest rank.
pub fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=len")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    Some(sorted[rank.saturating_sub(1).min(last)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!(Spread::of([]), None);
        let of = |values: &[f64]| {
            let spread = Spread::of(values.iter().copied()).unwrap();
            (spread.median, spread.min, spread.max, spread.count)
        };
        assert_eq!(of(&[3.0]), (3.0, 3.0, 3.0, 1));
        assert_eq!(of(&[9.0, 1.0, 2.0]), (2.0, 1.0, 9.0, 3));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]), (3.0, 1.0, 9.0, 4));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7], 0.99), Some(7));
        for (share, want) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&hundred, share), Some(want), "{share}");
        }
    }
}
