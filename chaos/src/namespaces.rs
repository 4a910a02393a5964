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

use std::fs;

use anyhow::{Context, Result};
pub(crate) use testbed::Host;

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
            trust_all_sources(host)?;
        }
        self.switch.configure("link add bridge type bridge\nlink set bridge up\n")?;
        let inside = self.relays.iter().zip(1..).chain(self.transceivers.iter().zip(11..));
        for (host, last) in inside {
            self.switch.configure(&format!(
                "link add port{last} type veth peer name private netns {}\n\
                 link set port{last} master bridge\n\
                 link set port{last} up\n",
                host.name()
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
                relay.name()
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
            self.relays[0].name()
        ))?;
        self.relays[0].configure(
            "address add 10.79.3.1/24 dev wild\n\
             link set wild up\n\
             route add 10.96.0.0/12 via 10.79.3.2\n",
        )?;
        Ok(())
    }
}

/// Packets from any address are welcome at any device: that is what spoofing needs.
fn trust_all_sources(host: &Host) -> Result<()> {
    host.run(|| {
        for device in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")
                .context("Failed to turn rp_filter off")?;
        }
        Ok(())
    })
}
