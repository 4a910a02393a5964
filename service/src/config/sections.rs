//! The tables that every process's file has, and what types cannot say about them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Problems, duration};
use crate::log::{Format, Level};
use crate::network::Special;

/// The path of a Unix socket: 108 bytes in the kernel, less the end and room for a private folder.
const SOCKET_PATH_BYTES_MAX: usize = 90;

/// How long stopping may take: the longest call.
const DRAIN_DEADLINE_MAX: Duration = Duration::from_hours(24);

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: Format,
    /// Which lines are written.
    pub level: Level,
}

/// How the process stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long its work may go on.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::from_mins(10) }
    }
}

impl Drain {
    /// Checks the table `drain`.
    pub fn check(&self, problems: &mut Problems<'_>) {
        if self.deadline > DRAIN_DEADLINE_MAX {
            let [most, is] = [DRAIN_DEADLINE_MAX, self.deadline].map(duration::format);
            problems.add("drain.deadline", format!("must be at most {most}, is {is}"));
        }
    }
}

/// Checks `keys`, the keyring's path.
pub fn check_keys(keys: &Path, problems: &mut Problems<'_>) {
    if keys.as_os_str().is_empty() {
        problems.add("keys", "must be the path of the keyring file");
    }
}

/// Checks the table `admin`.
pub fn check_admin(socket: &Path, group: Option<&str>, problems: &mut Problems<'_>) {
    let bytes = socket.as_os_str().len();
    if !socket.is_absolute() || bytes > SOCKET_PATH_BYTES_MAX {
        let is = socket.display();
        problems.add(
            "admin.socket",
            format!(
                "must be an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, is \"{is}\""
            ),
        );
    }
    if group == Some("") {
        problems.add("admin.group", "must be the name of a group; leave it out for none");
    }
}

/// Checks the address of a listener; `who` are those that connect to it.
pub fn check_listener(key: &str, address: SocketAddr, who: &str, problems: &mut Problems<'_>) {
    if let Some(reason) = unbindable(address.ip()) {
        problems.add(key, format!("{address} {reason}"));
    }
    if address.port() == 0 {
        problems.add(key, format!("{address} has no port: {who} need to know one"));
    }
}

/// Why no socket of ours can be bound to an address.
#[must_use]
pub fn unbindable(address: IpAddr) -> Option<String> {
    match (address, Special::of(address)) {
        (IpAddr::V6(inner), _) if inner.to_ipv4_mapped().is_some() => {
            Some(format!("is IPv4 in IPv6 form: write {}", address.to_canonical()))
        }
        (_, Some(special @ (Special::Multicast | Special::Broadcast))) => {
            Some(format!("is {}, not an address of a host", special.as_str()))
        }
        _ => None,
    }
}
