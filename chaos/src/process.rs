//! Ringway's programs on their hosts, and what they can be asked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::manager::{BEFORE_PROGRAM, Manager};

use crate::namespaces::Host;
use crate::page;

/// What the names of variables begin with that configure Ringway's programs.
const ENVIRONMENT_PREFIX: &str = "RINGWAY_";
const START_PATIENCE: Duration = Duration::from_secs(30);
const READY_LOOK: Duration = Duration::from_millis(1);

/// Which program, where, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What it is called, and its files.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    /// Where its pages are, on its own host.
    pub(crate) pages_port: u16,
}

impl Plan {
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.name))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(format!("{}.sock", self.name))
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

/// A running program. Dropping it kills it, and whatever it has handed over to.
#[derive(Debug)]
pub(crate) struct Process<'a> {
    pub(crate) plan: Plan,
    host: &'a Host,
    /// Keeps its sockets and flows.
    manager: Option<Manager>,
    child: Child,
    /// Who serves now, after upgrades.
    successor: Option<Pid>,
}

impl<'a> Process<'a> {
    /// Starts it with the configuration that is in its file, and waits until it is ready.
    pub(crate) fn start(plan: Plan, host: &'a Host) -> Result<Self> {
        Self::start_by(None, plan, host)
    }

    /// The same, with a manager that keeps its sockets and flows, if there is to be one.
    pub(crate) fn start_by(manager: Option<Manager>, plan: Plan, host: &'a Host) -> Result<Self> {
        let log = File::options().create(true).append(true).open(plan.log())?;
        let mut namespace = std::ffi::OsString::from("--net=");
        namespace.push(host.path());
        let mut command = Command::new("nsenter");
        // Configuration comes from files here, whatever the environment says.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with(ENVIRONMENT_PREFIX)) {
                command.env_remove(name);
            }
        }
        // The kernel kills it when this program ends, however it ends.
        command.arg(namespace).args(["--", "setpriv", "--pdeathsig", "KILL", "--"]);
        if let Some(manager) = &manager {
            manager.serve(&mut command);
            command.args(BEFORE_PROGRAM);
        }
        let child = command
            .arg(&plan.program)
            .args(["run".as_ref(), "--config".as_ref(), plan.config().as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("Failed to start nsenter and setpriv (package util-linux)")?;
        let mut process = Self { plan, host, manager, child, successor: None };
        process.wait_until_ready()?;
        Ok(process)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        while self.page("/ready").is_none_or(|page| page.status != 200) {
            let ended = self.child.try_wait().context("Failed to look after a process")?;
            if let Some(status) = ended {
                bail!("{} has ended: {status}\n{}", self.plan.name, self.last_words());
            }
            ensure!(Instant::now() < deadline, "{} does not get ready", self.plan.name);
            std::thread::sleep(READY_LOOK);
        }
        Ok(())
    }

    /// The process that serves now.
    pub(crate) fn pid(&self) -> Pid {
        self.successor.unwrap_or_else(|| Pid::from_raw(self.child.id().cast_signed()))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("Failed to signal {}", self.plan.name))
    }

    /// Kills it without a word, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(START_PATIENCE).map(|_| ())
    }

    /// Kills it and starts it again, as a supervisor does; says how long it was away.
    pub(crate) fn kill_and_restart(&mut self) -> Result<Duration> {
        let killed = Instant::now();
        self.kill()?;
        *self = Self::start_by(self.manager.take(), self.plan.clone(), self.host)?;
        Ok(killed.elapsed())
    }

    /// Waits for its end: whether it ended well.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = match self.successor {
                None => self.child.try_wait()?.map(|status| status.success()),
                // This process adopts those whose parents have ended.
                Some(pid) => match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                    WaitStatus::StillAlive => None,
                    status => Some(status == WaitStatus::Exited(pid, 0)),
                },
            };
            if let Some(well) = ended {
                // Its number may soon be another's.
                self.successor = None;
                return Ok(well);
            }
            ensure!(Instant::now() < deadline, "{} does not end", self.plan.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks it over its admin socket.
    pub(crate) fn ctl(&self, question: &str) -> Result<Value> {
        let output = Command::new(&self.plan.program)
            .args(["ctl", "--json", "--socket"])
            .arg(self.plan.socket())
            .arg(question)
            .output()
            .context("Failed to start ctl")?;
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{} ctl {question}: {message}", self.plan.name);
        serde_json::from_slice(&output.stdout).context("Failed to understand ctl")
    }

    /// Hands over to a new process of the same program.
    pub(crate) fn upgrade(&mut self) -> Result<Value> {
        let upgraded = self.ctl("upgrade")?;
        let process = upgraded["process"].as_i64().context("no process in the answer")?;
        let next = Pid::from_raw(i32::try_from(process)?);
        ensure!(next != self.pid(), "the same process goes on");
        self.wait(START_PATIENCE)?;
        self.successor = Some(next);
        Ok(upgraded)
    }

    pub(crate) fn page(&self, path: &str) -> Option<page::Response> {
        let port = self.plan.pages_port;
        self.host.run(|| page::request(([127, 0, 0, 1], port).into(), "GET", path, None)).ok()
    }

    /// The sum of a metric over all series whose labels contain this.
    pub(crate) fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let page =
            self.page("/metrics").with_context(|| format!("no page of {}", self.plan.name))?;
        e2e::http::metric(&page.body, name, label).with_context(|| format!("no {name}{{{label}}}"))
    }

    /// Resident memory in bytes, and open files.
    pub(crate) fn footprint(&self) -> Result<(u64, usize)> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid()));
        let status = fs::read_to_string(folder.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        let files = fs::read_dir(folder.join("fd"))?.count();
        Ok((kib.context("no VmRSS")? << 10, files))
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let of = |task: fs::DirEntry| {
            // A thread may just have ended.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()));
        Duration::from_nanos(tasks.map_or(0, |tasks| tasks.flatten().map(of).sum()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.plan.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            let _ = kill(successor, Signal::SIGKILL);
            let _ = waitpid(successor, None);
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces a part of a file that must be there.
pub(crate) fn edit(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(from), "{} has no {from:?}", file.display());
    Ok(fs::write(file, text.replace(from, to))?)
}
