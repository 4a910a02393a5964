//! What a session tells about itself.

use super::{Session, Step};
use crate::call::{CallReport, HintReport, PathReport, SetupReport};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::keyring::Keyring;

/// When each step of setting up was reached.
#[derive(Debug)]
pub(super) struct Milestones {
    received: Instant,
    reached: [Option<Duration>; Step::ALL.len()],
}

impl Milestones {
    pub(super) const fn new(received: Instant) -> Self {
        Self { received, reached: [None; Step::ALL.len()] }
    }

    /// The time since the offer, if this is the first time.
    pub(super) fn reach(&mut self, step: Step, now: Instant) -> Option<Duration> {
        let reached = &mut self.reached[step as usize];
        if reached.is_some() {
            return None;
        }
        let after = now.saturating_duration_since(self.received);
        *reached = Some(after);
        Some(after)
    }

    fn report(&self) -> SetupReport {
        let ms = |step: Step| self.reached[step as usize].map(|after| after.as_secs_f64() * 1e3);
        SetupReport {
            offer: ms(Step::Offer),
            first_check: ms(Step::FirstCheck),
            ice: ms(Step::Ice),
            dtls: ms(Step::Dtls),
            first_audio_in: ms(Step::FirstAudioIn),
            first_audio_out: ms(Step::FirstAudioOut),
            data_channel: ms(Step::DataChannel),
        }
    }
}

impl Session {
    /// All about it.
    pub fn report(&self, keyring: &Keyring, now: Instant) -> CallReport {
        let ufrag = &self.credentials.ufrag;
        let facts = &self.facts;
        // A key that has been dropped since can still be named, but no more read.
        let hint = keyring.decode(ufrag.as_bytes()).ok();
        CallReport {
            id: facts.id,
            object: "realtime.call",
            state: self.state,
            end: self.end,
            backend: facts.backend,
            created_at: facts.created_at,
            age_ms: millis(now.saturating_duration_since(facts.received)),
            ufrag: ufrag.as_str().to_owned(),
            hint: HintReport {
                key: ufrag.as_str().chars().next().unwrap_or_default(),
                cluster: hint.map_or(0, |hint| hint.cluster.0),
                transceiver: hint.map_or(0, |hint| hint.transceiver.0),
                shard: facts.id.shard().0,
                session: hint.map_or(facts.tag.value(), |hint| hint.session.value()),
                expires_at: facts.expires_at,
            },
            setup_ms: self.milestones.report(),
            path: self.paths.egress().map(|path| PathReport {
                client: SocketAddr::from(path.client.address).to_string(),
                relay: path.relay.to_string(),
                listener: path.client.listener.0,
            }),
            address_changes: self.paths.changes,
            ice_restarts: facts.ice_restarts,
            media: self.media.report(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
