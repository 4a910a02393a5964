//! What the HTTP listener shows: metrics, and whether the transceiver lives and is ready.

use super::metrics::Metrics;
use super::transceiver::Transceiver;
use service::http::{Health, Pages, ticking};
use std::sync::Arc;

/// The pages of a running transceiver.
pub struct TransceiverPages {
    transceiver: Arc<Transceiver>,
    metrics: Arc<Metrics>,
}

impl TransceiverPages {
    /// The pages of this transceiver, with these metrics.
    pub const fn new(transceiver: Arc<Transceiver>, metrics: Arc<Metrics>) -> Self {
        Self { transceiver, metrics }
    }
}

impl Pages for TransceiverPages {
    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn live(&self) -> Health {
        let now_us = engine::clock::monotonic_ns() / 1_000;
        let uptime_us = u64::try_from(self.transceiver.uptime().as_micros()).unwrap_or(u64::MAX);
        let numbers = self.transceiver.numbers();
        let ticks = numbers.iter().map(|numbers| numbers.own.ticked_at_us);
        ticking("shard", ticks, now_us, uptime_us)
    }

    fn ready(&self) -> Health {
        self.live()?;
        if self.transceiver.calls().is_draining() {
            return Err("draining: no new calls are taken (ctl undrain ends it)".to_owned());
        }
        Ok(())
    }
}
