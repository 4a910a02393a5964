//! Clocks, in nanoseconds.

use nix::time::{ClockId, clock_gettime};

fn read_ns(clock: ClockId) -> u64 {
    // These clocks exist on every Linux, and none of them can be negative in this century.
    let now = clock_gettime(clock).map(std::time::Duration::from);
    now.ok().and_then(|now| u64::try_from(now.as_nanos()).ok()).unwrap_or(0)
}

/// Monotonic time since some fixed point.
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::CLOCK_MONOTONIC)
}

/// Time since 1970: the clock of receive timestamps.
pub fn realtime_ns() -> u64 {
    read_ns(ClockId::CLOCK_REALTIME)
}

/// CPU time this thread has used. Divided by monotonic time it is the thread's busy ratio.
pub fn thread_cpu_ns() -> u64 {
    read_ns(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of this process have used.
pub fn process_cpu_ns() -> u64 {
    read_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forwards() {
        for clock in [monotonic_ns, realtime_ns, thread_cpu_ns, process_cpu_ns] {
            let before = clock();
            while clock() == before {}
            assert!(clock() > before);
        }
    }
}
