//! What a router is built with. Fixed for its life: what can change while it runs is a command.

use super::clusters::ClustersError;
use super::limits;
use std::ops::RangeInclusive;
use thiserror::Error;
use wire::address::{Address, Scope};
use wire::hint::HintTime;

/// The address family of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 clients only.
    Ipv4,
    /// IPv6 clients only.
    Ipv6,
    /// Both, on one IPv6 socket.
    Dual,
}

impl Family {
    /// Whether a client of this address can talk to the listener.
    #[inline]
    pub fn suits(self, address: &Address) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => !address.is_ipv4(),
            Self::Dual => true,
        }
    }
}

/// Where clients may be, beyond ordinary unicast addresses. Multicast, broadcast, unspecified and
/// reserved addresses never are clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientScopes {
    /// Clients on this host: for tests and the demo.
    pub loopback: bool,
    /// Clients on this link.
    pub link_local: bool,
}

impl ClientScopes {
    /// Whether a client can be at this address.
    #[inline]
    pub(super) fn allow(self, address: &Address) -> bool {
        let scope = match address.scope() {
            Scope::Unicast => true,
            Scope::Loopback => self.loopback,
            Scope::LinkLocal => self.link_local,
            Scope::Multicast | Scope::Broadcast | Scope::Unspecified | Scope::Reserved => false,
        };
        scope && address.port() != 0
    }
}

/// What a router is built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The listeners: a [`wire::frame::ListenerId`] is a position in this list.
    pub listeners: Vec<Family>,
    /// Where clients may be.
    pub client_scopes: ClientScopes,
    /// Room for assured flows.
    pub flows_max: u32,
    /// Room for new flows.
    pub new_flows_max: u32,
    /// How long an assured flow may be idle.
    pub flow_idle_ms: u32,
    /// How long a new flow may be idle.
    pub new_flow_idle_ms: u32,
    /// New flows per second before the worker is under flood.
    pub new_flow_rate: u32,
    /// Client addresses that one session may have.
    pub session_addresses_max: u8,
    /// Flows that a shard has without having been chosen by a hint: when so many go to it, it
    /// teaches no more.
    pub flows_per_shard_max: u32,
    /// Room for peers.
    pub peers_max: u16,
    /// A tunnel datagram is closed at this length.
    pub tunnel_datagram_bytes: u16,
    /// The longest client packet that is carried.
    pub packet_bytes_max: u16,
    /// The longest lifetime of a hint that transceivers may give.
    pub hint_lifetime_units_max: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: vec![Family::Ipv4],
            client_scopes: ClientScopes::default(),
            flows_max: limits::FLOWS_DEFAULT,
            new_flows_max: limits::NEW_FLOWS_DEFAULT,
            flow_idle_ms: limits::FLOW_IDLE_MS_DEFAULT,
            new_flow_idle_ms: limits::NEW_FLOW_IDLE_MS_DEFAULT,
            new_flow_rate: limits::NEW_FLOW_RATE_DEFAULT,
            session_addresses_max: limits::SESSION_ADDRESSES_DEFAULT,
            flows_per_shard_max: limits::FLOWS_PER_SHARD_DEFAULT,
            peers_max: limits::PEERS_DEFAULT,
            tunnel_datagram_bytes: limits::TUNNEL_DATAGRAM_BYTES_DEFAULT,
            packet_bytes_max: limits::PACKET_BYTES_DEFAULT,
            hint_lifetime_units_max: HintTime::LIFETIME_UNITS_MAX,
        }
    }
}

/// Why no router was built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetupError {
    /// A number is out of its range.
    #[error("{setting} = {value} is not from {} to {}", .range.start(), .range.end())]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: RangeInclusive<u64>,
    },
    /// The clusters do not fit.
    #[error(transparent)]
    Clusters(#[from] ClustersError),
}

