//! Which engine this host allows, and why not the other.
//!
//! io_uring is refused in more ways than it is granted: container runtimes forbid it by seccomp,
//! RHEL 9 by sysctl, gVisor does not have it, older kernels have half of it. Each looks like a bare
//! errno; here it becomes a sentence with a remedy.

use std::fmt;
use std::io;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::interface::{Engine, LinkSocket, Settings};
use crate::mmsg::Mmsg;
use crate::uring::{self, TaskRun, Uring};

/// Which engine to use. Parses from and prints as `auto`, `uring` and `mmsg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EngineKind {
    /// io_uring where the host allows it, else recvmmsg.
    #[default]
    Auto,
    /// io_uring, or fail.
    Uring,
    /// recvmmsg, sendmmsg and epoll: everywhere.
    Mmsg,
}

/// There is no engine of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no engine {0:?}: use auto, uring or mmsg")]
pub struct UnknownEngine(String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(EngineKind::Auto),
            "uring" => Ok(EngineKind::Uring),
            "mmsg" => Ok(EngineKind::Mmsg),
            other => Err(UnknownEngine(other.to_owned())),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            EngineKind::Auto => "auto",
            EngineKind::Uring => "uring",
            EngineKind::Mmsg => "mmsg",
        })
    }
}

/// What io_uring offers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UringFeatures {
    /// How completions are run.
    pub task_run: TaskRun,
    /// Whether the kernel coalesces wake-ups in the same call (`min_wait`, Linux 6.12).
    pub coalesces_in_kernel: bool,
}

/// Why io_uring cannot be used here. Prints as the cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ENOSYS.
    #[error("this kernel or sandbox has no io_uring")]
    NoUring,
    /// EPERM, and the sysctl says so.
    #[error(
        "io_uring is disabled by kernel.io_uring_disabled={0} (allow it: sysctl -w \
         kernel.io_uring_disabled=0, or with 1, join the group kernel.io_uring_group)"
    )]
    Sysctl(u8),
    /// EPERM although the sysctl allows it.
    #[error(
        "io_uring is forbidden by a seccomp filter, as container runtimes do by default (allow \
         io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile)"
    )]
    Seccomp,
    /// EPERM for a reason unknown.
    #[error("io_uring is not permitted (a security module?)")]
    NotPermitted,
    /// Something is missing.
    #[error("this kernel's io_uring lacks {0}")]
    TooOld(&'static str),
    /// ENOMEM.
    #[error(
        "io_uring gets no memory: RLIMIT_MEMLOCK is {limit_bytes} bytes (raise it: LimitMEMLOCK= \
         in systemd)"
    )]
    Memory {
        /// The soft limit.
        limit_bytes: u64,
    },
    /// Anything else.
    #[error("io_uring cannot be set up: {0}")]
    Other(Errno),
}

/// What this host allows. Prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The kernel's release.
    pub kernel: String,
    /// io_uring, or why not.
    pub uring: Result<UringFeatures, Refusal>,
    /// Whether the kernel has UDP GSO.
    pub gso: bool,
}

/// The engine to be used, and why, for the log and a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Never [`EngineKind::Auto`].
    pub kind: EngineKind,
    /// One sentence.
    pub reason: String,
}

/// Finds out what this host allows, by trying.
pub fn probe() -> Probe {
    let kernel = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let gso = std::net::UdpSocket::bind("127.0.0.1:0")
        .is_ok_and(|socket| crate::kernel::knows_gso(&socket));
    Probe { kernel, uring: uring::try_out().map_err(explain_here), gso }
}

