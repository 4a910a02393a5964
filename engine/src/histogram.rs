//! A histogram that costs a worker two additions: power-of-two buckets, plain numbers.

/// Buckets of a histogram: bucket `n` counts the values from 2^(n-1) up to and including 2^n, the first
/// zero and one, the last everything above.
pub const BUCKETS: usize = 24;

/// Counts values by their magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Numbers that [`Histogram::write`] writes.
    pub const LEN: usize = BUCKETS + 1;

    /// An empty one.
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS], sum: 0 }
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// The largest value of a bucket; `None` for the last, which has no bound.
    pub const fn bound(bucket: usize) -> Option<u64> {
        if bucket + 1 < BUCKETS { Some(1 << bucket) } else { None }
    }

    /// Copies the counts of all buckets and then the sum.
    pub fn write(&self, out: &mut [u64]) {
        for (out, number) in out.iter_mut().zip(self.counts.iter().chain([&self.sum])) {
            *out = *number;
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(value: u64) -> usize {
        let mut histogram = Histogram::new();
        histogram.record(value);
        histogram.counts.iter().position(|count| *count == 1).unwrap()
    }

    #[test]
    fn values_fall_under_their_bound_and_above_the_one_before() {
        let last = 1 << (BUCKETS - 2);
        for value in [0, 1, 2, 3, 4, 5, 63, 64, 65, 1000, last - 1, last] {
            let bucket = bucket_of(value);
            assert!(value <= Histogram::bound(bucket).unwrap(), "{value} in {bucket}");
            assert!(
                bucket == 0 || value > Histogram::bound(bucket - 1).unwrap(),
                "{value} in {bucket}"
            );
        }
    }

    #[test]
    fn what_is_beyond_all_bounds_is_in_the_last() {
        for value in [(1 << (BUCKETS - 2)) + 1, u64::MAX] {
            assert_eq!(bucket_of(value), BUCKETS - 1);
        }
        assert_eq!(Histogram::bound(BUCKETS - 1), None);
    }

    #[test]
    fn counts_and_sum_are_written_in_order() {
        let mut histogram = Histogram::new();
        for value in [1, 2, 2, 100] {
            histogram.record(value);
        }
        let mut out = [9; Histogram::LEN];
        histogram.write(&mut out);
        assert_eq!(out[..3], [1, 2, 0]);
        assert_eq!((out[7], out[BUCKETS]), (1, 105));
    }
}
