//! How long a worker may wait for more packets once it has one: nothing while it is quiet, the
//! budget under load.
//!
//! Evenly spaced packets come one to a wake-up, and waking up is then the whole cost. Waiting a
//! little lets one wake-up serve several. A quiet worker gains nothing by that, so it does not
//! wait; in between the wait grows with the load, so that no rate has a cliff.
//!
//! The load is measured in packets, not in wake-ups: wake-ups are what the waiting changes.

use std::time::Duration;

/// Below this, waking up costs a core some 2 % at 10 µs a time: not worth a delay.
const QUIET_PACKETS_PER_S: u64 = 2_000;
/// From here on the whole budget is spent: unbatched, these wake-ups would take a fifth of a core.
const BUSY_PACKETS_PER_S: u64 = 20_000;
/// How often the load is judged anew.
const WINDOW_US: u64 = 10_000;

const _: () = assert!(QUIET_PACKETS_PER_S < BUSY_PACKETS_PER_S);

/// Chooses the wait.
#[derive(Debug)]
pub(crate) struct Coalescer {
    budget_us: u64,
    wait: Duration,
    window_start_us: u64,
    window_packets: u64,
}

impl Coalescer {
    /// With a budget of zero it never waits.
    pub(crate) const fn new(budget_us: u64, now_us: u64) -> Self {
        Self { budget_us, wait: Duration::ZERO, window_start_us: now_us, window_packets: 0 }
    }

    /// Changes the budget. Takes effect with the next window.
    pub(crate) const fn set_budget(&mut self, budget_us: u64) {
        self.budget_us = budget_us;
    }

    /// Counts the packets of a batch and says how long the next may wait to fill.
    #[inline]
    pub(crate) fn after_batch(&mut self, packets: u64, now_us: u64) -> Duration {
        self.window_packets += packets;
        let elapsed_us = now_us.saturating_sub(self.window_start_us);
        if elapsed_us >= WINDOW_US {
            let packets_per_s = self.window_packets.saturating_mul(1_000_000) / elapsed_us;
            let load = packets_per_s.clamp(QUIET_PACKETS_PER_S, BUSY_PACKETS_PER_S);
            let span = BUSY_PACKETS_PER_S - QUIET_PACKETS_PER_S;
            let wait_us = self.budget_us * (load - QUIET_PACKETS_PER_S) / span;
            self.wait = Duration::from_micros(wait_us);
            self.window_start_us = now_us;
            self.window_packets = 0;
        }
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait after a second of packets evenly spaced.
    fn wait_us_at(packets_per_s: u64, budget_us: u64) -> u128 {
        let mut coalescer = Coalescer::new(budget_us, 0);
        let mut wait = Duration::ZERO;
        for packet in 1..=packets_per_s {
            wait = coalescer.after_batch(1, packet * 1_000_000 / packets_per_s);
        }
        wait.as_micros()
    }

    #[test]
    fn the_wait_grows_with_the_load() {
        for (packets_per_s, want) in
            [(10, 0), (2_000, 0), (11_000, 50), (20_000, 100), (300_000, 100)]
        {
            let wait = wait_us_at(packets_per_s, 100);
            assert!(wait.abs_diff(want) <= 2, "{packets_per_s} packets/s: {wait} µs");
        }
    }

    #[test]
    fn a_budget_of_zero_never_waits() {
        assert_eq!(wait_us_at(300_000, 0), 0);
    }

    #[test]
    fn it_stops_waiting_when_the_load_has_gone() {
        let mut coalescer = Coalescer::new(100, 0);
        assert!(coalescer.after_batch(10_000, WINDOW_US) > Duration::ZERO);
        assert_eq!(coalescer.after_batch(1, 10 * WINDOW_US), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_stands_still_divides_nothing_by_zero() {
        let mut coalescer = Coalescer::new(100, 5);
        assert_eq!(coalescer.after_batch(1_000_000, 5), Duration::ZERO);
        assert_eq!(coalescer.after_batch(1_000_000, 0), Duration::ZERO);
    }
}
