//! The tunnel between a relay worker and a shard: sealed UDP datagrams with frames of many clients.
//!
//! ```text
//!         1            1          8          6
//! +---------------+--------+-----------+---------+- - - - - - - - -+-----+
//! |version · kind | key id | sender id | counter | sealed content  | tag |
//! +---------------+--------+-----------+---------+- - - - - - - - -+-----+
//! └──────────── header: authenticated ───────────┘                  16 bytes
//!
//! content of data: frames · of gone: frames without payload
//! content of ping, pong: token (8) · boot identity of the sender (8) · its state (1): 1 is draining
//! ```
//!
//! # Why a nonce never repeats under a key
//!
//! The cipher is AES-128-GCM, for which one repeated nonce is fatal. The key of a datagram is
//! `HKDF-SHA256(secret of the key id, direction ‖ sender id)`, its nonce is the counter.
//!
//! - Within a [`Sealer`] the counter only grows, and at its end the sealer refuses to go on.
//! - Every sealer has a sender id of its own: 64 random bits, drawn anew for each leg at each
//!   start of a process. Nothing about keys or counters is kept across a restart, so there is
//!   nothing to restore wrongly: the restarted sender has another id, hence another key, and may
//!   begin at zero. With a million sealers made under one secret, two share an id with a
//!   probability of 3·10^-8.
//! - The two directions have different keys, so even equal ids at both ends share none.
//!
//! A receiver knows nothing of a sender beforehand: the header names key and sender, and only a
//! tag that verifies makes a sender known. What the header says is authenticated as additional
//! data.

mod about;
mod bundle;
mod open;
mod replay;
mod seal;
#[cfg(test)]
mod tests;

pub use about::{ABOUT_BYTES, About};
pub use bundle::{AppendError, Bundle};
pub use open::{Content, Datagram, OpenError, Opener};
pub use replay::WINDOW_DATAGRAMS;
pub use seal::{CounterExhausted, ECHO_BYTES, Sealer};

use crate::secret::Secret;
use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes ahead of the sealed content.
pub const HEADER_BYTES: usize = 16;
/// Bytes behind it.
pub const TAG_BYTES: usize = 16;
/// What sealing adds to the content.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

const VERSION: u8 = 1;
const COUNTER_BYTES: usize = 6;
const COUNTER_MAX: u64 = (1 << (8 * COUNTER_BYTES)) - 1;
const SALT: &[u8] = b"ringway tunnel v1";

/// What a datagram carries. The low half of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Client packets.
    Data,
    /// "Are you there?", with a token to be returned.
    Ping,
    /// The answer, with the same token.
    Pong,
    /// From a shard: these clients have no session here, or it just ended.
    Gone,
}

impl Kind {
    const fn first_byte(self) -> u8 {
        let kind = match self {
            Self::Data => 0,
            Self::Ping => 1,
            Self::Pong => 2,
            Self::Gone => 3,
        };
        VERSION << 4 | kind
    }

    const fn from_low_half(byte: u8) -> Option<Self> {
        match byte & 0x0f {
            0 => Some(Self::Data),
            1 => Some(Self::Ping),
            2 => Some(Self::Pong),
            3 => Some(Self::Gone),
            _ => None,
        }
    }
}

/// Which way a datagram goes. Each direction has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a relay worker to a shard.
    ToShard,
    /// From a shard to a relay worker.
    ToRelay,
}

impl Direction {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::ToShard => b"to shard",
            Self::ToRelay => b"to relay",
        }
    }
}

/// Names one end of one leg from one start to the next. To be drawn from a secure random source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(pub [u8; 8]);

impl fmt::Debug for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Names a tunnel secret, so that secrets can be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelKeyId(pub u8);

impl fmt::Display for TunnelKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret that relays and transceivers share, from which every sender's keys are derived.
#[derive(Clone)]
pub struct TunnelSecret {
    secret: Secret<32>,
    /// Extracted once; a sender's key is then one expansion.
    derivation: Hkdf<Sha256>,
}

impl TunnelSecret {
    /// Bytes of a secret.
    pub const BYTES: usize = 32;

    /// Prepares the derivation.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self { derivation: Hkdf::new(Some(SALT), &bytes), secret: Secret::new(bytes) }
    }

    fn key(&self, direction: Direction, sender: SenderId) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 16]);
        self.derivation
            .expand_multi_info(&[direction.label(), &sender.0], key.as_mut())
            .expect("HKDF fails only for outputs of more than 255 hashes; this is half of one");
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("AES-128 takes 16 bytes");
        LessSafeKey::new(key)
    }
}

impl PartialEq for TunnelSecret {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for TunnelSecret {}

impl fmt::Debug for TunnelSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelSecret(secret)")
    }
}

/// The nonce of a counter: 6 bytes of zeros, 6 of the counter.
fn nonce(counter: [u8; COUNTER_BYTES]) -> Nonce {
    let [c0, c1, c2, c3, c4, c5] = counter;
    Nonce::assume_unique_for_key([0, 0, 0, 0, 0, 0, c0, c1, c2, c3, c4, c5])
}
