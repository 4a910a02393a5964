//! When the next packet is due: evenly spaced from a fixed start, so that no error adds up.

use std::time::Duration;

/// How packets are spaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as they can be injected.
    Unpaced,
    /// Evenly, this many datagrams a second.
    Even(f64),
}

/// Counts what is due, and what came too late.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pace: Pace,
    sent: u64,
    /// Datagrams that left in a bunch because the generator was not there in time.
    bunched: u64,
}

impl Schedule {
    /// A schedule that starts now, at elapsed zero.
    pub const fn new(pace: Pace) -> Self {
        Self { pace, sent: 0, bunched: 0 }
    }

    /// How many datagrams to send at this moment, at most `most`. What was missed is made up for
    /// at once, so that the rate holds.
    pub fn due(&self, elapsed: Duration, most: usize) -> usize {
        match self.pace {
            Pace::Unpaced => most,
            Pace::Even(rate) => {
                // The first is due at zero.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "≥ 1")]
                let until_now = (elapsed.as_secs_f64() * rate) as u64 + 1;
                let missing = until_now.saturating_sub(self.sent);
                usize::try_from(missing).unwrap_or(most).min(most)
            }
        }
    }

    /// Takes note of what was sent.
    pub const fn sent(&mut self, count: usize) {
        self.sent += count as u64;
        if count > 1 {
            self.bunched += count as u64;
        }
    }

    /// All that was sent.
    pub const fn total(&self) -> u64 {
        self.sent
    }

    /// The share of datagrams that did not leave at their own moment.
    pub fn bunched_share(&self) -> f64 {
        match self.pace {
            Pace::Unpaced => 0.0,
            Pace::Even(_) => self.bunched as f64 / self.sent.max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_pace_keeps_its_rate_and_bounds_its_bursts() {
        let mut schedule = Schedule::new(Pace::Even(1000.0));
        assert_eq!(schedule.due(Duration::ZERO, 64), 1);
        schedule.sent(1);
        assert_eq!(schedule.due(Duration::from_micros(999), 64), 0);
        assert_eq!(schedule.due(Duration::from_micros(1001), 64), 1);
        // Away for 100 ms: the backlog comes in batches of what fits.
        assert_eq!(schedule.due(Duration::from_micros(100_500), 64), 64);
        schedule.sent(64);
        assert_eq!(schedule.due(Duration::from_micros(100_500), 64), 36);
        schedule.sent(36);
        assert_eq!(schedule.due(Duration::from_micros(100_500), 64), 0);
        assert_eq!(schedule.total(), 101);
        assert!((schedule.bunched_share() - 100.0 / 101.0).abs() < 1e-9);
    }

    #[test]
    fn unpaced_is_always_due() {
        let mut schedule = Schedule::new(Pace::Unpaced);
        schedule.sent(64);
        assert_eq!(schedule.due(Duration::ZERO, 64), 64);
        assert!(schedule.bunched_share() < 1e-9);
    }
}
