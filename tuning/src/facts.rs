//! What is known about a host, parsed and not judged. What could not be read is kept as the reason.

pub mod ethtool;
mod interfaces;
mod netfilter;
pub mod nic;
mod processors;

use crate::cpu_list;
use crate::host::{Host, Missing, Reading};

pub use ethtool::{Channels, Coalescing, Rings};
pub use interfaces::Address;
pub use netfilter::Netfilter;
pub use nic::{Interrupt, Nic};
pub use processors::{IdleState, Processors, governor_file as processors_governor_file};

/// The name of the relay's process.
pub const RELAY: &str = "ringway-relay";

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kernel and the memory.
    pub kernel: Kernel,
    /// The cores.
    pub processors: Processors,
    /// What a relay may use: the running one, else one started from here.
    pub process: Process,
    /// What this host is.
    pub place: Place,
    /// Network interfaces that are up, without loopback.
    pub nics: Vec<Nic>,
    /// Addresses of the host.
    pub addresses: Result<Vec<Address>, Missing>,
    /// What happened to packets before anybody saw them.
    pub losses: Losses,
    /// UDP ports that are bound.
    pub bound_ports: Vec<u16>,
    /// Connection tracking and what is done with it.
    pub netfilter: Netfilter,
    /// Whether irqbalance runs.
    pub irqbalance: bool,
}

