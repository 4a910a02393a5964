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
use std::io;
use std::net::{IpAddr, Ipv4Addr};
pub use testbed::Host;

/// Where the NAT listens for its clients.
pub const NAT_INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 3, 1));
/// What a NAT shows the world: it changes from one to the next.
pub const NAT_OUTSIDE: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 2)),
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 3)),
    IpAddr::V4(Ipv4Addr::new(10, 78, 1, 4)),
];

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
        let client = match Host::make("client") {
            Ok(host) => host,
            Err(why) => {
                skip(&why.to_string());
                return None;
            }
        };
        let hosts = Self {
            client,
            nat: with_nat.then(|| Host::make("nat").unwrap()),
            relay: Host::make("relay").unwrap(),
            transceiver: Host::make("transceiver").unwrap(),
        };
        hosts.join().unwrap();
        Some(hosts)
    }

    fn join(&self) -> io::Result<()> {
        let relay = self.relay.name();
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
            nat.name()
        ))?;
        nat.configure("address add 10.78.3.1/24 dev lan\nlink set lan up\n")
    }
}
