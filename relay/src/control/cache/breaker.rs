//! Keeps from asking somebody who does not answer: after each failure longer, and then once to see.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    asks_again_at: Option<Instant>,
}

impl Breaker {
    /// Whether to ask.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.asks_again_at.is_none_or(|until| now >= until)
    }

    /// It answered.
    pub(super) fn worked(&mut self) -> bool {
        self.asks_again_at = None;
        std::mem::take(&mut self.failures) > 0
    }

    /// It did not. True the first time.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.asks_again_at = Some(now + pause);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_the_first_answer() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        assert!(breaker.allows(now));
        for (failure, pause_ms) in
            [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000].iter().enumerate()
        {
            assert_eq!(breaker.failed(now), failure == 0);
            let pause = Duration::from_millis(*pause_ms);
            assert!(!breaker.allows(now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(breaker.allows(now), "{pause:?}");
        }
        assert!(breaker.worked());
        assert!(!breaker.worked(), "nothing to tell of");
        assert!(breaker.failed(now));
        assert!(breaker.allows(now + FIRST_PAUSE));
    }
}
