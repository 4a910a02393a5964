//! Hosts on one machine, each a network namespace.
//!
//! ```text
//!   clients ──── 10.79.1.0/24 ──── relay 1 ──┐
//!   10.80.0.0/16 10.79.2.0/24 ──── relay 2 ──┤ 10.79.9.0/24   (a switch)
//!                                            ├── transceiver 1
//!   attacker ─── 10.79.3.0/24 ──── relay 1   └── transceiver 2
//!   10.96.0.0/12, and every client's address
//! ```
//!
//! Every address of the clients' network is a client's own: a call takes one for itself, and another
//! when its NAT is said to have forgotten it. The attacker may send from all of them, and from a
//! million others; what relays send to clients goes to the clients all the same.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

const FOLDER: &str = "/run/netns";
const PREFIX: &str = "ringway-chaos";

/// A network namespace, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
}

impl Host {
    fn make(role: &str) -> Result<Self> {
        let name = format!("{PREFIX}-{}-{role}", std::process::id());
        ip(&["netns", "add", &name], "")?;
        let host = Self { name };
        host.configure("link set lo up\n")?;
        Ok(host)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Moves the calling thread there, for good.
    pub(crate) fn enter(&self) -> Result<()> {
        let namespace = File::open(self.path()).context("Failed to find a namespace")?;
        setns(namespace, CloneFlags::CLONE_NEWNET).context("Failed to enter a namespace")
    }

    /// Does something on this host. Sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter()?;
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn configure(&self, lines: &str) -> Result<()> {
        ip(&["-netns", &self.name, "-batch", "-"], lines)
    }

    /// Packets from any address are welcome at any device: that is what spoofing needs.
    fn trust_all_sources(&self) -> Result<()> {
        self.run(|| {
            for device in ["all", "default"] {
                fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")
                    .context("Failed to turn rp_filter off")?;
            }
            Ok(())
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The next run removes what this one could not.
        let _ = ip(&["netns", "delete", &self.name], "");
    }
}

/// All hosts.
#[derive(Debug)]
pub(crate) struct Network {
    /// Where all clients are.
    pub(crate) clients: Host,
    /// Who means no good.
    pub(crate) attacker: Host,
    /// The two relays.
    pub(crate) relays: [Host; 2],
    /// The two transceivers.
    pub(crate) transceivers: [Host; 2],
    /// Between relays and transceivers.
    switch: Host,
}

impl Network {
    /// Makes all hosts and joins them.
    pub(crate) fn make() -> Result<Self> {
        remove_stale();
        let network = Self {
            clients: Host::make("clients")?,
            attacker: Host::make("attacker")?,
            relays: [Host::make("relay1")?, Host::make("relay2")?],
            transceivers: [Host::make("transceiver1")?, Host::make("transceiver2")?],
            switch: Host::make("switch")?,
        };
        network.join()?;
        Ok(network)
    }

    fn join(&self) -> Result<()> {
        for host in self.relays.iter().chain([&self.clients, &self.attacker]) {
            host.trust_all_sources()?;
        }
        self.switch.configure("link add bridge type bridge\nlink set bridge up\n")?;
        let inside = self.relays.iter().zip(1..).chain(self.transceivers.iter().zip(11..));
        for (host, last) in inside {
            self.switch.configure(&format!(
                "link add port{last} type veth peer name private netns {}\n\
                 link set port{last} master bridge\n\
                 link set port{last} up\n",
                host.name
            ))?;
            host.configure(&format!(
                "address add 10.79.9.{last}/24 dev private\nlink set private up\n"
            ))?;
        }
        self.clients.configure("route add local 10.80.0.0/16 dev lo\n")?;
        for (relay, number) in self.relays.iter().zip(1..) {
            self.clients.configure(&format!(
                "link add relay{number} type veth peer name public netns {}\n\
                 address add 10.79.{number}.2/24 dev relay{number}\n\
                 link set relay{number} up\n",
                relay.name
            ))?;
            relay.configure(&format!(
                "address add 10.79.{number}.1/24 dev public\n\
                 link set public up\n\
                 route add 10.80.0.0/16 via 10.79.{number}.2\n"
            ))?;
        }
        self.attacker.configure(&format!(
            "link add relay1 type veth peer name wild netns {}\n\
             address add 10.79.3.2/24 dev relay1\n\
             link set relay1 up\n\
             route add 10.79.1.0/24 via 10.79.3.1\n\
             route add local 10.80.0.0/16 dev lo\n\
             route add local 10.96.0.0/12 dev lo\n",
            self.relays[0].name
        ))?;
        self.relays[0].configure(
            "address add 10.79.3.1/24 dev wild\n\
             link set wild up\n\
             route add 10.96.0.0/12 via 10.79.3.2\n",
        )
    }
}

/// Removes what runs that were killed left behind.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner_of(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Best effort: a leftover costs nothing but its name.
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// The process that made a namespace, if it was a run of ours.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-').next()?.parse().ok()
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("Failed to start ip (package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything, and then says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context("Failed to wait for ip")?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "ip {}: {message}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        for (name, owner) in [
            ("ringway-chaos-123-relay1", Some(123)),
            ("ringway-chaos-x-relay1", None),
            ("ringway-e2e-123-0-client", None),
        ] {
            assert_eq!(owner_of(name), owner, "{name}");
        }
    }
}
