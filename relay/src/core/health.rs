//! Whether a shard is there: pings, pongs, and the round trip between them.

use super::limits::{PING_INTERVAL_US, PINGS_MISSED_DOWN};

/// What a peer's pings have shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// The latest ping: its token, which is the time it left, and whether it was answered.
    ping_us: Option<u64>,
    answered: bool,
    /// There is something to tell: do not wait for the next ping's time.
    hurried: bool,
    /// Unanswered pings in a row.
    missed: u16,
    /// The time of the latest pong in time.
    pong_us: Option<u64>,
    round_trip_us: Option<u32>,
}

/// What a pong was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pong {
    /// The answer to the latest ping.
    Timely,
    /// The answer to an earlier one, or to none.
    Stale,
}

impl Health {
    /// Whether it is time for a ping.
    pub(super) fn ping_is_due(&self, now_us: u64) -> bool {
        self.hurried
            || self.ping_us.is_none_or(|ping_us| now_us.saturating_sub(ping_us) >= PING_INTERVAL_US)
    }

    /// Notes that a ping leaves now; its token is `now_us`. Says whether the one before was missed.
    pub(super) fn pinged(&mut self, now_us: u64) -> bool {
        // One that a hurried ping overtakes had no time to be answered.
        let missed = self.ping_us.is_some() && !self.answered && !self.hurried;
        self.hurried = false;
        if missed {
            self.missed = self.missed.saturating_add(1);
        }
        self.ping_us = Some(now_us);
        self.answered = false;
        missed
    }

    /// Has the next ping leave at once.
    pub(super) const fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Takes a pong. Only the latest ping's token counts, so neither a late nor a repeated pong
    /// makes a round trip of nonsense.
    pub(super) fn ponged(&mut self, token: u64, now_us: u64) -> Pong {
        if self.ping_us != Some(token) || self.answered {
            return Pong::Stale;
        }
        self.answered = true;
        self.missed = 0;
        self.pong_us = Some(now_us);
        let round_trip_us = now_us.saturating_sub(token);
        self.round_trip_us = Some(u32::try_from(round_trip_us).unwrap_or(u32::MAX));
        Pong::Timely
    }

    /// Whether the shard answers. `None` before the first pings could tell.
    pub(super) fn is_up(&self) -> Option<bool> {
        if self.missed >= PINGS_MISSED_DOWN {
            return Some(false);
        }
        self.pong_us.map(|_| true)
    }

    /// Unanswered pings in a row.
    pub(super) const fn missed(&self) -> u16 {
        self.missed
    }

    /// The latest round trip.
    pub(super) const fn round_trip_us(&self) -> Option<u32> {
        self.round_trip_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_down_and_up_again() {
        let mut health = Health::default();
        assert_eq!(health.is_up(), None, "nobody knows yet");
        assert!(health.ping_is_due(0));
        let mut now_us = 5;
        assert!(!health.pinged(now_us));
        assert_eq!(health.ponged(5, 250), Pong::Timely);
        assert_eq!((health.is_up(), health.round_trip_us()), (Some(true), Some(245)));
        assert!(!health.ping_is_due(PING_INTERVAL_US + 4));
        assert!(health.ping_is_due(PING_INTERVAL_US + 5));
        now_us += PING_INTERVAL_US;
        assert!(!health.pinged(now_us));
        for missed in 1..=PINGS_MISSED_DOWN {
            assert_eq!(health.is_up(), Some(true), "{missed}");
            now_us += PING_INTERVAL_US;
            assert!(health.pinged(now_us));
        }
        assert_eq!((health.is_up(), health.missed()), (Some(false), PINGS_MISSED_DOWN));
        assert_eq!(health.ponged(now_us, now_us + 1), Pong::Timely);
        assert_eq!((health.is_up(), health.missed()), (Some(true), 0));
    }

    #[test]
    fn a_late_and_a_repeated_pong_tell_nothing() {
        let mut health = Health::default();
        health.pinged(10);
        health.pinged(2_000_000);
        assert_eq!(health.ponged(10, 2_000_001), Pong::Stale);
        assert_eq!(health.ponged(2_000_000, 2_000_100), Pong::Timely);
        assert_eq!(health.ponged(2_000_000, 9_000_000), Pong::Stale);
        assert_eq!(health.round_trip_us(), Some(100));
    }
}
