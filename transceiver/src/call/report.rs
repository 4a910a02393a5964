//! What can be told about a call, as JSON.

use super::{CallId, CallState, EndReason};
use serde::Serialize;

/// All about one call. Times of setting up count from the arrival of the offer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallReport {
    /// Its name.
    pub id: CallId,
    /// Always `realtime.call`.
    pub object: &'static str,
    /// How far it is.
    pub state: CallState,
    /// Why it ended, if it did.
    pub end: Option<EndReason>,
    /// Who talks with the client.
    pub backend: &'static str,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Milliseconds since then.
    pub age_ms: u64,
    /// The user name by which relays route to it.
    pub ufrag: String,
    /// What is encrypted in that.
    pub hint: HintReport,
    /// How long setting up took.
    pub setup_ms: SetupReport,
    /// Which way its packets take, once one has come.
    pub path: Option<PathReport>,
    /// How often the client's address changed.
    pub address_changes: u32,
    /// How often the client restarted ICE.
    pub ice_restarts: u32,
    /// Audio, in and out.
    pub media: MediaReport,
}

/// The route in a ufrag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HintReport {
    /// Which routing key encrypted it.
    pub key: char,
    /// The cluster.
    pub cluster: u16,
    /// The transceiver.
    pub transceiver: u32,
    /// The shard.
    pub shard: u8,
    /// The session.
    pub session: u32,
    /// When it stops making new flows, in seconds since 1970.
    pub expires_at: u64,
}

/// Milliseconds from the offer's arrival to each step; nothing where it has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SetupReport {
    /// The answer was ready.
    pub offer: Option<f64>,
    /// The first authentic check came.
    pub first_check: Option<f64>,
    /// ICE was connected.
    pub ice: Option<f64>,
    /// Keys were agreed on.
    pub dtls: Option<f64>,
    /// The first audio frame came.
    pub first_audio_in: Option<f64>,
    /// The first audio frame left.
    pub first_audio_out: Option<f64>,
    /// The data channel opened.
    pub data_channel: Option<f64>,
}

/// Which way a call's packets take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathReport {
    /// The client's address, as the relay sees it.
    pub client: String,
    /// The relay worker's tunnel address.
    pub relay: String,
    /// Which of the relay's public sockets.
    pub listener: u8,
}

/// Audio of a call. What is not known yet is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct MediaReport {
    /// RTP packets that came.
    pub packets_in: u64,
    /// RTP packets that left.
    pub packets_out: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// Their payload bytes.
    pub bytes_out: u64,
    /// Packets that never came, by their sequence numbers.
    pub lost_in: u64,
    /// Packets that the client says it missed.
    pub lost_out: Option<u64>,
    /// Interarrival jitter (RFC 3550).
    pub jitter_in_ms: Option<f64>,
    /// From the client's receiver reports.
    pub round_trip_ms: Option<f64>,
}
