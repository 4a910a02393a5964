//! Makes the io_uring instance: the best way to run completions that this kernel offers.

use std::io;

use io_uring::{IoUring, Parameters};

/// How the kernel runs the work of completing requests in our thread. Each way down costs more
/// interruptions; all are correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRun {
    /// Only when we ask for completions (SINGLE_ISSUER, DEFER_TASKRUN; Linux 6.1).
    Deferred,
    /// At any system call we make (COOP_TASKRUN; Linux 5.19).
    Cooperative,
    /// At once, by interrupting the thread.
    Interrupting,
}

const LADDER: [TaskRun; 3] = [TaskRun::Deferred, TaskRun::Cooperative, TaskRun::Interrupting];

/// A new instance, disabled until its owner's thread enables it: that thread is then the only one
/// that may use it, so an engine can be made in one thread and run in another.
pub(super) fn ring(
    submissions: u32,
    completions: u32,
    wanted: Option<TaskRun>,
) -> io::Result<(IoUring, TaskRun)> {
    let mut refusal = io::Error::from(io::ErrorKind::Unsupported);
    for task_run in LADDER {
        if wanted.is_some_and(|wanted| wanted != task_run) {
            continue;
        }
        let mut builder = IoUring::builder();
        builder.setup_r_disabled().setup_submit_all().setup_cqsize(completions).setup_clamp();
        match task_run {
            // The flag tells us that there is work left, see `Uring::finish`.
            TaskRun::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag()
            }
            TaskRun::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            TaskRun::Interrupting => &mut builder,
        };
        match builder.build(submissions) {
            Ok(ring) => return Ok((ring, task_run)),
            Err(error) => refusal = error,
        }
        // Only "what is that flag?" is worth another try.
        if refusal.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(refusal)
}

/// What the engine cannot do without; the first thing missing is named.
pub(super) fn missing(ring: &IoUring) -> Option<&'static str> {
    let parameters: &Parameters = ring.params();
    if !parameters.is_feature_ext_arg() {
        return Some("timeouts on waiting (Linux 5.11)");
    }
    if !parameters.is_feature_skip_cqe_on_success() {
        return Some("sends without completions (Linux 5.17)");
    }
    let mut probe = io_uring::Probe::new();
    if ring.submitter().register_probe(&mut probe).is_err() {
        return Some("asking which operations there are (Linux 5.6)");
    }
    // Multishot receives (6.0) and sends with an address (6.1) are variants that cannot be asked
    // for; this operation came with the latter.
    if !probe.is_supported(io_uring::opcode::SendMsgZc::CODE) {
        return Some("multishot receives and sends with an address (Linux 6.1)");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_down_the_ladder_works() {
        if let Err(error) = ring(8, 16, None) {
            eprintln!("skipped: no io_uring here: {error}");
            return;
        }
        for wanted in LADDER {
            match ring(8, 16, Some(wanted)) {
                Ok((_, task_run)) => assert_eq!(task_run, wanted),
                Err(error) => eprintln!("skipped: {wanted:?}: {error}"),
            }
        }
    }
}
