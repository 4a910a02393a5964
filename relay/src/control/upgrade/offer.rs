//! What the two processes say to each other, and whether they suit.

use crate::control::config::Config;
use engine::handover::{Channel, MESSAGE_BYTES_MAX};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// The version of this conversation.
pub(super) const PROTOCOL: u32 = 1;

/// What the process before has to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    /// The version of the program.
    pub(super) version: String,
    pub(super) workers: usize,
    pub(super) listen: Vec<SocketAddr>,
    /// The tunnel of worker 0.
    pub(super) tunnel: SocketAddr,
    pub(super) steer_by_cpu: bool,
    /// Where its pages are, so that a listener is taken only for the same address.
    pub(super) http: SocketAddr,
    pub(super) draining: bool,
    /// Descriptors that follow: the sockets, then the HTTP listener.
    pub(super) descriptors: usize,
}

/// Said by the process before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum FromPrevious {
    Offer(Offer),
    /// Some descriptors, in order.
    Descriptors,
    /// All flows, in the file that comes along.
    Flows,
}

/// Said by the next one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum FromNext {
    /// Everything is checked and made.
    Ready { version: String },
    /// It ends without having served.
    Refused { reason: String },
    /// Its workers run.
    Serving { flows: u64, flows_refused: u64 },
}

impl Offer {
    /// Why a process with this configuration and so many workers cannot take the sockets over.
    pub(super) fn refusal(&self, config: &Config, workers: usize) -> Option<String> {
        let restart = "an upgrade keeps the sockets as they are: change it back, or restart";
        let differs = |what: &str, was: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
            Some(format!("{what} differs: {was:?} runs, {is:?} is configured; {restart}"))
        };
        if self.protocol != PROTOCOL {
            let version = &self.version;
            return Some(format!(
                "version {version} hands over by protocol {}, this one takes over by protocol \
                 {PROTOCOL}: restart instead",
                self.protocol
            ));
        }
        if self.workers != workers {
            return differs("the number of workers", &self.workers, &workers);
        }
        if self.listen != config.listen {
            return differs("listen", &self.listen, &config.listen);
        }
        let tunnel = SocketAddr::new(config.tunnel.address, config.tunnel.port_base);
        if self.tunnel != tunnel {
            return differs("tunnel.address or tunnel.port_base", &self.tunnel, &tunnel);
        }
        if self.steer_by_cpu != config.steer_by_cpu {
            return differs("steer_by_cpu", &self.steer_by_cpu, &config.steer_by_cpu);
        }
        None
    }
}

pub(super) fn say(
    channel: &Channel,
    what: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut message = serde_json::to_vec(what)?;
    if message.len() > MESSAGE_BYTES_MAX {
        // Only a reason can be as long.
        message = serde_json::to_vec(&FromNext::Refused { reason: "see its log".to_owned() })?;
    }
    channel.send(&message, descriptors)
}

pub(super) fn hear<T: DeserializeOwned>(
    channel: &Channel,
    patience: Duration,
) -> io::Result<(T, Vec<OwnedFd>)> {
    let (message, descriptors) = channel.receive(patience)?;
    Ok((serde_json::from_slice(&message)?, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_the_same_sockets_is_offered_them() {
        let config = Config::default();
        let offer = Offer {
            protocol: PROTOCOL,
            version: "1".to_owned(),
            workers: 2,
            listen: config.listen.clone(),
            tunnel: SocketAddr::new(config.tunnel.address, config.tunnel.port_base),
            steer_by_cpu: false,
            http: config.http.listen,
            draining: false,
            descriptors: 7,
        };
        assert_eq!(offer.refusal(&config, 2), None);
        let other = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            offer.refusal(&config, 2).unwrap()
        };
        let table = [
            (offer.refusal(&config, 3).unwrap(), "the number of workers differs: 2 runs, 3 is"),
            (other(|it| it.listen.truncate(1)), "listen differs: "),
            (other(|it| it.listen.reverse()), "listen differs: "),
            (other(|it| it.tunnel.port_base += 1), "port_base differs: 0.0.0.0:3500 runs, 0.0.0"),
            (other(|it| it.steer_by_cpu = true), "steer_by_cpu differs: false runs, true is"),
            (
                Offer { protocol: 9, ..offer.clone() }.refusal(&config, 2).unwrap(),
                "hands over by protocol 9, this one takes over by protocol 1",
            ),
        ];
        for (refusal, part) in table {
            assert!(refusal.contains(part), "{refusal}");
            assert!(refusal.contains("restart"), "{refusal}");
        }
    }
}
