//! The relays that clients are told, and which of them should be told now.

use engine::clock;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A relay pings every second. One that has been silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Relays that are watched. There are no more of them than shards speak to.
const WATCHED_MAX: usize = 1_024;
const VIA: &str = " via ";

/// One relay as clients reach it; and, if it is to be left out while it drains or is silent, where
/// its tunnel comes from. Written `203.0.113.7:3478` or `203.0.113.7:3478 via 10.0.0.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ingress {
    /// Its public address.
    pub address: SocketAddr,
    /// The address its tunnel comes from.
    pub relay: Option<IpAddr>,
}

impl From<SocketAddr> for Ingress {
    fn from(address: SocketAddr) -> Self {
        Self { address, relay: None }
    }
}

impl fmt::Display for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.relay {
            Some(relay) => write!(f, "{}{VIA}{relay}", self.address),
            None => self.address.fmt(f),
        }
    }
}

impl FromStr for Ingress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let (address, relay) = match text.split_once(VIA) {
            Some((address, relay)) => (address, Some(relay.trim().parse()?)),
            None => (text, None),
        };
        Ok(Self { address: address.trim().parse()?, relay })
    }
}

impl Serialize for Ingress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ingress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at_ns: u64,
    draining: bool,
}

/// What the shards hear of the relays: written by each ping, read by each answer.
#[derive(Debug, Default)]
pub struct RelayWatch(Mutex<HashMap<IpAddr, Heard>>);

impl RelayWatch {
    /// A worker of this relay has pinged, and said whether the relay drains.
    pub fn heard(&self, relay: IpAddr, draining: bool) {
        self.heard_at(relay, draining, clock::monotonic_ns());
    }

    fn heard_at(&self, relay: IpAddr, draining: bool, at_ns: u64) {
        let mut relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if relays.len() < WATCHED_MAX || relays.contains_key(&relay) {
            relays.insert(relay, Heard { at_ns, draining });
        }
    }

    /// Of these relays, those that a client should be told now, in their order: not those that
    /// drain or have fallen silent. If none is left, all: a bad chance is better than none. A relay
    /// that was never heard may have just been added, and counts as well.
    pub fn advertised(&self, ingress: &[Ingress]) -> Vec<SocketAddr> {
        self.advertised_at(ingress, clock::monotonic_ns())
    }

    fn advertised_at(&self, ingress: &[Ingress], now_ns: u64) -> Vec<SocketAddr> {
        let relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |ingress: &&Ingress| {
            let heard = ingress.relay.and_then(|relay| relays.get(&relay));
            heard.is_none_or(|heard| {
                let silent = Duration::from_nanos(now_ns.saturating_sub(heard.at_ns)) > SILENCE;
                !heard.draining && !silent
            })
        };
        let good: Vec<_> = ingress.iter().filter(is_good).map(|ingress| ingress.address).collect();
        if good.is_empty() { ingress.iter().map(|ingress| ingress.address).collect() } else { good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back() {
        for text in ["203.0.113.7:3478", "[2001:db8::7]:1 via fd00::7", "192.0.2.1:2 via 10.0.0.7"]
        {
            assert_eq!(text.parse::<Ingress>().unwrap().to_string(), text);
        }
        for text in ["", "203.0.113.7", "203.0.113.7:1 via", "203.0.113.7:1 via x", "via 10.0.0.7"]
        {
            assert!(text.parse::<Ingress>().is_err(), "{text}");
        }
    }

    #[test]
    fn clients_are_told_relays_that_take_calls() {
        let list: Vec<Ingress> =
            ["192.0.2.1:1 via 10.0.0.1", "192.0.2.2:1 via 10.0.0.2", "192.0.2.3:1"]
                .map(|text| text.parse().unwrap())
                .into();
        let [first, second, third] = [0, 1, 2].map(|place: usize| list[place].address);
        let (one, two): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let watch = RelayWatch::default();
        let second_ns = 1_000_000_000;
        assert_eq!(watch.advertised_at(&list, 0), [first, second, third], "not heard yet");
        watch.heard_at(one, true, second_ns);
        watch.heard_at(two, false, second_ns);
        assert_eq!(watch.advertised_at(&list, second_ns), [second, third], "the first drains");
        watch.heard_at(one, false, 2 * second_ns);
        assert_eq!(
            watch.advertised_at(&list, 7 * second_ns),
            [first, third],
            "the second is silent"
        );
        assert_eq!(watch.advertised_at(&list, 9 * second_ns), [third]);
        assert_eq!(watch.advertised_at(&list[..2], 9 * second_ns), [first, second], "none is left");
    }

    #[test]
    fn strangers_do_not_fill_the_watch() {
        let watch = RelayWatch::default();
        for number in 0..10_000_u32 {
            watch.heard(std::net::Ipv4Addr::from(number).into(), false);
        }
        assert_eq!(watch.0.lock().unwrap().len(), WATCHED_MAX);
    }
}
