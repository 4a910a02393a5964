//! The tables of the file that are plain values. Their meaning is told in `default.toml`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::config::{duration, size};
use service::network::Cidr;

use super::limits;

/// The leg to the relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tunnel {
    /// The address that tunnel sockets are bound to. Its family is the tunnel's.
    pub address: IpAddr,
    /// Shard n's port is this plus n.
    pub port_base: u16,
    /// The largest datagram, without IP and UDP headers.
    pub mtu: u16,
    /// The kernel's receive buffer, for each socket.
    #[serde(with = "size")]
    pub receive_socket_bytes: u64,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port_base: limits::PORT_BASE,
            mtu: limits::TUNNEL_MTU_ETHERNET,
            receive_socket_bytes: 4 << 20,
        }
    }
}

/// Where clients ask for calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signaling {
    /// The address of the HTTP listener.
    pub listen: SocketAddr,
    /// Whether nobody needs a key.
    pub open: bool,
    /// The file of API keys.
    pub api_keys: PathBuf,
    /// Whether the page is served.
    pub page: bool,
    /// Other origins whose pages may call.
    pub origins: Vec<String>,
    /// Proxies in front.
    pub proxies: Vec<Cidr>,
    /// Connections at a time.
    pub connections_max: u32,
    /// Those of one address.
    pub connections_per_address_max: u32,
}

impl Default for Signaling {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080)),
            open: false,
            api_keys: PathBuf::from("/etc/ringway/api-keys"),
            page: true,
            origins: Vec::new(),
            proxies: Vec::new(),
            connections_max: 4_096,
            connections_per_address_max: 256,
        }
    }
}

/// How often each caller may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Requests a second of an address.
    pub address_per_second: u32,
    /// Its requests at once.
    pub address_burst: u32,
    /// Requests a second of an API key.
    pub key_per_second: u32,
    /// Its requests at once.
    pub key_burst: u32,
    /// Requests a second of a client secret.
    pub secret_per_second: u32,
    /// Its requests at once.
    pub secret_burst: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address_per_second: 50,
            address_burst: 200,
            key_per_second: 500,
            key_burst: 1_000,
            secret_per_second: 10,
            secret_burst: 50,
        }
    }
}

/// Bounds on calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// Calls of each shard.
    pub per_shard_max: u32,
    /// The longest call, and how long a hint makes new flows.
    #[serde(with = "duration")]
    pub time_max: Duration,
    /// How long a client may not be heard.
    #[serde(with = "duration")]
    pub lost_after: Duration,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            per_shard_max: 2_000,
            time_max: Duration::from_hours(12),
            lost_after: Duration::from_secs(30),
        }
    }
}

/// The socket for `ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Its path.
    pub socket: PathBuf,
    /// The group that may use it besides the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/ringway/transceiver.sock"), group: None }
    }
}

/// The listener for metrics and health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Its address.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_479)) }
    }
}