/// The kernel and the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release, such as `6.12.9`.
    pub release: String,
    /// What io_uring offers, or why not.
    pub io_uring: Reading,
    /// `kernel.io_uring_disabled`.
    pub io_uring_disabled: Reading,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Reading,
    /// `net.core.netdev_max_backlog`.
    pub backlog: Reading,
    /// `net.core.netdev_budget`.
    pub budget: Reading,
    /// `net.core.netdev_budget_usecs`.
    pub budget_usecs: Reading,
    /// `net.core.busy_poll`.
    pub busy_poll: Reading,
    /// `net.core.busy_read`.
    pub busy_read: Reading,
    /// `net.ipv4.udp_mem`: low, pressure, limit, in pages.
    pub udp_mem: Reading,
    /// `net.ipv4.ip_local_port_range`.
    pub local_ports: Reading,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: Reading,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_ports: Reading,
    /// `kernel.numa_balancing`.
    pub numa_balancing: Reading,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`.
    pub transparent_huge_pages: Reading,
    /// The clock that `clock_gettime` reads.
    pub clock: Reading,
    /// `vm.nr_hugepages`.
    pub huge_pages: Reading,
    /// `HugePages_Free`.
    pub huge_pages_free: Option<u64>,
    /// The size of a huge page.
    pub huge_page_bytes: Option<u64>,
    /// Memory that a new process could have.
    pub memory_available_bytes: Option<u64>,
}

/// What a relay may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The running relay.
    pub relay: Option<u32>,
    /// The cores.
    pub cpus: Vec<u16>,
    /// Open files, the soft limit; none is no limit.
    pub open_files: Option<u64>,
    /// Locked memory, the soft limit; none is no limit.
    pub locked_bytes: Option<u64>,
    /// Whether a seccomp filter is on.
    pub seccomp: bool,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Of all cores together, from the cgroup: none is no limit.
    pub cpu_quota: Option<(u64, u64)>,
    /// Times that the quota stopped the cgroup.
    pub throttled: Option<u64>,
    /// The cgroup's memory limit.
    pub memory_limit_bytes: Option<u64>,
}

/// What this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The kind of container.
    pub container: Option<String>,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
    /// What the machine calls itself.
    pub product: Option<String>,
}

/// What happened to packets before anybody saw them, since the host started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    /// Packets handled by softirqs, all cores.
    pub processed: u64,
    /// Packets dropped because a core's backlog was full.
    pub backlog_drops: u64,
    /// Times that softirqs had more to do than they may at once.
    pub squeezed: u64,
    /// UDP datagrams received (IPv4).
    pub udp_received: u64,
    /// UDP datagrams dropped because the socket's buffer was full (IPv4 and IPv6).
    pub udp_buffer_drops: u64,
    /// UDP datagrams dropped for want of memory for all of UDP.
    pub udp_memory_drops: u64,
}

impl Facts {
    /// Looks at a host.
    #[must_use]
    pub fn gather(host: &Host) -> Self {
        Self {
            kernel: kernel(host),
            processors: processors::gather(host),
            process: process(host),
            place: place(host),
            nics: nic::gather(host),
            addresses: interfaces::addresses(host),
            losses: losses(host),
            bound_ports: bound_ports(host),
            netfilter: netfilter::gather(host),
            irqbalance: host.process("irqbalance").is_some(),
        }
    }
}

/// A file below `/proc/sys`, by the name that `sysctl` gives it.
#[must_use]
pub fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn kernel(host: &Host) -> Kernel {
    let sysctl = |name: &str| host.read(&sysctl_path(name));
    let memory = host.read("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = |name| field(name).map(|kib| kib.saturating_mul(1024));
    Kernel {
        release: sysctl("kernel.osrelease").unwrap_or_else(|_| "unknown".to_owned()),
        io_uring: host.io_uring(),
        io_uring_disabled: sysctl("kernel.io_uring_disabled"),
        rmem_max: sysctl("net.core.rmem_max"),
        backlog: sysctl("net.core.netdev_max_backlog"),
        budget: sysctl("net.core.netdev_budget"),
        budget_usecs: sysctl("net.core.netdev_budget_usecs"),
        busy_poll: sysctl("net.core.busy_poll"),
        busy_read: sysctl("net.core.busy_read"),
        udp_mem: sysctl("net.ipv4.udp_mem"),
        local_ports: sysctl("net.ipv4.ip_local_port_range"),
        reserved_ports: sysctl("net.ipv4.ip_local_reserved_ports"),
        unprivileged_ports: sysctl("net.ipv4.ip_unprivileged_port_start"),
        numa_balancing: sysctl("kernel.numa_balancing"),
        transparent_huge_pages: host.read("/sys/kernel/mm/transparent_hugepage/enabled"),
        clock: host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        huge_pages: sysctl("vm.nr_hugepages"),
        huge_pages_free: field("HugePages_Free"),
        huge_page_bytes: kib("Hugepagesize"),
        memory_available_bytes: kib("MemAvailable"),
    }
}

fn process(host: &Host) -> Process {
    let relay = host.process(RELAY);
    let who = relay.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let status = host.read(&format!("/proc/{who}/status")).unwrap_or_default();
    let limits = host.read(&format!("/proc/{who}/limits")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let group = cgroup(host, &who);
    let throttled = group("cpu.stat").and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?.trim().parse().ok()
    });
    Process {
        relay,
        cpus: field("Cpus_allowed_list:").and_then(cpu_list::parse_list).unwrap_or_default(),
        open_files: limit("Max open files"),
        locked_bytes: limit("Max locked memory"),
        // 2 is a filter.
        seccomp: field("Seccomp:") == Some("2"),
        capabilities: field("CapEff:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or(0),
        cpu_quota: group("cpu.max").as_deref().and_then(quota),
        throttled,
        memory_limit_bytes: group("memory.max").and_then(|text| text.parse().ok()),
    }
}

/// `max 100000` is no limit, `150000 100000` one and a half cores.
fn quota(text: &str) -> Option<(u64, u64)> {
    let (quota, period) = text.split_once(' ')?;
    Some((quota.parse().ok()?, period.trim().parse().ok().filter(|period| *period > 0)?))
}

/// Files of the process's cgroup (version 2). In a container its own group is the root that it sees.
fn cgroup(host: &Host, who: &str) -> impl Fn(&str) -> Option<String> {
    let groups = host.read(&format!("/proc/{who}/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    move |file| {
        let inner = host.read(&format!("/sys/fs/cgroup{}/{file}", own.trim_end_matches('/')));
        inner.ok()
    }
}

fn place(host: &Host) -> Place {
    // Who sees the kernel's threads shares the host's processes; an image that was turned into a
    // machine keeps its `/.dockerenv`.
    let is_host = host.read("/proc/2/comm").is_ok_and(|name| name == "kthreadd");
    let environment = host.read("/proc/1/environ").unwrap_or_default();
    let declared = environment.split('\0').find_map(|entry| entry.strip_prefix("container="));
    let docker = host.read("/.dockerenv").is_ok().then_some("docker");
    let podman = host.read("/run/.containerenv").is_ok().then_some("podman");
    let mounts = host.read("/proc/1/mountinfo").unwrap_or_default();
    // The root of a container is a layered file system, that of a host is not.
    let layered = mounts
        .lines()
        .any(|line| line.split_whitespace().nth(4) == Some("/") && line.contains(" - overlay "));
    let kubernetes = mounts.contains("/kubelet/pods/").then_some("kubernetes");
    let container = declared
        .or(kubernetes)
        .or(docker)
        .or(podman)
        .or(layered.then_some("an overlay root"))
        .filter(|_| !is_host)
        .map(str::to_owned);
    let info = host.read("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags"));
    Place {
        container,
        virtual_machine: flags.is_some_and(|line| line.split(' ').any(|f| f == "hypervisor")),
        product: host.read("/sys/class/dmi/id/product_name").ok(),
    }
}

fn losses(host: &Host) -> Losses {
    let softnet = host.read("/proc/net/softnet_stat").unwrap_or_default();
    let column = |index: usize| {
        let cells = softnet.lines().filter_map(|line| line.split_whitespace().nth(index));
        cells.filter_map(|hex| u64::from_str_radix(hex, 16).ok()).sum()
    };
    let snmp = host.read("/proc/net/snmp").unwrap_or_default();
    let snmp6 = host.read("/proc/net/snmp6").unwrap_or_default();
    let udp = |name: &str| {
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next()?, lines.next()?);
        let index = names.split_whitespace().position(|word| word == name)?;
        values.split_whitespace().nth(index)?.parse::<u64>().ok()
    };
    let udp6 = |name: &str| {
        let line = snmp6.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Losses {
        processed: column(0),
        backlog_drops: column(1),
        squeezed: column(2),
        udp_received: udp("InDatagrams").unwrap_or(0),
        udp_buffer_drops: udp("RcvbufErrors").unwrap_or(0) + udp6("Udp6RcvbufErrors").unwrap_or(0),
        udp_memory_drops: udp("MemErrors").unwrap_or(0),
    }
}

fn bound_ports(host: &Host) -> Vec<u16> {
    let mut ports = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = host.read(file).unwrap_or_default();
        ports.extend(text.lines().skip(1).filter_map(|line| {
            let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
            u16::from_str_radix(port, 16).ok()
        }));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
