//! For what must be logged but could repeat without end: at most one line per interval, and the
//! line says how many were left out.
//!
//! ```
//! # extern crate ringway_service as service;
//! use service::log::Sparing;
//! static SEND_FAILED: Sparing = Sparing::once_a_minute();
//! if let Some(suppressed) = SEND_FAILED.admit() {
//!     tracing::warn!(suppressed, "the kernel refuses to send to clients");
//! }
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No line yet.
const NEVER: u64 = u64::MAX;

/// Admits one line per interval, over all threads. Lock-free, and made for a `static`.
#[derive(Debug)]
pub struct Sparing {
    interval_ms: u64,
    last_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Sparing {
    /// At most one line a minute.
    #[must_use]
    pub const fn once_a_minute() -> Self {
        Self::every_ms(60_000)
    }

    /// At most one line in so many milliseconds.
    #[must_use]
    pub const fn every_ms(interval_ms: u64) -> Self {
        Self { interval_ms, last_ms: AtomicU64::new(NEVER), suppressed: AtomicU64::new(0) }
    }

    /// Whether to log now; and if so, how many lines were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.admit_at(START.get_or_init(Instant::now).elapsed())
    }

    /// As [`admit`](Self::admit), at a time counted from anywhere, as long as it is the same
    /// anywhere every time.
    pub fn admit_at(&self, now: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_millis()).unwrap_or(NEVER - 1);
        let last = self.last_ms.load(Ordering::Relaxed);
        let due = last == NEVER || now.saturating_sub(last) >= self.interval_ms;
        // Of several threads that find it due, the one that moves the time logs.
        let won = due
            && self
                .last_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_interval_that_counts_the_rest() {
        let sparing = Sparing::once_a_minute();
        let table = [
            (0, Some(0)),
            (1, None),
            (59, None),
            (60, Some(2)),
            (60, None),
            (119, None),
            (120, Some(2)),
            (1000, Some(0)),
        ];
        for (seconds, expected) in table {
            assert_eq!(sparing.admit_at(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn of_many_threads_one_logs_and_nothing_goes_uncounted() {
        let sparing = Sparing::once_a_minute();
        let admitted: u64 = std::thread::scope(|scope| {
            let attempts = || (0..1000).filter_map(|_| sparing.admit()).count() as u64;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempts)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1);
        let later = Duration::from_secs(1 << 30);
        assert_eq!(sparing.admit_at(later), Some(3999));
    }
}
