//! Connection tracking, and what this host's packet filter does with it.

use crate::host::{Host, Missing};

/// The packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netfilter {
    /// Connections tracked now; none if the kernel tracks none here.
    pub tracked: Option<u64>,
    /// The most that it tracks.
    pub tracked_max: Option<u64>,
    /// All rules, as text: those of nftables and of the older iptables.
    pub rules: Result<String, Missing>,
}

impl Netfilter {
    /// Whether some rule has connections tracked. Without one, the kernel tracks none.
    #[must_use]
    pub fn is_tracking(&self) -> bool {
        let rules = self.rules.as_deref().unwrap_or_default();
        let words =
            [" ct ", "-m conntrack", "-m state", "masquerade", "MASQUERADE", "NAT ", "nat "];
        self.tracked.is_some_and(|count| count > 0)
            || rules.lines().any(|line| {
                let line = format!(" {} ", line.trim());
                words.iter().any(|word| line.contains(word))
            })
    }

    /// Rules that translate addresses and name one of these ports, or no port at all but all UDP.
    /// Without tracking they would do nothing.
    #[must_use]
    pub fn translations_of(&self, ports: &[u16]) -> Vec<String> {
        let rules = self.rules.as_deref().unwrap_or_default();
        let translates = |line: &&str| {
            let line = line.to_ascii_lowercase();
            ["dnat", "redirect", " snat"].iter().any(|word| line.contains(word))
        };
        let names = |line: &&str| {
            line.split(|c: char| !c.is_ascii_digit())
                .filter_map(|number| number.parse::<u16>().ok())
                .any(|number| ports.contains(&number))
        };
        rules.lines().map(str::trim).filter(translates).filter(names).map(str::to_owned).collect()
    }
}

pub(super) fn gather(host: &Host) -> Netfilter {
    let number = |name: &str| {
        let text = host.read(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
        text.parse().ok()
    };
    Netfilter { tracked: number("count"), tracked_max: number("max"), rules: rules(host) }
}

/// What any of the three programs says. One that is missing is no reason to doubt the others.
fn rules(host: &Host) -> Result<String, Missing> {
    let all = [
        host.ask(&["nft", "list", "ruleset"]),
        host.ask(&["iptables-save"]),
        host.ask(&["ip6tables-save"]),
    ];
    let mut text = String::new();
    let mut missing = None;
    for rules in all {
        match rules {
            Ok(rules) => {
                text.push_str(&rules);
                text.push('\n');
            }
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    match missing {
        Some(error) if text.is_empty() => Err(error),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &str) -> Netfilter {
        Netfilter { tracked: Some(0), tracked_max: None, rules: Ok(rules.to_owned()) }
    }

    #[test]
    fn what_makes_the_kernel_track() {
        assert!(!filter("table inet filter {\n udp dport 22 accept\n}").is_tracking());
        assert!(filter("\t\tct state established accept").is_tracking());
        assert!(filter("-A INPUT -m conntrack --ctstate NEW -j ACCEPT").is_tracking());
        assert!(filter("-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE").is_tracking());
        assert!(Netfilter { tracked: Some(7), ..filter("") }.is_tracking());
    }

    #[test]
    fn rules_that_translate_a_port() {
        let rules = filter(
            "-A PREROUTING -p udp -m udp --dport 3478 -j DNAT --to-destination 10.0.0.5:3478\n\
             \t\tudp dport 53 redirect to :5353\n\t\tudp dport 3500 accept\n",
        );
        assert_eq!(rules.translations_of(&[3478]).len(), 1);
        assert_eq!(rules.translations_of(&[3500]), [""; 0]);
        assert_eq!(rules.translations_of(&[53]), ["udp dport 53 redirect to :5353"]);
    }
}
