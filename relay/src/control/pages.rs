//! What the HTTP listener shows: metrics, and whether the relay lives and is ready.

use super::metrics::Metrics;
use super::relay::Relay;
use crate::worker::Numbers;
use service::http::{Health, Pages};
use std::sync::Arc;

/// A worker ticks ten times a second. One that has not for this long is stuck, and a restart is
/// the cure.
const TICK_AGE_US_MAX: u64 = 5_000_000;

/// The pages of a running relay.
pub struct RelayPages {
    relay: Arc<Relay>,
    metrics: Arc<Metrics>,
}

impl RelayPages {
    /// The pages of this relay, with these metrics.
    pub const fn new(relay: Arc<Relay>, metrics: Arc<Metrics>) -> Self {
        Self { relay, metrics }
    }
}

impl Pages for RelayPages {
    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn live(&self) -> Health {
        let now_us = engine::clock::monotonic_ns() / 1_000;
        let uptime_us = u64::try_from(self.relay.uptime().as_micros()).unwrap_or(u64::MAX);
        live(&self.relay.fleet().numbers(), now_us, uptime_us)
    }

    fn ready(&self) -> Health {
        self.live()?;
        if self.relay.is_draining() {
            return Err("draining: no new flows are taken (ctl undrain ends it)".to_owned());
        }
        Ok(())
    }
}

/// Whether every worker has ticked lately. One that never has is given time from the start.
fn live(workers: &[Numbers], now_us: u64, uptime_us: u64) -> Health {
    for (worker, numbers) in workers.iter().enumerate() {
        let since_us = match numbers.own.ticked_at_us {
            0 => uptime_us,
            // The slot may have been written after the clock was read.
            ticked_at_us => now_us.saturating_sub(ticked_at_us),
        };
        if since_us > TICK_AGE_US_MAX {
            let seconds = since_us / 1_000_000;
            return Err(format!("worker {worker} has not ticked for {seconds} s: it is stuck"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stopped_ticking_is_named() {
        let ticked = |at_us| {
            let mut numbers = Numbers::new();
            numbers.own.ticked_at_us = at_us;
            numbers
        };
        let now_us = 100_000_000;
        let stuck = |seconds| format!("worker 1 has not ticked for {seconds} s: it is stuck");
        let table = [
            ("just now", now_us, now_us, Ok(())),
            ("after the clock was read", now_us + 7, now_us, Ok(())),
            ("just in time", now_us - TICK_AGE_US_MAX, now_us, Ok(())),
            ("just too long ago", now_us - TICK_AGE_US_MAX - 1, now_us, Err(stuck(5))),
            ("never, but it has only begun", 0, TICK_AGE_US_MAX, Ok(())),
            ("never", 0, TICK_AGE_US_MAX + 1, Err(stuck(5))),
            ("never, for long", 0, 60_000_000, Err(stuck(60))),
        ];
        for (name, at_us, uptime_us, expected) in table {
            let workers = [ticked(now_us), ticked(at_us)];
            assert_eq!(live(&workers, now_us, uptime_us), expected, "{name}");
        }
        assert_eq!(live(&[], now_us, now_us), Ok(()));
    }
}
