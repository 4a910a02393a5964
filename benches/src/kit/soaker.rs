//! What the worker's core has left, for those who have nothing better to do.
//!
//! A SCHED_IDLE process spins on the worker's core. The share of the core that it does *not* get is
//! what the traffic costs as a whole: the worker, the kernel's work on its behalf, the switches
//! between them, the wake-ups. Schedstat of the worker alone misses most of that.

use std::ffi::OsStr;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::process::Process;

/// The spinning process. It stands still except when told to run.
#[derive(Debug)]
pub struct Soaker {
    process: Process,
}

impl Soaker {
    /// Starts it, and stops it at once.
    pub fn start(folder: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("Failed to find this program's own file")?;
        let arguments = [OsStr::new("--idle"), OsStr::new("0"), own.as_os_str(), "soak".as_ref()];
        // `chrt` is of util-linux, which every distribution has.
        let process =
            Process::start(None, OsStr::new("chrt"), &arguments, folder.join("soaker.log"))?;
        let soaker = Self { process };
        // Until it is what it is to be; what it burns in between is seen by nobody.
        std::thread::sleep(std::time::Duration::from_millis(100));
        soaker.rest()?;
        Ok(soaker)
    }

    /// Lets it spin.
    pub fn spin(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Makes it stand still.
    pub fn rest(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// How long it has spun so far.
    pub fn spun_ns(&mut self) -> Result<u64> {
        self.process.check()?;
        Ok(self.process.cpu_time()?.run_ns)
    }
}

/// The body of the spinning process.
pub fn soak() -> Result<()> {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
