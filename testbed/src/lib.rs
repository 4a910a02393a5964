//! Hosts on one machine, each a network namespace, for whoever needs several: tests, the fault suite,
//! the benchmarks. How they are joined is the business of each. And a service manager that is played,
//! for what relays park there.
//!
//! A host is gone when it is dropped. A run that was killed leaves its hosts behind; the next one
//! finds them by their names, which say whose they were, and removes them.

pub mod manager;

use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its namespaces.
const FOLDER: &str = "/run/netns";
const PREFIX: &str = "ringway-testbed";

/// A network namespace with a name.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    /// A new host that knows nobody but itself. `role` is for people who look at `ip netns`. Needs
    /// root and iproute2, and the error says so.
    pub fn make(role: &str) -> io::Result<Self> {
        static STALE: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        STALE.call_once(remove_stale);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Self { name: format!("{PREFIX}-{}-{number}-{role}", std::process::id()) };
        ip(&["netns", "add", &host.name], "").map_err(|error| {
            io::Error::new(error.kind(), format!("a host needs root and iproute2: {error}"))
        })?;
        host.configure("link set lo up\n")?;
        Ok(host)
    }

    /// What `ip` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as for `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        file_of(&self.name)
    }

    /// Does something on this host, and waits for it. Sockets made there stay there, and so do
    /// threads.
    ///
    /// # Panics
    ///
    /// If `work` does, or somebody else has removed the host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on(&self.path(), work)
    }

    /// Does something on this host by the calling thread, which then comes back: for what cannot be
    /// handed from thread to thread.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let here = File::open("/proc/thread-self/ns/net")?;
        enter(&self.path())?;
        let result = work();
        setns(here, CloneFlags::CLONE_NEWNET)?;
        Ok(result)
    }

    /// Has `ip` do something on this host, one thing for each line.
    pub fn configure(&self, lines: &str) -> io::Result<()> {
        ip(&["-netns", &self.name, "-batch", "-"], lines)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.path().exists() {
            // The next run removes what this one could not.
            let _ = ip(&["netns", "delete", &self.name], "");
        }
    }
}

/// The file that stands for the host which `ip` knows by that name.
pub fn file_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// What [`Host::run`] does, on a host that somebody else keeps, by its file.
///
/// # Panics
///
/// If `work` does, or there is no such host.
pub fn on<T: Send>(host: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            enter(host).expect("a host is there as long as it is used");
            work()
        });
        there.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Moves the calling thread to a host, by its file, for good.
pub fn enter(host: &Path) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", host.display()));
    let namespace = File::open(host).map_err(named)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|error| named(error.into()))
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner_of(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Best effort: a leftover costs nothing but its name.
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// The process that made a host, if it was one of ours.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?.0.parse().ok()
}

/// Runs `ip`, with what it is to read. An error has its words.
pub fn ip(arguments: &[&str], input: &str) -> io::Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("ip (package iproute2): {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything, and then says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), reason.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        for (name, owner) in [
            ("ringway-testbed-123-0-client", Some(123)),
            ("ringway-testbed-x-0-client", None),
            ("ringway-testbed-123", None),
            ("ringway-123-0-client", None),
        ] {
            assert_eq!(owner_of(name), owner, "{name}");
        }
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "whoever runs the tests wants to know")]
    fn a_host_has_a_loopback_of_its_own_and_goes_when_dropped() {
        let host = match Host::make("alone") {
            Ok(host) => host,
            Err(error) => return println!("skipped: {error}"),
        };
        let devices =
            host.run(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("devices");
        let devices: Vec<_> = devices.lines().skip(2).map(str::trim_start).collect();
        assert!(devices.iter().any(|line| line.starts_with("lo:")), "{devices:?}");
        let refused = host.configure("link set nothing up\n").expect_err("there is no such device");
        assert!(refused.to_string().contains("nothing"), "{refused}");
        let path = host.path();
        assert!(path.exists());
        drop(host);
        assert!(!path.exists());
    }
}
