//! Network interfaces: queues, interrupts, and what `ethtool` says.

use std::collections::BTreeMap;

use super::ethtool::{self, Channels, Coalescing, Feature, Rings};
use crate::host::{Host, Missing, Reading};

/// A network interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its driver; none for a virtual interface.
    pub driver: Option<String>,
    /// Interfaces that it consists of: those of a bond, that below a VLAN.
    pub lower: Vec<String>,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// The memory node that it is attached to.
    pub node: Option<u16>,
    /// Each receive queue's RPS mask.
    pub rps: Vec<Reading>,
    /// Each transmit queue's XPS mask.
    pub xps: Vec<Reading>,
    /// How long GRO may hold packets back, in nanoseconds.
    pub gro_flush_timeout: Reading,
    /// How many empty polls keep interrupts off.
    pub defer_hard_irqs: Reading,
    /// Queues.
    pub channels: Result<Channels, Missing>,
    /// The receive ring.
    pub rings: Result<Rings, Missing>,
    /// Interrupt coalescing.
    pub coalescing: Result<Coalescing, Missing>,
    /// What chooses the queue of a UDP packet, as `ethtool -N` writes it.
    pub hash_ipv4: Result<String, Missing>,
    /// The same for IPv6.
    pub hash_ipv6: Result<String, Missing>,
    /// Offloads.
    pub features: Result<BTreeMap<String, Feature>, Missing>,
    /// Interrupts of receive queues, in the order of their numbers.
    pub interrupts: Vec<Interrupt>,
}

/// An interrupt of a receive queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number, until the next start of the host or driver.
    pub number: u32,
    /// What the driver calls it.
    pub name: String,
    /// The cores that may take it.
    pub cpus: Reading,
}

impl Interrupt {
    /// The file that says who takes it.
    #[must_use]
    pub fn file(&self) -> String {
        format!("/proc/irq/{}/smp_affinity_list", self.number)
    }
}

impl Nic {
    /// The file of a receive queue's RPS mask.
    #[must_use]
    pub fn rps_file(&self, queue: usize) -> String {
        format!("/sys/class/net/{}/queues/rx-{queue}/rps_cpus", self.name)
    }

    /// The file of a transmit queue's XPS mask.
    #[must_use]
    pub fn xps_file(&self, queue: usize) -> String {
        format!("/sys/class/net/{}/queues/tx-{queue}/xps_cpus", self.name)
    }

    /// A file of the interface's own.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("/sys/class/net/{}/{name}", self.name)
    }
}

pub(super) fn gather(host: &Host) -> Vec<Nic> {
    let interrupts = host.read("/proc/interrupts").unwrap_or_default();
    let names = host.list("/sys/class/net");
    let up = |name: &&String| {
        let state = host.read(&format!("/sys/class/net/{name}/operstate")).unwrap_or_default();
        name.as_str() != "lo" && state != "down"
    };
    names.iter().filter(up).map(|name| nic(host, name, &interrupts)).collect()
}

fn nic(host: &Host, name: &str, interrupts: &str) -> Nic {
    let folder = format!("/sys/class/net/{name}");
    let read = |file: &str| host.read(&format!("{folder}/{file}"));
    let entries = host.list(&folder);
    let queues = host.list(&format!("{folder}/queues"));
    let masks = |prefix: &str, file: &str| {
        let of_kind = queues.iter().filter(|queue| queue.starts_with(prefix));
        of_kind.map(|queue| read(&format!("queues/{queue}/{file}"))).collect()
    };
    let hash = |traffic: &str| {
        let text = host.ask(&["ethtool", "-n", name, "rx-flow-hash", traffic])?;
        let unknown = || Missing::Failed("ethtool says something unknown of the hash".to_owned());
        ethtool::flow_hash(&text).ok_or_else(unknown)
    };
    let lower = |entry: &String| entry.strip_prefix("lower_").map(str::to_owned);
    Nic {
        name: name.to_owned(),
        driver: host.link(&format!("{folder}/device/driver")).ok(),
        lower: entries.iter().filter_map(lower).collect(),
        mtu: read("mtu").ok().and_then(|text| text.parse().ok()),
        // -1 is none.
        node: read("device/numa_node").ok().and_then(|text| text.parse().ok()),
        rps: masks("rx-", "rps_cpus"),
        xps: masks("tx-", "xps_cpus"),
        gro_flush_timeout: read("gro_flush_timeout"),
        defer_hard_irqs: read("napi_defer_hard_irqs"),
        channels: host.ask(&["ethtool", "-l", name]).map(|text| ethtool::channels(&text)),
        rings: host.ask(&["ethtool", "-g", name]).map(|text| ethtool::rings(&text)),
        coalescing: host.ask(&["ethtool", "-c", name]).map(|text| ethtool::coalescing(&text)),
        hash_ipv4: hash("udp4"),
        hash_ipv6: hash("udp6"),
        features: host.ask(&["ethtool", "-k", name]).map(|text| ethtool::features(&text)),
        interrupts: receive_interrupts(host, &folder, interrupts),
    }
}

/// The interrupts of an interface's device that are known to be those of receive queues.
fn receive_interrupts(host: &Host, folder: &str, all: &str) -> Vec<Interrupt> {
    let mut numbers = host.list(&format!("{folder}/device/msi_irqs"));
    if numbers.is_empty() {
        // A virtio device's interrupts are those of the PCI device around it.
        numbers = host.list(&format!("{folder}/device/../msi_irqs"));
    }
    let name = |number: u32| {
        let line = all.lines().find_map(|line| {
            let (first, rest) = line.trim().split_once(':')?;
            (first.parse() == Ok(number)).then_some(rest)
        })?;
        line.split_whitespace().last().filter(|name| is_receive(name)).map(str::to_owned)
    };
    let interrupt = |number: &String| {
        let number: u32 = number.parse().ok()?;
        let cpus = host.read(&format!("/proc/irq/{number}/smp_affinity_list"));
        Some(Interrupt { number, name: name(number)?, cpus })
    };
    let mut interrupts: Vec<Interrupt> = numbers.iter().filter_map(interrupt).collect();
    interrupts.sort_by_key(|interrupt| interrupt.number);
    interrupts
}

/// Whether a driver's name for an interrupt is one of a receive queue. An unknown one is left alone.
fn is_receive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let queue = ["txrx", "tx-rx", "rxtx", "-rx-", ".rx", "input.", "_comp", "-comp", "ntfy-block"];
    let other = ["async", "config", "control", "mgmnt", "admin", "output."];
    queue.iter().any(|word| name.contains(word)) && !other.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_interrupts_are_receive_queues() {
        let queues = [
            "ice-eth0-TxRx-3",
            "i40e-enp1s0f0-TxRx-0",
            "mlx5_comp3@pci:0000:01:00.0",
            "virtio2-input.0",
            "eth0-Tx-Rx-1",
            "bnxt_en-eth0-TxRx-2",
            "gve-ntfy-block.3",
        ];
        let others = [
            "virtio2-config",
            "virtio2-output.0",
            "mlx5_async0@pci:0000:01:00.0",
            "ena-mgmnt@pci:0000:00:05.0",
            "ice-0000:17:00.0:misc",
            "nvme0q3",
        ];
        for name in queues {
            assert!(is_receive(name), "{name}");
        }
        for name in others {
            assert!(!is_receive(name), "{name}");
        }
    }
}
