//! Processes in their place: a namespace, a core, and an end that comes with ours.
//!
//! A child is started as this program again (`inside`), which moves itself into the namespace and
//! onto the core and then becomes the real one: that takes no `unsafe`, and the real one needs to
//! know of neither.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use testbed::Host;

use crate::cpu::{CpuTime, WORKER_CORE, pin};

/// A running child on the worker's core. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to the file `log`.
    pub fn start(
        namespace: Option<&Host>,
        program: &OsStr,
        arguments: &[&OsStr],
        log: PathBuf,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("Failed to find this program's own file")?;
        let file =
            File::create(&log).with_context(|| format!("Failed to create {}", log.display()))?;
        let mut command = Command::new(own);
        command.arg("inside");
        if let Some(namespace) = namespace {
            command.arg("--namespace").arg(namespace.path());
        }
        let child = command
            .arg("--")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("Failed to share a log file")?)
            .stderr(file)
            // Ctrl-C on the terminal is for us; we end our children.
            .process_group(0)
            .spawn()
            .with_context(|| format!("Failed to start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Its CPU time so far, without that of its children.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.child.id())
    }

    /// The process and its children, children's children, and so on: a group of its own.
    pub fn group(&self) -> Vec<u32> {
        let leader = self.child.id();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| group_of(*id) == Some(leader)).collect()
    }

    /// An error with its last words, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("Failed to look after a child")? else {
            return Ok(());
        };
        bail!("the process under test ended ({status}): {}", self.last_words())
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id beyond the kernel's")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("Failed to send {signal}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and its children before it.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `pid (name) state parent group …`; the name may have anything in it.
fn group_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

/// The other half of [`Process::start`]: moves into place and becomes the program.
pub fn inside(namespace: Option<&Path>, command: &[std::ffi::OsString]) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("Failed to tie this process to its parent")?;
    pin(Pid::from_raw(0), WORKER_CORE)?;
    // Some programs have a socket for each flow, and not all of them ask for so many themselves.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("Failed to read a limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("Failed to raise a limit")?;
    if let Some(namespace) = namespace {
        testbed::enter(namespace)?;
    }
    let (program, arguments) = command.split_first().context("there is no program to become")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("Failed to run {}", program.display()))
}
