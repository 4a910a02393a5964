//! The tables of the file that are plain values. Their meaning is told in `default.toml`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::config::{duration, size};

use super::limits;

/// The leg to the transceivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tunnel {
    /// The address that tunnel sockets are bound to. Its family is the tunnel's.
    pub address: IpAddr,
    /// Worker n's port is this plus n.
    pub port_base: u16,
    /// The largest datagram, without IP and UDP headers.
    pub mtu: u16,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port_base: limits::RELAY_PORT_BASE,
            mtu: limits::TUNNEL_MTU_ETHERNET,
        }
    }
}

/// The way to clients past their sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Direct {
    /// Whether packets to clients leave as Ethernet frames made here.
    pub egress: DirectEgress,
}

/// Whether packets to clients leave as Ethernet frames made here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectEgress {
    /// No: all by their sockets.
    #[default]
    Off,
    /// Where this host allows it.
    Auto,
    /// Yes, or the relay does not start.
    Require,
}

/// The flow tables, each worker's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Assured flows that a worker has room for.
    pub per_worker: u32,
    /// New flows that it has room for beside them.
    pub new_max: u32,
    /// How long a new flow lives without an answer.
    #[serde(with = "duration")]
    pub idle_new: Duration,
    /// How long an assured flow lives without a packet.
    #[serde(with = "duration")]
    pub idle_assured: Duration,
    /// New flows a second, for each worker, above which none is entered.
    pub new_flow_rate: u32,
    /// Client addresses that one session may come from.
    pub addresses_per_session_max: u16,
    /// Flows of one shard, for each worker, above which it teaches no more.
    pub per_shard_max: u32,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            per_worker: 1 << 18,
            new_max: 1 << 14,
            idle_new: Duration::from_secs(10),
            idle_assured: Duration::from_mins(1),
            new_flow_rate: 10_000,
            addresses_per_session_max: 8,
            per_shard_max: 1 << 14,
        }
    }
}

/// Socket and ring buffers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Buffers {
    /// The kernel's receive buffer, for each socket.
    #[serde(with = "size")]
    pub receive_socket_bytes: u64,
    /// Buffers in the ring of each socket.
    pub ring_buffers: u32,
    /// The size of each.
    #[serde(with = "size")]
    pub buffer_bytes: u64,
    /// Whether rings lie in huge pages.
    pub huge_pages: bool,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            receive_socket_bytes: 4 << 20,
            ring_buffers: 2_048,
            buffer_bytes: 2_048,
            huge_pages: false,
        }
    }
}

/// The flow cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Where it is; empty for none.
    pub url: String,
    /// The file with its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The file with the authority of its certificate, if not one of the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What all keys begin with.
    pub prefix: String,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: String::new(),
            password_file: None,
            ca_file: None,
            timeout: Duration::from_millis(250),
            prefix: "ringway:flow:".to_owned(),
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
        Self { socket: PathBuf::from("/run/ringway/relay.sock"), group: None }
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
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_478)) }
    }
}
