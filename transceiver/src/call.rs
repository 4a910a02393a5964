//! What a call is called, and what can be told about it.

mod report;

pub use report::{CallReport, HintReport, MediaReport, PathReport, SetupReport};

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use wire::hint::ShardId;

const PREFIX: &str = "rtc_";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 24 characters of 5 bits are 15 bytes: one for the shard, and 112 bits of chance.
const BYTES: usize = 15;
const CHARS: usize = BYTES * 8 / 5;

/// The name of a call: `rtc_` and 24 characters. Nobody can guess one, so knowing it is worth
/// something even where no token is asked for. It says which shard has the call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId([u8; BYTES]);

impl CallId {
    /// A new name for a call on this shard, from a secure random source.
    pub fn new(shard: ShardId, random: [u8; BYTES - 1]) -> Self {
        let mut bytes = [0; BYTES];
        bytes[0] = shard.0;
        bytes[1..].copy_from_slice(&random);
        Self(bytes)
    }

    /// Which shard has the call.
    pub const fn shard(&self) -> ShardId {
        ShardId(self.0[0])
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for group in self.0.chunks_exact(5) {
            let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for place in (0..8).rev() {
                let index = usize::try_from(bits >> (5 * place) & 31).unwrap_or_default();
                fmt::Write::write_char(f, char::from(ALPHABET[index]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text is no name of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call's id is `{PREFIX}` and {CHARS} characters of a-z and 2-7")]
pub struct NoCallId;

impl FromStr for CallId {
    type Err = NoCallId;

    fn from_str(text: &str) -> Result<Self, NoCallId> {
        let text = text.strip_prefix(PREFIX).ok_or(NoCallId)?.as_bytes();
        if text.len() != CHARS {
            return Err(NoCallId);
        }
        let mut bytes = [0; BYTES];
        for (group, text) in bytes.chunks_exact_mut(5).zip(text.chunks_exact(8)) {
            let mut bits = 0_u64;
            for character in text {
                let value = ALPHABET.iter().position(|known| known == character).ok_or(NoCallId)?;
                bits = bits << 5 | value as u64;
            }
            group.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Ok(Self(bytes))
    }
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// Answered; nothing has come from the client yet.
    New,
    /// The client's checks arrive, and keys are being agreed on.
    Connecting,
    /// Media flows.
    Connected,
    /// The client's checks have stopped. They may come back.
    Disconnected,
    /// Over.
    Ended,
}

impl CallState {
    /// All there are, in the order of a call's life.
    pub const ALL: [Self; 5] =
        [Self::New, Self::Connecting, Self::Connected, Self::Disconnected, Self::Ended];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Ended => "ended",
        }
    }
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Somebody asked for it by HTTP or `ctl`.
    HungUp,
    /// The client closed the connection.
    ClientClosed,
    /// The backend hung up.
    BackendClosed,
    /// The client was never heard, or not for too long.
    ClientLost,
    /// The call reached the longest time a call may last.
    TooLong,
    /// Something in the call broke: what the client sent could not be handled.
    Failed,
    /// The session's code panicked. It was isolated; this is a bug.
    Panicked,
    /// The transceiver stopped.
    Stopped,
}

impl EndReason {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::HungUp,
        Self::ClientClosed,
        Self::BackendClosed,
        Self::ClientLost,
        Self::TooLong,
        Self::Failed,
        Self::Panicked,
        Self::Stopped,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::ClientClosed => "client_closed",
            Self::BackendClosed => "backend_closed",
            Self::ClientLost => "client_lost",
            Self::TooLong => "too_long",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_back(shard: u8, random: [u8; BYTES - 1]) {
            let id = CallId::new(ShardId(shard), random);
            let text = id.to_string();
            prop_assert_eq!(text.len(), PREFIX.len() + CHARS);
            prop_assert_eq!(text.parse::<CallId>(), Ok(id));
            prop_assert_eq!(id.shard(), ShardId(shard));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<CallId>();
            let _ = format!("{PREFIX}{text}").parse::<CallId>();
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let good = CallId::new(ShardId(1), [7; BYTES - 1]).to_string();
        let upper = good.replace("rtc_", "").to_uppercase();
        for text in ["", "rtc_", &good[1..], &good[..good.len() - 1], &format!("{good}a"), &upper] {
            assert_eq!(text.parse::<CallId>(), Err(NoCallId), "{text}");
        }
        assert_eq!(format!("rtc_{upper}").parse::<CallId>(), Err(NoCallId), "one spelling only");
    }
}
