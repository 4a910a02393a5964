//! The cores: where they are, how fast they run, how deep they sleep.

use std::collections::BTreeMap;

use crate::cpu_list;
use crate::host::Host;

const FOLDER: &str = "/sys/devices/system/cpu";

/// The cores of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Processors {
    /// Those that run.
    pub online: Vec<u16>,
    /// Those that the scheduler leaves alone (`isolcpus`).
    pub isolated: Vec<u16>,
    /// The cores of each memory node.
    pub nodes: BTreeMap<u16, Vec<u16>>,
    /// The threads of the core that each is one of.
    pub siblings: BTreeMap<u16, Vec<u16>>,
    /// What governs each one's speed. Empty where nothing here does.
    pub governors: BTreeMap<u16, String>,
    /// How they sleep.
    pub idle: Vec<IdleState>,
}

/// One way for a core to sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleState {
    /// The core.
    pub cpu: u16,
    /// The state's number.
    pub state: u16,
    /// Its name, such as `C6`.
    pub name: String,
    /// How long it takes to wake up.
    pub latency_us: u32,
    /// Whether it is turned off.
    pub disabled: bool,
}

impl IdleState {
    /// The file that turns it off.
    #[must_use]
    pub fn switch(&self) -> String {
        format!("{FOLDER}/cpu{}/cpuidle/state{}/disable", self.cpu, self.state)
    }
}

/// The file that a core's governor is set by.
#[must_use]
pub fn governor_file(cpu: u16) -> String {
    format!("{FOLDER}/cpu{cpu}/cpufreq/scaling_governor")
}

impl Processors {
    /// The memory node of a core.
    #[must_use]
    pub fn node_of(&self, cpu: u16) -> Option<u16> {
        self.nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map(|(node, _)| *node)
    }
}

pub(super) fn gather(host: &Host) -> Processors {
    let list = |path: &str| {
        host.read(path).ok().and_then(|text| cpu_list::parse_list(&text)).unwrap_or_default()
    };
    let online = list(&format!("{FOLDER}/online"));
    let mut cores = Processors {
        isolated: list(&format!("{FOLDER}/isolated")),
        nodes: numbered(host, "/sys/devices/system/node", "node")
            .map(|(node, path)| (node, list(&format!("{path}/cpulist"))))
            .collect(),
        ..Processors::default()
    };
    for &cpu in &online {
        let folder = format!("{FOLDER}/cpu{cpu}");
        cores.siblings.insert(cpu, list(&format!("{folder}/topology/thread_siblings_list")));
        if let Ok(governor) = host.read(&governor_file(cpu)) {
            cores.governors.insert(cpu, governor);
        }
        for (state, path) in numbered(host, &format!("{folder}/cpuidle"), "state") {
            let read = |name: &str| host.read(&format!("{path}/{name}"));
            cores.idle.push(IdleState {
                cpu,
                state,
                name: read("name").unwrap_or_default(),
                latency_us: read("latency").ok().and_then(|us| us.parse().ok()).unwrap_or(0),
                disabled: read("disable").is_ok_and(|text| text != "0"),
            });
        }
    }
    cores.online = online;
    cores
}

/// The entries of a folder that are a word and a number.
fn numbered(host: &Host, folder: &str, word: &str) -> impl Iterator<Item = (u16, String)> {
    let entry = move |name: String| {
        let number = name.strip_prefix(word)?.parse().ok()?;
        Some((number, format!("{folder}/{name}")))
    };
    host.list(folder).into_iter().filter_map(entry)
}
