//! Three hosts on one machine: a client, a relay and a shard, each a network namespace, joined by
//! veth pairs through the relay.
//!
//! ```text
//!   client 10.77.1.2 ── veth ── 10.77.1.1 relay 10.77.2.1 ── veth ── 10.77.2.2 shard
//!      fd77:1::2 ─────────────── fd77:1::1
//! ```

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const QUEUES: &str = "numtxqueues 2 numrxqueues 2";

/// Three namespaces, gone when this is dropped.
pub(crate) struct Hosts {
    pub(crate) client: String,
    pub(crate) relay: String,
    pub(crate) shard: String,
}

impl Hosts {
    /// `None`, with a line that says why, where namespaces cannot be made.
    pub(crate) fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |host| format!("rw{}-{count}{host}", std::process::id());
        let hosts = Self { client: name('c'), relay: name('r'), shard: name('s') };
        if let Err(why) = ip(&format!("netns add {}", hosts.client)) {
            println!("skipped: network namespaces need root and iproute2: {why}");
            return None;
        }
        let Self { client, relay, shard } = &hosts;
        for line in [
            format!("netns add {relay}"),
            format!("netns add {shard}"),
            // As a card has: a queue for each of two workers.
            format!(
                "link add public netns {relay} {QUEUES} type veth peer name public netns {client} {QUEUES}"
            ),
            format!(
                "link add private netns {relay} {QUEUES} type veth peer name private netns {shard} {QUEUES}"
            ),
            format!("-n {client} addr add 10.77.1.2/24 dev public"),
            format!("-n {client} addr add fd77:1::2/64 dev public nodad"),
            format!("-n {relay} addr add 10.77.1.1/24 dev public"),
            format!("-n {relay} addr add fd77:1::1/64 dev public nodad"),
            format!("-n {relay} addr add 10.77.2.1/24 dev private"),
            format!("-n {shard} addr add 10.77.2.2/24 dev private"),
            format!("-n {client} link set public up"),
            format!("-n {relay} link set public up"),
            format!("-n {relay} link set private up"),
            format!("-n {shard} link set private up"),
            format!("-n {relay} link set lo up"),
            format!("-n {shard} link set lo up"),
            format!("-n {client} link set lo up"),
        ] {
            ip(&line).unwrap();
        }
        Some(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.client, &self.relay, &self.shard] {
            // It may never have been made.
            let _ = ip(&format!("netns del {host}"));
        }
    }
}

pub(crate) fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {message}")) }
}

/// Runs something on a host. Sockets made there stay there, whoever uses them.
pub(crate) fn on_host<T: Send>(host: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{host}")).unwrap();
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        there.join().unwrap()
    })
}
