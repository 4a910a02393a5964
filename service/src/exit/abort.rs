//! A thread whose panic must not go unnoticed.

use std::{process, thread};

/// Ends the process when its thread panics: to be held by a thread that others rely on. A process
/// that has silently lost a core drops a share of all calls, while one that restarts drops none for
/// long. The panic's message is on stderr by then.
#[derive(Debug)]
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    const SIGABRT: i32 = 6;
    const CHILD: &str = "RINGWAY_TEST_PANIC_CHILD";

    /// Runs itself once more, as the process that is to end.
    #[test]
    fn a_panic_in_a_worker_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let worker = thread::spawn(|| {
                let _loud = AbortOnPanic;
                panic!("as a worker might");
            });
            let _ = worker.join();
            return;
        }
        let test = thread::current().name().unwrap_or_default().to_owned();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(SIGABRT));
    }

    #[test]
    fn a_worker_that_ends_well_ends_nothing_else() {
        thread::spawn(|| drop(AbortOnPanic)).join().unwrap();
    }
}
