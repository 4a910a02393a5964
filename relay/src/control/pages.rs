//! What the HTTP listener shows: metrics, and whether the relay lives and is ready.

use super::metrics::Metrics;
use super::relay::Relay;
use service::http::{Health, Pages, ticking};
use std::sync::Arc;

/// The pages of a running relay.
pub struct RelayPages {
    relay: Arc<Relay>,
    metrics: Arc<Metrics>,
}

impl RelayPages {
    /// The pages of this relay, with these metrics.
    pub const fn new(relay: Arc<Relay>, metrics: Arc<Metrics>) -> Self {
        Self { relay, metrics }
    }
}

impl Pages for RelayPages {
    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn live(&self) -> Health {
        let now_us = engine::clock::monotonic_ns() / 1_000;
        let uptime_us = u64::try_from(self.relay.uptime().as_micros()).unwrap_or(u64::MAX);
        let numbers = self.relay.fleet().numbers();
        let ticks = numbers.iter().map(|numbers| numbers.own.ticked_at_us);
        ticking("worker", ticks, now_us, uptime_us)
    }

    fn ready(&self) -> Health {
        self.live()?;
        if self.relay.is_draining() {
            return Err("draining: no new flows are taken (ctl undrain ends it)".to_owned());
        }
        Ok(())
    }
}
