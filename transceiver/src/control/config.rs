//! The transceiver's configuration: one TOML file, checked as a whole before anything starts.
//!
//! `default.toml` beside this file is the documentation of every key; `print-config` prints it,
//! and a test holds it to the defaults here. What types can say is said by types, the rest is in
//! `check`; all limits are in `limits`.

mod check;
mod identity;
pub mod limits;
mod remarks;
mod sections;

use std::path::PathBuf;

use crate::ingress::Ingress;
use serde::{Deserialize, Serialize};
use service::config::{Changes, Cpus, Key, Problems, Schema, Threads};

pub use identity::Identity;
pub use sections::{Admin, Calls, Http, Rates, Signaling, Tunnel};
pub use service::config::sections::{Drain, Log};

/// The commented defaults, as `print-config` prints them.
pub const DEFAULT_FILE: &str = include_str!("config/default.toml");

/// How many threads carry calls.
pub type Shards = Threads<{ limits::SHARDS_MAX }>;

/// The configuration of a transceiver. What each key means is said in `default.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The relays that clients are told, the best one first.
    pub ingress: Vec<Ingress>,
    /// The cluster.
    pub cluster: u16,
    /// What relays know it by.
    pub transceiver: Identity,
    /// The keyring file.
    pub keys: PathBuf,
    /// How datagrams are moved.
    pub engine: Engine,
    /// How many threads carry calls.
    pub shards: Shards,
    /// The cores they are pinned to; empty means those of the process's cpuset.
    pub cpus: Cpus,
    /// Whom clients talk to that name nobody.
    pub backend: Backend,
    /// The leg to the relays.
    pub tunnel: Tunnel,
    /// Where clients ask for calls.
    pub signaling: Signaling,
    /// How often each caller may ask.
    pub rates: Rates,
    /// Bounds on calls.
    pub calls: Calls,
    /// The socket for `ctl`.
    pub admin: Admin,
    /// The listener for metrics and health.
    pub http: Http,
    /// The log.
    pub log: Log,
    /// How the transceiver stops.
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

/// Whom clients can talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Gives back every frame.
    Echo,
    /// Repeats what was said.
    Parrot,
}

impl Backend {
    /// The name that clients give.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Parrot => "parrot",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingress: Vec::new(),
            cluster: 1,
            transceiver: Identity::Auto,
            keys: PathBuf::from("/etc/ringway/keys.toml"),
            engine: Engine::Auto,
            shards: Shards::Auto,
            cpus: Cpus::default(),
            backend: Backend::Echo,
            tunnel: Tunnel::default(),
            signaling: Signaling::default(),
            rates: Rates::default(),
            calls: Calls::default(),
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
            ingress: wanted.ingress,
            keys: wanted.keys,
            signaling: Signaling {
                api_keys: wanted.signaling.api_keys,
                page: wanted.signaling.page,
                origins: wanted.signaling.origins,
                ..self.signaling.clone()
            },
            rates: wanted.rates,
            calls: wanted.calls,
            log: Log { level: wanted.log.level, ..self.log.clone() },
            drain: wanted.drain,
            ..self.clone()
        }
    }
}

impl Schema for Config {
    const KEYS: &'static [Key] = &[
        Key::live("ingress"),
        // Relays route to a transceiver by these; under another name its calls would be lost.
        Key::restart("cluster"),
        Key::restart("transceiver"),
        Key::live("keys"),
        Key::restart("engine"),
        Key::restart("shards"),
        Key::restart("cpus"),
        Key::restart("backend"),
        Key::restart("tunnel.address"),
        Key::restart("tunnel.port_base"),
        Key::restart("tunnel.mtu"),
        Key::restart("tunnel.receive_socket_bytes"),
        Key::restart("signaling.listen"),
        // Who may call is not to change by the slip of a reload.
        Key::restart("signaling.open"),
        Key::live("signaling.api_keys"),
        Key::live("signaling.page"),
        Key::live("signaling.origins"),
        Key::restart("signaling.proxies"),
        Key::restart("signaling.connections_max"),
        Key::restart("signaling.connections_per_address_max"),
        Key::live("rates.address_per_second"),
        Key::live("rates.address_burst"),
        Key::live("rates.key_per_second"),
        Key::live("rates.key_burst"),
        Key::live("rates.secret_per_second"),
        Key::live("rates.secret_burst"),
        Key::live("calls.per_shard_max"),
        Key::live("calls.time_max"),
        Key::live("calls.lost_after"),
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

/// What differs between two configurations, by whether a running transceiver can take it.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    Changes::between(old, new)
}

#[cfg(test)]
mod tests;
