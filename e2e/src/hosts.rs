//! Hosts on one machine: a client, a relay and a transceiver, each a network namespace, joined by
//! veth pairs through the relay. A client may also stand behind a NAT, which is a host of its own.
//!
//! ```text
//!   client 10.78.1.2 ─────────────────────── 10.78.1.1 relay 10.78.2.1 ── 10.78.2.2 transceiver
//!      fd78:1::2 ─────────────────────────── fd78:1::1
//!
//!   client 10.78.3.2 ── 10.78.3.1 nat 10.78.1.2…4 ── 10.78.1.1 relay …
//! ```
//!
//! There is no route around the relay: a client that was told a transceiver's own address would get
//! nowhere.

use crate::skip::skip;
use nix::sched::{CloneFlags, setns};
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const FOLDER: &str = "/run/netns";
const PREFIX: &str = "ringway-e2e";

/// Where the NAT listens for its clients.
pub const NAT_INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 3, 1));
/// What a NAT shows the world: it changes from one to the next.
pub const NAT_OUTSIDE: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 2)),
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 3)),
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 4)),
];

/// A network namespace, gone when this is dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    fn make(name: String) -> Result<Self, String> {
        ip(&["netns", "add", &name], "")?;
        let host = Self { name };
        host.configure("link set lo up\n")?;
        Ok(host)
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Does something on this host. Sockets made there stay there, and so do threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn configure(&self, lines: &str) -> Result<(), String> {
        ip(&["-netns", &self.name, "-batch", "-"], lines)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The next run removes what this one could not.
        let _ = ip(&["netns", "delete", &self.name], "");
    }
}

/// All hosts of a test.
#[derive(Debug)]
pub struct Hosts {
    /// Where the client runs.
    pub client: Host,
    /// Between client and relay, if the client is behind one.
    pub nat: Option<Host>,
    /// Where the relay runs.
    pub relay: Host,
    /// Where the transceiver runs.
    pub transceiver: Host,
}

impl Hosts {
    /// A client that reaches the relay without anything between them. `None`, with a line that says
    /// why, where namespaces cannot be made.
    pub fn direct() -> Option<Self> {
        Self::make(false)
    }

    /// A client behind a NAT.
    pub fn behind_nat() -> Option<Self> {
        Self::make(true)
    }

    fn make(with_nat: bool) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        remove_stale();
        let named = |role| Host::make(format!("{PREFIX}-{}-{count}-{role}", std::process::id()));
        let client = match named("client") {
            Ok(host) => host,
            Err(why) => {
                skip(&format!("network namespaces need root and iproute2: {why}"));
                return None;
            }
        };
        let hosts = Self {
            client,
            nat: with_nat.then(|| named("nat").unwrap()),
            relay: named("relay").unwrap(),
            transceiver: named("transceiver").unwrap(),
        };
        hosts.join().unwrap();
        Some(hosts)
    }

    fn join(&self) -> Result<(), String> {
        let relay = &self.relay.name;
        self.transceiver.configure(&format!(
            "link add private type veth peer name private netns {relay}\n\
             address add 10.78.2.2/24 dev private\n\
             link set private up\n"
        ))?;
        let neighbour = self.nat.as_ref().unwrap_or(&self.client);
        neighbour.configure(&format!(
            "link add public type veth peer name public netns {relay}\n\
             address add 10.78.1.2/24 dev public\n\
             address add fd78:1::2/64 dev public nodad\n\
             link set public up\n"
        ))?;
        self.relay.configure(
            "address add 10.78.1.1/24 dev public\n\
             address add fd78:1::1/64 dev public nodad\n\
             address add 10.78.2.1/24 dev private\n\
             link set public up\n\
             link set private up\n",
        )?;
        let Some(nat) = &self.nat else {
            // It leads nowhere, but browsers look for their own address by it.
            return self.client.configure("route add default via 10.78.1.1\n");
        };
        nat.configure(
            "address add 10.78.1.3/24 dev public\n\
             address add 10.78.1.4/24 dev public\n",
        )?;
        self.client.configure(&format!(
            "link add lan type veth peer name lan netns {}\n\
             address add 10.78.3.2/24 dev lan\n\
             link set lan up\n\
             route add default via 10.78.3.1\n",
            nat.name
        ))?;
        nat.configure("address add 10.78.3.1/24 dev lan\nlink set lan up\n")
    }
}

/// Removes what test runs that were killed left behind.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner_of(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Best effort: a leftover costs nothing but its name.
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// The process that made a namespace, if it was a test of ours.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-').next()?.parse().ok()
}

fn ip(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ip: {error}"))?;
    // It may end before it has read everything, and then says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("ip: {error}"))?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let what = arguments.join(" ");
    if output.status.success() { Ok(()) } else { Err(format!("ip {what}: {message}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        for (name, owner) in [
            ("ringway-e2e-123-0-client", Some(123)),
            ("ringway-e2e-x-0-client", None),
            ("ringway-bench-123-client", None),
        ] {
            assert_eq!(owner_of(name), owner, "{name}");
        }
    }
}
