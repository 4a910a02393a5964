//! Whether threads that tick still do.

use super::Health;

/// A thread ticks ten times a second. One that has not for this long is stuck, and a restart is
/// the cure.
const TICK_AGE_US_MAX: u64 = 5_000_000;

/// Whether each thread has ticked lately, given the monotonic times of their last ticks. One that
/// never has (zero) is given time from the start.
pub fn ticking(
    what: &str,
    ticked_at_us: impl IntoIterator<Item = u64>,
    now_us: u64,
    uptime_us: u64,
) -> Health {
    for (thread, ticked_at_us) in ticked_at_us.into_iter().enumerate() {
        let since_us = match ticked_at_us {
            0 => uptime_us,
            // The tick may have been noted after the clock was read.
            ticked_at_us => now_us.saturating_sub(ticked_at_us),
        };
        if since_us > TICK_AGE_US_MAX {
            let seconds = since_us / 1_000_000;
            return Err(format!("{what} {thread} has not ticked for {seconds} s: it is stuck"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stopped_ticking_is_named() {
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
            assert_eq!(ticking("worker", [now_us, at_us], now_us, uptime_us), expected, "{name}");
        }
        assert_eq!(ticking("worker", [], now_us, now_us), Ok(()));
    }
}