impl Settings {
    /// Checks every number against its limits.
    pub(super) fn check(&self) -> Result<(), SetupError> {
        let listeners = self.listeners.len() as u64;
        let checks: [(&'static str, u64, RangeInclusive<u64>); 12] = [
            ("listeners", listeners, 1..=limits::LISTENERS_MAX as u64),
            ("flows_max", self.flows_max.into(), 1..=limits::FLOWS_MAX.into()),
            ("new_flows_max", self.new_flows_max.into(), 1..=limits::NEW_FLOWS_MAX.into()),
            ("flow_idle_ms", self.flow_idle_ms.into(), 1..=limits::FLOW_IDLE_MS_MAX.into()),
            ("new_flow_idle_ms", self.new_flow_idle_ms.into(), 1..=limits::FLOW_IDLE_MS_MAX.into()),
            ("new_flow_rate", self.new_flow_rate.into(), 0..=u32::MAX.into()),
            ("session_addresses_max", self.session_addresses_max.into(), 1..=u8::MAX.into()),
            ("flows_per_shard_max", self.flows_per_shard_max.into(), 1..=limits::FLOWS_MAX.into()),
            ("peers_max", self.peers_max.into(), 1..=limits::PEERS_MAX.into()),
            (
                "tunnel_datagram_bytes",
                self.tunnel_datagram_bytes.into(),
                limits::TUNNEL_DATAGRAM_BYTES_MIN.into()..=limits::TUNNEL_DATAGRAM_BYTES_MAX.into(),
            ),
            ("packet_bytes_max", self.packet_bytes_max.into(), 1..=limits::PACKET_BYTES_MAX.into()),
            (
                "hint_lifetime_units_max",
                self.hint_lifetime_units_max.into(),
                1..=HintTime::LIFETIME_UNITS_MAX.into(),
            ),
        ];
        match checks.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((setting, value, range)) => Err(SetupError::OutOfRange { setting, value, range }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_range_and_the_error_says_it() {
        assert_eq!(Settings::default().check(), Ok(()));
        let wrong = Settings { flows_max: 0, ..Settings::default() };
        let message = wrong.check().unwrap_err().to_string();
        assert_eq!(message, "flows_max = 0 is not from 1 to 16777216");
        for wrong in [
            Settings { listeners: Vec::new(), ..Settings::default() },
            Settings { new_flows_max: 0, ..Settings::default() },
            Settings { new_flow_idle_ms: 3_600_001, ..Settings::default() },
            Settings { session_addresses_max: 0, ..Settings::default() },
            Settings { peers_max: u16::MAX, ..Settings::default() },
            Settings { tunnel_datagram_bytes: 500, ..Settings::default() },
            Settings { packet_bytes_max: u16::MAX, ..Settings::default() },
            Settings { hint_lifetime_units_max: 0, ..Settings::default() },
        ] {
            assert!(wrong.check().is_err());
        }
    }

    #[test]
    fn clients_are_where_clients_can_be() {
        let address = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().into();
        let strict = ClientScopes::default();
        let local = ClientScopes { loopback: true, link_local: true };
        for (text, by_default, when_local) in [
            ("192.0.2.1:5000", true, true),
            ("10.0.0.1:5000", true, true),
            ("[2001:db8::1]:5000", true, true),
            ("192.0.2.1:0", false, false),
            ("127.0.0.1:5000", false, true),
            ("127.0.0.1:0", false, false),
            ("[::1]:5000", false, true),
            ("[::ffff:127.0.0.1]:5000", false, true),
            ("169.254.169.254:80", false, true),
            ("[fe80::1]:5000", false, true),
            ("224.0.0.1:5000", false, false),
            ("255.255.255.255:5000", false, false),
            ("0.0.0.0:5000", false, false),
            ("240.0.0.1:5000", false, false),
            ("[ff02::1]:5000", false, false),
            ("[2002:7f00:1::]:5000", false, false),
        ] {
            assert_eq!(strict.allow(&address(text)), by_default, "{text}");
            assert_eq!(local.allow(&address(text)), when_local, "{text}");
        }
    }
}
