//! What `ethtool` prints. Its text is the same for all releases since 4.x, which its JSON is not.

use std::collections::BTreeMap;

/// How many queues a network card has, and could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Channels {
    /// Queues for both directions: now and at most.
    pub combined: Count,
    /// Queues for receiving only.
    pub rx: Count,
}

/// A number with its limit. None where the driver has no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Set now.
    pub now: Option<u32>,
    /// The most that can be set.
    pub max: Option<u32>,
}

/// Ring sizes.
pub type Rings = Count;

/// Interrupt coalescing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coalescing {
    /// Whether the driver chooses by itself.
    pub adaptive_rx: Option<bool>,
    /// How long a received packet may wait for an interrupt.
    pub rx_usecs: Option<u32>,
}

/// `ethtool -l`.
#[must_use]
pub fn channels(text: &str) -> Channels {
    Channels { combined: count(text, "Combined"), rx: count(text, "RX") }
}

/// `ethtool -g`, the receive ring.
#[must_use]
pub fn rings(text: &str) -> Rings {
    count(text, "RX")
}

/// Both commands print the limits first and then what is set.
fn count(text: &str, name: &str) -> Count {
    let (limits, settings) = text.split_once("Current hardware settings:").unwrap_or((text, ""));
    let value = |part: &str| {
        let line = part.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        line?.trim().parse().ok()
    };
    Count { now: value(settings), max: value(limits) }
}

/// `ethtool -c`.
#[must_use]
pub fn coalescing(text: &str) -> Coalescing {
    let after = |name: &str| {
        let rest = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        rest.split_whitespace().next()
    };
    Coalescing {
        adaptive_rx: match after("Adaptive RX:") {
            Some("on") => Some(true),
            Some("off") => Some(false),
            _ => None,
        },
        rx_usecs: after("rx-usecs:").and_then(|value| value.parse().ok()),
    }
}

/// `ethtool -n DEVICE rx-flow-hash udp4`, as the letters that `-N` takes. None if it is not said.
#[must_use]
pub fn flow_hash(text: &str) -> Option<String> {
    let (_, fields) = text.split_once(':')?;
    let letters =
        [("IP SA", 's'), ("IP DA", 'd'), ("L4 bytes 0 & 1", 'f'), ("L4 bytes 2 & 3", 'n')];
    let mut hash = String::new();
    for line in fields.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match letters.iter().find(|(name, _)| line.starts_with(name)) {
            Some((_, letter)) => hash.push(*letter),
            None if line.eq_ignore_ascii_case("none") => {}
            // Something this does not know must not be lost when the rest is set anew.
            None => return None,
        }
    }
    Some(hash)
}

/// `ethtool -k`: whether each feature is on, and whether that can be changed.
#[must_use]
pub fn features(text: &str) -> BTreeMap<String, Feature> {
    let feature = |line: &str| {
        let (name, state) = line.trim().split_once(": ")?;
        let on = state.starts_with("on");
        let feature = Feature { on, fixed: state.contains("[fixed]") };
        (on || state.starts_with("off")).then(|| (name.to_owned(), feature))
    };
    text.lines().filter_map(feature).collect()
}

/// One feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether the driver lets nobody change it.
    pub fixed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHANNELS: &str = "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\n\
         Other:\t\t1\nCombined:\t63\nCurrent hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\n\
         Other:\t\t1\nCombined:\t16\n";

    #[test]
    fn channels_and_rings() {
        let channels = channels(CHANNELS);
        assert_eq!(channels.combined, Count { now: Some(16), max: Some(63) });
        assert_eq!(channels.rx, Count::default());
        let rings = rings(
            "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t4096\n\
             Current hardware settings:\nRX:\t\t512\nRX Mini:\tn/a\nTX:\t\t512\n",
        );
        assert_eq!(rings, Count { now: Some(512), max: Some(4096) });
    }

    #[test]
    fn coalescing_and_what_a_driver_does_not_say() {
        let text = "Coalesce parameters for eth0:\nAdaptive RX: on  TX: on\nrx-usecs: 50\nrx-usecs-irq: 0\n";
        let expected = Coalescing { adaptive_rx: Some(true), rx_usecs: Some(50) };
        assert_eq!(coalescing(text), expected);
        assert_eq!(coalescing("Adaptive RX: n/a  TX: n/a\nrx-usecs: n/a\n"), Coalescing::default());
    }

    #[test]
    fn flow_hashes() {
        let text = |fields: &str| {
            format!("UDP over IPV4 flows use these fields for computing Hash flow key:\n{fields}\n")
        };
        let all =
            "IP SA\nIP DA\nL4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]";
        let table = [
            (all, Some("sdfn")),
            ("IP SA\nIP DA", Some("sd")),
            ("None", Some("")),
            ("IP SA\nVLAN tag", None),
        ];
        for (fields, letters) in table {
            assert_eq!(flow_hash(&text(fields)).as_deref(), letters, "{fields}");
        }
    }

    #[test]
    fn features_on_off_and_fixed() {
        let features =
            features("Features for eth0:\nrx-checksumming: on [fixed]\n\ttx-checksum-ipv4: off\n");
        assert_eq!(features["rx-checksumming"], Feature { on: true, fixed: true });
        assert_eq!(features["tx-checksum-ipv4"], Feature { on: false, fixed: false });
        assert_eq!(features.len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_is_fatal(text in "(RX:|Combined:|Current hardware settings:|rx-usecs:|Adaptive RX:|IP SA|[0-9 a-z:\n\t])*") {
            let _ = (channels(&text), rings(&text), coalescing(&text), flow_hash(&text), features(&text));
        }
    }
}
