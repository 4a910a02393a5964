//! One thing that can be set: read and written the same way, so that it can be put back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu_list;
use crate::facts::ethtool;
use crate::host::{Host, Missing, Reading};

/// The value of [`Knob::Notrack`] where nothing is exempt.
const NONE: &str = "none";
/// The table that [`Knob::Notrack`] makes.
const TABLE: &str = "ringway_notrack";
/// What `ethtool -k` calls some features, and `-K`.
const FEATURE_NAMES: [(&str, &str); 3] =
    [("rx-checksumming", "rx"), ("tx-checksumming", "tx"), ("large-receive-offload", "lro")];

/// Something to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Knob {
    /// A file below `/proc` or `/sys`.
    File {
        /// Its path.
        path: String,
    },
    /// A network card's queues.
    Channels {
        /// The interface.
        nic: String,
        /// `combined` or `rx`.
        #[serde(rename = "queues")]
        kind: String,
    },
    /// A network card's receive ring.
    Ring {
        /// The interface.
        nic: String,
    },
    /// A network card's interrupt coalescing.
    Coalescing {
        /// The interface.
        nic: String,
        /// `adaptive-rx` or `rx-usecs`.
        parameter: String,
    },
    /// What chooses a packet's queue.
    FlowHash {
        /// The interface.
        nic: String,
        /// `udp4` or `udp6`.
        traffic: String,
    },
    /// A network card's offload.
    Feature {
        /// The interface.
        nic: String,
        /// As `ethtool -k` calls it.
        feature: String,
    },
    /// UDP ports that connection tracking leaves out.
    Notrack,
}

/// What is done to the host. Prints as the shell line that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Writes a file.
    Write {
        /// Its path.
        path: String,
        /// The text.
        value: String,
    },
    /// Runs a program.
    Run(Vec<String>),
}

impl Knob {
    /// How it is set now.
    pub fn read(&self, host: &Host) -> Reading {
        let unsaid = |what: &str| Missing::Failed(format!("ethtool does not say {what}"));
        match self {
            Self::File { path } => host.read(path).map(|text| chosen(&text)),
            Self::Channels { nic, kind } => {
                let channels = ethtool::channels(&host.ask(&["ethtool", "-l", nic])?);
                let count = if kind == "rx" { channels.rx } else { channels.combined };
                count.now.map(|now| now.to_string()).ok_or_else(|| unsaid(kind))
            }
            Self::Ring { nic } => {
                let now = ethtool::rings(&host.ask(&["ethtool", "-g", nic])?).now;
                now.map(|now| now.to_string()).ok_or_else(|| unsaid("rx"))
            }
            Self::Coalescing { nic, parameter } => {
                let found = ethtool::coalescing(&host.ask(&["ethtool", "-c", nic])?);
                let value = match parameter.as_str() {
                    "adaptive-rx" => found.adaptive_rx.map(on_off),
                    _ => found.rx_usecs.map(|usecs| usecs.to_string()),
                };
                value.ok_or_else(|| unsaid(parameter))
            }
            Self::FlowHash { nic, traffic } => {
                let text = host.ask(&["ethtool", "-n", nic, "rx-flow-hash", traffic])?;
                // Nothing has no letter that `-N` takes: what is so could not be put back.
                let hash = ethtool::flow_hash(&text).filter(|hash| !hash.is_empty());
                hash.ok_or_else(|| unsaid("what is hashed"))
            }
            Self::Feature { nic, feature } => {
                let features = ethtool::features(&host.ask(&["ethtool", "-k", nic])?);
                features.get(feature).map(|found| on_off(found.on)).ok_or_else(|| unsaid(feature))
            }
            Self::Notrack => {
                let rules = host.ask(&["nft", "list", "ruleset"])?;
                Ok(exempt_ports(&rules).unwrap_or_else(|| NONE.to_owned()))
            }
        }
    }

    /// What sets it.
    #[must_use]
    pub fn act(&self, value: &str) -> Act {
        let run = |words: &[&str]| Act::Run(words.iter().map(|word| (*word).to_owned()).collect());
        match self {
            Self::File { path } => Act::Write { path: path.clone(), value: value.to_owned() },
            Self::Channels { nic, kind } => run(&["ethtool", "-L", nic, kind, value]),
            Self::Ring { nic } => run(&["ethtool", "-G", nic, "rx", value]),
            Self::Coalescing { nic, parameter } => run(&["ethtool", "-C", nic, parameter, value]),
            Self::FlowHash { nic, traffic } => {
                run(&["ethtool", "-N", nic, "rx-flow-hash", traffic, value])
            }
            Self::Feature { nic, feature } => {
                let short = FEATURE_NAMES.iter().find(|(long, _)| long == feature);
                run(&["ethtool", "-K", nic, short.map_or(feature, |(_, short)| short), value])
            }
            Self::Notrack if value == NONE => run(&["nft", "delete", "table", "inet", TABLE]),
            Self::Notrack => {
                let ports = value.replace(',', ", ");
                run(&["nft", &notrack(&ports)])
            }
        }
    }

