//! The relay's configuration: one TOML file, checked as a whole before anything starts.
//!
//! `default.toml` beside this file is the documentation of every key; `print-config` prints it,
//! and a test holds it to the defaults here. What types can say is said by types (`Workers`,
//! `Cidr`, durations), the rest is in `check`; all limits are in `limits`.

mod check;
mod cluster;
pub mod limits;
pub(super) mod redis_url;
mod remarks;
mod sections;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::config::{Changes, Cpus, Key, Problems, Schema, Threads};

pub use cluster::{Cluster, Resolution, Resolve, Transceiver};
pub use sections::{Admin, Buffers, Direct, DirectEgress, Flows, Http, Redis, Tunnel};
pub use service::config::sections::{Drain, Log};

/// How many threads do the work.
pub type Workers = Threads<{ limits::WORKERS_MAX }>;

/// The commented defaults, as `print-config` prints them.
pub const DEFAULT_FILE: &str = include_str!("config/default.toml");

/// The configuration of a relay. What each key means is said in `default.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The public addresses, in the order of the listener numbers in frames.
    pub listen: Vec<SocketAddr>,
    /// Whether clients on this host may call although no listen address is a loopback address.
    pub allow_loopback_clients: bool,
    /// How datagrams are moved.
    pub engine: Engine,
    /// How many threads do the work.
    pub workers: Workers,
    /// The cores they are pinned to; empty means those of the process's cpuset.
    pub cpus: Cpus,
    /// Whether a packet goes to the worker on the core that received it.
    pub steer_by_cpu: bool,
    /// The keyring file.
    pub keys: PathBuf,
    /// How long a busy worker waits for more packets before it wakes up, at most.
    pub coalesce_us_max: u32,
    /// Whether equal packets to one client leave as one send.
    pub gso: bool,
    /// The way to clients past their sockets.
    pub direct: Direct,
    /// The leg to the transceivers.
    pub tunnel: Tunnel,
    /// The flow tables.
    pub flows: Flows,
    /// Socket and ring buffers.
    pub buffers: Buffers,
    /// The flow cache.
    pub redis: Redis,
    /// Where hints lead.
    pub clusters: Vec<Cluster>,
    /// The socket for `ctl`.
    pub admin: Admin,
    /// The listener for metrics and health.
    pub http: Http,
    /// The log.
    pub log: Log,
    /// How the relay stops.
    pub drain: Drain,
}

/// How datagrams are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The best that this host allows.
    Auto,
    /// io_uring.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, limits::STUN_PORT)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, limits::STUN_PORT)),
            ],
            allow_loopback_clients: false,
            engine: Engine::Auto,
            workers: Workers::Auto,
            cpus: Cpus::default(),
            steer_by_cpu: false,
            keys: PathBuf::from("/etc/ringway/keys.toml"),
            coalesce_us_max: 100,
            gso: true,
            direct: Direct::default(),
            tunnel: Tunnel::default(),
            flows: Flows::default(),
            buffers: Buffers::default(),
            redis: Redis::default(),
            clusters: Vec::new(),
            admin: Admin::default(),
            http: Http::default(),
            log: Log::default(),
            drain: Drain::default(),
        }
    }
}

impl Config {
    /// This configuration with the live keys of another: what is in effect after a reload.
    #[must_use]
    pub fn with_live_of(&self, wanted: &Self) -> Self {
        let wanted = wanted.clone();
        Self {
            keys: wanted.keys,
            coalesce_us_max: wanted.coalesce_us_max,
            clusters: wanted.clusters,
            log: Log { level: wanted.log.level, ..self.log.clone() },
            drain: wanted.drain,
            ..self.clone()
        }
    }
}

impl Schema for Config {
    const KEYS: &'static [Key] = &[
        // Sockets cannot join or leave a reuseport group without moving clients between workers.
        Key::restart("listen"),
        Key::restart("allow_loopback_clients"),
        Key::restart("engine"),
        Key::restart("workers"),
        Key::restart("cpus"),
        Key::restart("steer_by_cpu"),
        Key::live("keys"),
        Key::live("coalesce_us_max"),
        Key::restart("gso"),
        // Rings are opened before privileges are dropped, where they are.
        Key::restart("direct.egress"),
        // Transceivers answer to the tunnel port that a packet came from.
        Key::restart("tunnel.address"),
        Key::restart("tunnel.port_base"),
        Key::restart("tunnel.mtu"),
        // Tables and buffers are allocated once, at start.
        Key::restart("flows.per_worker"),
        Key::restart("flows.new_max"),
        Key::restart("flows.idle_new"),
        Key::restart("flows.idle_assured"),
        Key::restart("flows.new_flow_rate"),
        Key::restart("flows.addresses_per_session_max"),
        Key::restart("flows.per_shard_max"),
        Key::restart("buffers.receive_socket_bytes"),
        Key::restart("buffers.ring_buffers"),
        Key::restart("buffers.buffer_bytes"),
        Key::restart("buffers.huge_pages"),
        Key::restart("redis.url"),
        Key::restart("redis.password_file"),
        Key::restart("redis.ca_file"),
        Key::restart("redis.timeout"),
        Key::restart("redis.prefix"),
        Key::live("clusters"),
        Key::restart("admin.socket"),
        Key::restart("admin.group"),
        Key::restart("http.listen"),
        Key::restart("log.format"),
        Key::live("log.level"),
        Key::live("drain.deadline"),
    ];

    fn check(&self, problems: &mut Problems<'_>) {
        check::check(self, problems);
    }
}

/// What differs between two configurations, by whether a running relay can take it.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    Changes::between(old, new)
}

#[cfg(test)]
mod tests;
