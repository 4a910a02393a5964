//! Whom this program may load: this host and private test networks, or somebody who was named
//! twice.
//!
//! A load generator aimed at the wrong address is an attack. So anything but loopback, or a network
//! namespace of the user's own making, needs `--target-authorized` with the host's name repeated;
//! and even then nothing but a few checks is sent to whom does not answer them (RFC 7675).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody said that it may be loaded.
    #[error(
        "{name} ({address}) is not on this host. If you may load it, say so by repeating its name: \
         --target-authorized {name}"
    )]
    NotAuthorized {
        /// As the user named it.
        name: String,
        /// Where that leads.
        address: IpAddr,
    },
    /// Somebody said so of another.
    #[error("--target-authorized {said} is not the target, which is {name}: repeat that name")]
    AnotherName {
        /// What was repeated.
        said: String,
        /// What should have been.
        name: String,
    },
    /// No single host.
    #[error("{name} leads to {address}, which is no single host")]
    NoHost {
        /// As the user named it.
        name: String,
        /// Where that leads.
        address: IpAddr,
    },
}

/// What this program may do without being told.
#[derive(Debug, Clone)]
pub struct Permission {
    authorized: Option<String>,
    own_namespace: bool,
}

impl Permission {
    /// With the value of `--target-authorized`, in the namespace that this process is in.
    #[must_use]
    pub fn new(authorized: Option<String>) -> Self {
        Self { authorized, own_namespace: in_own_namespace(Path::new("/proc")) }
    }

    /// Whether `name`, which leads to `address`, may be loaded.
    pub fn check(&self, name: &str, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        let name_owned = || name.to_owned();
        if address.is_multicast() || address.is_unspecified() || is_broadcast(address) {
            return Err(Refused::NoHost { name: name_owned(), address });
        }
        if address.is_loopback() || (self.own_namespace && is_private(address)) {
            return Ok(());
        }
        match &self.authorized {
            None => Err(Refused::NotAuthorized { name: name_owned(), address }),
            Some(said) if said.eq_ignore_ascii_case(name) => Ok(()),
            Some(said) => Err(Refused::AnotherName { said: said.clone(), name: name_owned() }),
        }
    }

    /// Whether the address of a relay that the authorized host's answer names may be loaded. With
    /// the host, its operator has been asked; without, an answer cannot lead us off this host.
    pub fn check_answer(&self, address: SocketAddr) -> Result<(), Refused> {
        let name = self.authorized.clone().unwrap_or_else(|| address.ip().to_string());
        self.check(&name, address.ip())
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Whether our network is another one than that of process 1: then somebody made it for a test (or
/// a container was made around us alone). If that cannot be told, it counts as the host's.
fn in_own_namespace(proc: &Path) -> bool {
    let namespace = |process: &str| std::fs::read_link(proc.join(process).join("ns/net")).ok();
    match (namespace("self"), namespace("1")) {
        (Some(own), Some(first)) => own != first,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorized: Option<&str>, own_namespace: bool, name: &str, address: &str) -> bool {
        let permission = Permission { authorized: authorized.map(str::to_owned), own_namespace };
        permission.check(name, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn who_may_be_loaded() {
        for (authorized, own, name, address, may) in [
            (None, false, "localhost", "127.0.0.1", true),
            (None, false, "localhost", "127.9.9.9", true),
            (None, false, "localhost", "::1", true),
            (None, false, "x", "::ffff:127.0.0.1", true),
            (None, false, "x", "10.0.0.1", false),
            (None, true, "x", "10.77.1.1", true),
            (None, true, "x", "fd77:1::1", true),
            (None, true, "x", "203.0.113.1", false),
            (None, false, "example.com", "203.0.113.1", false),
            (Some("example.com"), false, "example.com", "203.0.113.1", true),
            (Some("EXAMPLE.com"), false, "example.com", "203.0.113.1", true),
            (Some("other.com"), false, "example.com", "203.0.113.1", false),
            (Some(""), false, "example.com", "203.0.113.1", false),
            (Some("x"), false, "x", "224.0.0.1", false),
            (Some("x"), false, "x", "255.255.255.255", false),
            (Some("x"), false, "x", "0.0.0.0", false),
        ] {
            assert_eq!(
                check(authorized, own, name, address),
                may,
                "{authorized:?} {own} {name} {address}"
            );
        }
    }

    #[test]
    fn an_answer_leads_nowhere_but_where_was_allowed() {
        let local = Permission { authorized: None, own_namespace: false };
        assert!(local.check_answer("127.0.0.1:3478".parse().unwrap()).is_ok());
        assert!(local.check_answer("203.0.113.1:3478".parse().unwrap()).is_err());
        let named = Permission { authorized: Some("example.com".into()), own_namespace: false };
        assert!(named.check_answer("203.0.113.1:3478".parse().unwrap()).is_ok());
        assert!(named.check_answer("255.255.255.255:1".parse().unwrap()).is_err());
    }

    #[test]
    fn refusals_say_what_to_do() {
        let permission = Permission { authorized: None, own_namespace: false };
        let error = permission.check("sfu.example.com", "203.0.113.1".parse().unwrap());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("--target-authorized sfu.example.com"), "{text}");
    }

    #[test]
    fn an_unreadable_proc_is_the_hosts_network() {
        assert!(!in_own_namespace(Path::new("/nonexistent")));
    }
}
