//! A rate as a bucket of tokens: how many things may happen per second, and how many at once.

/// Tokens are counted in millionths, so that a microsecond of any rate is a whole number.
const TOKEN: u64 = 1_000_000;

/// A bucket that starts full.
#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    rate_per_second: u64,
    full: u64,
    level: u64,
    filled_us: u64,
}

impl TokenBucket {
    /// So many per second, `burst` of them at once.
    pub(super) fn new(rate_per_second: u32, burst: u32) -> Self {
        let full = u64::from(burst.max(1)) * TOKEN;
        Self { rate_per_second: u64::from(rate_per_second), full, level: full, filled_us: 0 }
    }

    /// Whether [`TokenBucket::take`] would find a token.
    pub(super) fn has_one(&self, now_us: u64) -> bool {
        self.level_at(now_us) >= TOKEN
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now_us: u64) -> bool {
        self.level = self.level_at(now_us);
        self.filled_us = self.filled_us.max(now_us);
        let there = self.level >= TOKEN;
        if there {
            self.level -= TOKEN;
        }
        there
    }

    fn level_at(&self, now_us: u64) -> u64 {
        let elapsed_us = now_us.saturating_sub(self.filled_us);
        let gained = elapsed_us.saturating_mul(self.rate_per_second);
        self.level.saturating_add(gained).min(self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(100, 3);
        let start = 1_000_000;
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 3);
        assert!(!bucket.take(start + 9_999), "one every 10 ms");
        assert!(bucket.has_one(start + 10_000));
        assert!(bucket.take(start + 10_000));
        assert!(!bucket.has_one(start + 10_000));
        assert!((0..4).filter(|_| bucket.take(start + 100_000_000)).count() == 3, "never more");
    }

    #[test]
    fn no_rate_leaves_the_burst_and_a_clock_that_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(0, 1);
        assert!(bucket.take(5_000_000));
        assert!(!bucket.take(u64::MAX));
        let mut bucket = TokenBucket::new(1_000_000, 1);
        assert!(bucket.take(5_000_000));
        assert!(!bucket.take(4_000_000));
    }
}