impl EngineKind {
    /// Chooses. [`EngineKind::Uring`] where the host refuses it is an error: who asks for it by name
    /// wants to know.
    pub fn resolve(self) -> Result<Choice, Refusal> {
        if self == EngineKind::Mmsg {
            return Ok(Choice { kind: self, reason: "mmsg, as configured".to_owned() });
        }
        let found = probe();
        match found.uring {
            Ok(_) if self == EngineKind::Auto => {
                Ok(Choice { kind: EngineKind::Uring, reason: format!("uring: {found}") })
            }
            Ok(_) => Ok(Choice { kind: self, reason: format!("uring, as configured: {found}") }),
            Err(_) if self == EngineKind::Auto => {
                Ok(Choice { kind: EngineKind::Mmsg, reason: format!("mmsg: {found}") })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Makes an engine of this kind, which owns these sockets from then on.
    pub fn open(self, links: Vec<LinkSocket>, settings: &Settings) -> io::Result<Box<dyn Engine>> {
        let kind = self.resolve().map_err(io::Error::other)?.kind;
        Ok(match kind {
            EngineKind::Auto | EngineKind::Uring => Box::new(Uring::new(links, settings)?),
            EngineKind::Mmsg => Box::new(Mmsg::new(links, settings)?),
        })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.uring {
            Ok(features) => {
                let completions = match features.task_run {
                    TaskRun::Deferred => "deferred",
                    TaskRun::Cooperative => "cooperative",
                    TaskRun::Interrupting => "interrupting",
                };
                let coalescing = if features.coalesces_in_kernel {
                    "coalescing in the kernel"
                } else {
                    "coalescing by a second wait (the kernel's own needs Linux 6.12)"
                };
                write!(formatter, "io_uring works, {completions} completions, {coalescing}")?;
            }
            Err(refusal) => write!(formatter, "{refusal}")?,
        }
        let gso = if self.gso { "UDP GSO" } else { "no UDP GSO (needs Linux 4.18)" };
        write!(formatter, "; {gso}; Linux {}", self.kernel)
    }
}

/// What an errno alone does not tell.
#[derive(Debug, Clone, Copy)]
struct Host {
    io_uring_disabled: Option<u8>,
    seccomp: bool,
    memlock_bytes: u64,
}

impl Host {
    fn here() -> Host {
        let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Host {
            io_uring_disabled: sysctl.and_then(|text| text.trim().parse().ok()),
            // 2 is a filter; 1, strict mode, would not let us ask.
            seccomp: status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft),
        }
    }
}

/// Why an attempt to use io_uring failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Missing(&'static str),
    Io(io::Error),
}

fn explain_here(failure: Failure) -> Refusal {
    explain(failure, Host::here())
}

fn explain(failure: Failure, host: Host) -> Refusal {
    let error = match failure {
        Failure::Missing(what) => return Refusal::TooOld(what),
        Failure::Io(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    };
    match (error, host.io_uring_disabled) {
        (Errno::ENOSYS, _) => Refusal::NoUring,
        (Errno::EPERM | Errno::EACCES, Some(value @ 1..)) => Refusal::Sysctl(value),
        (Errno::EPERM | Errno::EACCES, _) if host.seccomp => Refusal::Seccomp,
        (Errno::EPERM | Errno::EACCES, _) => Refusal::NotPermitted,
        (Errno::ENOMEM, _) => Refusal::Memory { limit_bytes: host.memlock_bytes },
        (Errno::EINVAL, _) => Refusal::TooOld("what every way of setting it up needs (Linux 5.18)"),
        (error, _) => Refusal::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for kind in [EngineKind::Auto, EngineKind::Uring, EngineKind::Mmsg] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let text = "io_uring".parse::<EngineKind>().unwrap_err().to_string();
        assert_eq!(text, "there is no engine \"io_uring\": use auto, uring or mmsg");
    }

    #[test]
    fn every_refusal_names_its_cause() {
        let free = Host { io_uring_disabled: Some(0), seccomp: false, memlock_bytes: 65_536 };
        let filtered = Host { seccomp: true, ..free };
        let sysctl = |value| Host { io_uring_disabled: Some(value), seccomp: true, ..free };
        let before_the_sysctl = Host { io_uring_disabled: None, ..filtered };
        let table = [
            (libc::ENOSYS, free, Refusal::NoUring),
            (libc::EPERM, sysctl(2), Refusal::Sysctl(2)),
            (libc::EPERM, sysctl(1), Refusal::Sysctl(1)),
            (libc::EPERM, filtered, Refusal::Seccomp),
            (libc::EPERM, before_the_sysctl, Refusal::Seccomp),
            (libc::EPERM, free, Refusal::NotPermitted),
            (libc::ENOMEM, free, Refusal::Memory { limit_bytes: 65_536 }),
            (libc::EMFILE, free, Refusal::Other(Errno::EMFILE)),
        ];
        for (errno, host, expected) in table {
            let failure = Failure::Io(io::Error::from_raw_os_error(errno));
            assert_eq!(explain(failure, host), expected);
        }
        assert_eq!(explain(Failure::Missing("it"), free), Refusal::TooOld("it"));
    }

    #[test]
    fn resolving_never_says_auto_and_gives_a_reason_of_one_line() {
        for kind in [EngineKind::Auto, EngineKind::Mmsg] {
            let choice = kind.resolve().unwrap();
            assert_ne!(choice.kind, EngineKind::Auto);
            assert!(choice.reason.starts_with(&choice.kind.to_string()), "{}", choice.reason);
            assert_eq!(choice.reason.lines().count(), 1);
        }
        match EngineKind::Uring.resolve() {
            Ok(choice) => assert_eq!(choice.kind, EngineKind::Uring),
            Err(refusal) => eprintln!("skipped: {refusal}"),
        }
    }

    #[test]
    fn auto_opens_an_engine() {
        let engine = EngineKind::Auto.open(Vec::new(), &Settings::default()).unwrap();
        assert!(["uring", "mmsg"].contains(&engine.name()));
    }
}
