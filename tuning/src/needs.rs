//! What the relay needs of the host, from its own configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use relay::control::config::{Config, Workers, limits};

use crate::facts::{Facts, Nic};

/// What the relay needs.
#[derive(Debug, Clone)]
pub struct Needs {
    /// Its configuration.
    pub config: Config,
    /// Its workers' cores, in their order. As the relay, this takes those of `cpus` that it may
    /// use, and all that it may use if there are none.
    pub cpus: Vec<u16>,
    /// Workers.
    pub workers: usize,
    /// Ports that clients send to.
    pub public_ports: Vec<u16>,
    /// Ports that transceivers send to.
    pub tunnel_ports: Vec<u16>,
    /// Interfaces that were named on the command line; empty means to find out.
    pub interfaces: Vec<String>,
}

impl Needs {
    /// What a configuration needs on a host.
    #[must_use]
    pub fn new(config: Config, facts: &Facts, interfaces: Vec<String>) -> Self {
        let allowed = &facts.process.cpus;
        let wanted = config.cpus.as_slice().iter().copied();
        let usable: Vec<u16> = wanted.filter(|cpu| allowed.contains(cpu)).collect();
        let mut cpus = if usable.is_empty() { allowed.clone() } else { usable };
        let workers = match config.workers {
            Workers::Auto => cpus.len().clamp(1, usize::from(limits::WORKERS_MAX)),
            Workers::Count(count) => usize::from(count),
        };
        cpus.truncate(workers);
        let public: BTreeSet<u16> = config.listen.iter().map(SocketAddr::port).collect();
        let base = config.tunnel.port_base;
        let tunnel = (0..workers)
            .filter_map(|worker| base.checked_add(u16::try_from(worker).ok()?))
            .collect();
        Self {
            cpus,
            workers,
            public_ports: public.into_iter().collect(),
            tunnel_ports: tunnel,
            config,
            interfaces,
        }
    }

    /// All its UDP ports, in order.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let both = self.public_ports.iter().chain(&self.tunnel_ports).copied();
        both.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Sockets of one worker: its member of each listener's group, and its tunnel's.
    #[must_use]
    pub fn sockets_per_worker(&self) -> usize {
        self.config.listen.len() + 1
    }

    /// What one worker allocates at start for rings and tables.
    #[must_use]
    pub fn worker_bytes(&self) -> u64 {
        let flows = u64::from(self.config.flows.per_worker) + u64::from(self.config.flows.new_max);
        self.ring_bytes() + flows * limits::FLOW_BYTES
    }

    /// What one worker's rings take.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        let buffers = &self.config.buffers;
        let ring = u64::from(buffers.ring_buffers).saturating_mul(buffers.buffer_bytes);
        ring.saturating_mul(self.sockets_per_worker() as u64)
    }

    /// The interfaces that clients' packets come by.
    #[must_use]
    pub fn public_nics<'a>(&self, facts: &'a Facts) -> Vec<&'a Nic> {
        let addresses = self.config.listen.iter().map(SocketAddr::ip);
        self.nics(facts, &addresses.collect::<Vec<_>>())
    }

    /// The interfaces that the tunnel goes by.
    #[must_use]
    pub fn tunnel_nics<'a>(&self, facts: &'a Facts) -> Vec<&'a Nic> {
        self.nics(facts, &[self.config.tunnel.address])
    }

    /// All interfaces that matter.
    #[must_use]
    pub fn all_nics<'a>(&self, facts: &'a Facts) -> Vec<&'a Nic> {
        let mut nics = self.public_nics(facts);
        for nic in self.tunnel_nics(facts) {
            if !nics.iter().any(|known| known.name == nic.name) {
                nics.push(nic);
            }
        }
        nics
    }

    /// Those with one of the addresses, and what they consist of. For an address of any interface
    /// (`0.0.0.0`), or where nobody can say who has which, those with a device behind them; in a
    /// container, where none has, all.
    fn nics<'a>(&self, facts: &'a Facts, addresses: &[IpAddr]) -> Vec<&'a Nic> {
        let mut names: BTreeSet<String> = self.interfaces.iter().cloned().collect();
        if names.is_empty() {
            let known = facts.addresses.as_deref().unwrap_or_default();
            let any = addresses.iter().any(IpAddr::is_unspecified);
            let here = known.iter().filter(|known| addresses.contains(&known.address));
            names = here.map(|known| known.interface.clone()).filter(|name| name != "lo").collect();
            if any || (known.is_empty() && !addresses.iter().all(IpAddr::is_loopback)) {
                let real = facts.nics.iter().filter(|nic| nic.driver.is_some());
                names.extend(real.map(|nic| nic.name.clone()));
                if names.is_empty() {
                    names.extend(facts.nics.iter().map(|nic| nic.name.clone()));
                }
            }
        }
        // A bond's settings are those of its members. One level of each is all that is in use.
        for _ in 0..2 {
            let lower = facts.nics.iter().filter(|nic| names.contains(&nic.name));
            let lower: Vec<_> = lower.flat_map(|nic| nic.lower.clone()).collect();
            names.extend(lower);
        }
        facts.nics.iter().filter(|nic| names.contains(&nic.name)).collect()
    }
}
