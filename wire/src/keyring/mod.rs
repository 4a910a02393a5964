//! The keyring: all secrets that relays and transceivers share, as one TOML text.
//!
//! ```toml
//! [[routing]]                      # mints and reads hints, derives ICE passwords
//! id = "A"                         # the first character of every ufrag minted with it
//! state = "use"                    # one entry is used for new things, the others are accepted
//! key = "…32 hex digits…"
//! credential = "…64 hex digits…"
//!
//! [[tunnel]]                       # seals the legs between relays and shards
//! id = 1
//! state = "use"
//! secret = "…64 hex digits…"
//! ```
//!
//! Rotation never refuses anything in flight if it goes in three steps, each reaching every process
//! before the next begins: add the new entry with `accept`; swap the states, so that the new one is
//! `use` and the old one `accept`; drop the old entry when its last session has ended.

mod generate;
mod parse;
#[cfg(test)]
mod tests;

pub use generate::{KeyringText, fresh_routing_entry, fresh_tunnel_entry, generate};

use crate::credentials::{CredentialSecret, IcePwd};
use crate::hint::{self, Hint, HintError, KeyChar, RoutingKey, Ufrag};
use crate::stun::{IntegrityError, Message};
use crate::tunnel::{Direction, Sealer, SenderId, TunnelKeyId, TunnelSecret};
use std::fmt;
use thiserror::Error;

/// Whether new things are made with an entry, or only old ones still recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Recognised.
    Accept,
    /// Recognised, and used for everything new. One entry of each kind.
    Use,
}

/// A routing key, and the secret of the passwords of all sessions whose ufrags it minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingEntry {
    /// Its name.
    pub id: KeyChar,
    /// Whether new sessions get it.
    pub state: State,
    /// Mints and reads hints.
    pub key: RoutingKey,
    /// Derives passwords.
    pub credential: CredentialSecret,
}

/// A tunnel secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelEntry {
    /// Its name.
    pub id: TunnelKeyId,
    /// Whether it seals.
    pub state: State,
    /// Derives the keys of senders.
    pub secret: TunnelSecret,
}

/// Why a text is no keyring. Never contains anything of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct KeyringError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// All keys, ready for use. Always holds exactly one entry of each kind that is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyring {
    routing: Vec<RoutingEntry>,
    /// Position in `routing` by key character, so that a packet finds its key without a search.
    routing_by_char: [Option<u8>; KeyChar::COUNT],
    routing_used: usize,
    tunnel: Vec<TunnelEntry>,
    tunnel_used: usize,
}

impl Keyring {
    /// Reads a keyring's text.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        parse::parse(text)
    }

    /// Reads the hint in a ufrag.
    #[inline]
    pub fn decode(&self, ufrag: &[u8]) -> Result<Hint, HintError> {
        let (id, text) = hint::split(ufrag)?;
        self.routing_entry(id).ok_or(HintError::UnknownKey)?.key.decode(text)
    }

    /// Whether the sender of a STUN request has seen the SDP answer with this ufrag, which must
    /// have been minted with a key of this keyring (as [`Keyring::decode`] tells).
    #[inline]
    pub fn proves_answer_seen(
        &self,
        ufrag: &[u8],
        request: &Message<'_>,
    ) -> Result<(), IntegrityError> {
        let entry = hint::split(ufrag).ok().and_then(|(id, _)| self.routing_entry(id));
        entry.ok_or(IntegrityError::Wrong)?.credential.proves_answer_seen(ufrag, request)
    }

    /// Mints a session's ufrag and password with the routing key in use.
    pub fn mint(&self, hint: Hint) -> (Ufrag, IcePwd) {
        let entry = &self.routing[self.routing_used];
        let ufrag = entry.key.encode(entry.id, hint);
        let pwd = entry.credential.ice_pwd(&ufrag);
        (ufrag, pwd)
    }

    /// A sealer with the tunnel secret in use, for a sender id drawn just now.
    pub fn sealer(&self, direction: Direction, sender: SenderId) -> Sealer {
        let entry = self.tunnel_used();
        Sealer::new(&entry.secret, entry.id, direction, sender)
    }

    /// All routing entries, in the order of the text.
    pub fn routing_entries(&self) -> &[RoutingEntry] {
        &self.routing
    }

    /// All tunnel entries, in the order of the text.
    pub fn tunnel_entries(&self) -> &[TunnelEntry] {
        &self.tunnel
    }

    /// The routing entry that new sessions get.
    pub fn routing_used(&self) -> &RoutingEntry {
        &self.routing[self.routing_used]
    }

    /// The tunnel entry that seals.
    pub fn tunnel_used(&self) -> &TunnelEntry {
        &self.tunnel[self.tunnel_used]
    }

    #[inline]
    fn routing_entry(&self, id: KeyChar) -> Option<&RoutingEntry> {
        let position = self.routing_by_char[id.index()]?;
        self.routing.get(usize::from(position))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routing = self.routing.iter().map(|entry| (entry.id, entry.state));
        let tunnel = self.tunnel.iter().map(|entry| (entry.id, entry.state));
        f.debug_struct("Keyring")
            .field("routing", &routing.collect::<Vec<_>>())
            .field("tunnel", &tunnel.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
