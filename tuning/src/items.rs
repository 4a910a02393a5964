//! Everything that is looked at, in one table: what it is called, why it matters, what a change of
//! it risks, and the rule that judges it.

mod explained;

use serde::Serialize;

use crate::finding::{Finding, Scene};
use crate::rules::{cores, interrupts, kernel, memory, network, nic, process};

pub use explained::explain;

/// Something that is looked at.
#[derive(Debug)]
pub struct Item {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// Whose it is to set.
    pub scope: Scope,
    /// What a change may do besides.
    pub risk: Risk,
    /// Judges it.
    pub rule: fn(&Scene<'_>) -> Vec<Finding>,
}

/// Whose something is to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Of this network namespace or process: wherever this runs.
    Here,
    /// Of the host: not from a container.
    Host,
    /// Of the machine: not from below a hypervisor.
    Hardware,
}

/// What a change may do besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Nothing here is changed, only told.
    None,
    /// Nothing that others notice.
    Low,
    /// It may interrupt traffic, or weaken something: only by name.
    Risky,
}

/// All items, in the order in which they are shown and changed.
pub const ITEMS: &[Item] = &[
    Item {
        name: "virtualisation",
        why: "What the relay runs on decides what can be tuned at all.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: process::virtualisation,
    },
    Item {
        name: "io-uring",
        why: "The io_uring engine waits, receives and coalesces in one system call; mmsg works without it.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: kernel::io_uring,
    },
    Item {
        name: "seccomp",
        why: "Container runtimes filter io_uring away by default.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: process::seccomp,
    },
    Item {
        name: "ports",
        why: "The relay cannot start without its ports.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: network::ports,
    },
    Item {
        name: "local-ports",
        why: "An outgoing connection may take one of the relay's ports before the relay does.",
        scope: Scope::Here,
        risk: Risk::Low,
        rule: network::local_ports,
    },
    Item {
        name: "open-files",
        why: "Each worker needs a descriptor for each of its sockets and rings.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: process::open_files,
    },
    Item {
        name: "locked-memory",
        why: "Some kernels count a ring's memory as locked.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: process::locked_memory,
    },
    Item {
        name: "memory",
        why: "Rings and flow tables are allocated at start, all of them.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: memory::memory,
    },
    Item {
        name: "cpuset",
        why: "A worker without a core of its own shares one, and its packets wait.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: cores::cpuset,
    },
    Item {
        name: "cpu-quota",
        why: "A quota stops all workers for tens of milliseconds whenever it is used up.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: cores::quota,
    },
    Item {
        name: "cpu-siblings",
        why: "Two workers on the threads of one core get half a core each.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: cores::siblings,
    },
    Item {
        name: "cpu-isolation",
        why: "On isolated cores nothing else gets between a worker and its packets.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: cores::isolation,
    },
    Item {
        name: "governor",
        why: "A core that clocks down between packets is slow when one comes.",
        scope: Scope::Hardware,
        risk: Risk::Low,
        rule: cores::governor,
    },
    Item {
        name: "c-states",
        why: "A core in deep sleep takes longer to wake up than a packet takes to route.",
        scope: Scope::Hardware,
        risk: Risk::Risky,
        rule: cores::idle_states,
    },
    Item {
        name: "clock",
        why: "The relay reads the clock for every batch; a slow one costs a system call each.",
        scope: Scope::Hardware,
        risk: Risk::None,
        rule: kernel::clock,
    },
    Item {
        name: "numa",
        why: "Packets that cross between memory nodes cost about half as much again.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: cores::memory_nodes,
    },
    Item {
        name: "numa-balancing",
        why: "Moving pages between memory nodes stops the worker that uses them.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: memory::numa_balancing,
    },
    Item {
        name: "huge-pages",
        why: "Rings in huge pages need fewer address translations.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: memory::huge_pages,
    },
    Item {
        name: "transparent-huge-pages",
        why: "Merging pages in the background stops whoever uses them, for milliseconds.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: memory::transparent_huge_pages,
    },
    Item {
        name: "socket-buffers",
        why: "A burst that does not fit the socket's buffer is lost before the relay sees it.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: kernel::socket_buffers,
    },
    Item {
        name: "udp-memory",
        why: "All UDP sockets share one limit; beyond it every datagram is dropped.",
        scope: Scope::Host,
        risk: Risk::None,
        rule: memory::udp_memory,
    },
    Item {
        name: "udp-losses",
        why: "Datagrams that found a full buffer are calls that crackled.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: network::udp_losses,
    },
    Item {
        name: "softnet-backlog",
        why: "Virtual links and RPS queue packets for a core; a full queue drops them.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: kernel::softnet_backlog,
    },
    Item {
        name: "softirq-budget",
        why: "A softirq that is cut short leaves packets in the card until its next turn.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: kernel::softirq_budget,
    },
    Item {
        name: "busy-poll",
        why: "Polling sockets burn every core that waits, and the relay waits by other means.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: kernel::busy_poll,
    },
    Item {
        name: "conntrack",
        why: "Tracking costs each packet as much as the relay does, and a full table drops calls.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: network::conntrack,
    },
    Item {
        name: "tunnel-mtu",
        why: "A tunnel datagram longer than its network's MTU is sent in fragments.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: network::tunnel_mtu,
    },
    Item {
        name: "nic-queues",
        why: "With fewer queues than workers, some packets reach their worker by way of another core.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: nic::queues,
    },
    Item {
        name: "nic-rings",
        why: "A ring too short drops bursts, one too long is never in the cache.",
        scope: Scope::Host,
        risk: Risk::Risky,
        rule: nic::rings,
    },
    Item {
        name: "nic-coalescing",
        why: "What the card waits to bundle interrupts is added to every packet's delay.",
        scope: Scope::Hardware,
        risk: Risk::Low,
        rule: nic::coalescing,
    },
    Item {
        name: "rss-hash",
        why: "Without ports in the hash, all clients behind one address come by one queue.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: nic::rss_hash,
    },
    Item {
        name: "offloads",
        why: "Checksums belong to the card; merging packets of different clients helps nobody.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: nic::offloads,
    },
    Item {
        name: "irq-deferral",
        why: "What GRO holds back is late by as long.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: nic::irq_deferral,
    },
    Item {
        name: "irqbalance",
        why: "irqbalance moves pinned interrupts again, within seconds.",
        scope: Scope::Host,
        risk: Risk::None,
        rule: interrupts::irqbalance,
    },
    Item {
        name: "irq-affinity",
        why: "Each queue's interrupt on its worker's core keeps a packet in one cache.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: interrupts::affinity,
    },
    Item {
        name: "rps",
        why: "Spreading packets in software costs an interrupt between cores for each.",
        scope: Scope::Here,
        risk: Risk::Low,
        rule: interrupts::rps,
    },
    Item {
        name: "xps",
        why: "Cores that share a transmit queue wait for each other's lock.",
        scope: Scope::Host,
        risk: Risk::Low,
        rule: interrupts::xps,
    },
    Item {
        name: "steering",
        why: "steer_by_cpu pays with a queue for each worker, and starves workers without one.",
        scope: Scope::Here,
        risk: Risk::None,
        rule: interrupts::steering,
    },
];

/// An item by its name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_told_about_once() {
        for (index, item) in ITEMS.iter().enumerate() {
            assert!(item.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", item.name);
            assert!(ITEMS[..index].iter().all(|other| other.name != item.name), "{}", item.name);
            assert!(item.why.ends_with('.') && item.why.len() < 110, "{}", item.name);
            let text = explain(item);
            assert!(text.split_whitespace().count() > 40, "{}: {text}", item.name);
            assert!(text.contains("See it:"), "{}", item.name);
        }
    }
}
