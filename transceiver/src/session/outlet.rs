//! What a session gives its shard: packets to send, and what to count.

use super::Path;
use std::time::Duration;

/// Where a session's packets go.
pub trait Outlet {
    /// Sends a packet to a client.
    fn send(&mut self, path: &Path, packet: &[u8]);
    /// Counts what happened.
    fn count(&mut self, tally: Tally);
}

/// What a session counts for its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// An audio packet came.
    AudioIn,
    /// So many did not, by their numbers.
    AudioLost(u64),
    /// An audio packet left.
    AudioOut,
    /// A packet that the session could not make sense of.
    Unreadable,
    /// A packet for a client that has not shown itself yet.
    NoPath,
    /// A backend's audio or message found no taker: no track or no channel to send it by.
    NoTaker,
    /// The client's address changed.
    AddressChange,
    /// A check was one that had been seen from elsewhere.
    ReplayedCheck,
    /// How unevenly audio arrives, every few seconds.
    Jitter(Duration),
    /// How long audio takes to the client and its report back, every few seconds.
    RoundTrip(Duration),
    /// Setting up reached a step, after so long.
    Reached(Step, Duration),
}

/// Steps of setting up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The answer was ready.
    Offer,
    /// The first authentic check came.
    FirstCheck,
    /// ICE was connected.
    Ice,
    /// Keys were agreed on.
    Dtls,
    /// The first audio came.
    FirstAudioIn,
    /// The first audio left.
    FirstAudioOut,
    /// The data channel opened.
    DataChannel,
}

impl Step {
    /// All, in the usual order.
    pub const ALL: [Self; 7] = [
        Self::Offer,
        Self::FirstCheck,
        Self::Ice,
        Self::Dtls,
        Self::FirstAudioIn,
        Self::FirstAudioOut,
        Self::DataChannel,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::FirstCheck => "first_check",
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::FirstAudioIn => "first_audio_in",
            Self::FirstAudioOut => "first_audio_out",
            Self::DataChannel => "data_channel",
        }
    }
}
