//! Threads and CPUs: which ones we may use, and where a thread runs.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs this thread may run on, in ascending order: what the container or the service manager
/// allows, not what the machine has.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Pins this thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| {
        let message = format!("cannot run on CPU {cpu}: {error} (is it in this process's cpuset?)");
        io::Error::new(io::Error::from(error).kind(), message)
    })
}

/// Lets this thread's short sleeps end on time. By default the kernel may stretch each by 50 µs to
/// save wake-ups, which is as long as a coalescing budget.
pub fn precise_sleeps() {
    // SAFETY: changes a number in the calling thread's description and touches no memory of ours.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) };
}

/// Names this thread for ps, top and perf; the kernel keeps the first 15 bytes.
pub fn name_thread(name: &str) {
    let mut bytes = [0u8; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes().filter(|byte| *byte != 0)) {
        *to = from;
    }
    // SAFETY: "The name can be up to 16 bytes long, including the terminating null byte": the last
    // of these 16 is never written. The kernel copies them before it returns.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_one_cpu() {
        std::thread::spawn(|| {
            let cpus = allowed_cpus().unwrap();
            let last = *cpus.last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            precise_sleeps();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_explained() {
        let text = pin(CpuSet::count() - 1).unwrap_err().to_string();
        assert!(text.contains("cpuset"), "{text}");
    }

    #[test]
    fn a_thread_has_its_name() {
        std::thread::spawn(|| {
            name_thread("worker-with-a-long-name");
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(name.trim_end(), "worker-with-a-l");
        })
        .join()
        .unwrap();
    }
}
