//! Whose CPU time it was: schedstat of the process under test, steal of the virtual machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The core of the process under test.
pub const WORKER_CORE: usize = 0;
/// The core of generator and sink.
pub const GENERATOR_CORE: usize = 1;

/// Binds a process's main thread, and all that it starts from then on, to one core.
pub fn pin(pid: Pid, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).with_context(|| format!("There can be no core {core}"))?;
    sched_setaffinity(pid, &set).with_context(|| format!("Failed to pin to core {core}"))
}

/// Time on a core and time spent waiting for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Ran, user and system.
    pub run_ns: u64,
    /// Could have run, had the core been free.
    pub wait_ns: u64,
}

impl CpuTime {
    /// Of all threads of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut total = Self::default();
        let tasks = fs::read_dir(&folder).with_context(|| format!("Failed to list {folder}"))?;
        for task in tasks {
            let path = task.context("Failed to list the threads")?.path().join("schedstat");
            // A thread that ended between the listing and now has nothing more to say.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let time =
                parse(&text).with_context(|| format!("Failed to parse {}", path.display()))?;
            total.run_ns += time.run_ns;
            total.wait_ns += time.wait_ns;
        }
        Ok(total)
    }

    /// Of all threads of several processes; one that has ended counts nothing.
    pub fn of_all(pids: &[u32]) -> Self {
        let times = pids.iter().filter_map(|&pid| Self::of(pid).ok());
        times.fold(Self::default(), |sum, time| Self {
            run_ns: sum.run_ns + time.run_ns,
            wait_ns: sum.wait_ns + time.wait_ns,
        })
    }

    /// What was added since an earlier reading. A thread that ended in between may have taken its
    /// share along.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }
}

/// `run wait slices`
fn parse(text: &str) -> Option<CpuTime> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(CpuTime { run_ns: numbers.next()?.ok()?, wait_ns: numbers.next()?.ok()? })
}

/// What the host took from the worker's core so far, in ns. Resolution: 10 ms.
pub fn stolen_ns() -> u64 {
    const TICK_NS: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    parse_steal(&text, WORKER_CORE).map_or(0, |ticks| ticks * TICK_NS)
}

/// `cpuN user nice system idle iowait irq softirq steal …`
fn parse_steal(text: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    line.split_whitespace().nth(7)?.parse().ok()
}

/// Gives this session's processes precedence over other sessions on the machine while it lives: on
/// a shared machine the noise of others is most of the noise. It changes nothing about the cost of a packet.
#[derive(Debug)]
pub struct Precedence {
    before: Option<String>,
}

const AUTOGROUP: &str = "/proc/self/autogroup";
const MOST: &str = "-20";

impl Precedence {
    /// Takes it, where the kernel groups processes by session.
    pub fn take() -> Self {
        // `/autogroup-94 nice 0`
        let before = fs::read_to_string(AUTOGROUP)
            .ok()
            .and_then(|text| Some(text.trim().rsplit_once("nice ")?.1.to_owned()))
            // Left behind by a run that was killed.
            .map(|nice| if nice == MOST { "0".to_owned() } else { nice });
        let taken = before.is_some() && fs::write(Path::new(AUTOGROUP), MOST).is_ok();
        Self { before: before.filter(|_| taken) }
    }

    /// Whether it was to be had.
    pub const fn is_taken(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Best effort: it ends with the session anyway.
            let _ = fs::write(AUTOGROUP, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_the_kernel() {
        assert_eq!(parse("123 45 6\n"), Some(CpuTime { run_ns: 123, wait_ns: 45 }));
        assert_eq!(parse("123"), None);
        let stat =
            "cpu  1 2 3 4 5 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 88 9 0\ncpu1 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_steal(stat, 0), Some(88));
        assert_eq!(parse_steal(stat, 2), None);
    }

    #[test]
    fn our_own_time_is_readable_and_grows() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(20);
        while std::time::Instant::now() < until {}
        let spent = CpuTime::of(std::process::id()).unwrap().since(before);
        assert!(spent.run_ns > 1_000_000, "{spent:?}");
    }
}
