//! The benchmark's network: three namespaces and two veth pairs, made at start, removed at the end.
//!
//! Made with `ip`, by names that carry the process id: namespaces of a run that was killed are
//! found and removed by the next. See `plan` for the addresses.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use crate::plan::{
    CLIENT_GATEWAY, CLIENT_MAC, CLIENT_NETWORK, NOBODY_MAC, PUBLIC, PUBLIC_MAC, SHARD_IP,
    SHARD_MAC, TUNNEL, TUNNEL_MAC, mac_text,
};

/// Where `ip netns` keeps its namespaces.
const FOLDER: &str = "/run/netns";
const PREFIX: &str = "ringway-bench";

/// A network namespace with a name.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Does something inside; sockets made there stay there.
    pub fn within<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let here =
            File::open("/proc/thread-self/ns/net").context("Failed to open the own netns")?;
        enter(&self.path())?;
        let result = act();
        setns(&here, CloneFlags::CLONE_NEWNET).context("Failed to return to the own netns")?;
        result
    }

    fn run(&self, lines: &str) -> Result<()> {
        ip(&["-netns", &self.name, "-batch", "-"], lines)
    }
}

/// Moves this thread into a namespace for good.
pub fn enter(path: &Path) -> Result<()> {
    let there = File::open(path).with_context(|| format!("Failed to open {}", path.display()))?;
    setns(there, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("Failed to enter {}", path.display()))
}

/// What becomes of the packets that the process under test sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// They reach the sink's sockets.
    Delivered,
    /// They are counted by the sink's device and dropped by the first line of its IP layer: the
    /// sender, who pays for the receiver's work on a veth pair, pays as little as can be.
    Dropped,
}

/// The whole network. Dropping it removes it.
#[derive(Debug)]
pub struct Topology {
    /// Where the clients are.
    pub client: Namespace,
    /// Where the process under test runs.
    pub relay: Namespace,
    /// Where the shards are.
    pub shard: Namespace,
}

impl Topology {
    /// Builds it. Needs root.
    pub fn build() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and raw injection need root: run it with sudo"
        );
        remove_stale();
        let named = |role| Namespace { name: format!("{PREFIX}-{}-{role}", std::process::id()) };
        // From here on whatever fails, the drop removes what there is.
        let topology =
            Self { client: named("client"), relay: named("relay"), shard: named("shard") };
        for namespace in topology.all() {
            ip(&["netns", "add", &namespace.name], "")?;
            namespace.run("link set lo up\n")?;
        }
        topology.wire()?;
        topology.arrivals(Arrival::Delivered)?;
        Ok(topology)
    }

    fn all(&self) -> [&Namespace; 3] {
        [&self.client, &self.relay, &self.shard]
    }

    fn wire(&self) -> Result<()> {
        let relay = &self.relay.name;
        let [client_mac, public_mac, tunnel_mac, shard_mac] =
            [CLIENT_MAC, PUBLIC_MAC, TUNNEL_MAC, SHARD_MAC].map(mac_text);
        let [public, tunnel] = [PUBLIC.ip(), TUNNEL.ip()];
        // `addrgenmode none`: no IPv6 addresses, hence no IPv6 chatter among the packets counted.
        self.client.run(&format!(
            "link add c0 address {client_mac} type veth peer name r0 address {public_mac} netns {relay}\n\
             link set c0 addrgenmode none up\n\
             address add {CLIENT_GATEWAY}/24 dev c0\n\
             neighbour add {public} lladdr {public_mac} dev c0 nud permanent\n\
             route add local {CLIENT_NETWORK} dev lo\n"
        ))?;
        self.shard.run(&format!(
            "link add s0 address {shard_mac} type veth peer name r1 address {tunnel_mac} netns {relay}\n\
             link set s0 addrgenmode none up\n\
             address add {SHARD_IP}/24 dev s0\n\
             neighbour add {tunnel} lladdr {tunnel_mac} dev s0 nud permanent\n"
        ))?;
        self.relay.run(&format!(
            "link set r0 addrgenmode none up\n\
             link set r1 addrgenmode none up\n\
             address add {public}/24 dev r0\n\
             address add {tunnel}/24 dev r1\n\
             route add {CLIENT_NETWORK} via {CLIENT_GATEWAY}\n"
        ))
    }

    /// Turns delivery on or off, by what the relay's neighbour table says.
    pub fn arrivals(&self, arrival: Arrival) -> Result<()> {
        let [client, shard] = match arrival {
            Arrival::Delivered => [CLIENT_MAC, SHARD_MAC],
            Arrival::Dropped => [NOBODY_MAC; 2],
        }
        .map(mac_text);
        self.relay.run(&format!(
            "neighbour replace {CLIENT_GATEWAY} lladdr {client} dev r0 nud permanent\n\
             neighbour replace {SHARD_IP} lladdr {shard} dev r1 nud permanent\n"
        ))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for namespace in self.all() {
            if namespace.path().exists() {
                // There is nothing to be done about a failure; the next run tries again.
                let _ = ip(&["netns", "delete", &namespace.name], "");
            }
        }
    }
}

/// Removes what runs that were killed left behind.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner_of(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Best effort: a leftover costs nothing but its name.
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// The process that made a namespace, if it was one of ours.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?.0.parse().ok()
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("Failed to run `ip`: install iproute2")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("Failed to talk to `ip`")?;
    }
    let output = child.wait_with_output().context("Failed to wait for `ip`")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), reason.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        for (name, want) in [
            ("ringway-bench-123-client", Some(123)),
            ("ringway-bench-x-client", None),
            ("ringway-bench-123", None),
            ("ringway-demo-123-client", None),
        ] {
            assert_eq!(owner_of(name), want, "{name}");
        }
    }
}