    /// Whether two values are the same to the kernel: it writes masks and lists its own way.
    #[must_use]
    pub fn is_same(&self, one: &str, other: &str) -> bool {
        let mask = |text| cpu_list::parse_mask(text);
        match self {
            Self::File { path } if path.ends_with("_cpus") => {
                one == other || (mask(one).is_some() && mask(one) == mask(other))
            }
            _ => one.split_whitespace().eq(other.split_whitespace()),
        }
    }

    /// Whether it means the same after the host has started again. Interrupts are numbered anew.
    #[must_use]
    pub fn survives_boot(&self) -> bool {
        !matches!(self, Self::File { path } if path.starts_with("/proc/irq/"))
    }
}

/// All at once: a table that was there is replaced, never doubled.
fn notrack(ports: &str) -> String {
    format!(
        "add table inet {TABLE}; delete table inet {TABLE}; table inet {TABLE} {{ \
         chain from_network {{ type filter hook prerouting priority raw; udp dport {{ {ports} }} \
         notrack; }}; chain from_here {{ type filter hook output priority raw; udp sport {{ {ports} \
         }} notrack; }}; }}"
    )
}

/// The ports that our table exempts, from the list of all rules.
#[must_use]
pub fn exempt_ports(rules: &str) -> Option<String> {
    let (_, ours) = rules.split_once(&format!("table inet {TABLE} {{"))?;
    let (_, rule) = ours.split_once("udp dport ")?;
    let (ports, _) = rule.split_once("notrack")?;
    Some(ports.chars().filter(|c| c.is_ascii_digit() || ",-".contains(*c)).collect())
}

/// Files that list choices mark the one taken: `always [madvise] never`.
#[must_use]
pub fn chosen(text: &str) -> String {
    let marked = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    marked.map_or_else(
        || text.split_whitespace().collect::<Vec<_>>().join(" "),
        |(word, _)| word.to_owned(),
    )
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

impl Act {
    /// Does it.
    pub fn perform(&self, host: &Host) -> Result<(), Missing> {
        match self {
            Self::Write { path, value } => host.write(path, value),
            Self::Run(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                host.run(&words)
            }
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, value } => write!(f, "echo {} > {}", quoted(value), quoted(path)),
            Self::Run(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                f.write_str(&words.join(" "))
            }
        }
    }
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_print_as_shell_lines() {
        let nic = || "eth0".to_owned();
        let file = Knob::File { path: "/proc/sys/net/ipv4/udp_mem".to_owned() };
        let table = [
            (file.act("1 2 3"), "echo '1 2 3' > /proc/sys/net/ipv4/udp_mem"),
            (
                Knob::Channels { nic: nic(), kind: "combined".to_owned() }.act("8"),
                "ethtool -L eth0 combined 8",
            ),
            (Knob::Ring { nic: nic() }.act("1024"), "ethtool -G eth0 rx 1024"),
            (
                Knob::Coalescing { nic: nic(), parameter: "adaptive-rx".to_owned() }.act("off"),
                "ethtool -C eth0 adaptive-rx off",
            ),
            (
                Knob::FlowHash { nic: nic(), traffic: "udp4".to_owned() }.act("sdfn"),
                "ethtool -N eth0 rx-flow-hash udp4 sdfn",
            ),
            (
                Knob::Feature { nic: nic(), feature: "rx-checksumming".to_owned() }.act("on"),
                "ethtool -K eth0 rx on",
            ),
            (Knob::Notrack.act("none"), "nft delete table inet ringway_notrack"),
        ];
        for (act, line) in table {
            assert_eq!(act.to_string(), line);
        }
        assert!(Knob::Notrack.act("3478,3500-3501").to_string().contains("{ 3478, 3500-3501 }"));
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn values_that_the_kernel_writes_its_own_way() {
        let mask = Knob::File { path: "/sys/class/net/eth0/queues/rx-0/rps_cpus".to_owned() };
        assert!(mask.is_same("0", "00000000,00000000"));
        assert!(!mask.is_same("1", "00000000,00000000"));
        let triple = Knob::File { path: "/proc/sys/net/ipv4/udp_mem".to_owned() };
        assert!(triple.is_same("1 2 3", "1\t2\t3"));
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("1\t2\t3"), "1 2 3");
    }

    #[test]
    fn exempt_ports_as_nft_lists_them() {
        let rules = "table inet filter {\n}\ntable inet ringway_notrack {\n\tchain from_network {\n\t\t\
                     type filter hook prerouting priority raw; policy accept;\n\t\tudp dport { 3478, \
                     3500-3503 } notrack\n\t}\n}\n";
        assert_eq!(exempt_ports(rules).as_deref(), Some("3478,3500-3503"));
        let one = "table inet ringway_notrack {\n\tchain x {\n\t\tudp dport 3478 notrack\n";
        assert_eq!(exempt_ports(one).as_deref(), Some("3478"));
        assert_eq!(exempt_ports("table inet other { udp dport 3478 notrack }"), None);
    }
}
