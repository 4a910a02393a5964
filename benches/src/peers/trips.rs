//! Round trips at one rate, from a quiet path to a quiet path.

use std::time::Duration;

use anyhow::Result;
use kit::statistics::percentile;
use serde::Serialize;

use crate::bench::{Bench, Driven};
use crate::speech::Speech;

/// Caches and the process's own pace settle in this time.
const WARM_UP: Duration = Duration::from_millis(200);

/// What became of round trips.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Trips {
    /// Those begun.
    pub(crate) sent: u64,
    /// Packets that reached a backend.
    pub(crate) up: u64,
    /// Those that ended.
    pub(crate) back: u64,
    /// From the first to the last that was begun.
    #[serde(skip)]
    pub(crate) elapsed: Duration,
    /// What was still under way when the last was sent, in milliseconds of the rate.
    pub(crate) backlog_ms: f64,
    /// Half were faster, counted from when they were due.
    pub(crate) median_us: Option<f64>,
    /// 99 of 100 were.
    pub(crate) p99_us: Option<f64>,
    /// The share of packets that left more than half a millisecond late.
    pub(crate) late: f64,
}

impl Trips {
    /// The share that did not end.
    pub(crate) fn loss(&self) -> f64 {
        (1.0 - self.back as f64 / self.sent.max(1) as f64).max(0.0)
    }
}

impl Bench {
    /// Gets everything going at a rate, and quiet again.
    pub(crate) fn warm_up(&mut self, speech: &mut Speech, flows: u32, rate: f64) -> Result<()> {
        let mut unseen = Vec::new();
        self.drive(speech, flows, rate, WARM_UP, &mut unseen)?;
        self.drain(speech, &mut unseen)?;
        Ok(())
    }

    /// Makes round trips at a rate for a while, and waits for those under way.
    pub(crate) fn round_trips(
        &mut self,
        speech: &mut Speech,
        flows: u32,
        rate: f64,
        window: Duration,
    ) -> Result<Trips> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some millions"
        )]
        let expected = (rate * window.as_secs_f64()) as usize;
        let mut under_way_ns = Vec::with_capacity(expected + expected / 8);
        let driven = self.drive(speech, flows, rate, window, &mut under_way_ns)?;
        let Driven { sent, up, elapsed, late } = driven;
        let outstanding = sent.saturating_sub(under_way_ns.len() as u64);
        let up = up + self.drain(speech, &mut under_way_ns)?;
        under_way_ns.sort_unstable();
        let at = |share| percentile(&under_way_ns, share).map(|ns| f64::from(ns) / 1000.0);
        Ok(Trips {
            sent,
            up,
            back: under_way_ns.len() as u64,
            elapsed,
            backlog_ms: outstanding as f64 / rate * 1000.0,
            median_us: at(0.5),
            p99_us: at(0.99),
            late: late as f64 / sent.max(1) as f64,
        })
    }
}
