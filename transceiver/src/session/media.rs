//! Numbers about a session's audio.

use crate::call::MediaReport;
use std::time::Duration;
use str0m::media::MediaData;
use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};

/// Samples of Opus's RTP clock in a millisecond.
const SAMPLES_PER_MS: f64 = 48.0;

#[derive(Debug, Default)]
pub(super) struct Media {
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    lost_in: u64,
    lost_out: Option<u64>,
    jitter_in_ms: Option<f64>,
    round_trip_ms: Option<f64>,
    last_number: Option<u64>,
}

impl Media {
    /// Counts a packet; tells how many are missing before it.
    pub(super) fn on_audio(&mut self, data: &MediaData) -> u64 {
        self.packets_in += 1;
        self.bytes_in += data.data.len() as u64;
        let (first, last) = (**data.seq_range.start(), **data.seq_range.end());
        // A client that starts anew with other numbers has lost nothing that could be counted.
        let missing = match self.last_number {
            Some(before) if first > before => first - before - 1,
            _ => 0,
        };
        let lost = if missing < 1_000 { missing } else { 0 };
        self.last_number = Some(last);
        self.lost_in += lost;
        lost
    }

    pub(super) fn on_peer(&mut self, stats: &PeerStats) {
        self.round_trip_ms = stats.rtt.map(|rtt| rtt.as_secs_f64() * 1e3).or(self.round_trip_ms);
    }

    /// Returns the jitter.
    pub(super) fn on_ingress(&mut self, stats: &MediaIngressStats) -> Duration {
        let ms = f64::from(stats.jitter) / SAMPLES_PER_MS;
        self.jitter_in_ms = Some(ms);
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Returns the round trip, if the client has reported.
    pub(super) fn on_egress(&mut self, stats: &MediaEgressStats) -> Option<Duration> {
        self.lost_out = stats.remote.as_ref().map(|remote| remote.packets_lost).or(self.lost_out);
        self.round_trip_ms = stats.rtt.map(|rtt| rtt.as_secs_f64() * 1e3).or(self.round_trip_ms);
        stats.rtt
    }

    pub(super) const fn report(&self) -> MediaReport {
        MediaReport {
            packets_in: self.packets_in,
            packets_out: self.packets_out,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            lost_in: self.lost_in,
            lost_out: self.lost_out,
            jitter_in_ms: self.jitter_in_ms,
            round_trip_ms: self.round_trip_ms,
        }
    }
}
