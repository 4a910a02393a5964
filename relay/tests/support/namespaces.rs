//! Three hosts on one machine: a client, a relay and a shard, each a network namespace, joined by
//! veth pairs through the relay.
//!
//! ```text
//!   client 10.77.1.2 ── veth ── 10.77.1.1 relay 10.77.2.1 ── veth ── 10.77.2.2 shard
//!      fd77:1::2 ─────────────── fd77:1::1
//! ```

use testbed::Host;

const QUEUES: &str = "numtxqueues 2 numrxqueues 2";

/// Three namespaces, gone when this is dropped.
pub(crate) struct Hosts {
    pub(crate) client: String,
    pub(crate) relay: String,
    pub(crate) shard: String,
    _hosts: [Host; 3],
}

impl Hosts {
    /// `None`, with a line that says why, where namespaces cannot be made.
    pub(crate) fn make() -> Option<Self> {
        let made = ["client", "relay", "shard"].map(Host::make);
        let made: Result<Vec<_>, _> = made.into_iter().collect();
        let hosts: [Host; 3] = match made {
            Ok(made) => made.try_into().unwrap(),
            Err(why) => {
                println!("skipped: {why}");
                return None;
            }
        };
        let [client, relay, shard] = hosts.each_ref().map(|host| host.name().to_owned());
        let hosts = Self { client, relay, shard, _hosts: hosts };
        let Self { client, relay, shard, .. } = &hosts;
        for line in [
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
        ] {
            ip(&line).unwrap();
        }
        Some(hosts)
    }
}

pub(crate) fn ip(arguments: &str) -> std::io::Result<()> {
    testbed::ip(&arguments.split_whitespace().collect::<Vec<_>>(), "")
}

/// Runs something on a host. Sockets made there stay there, whoever uses them.
pub(crate) fn on_host<T: Send>(host: &str, work: impl FnOnce() -> T + Send) -> T {
    testbed::on(&testbed::file_of(host), work)
}
