//! Everything that was measured in some stretch of time, by one thread or by all: these add up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::latency::{Latencies, histogram, merge};

/// Declares counters once: the field, its help text, and adding up.
macro_rules! counts {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $help:literal])+ $field:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[doc = $help])+ pub $field: u64,)+
        }

        impl $name {
            /// Name and help text of each, in order.
            pub const ROWS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($help),+).trim_ascii_start()),)+];

            /// The values, in the order of the rows.
            #[must_use]
            pub fn values(&self) -> [u64; Self::ROWS.len()] {
                [$(self.$field,)+]
            }

            /// Adds what another has.
            pub fn merge(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

counts! {
    /// What was counted at the target.
    Counts {
        /// Media packets sent.
        sent,
        /// Media packets that came back in time, duplicates not counted.
        back,
        /// Media packets that did not.
        lost,
        /// Of those lost, the ones that never reached the far end, where it counts them.
        lost_up,
        /// Packets that came back after a later one had (RFC 4737).
        reordered,
        /// Packets that overtook each other on the way there, where the far end counts them.
        reordered_up,
        /// Packets that came back more than once.
        duplicates,
        /// Packets that were doubled on the way there, where the far end counts them.
        duplicates_up,
        /// Packets that came back after they had been given up.
        too_late,
        /// Packets that are none of this run, or that nobody has sent.
        foreign,
        /// Connectivity checks sent.
        checks,
        /// Connectivity checks answered with the right integrity.
        checks_answered,
        /// Calls or flows begun.
        started,
        /// Calls or flows that were set up.
        connected,
        /// Calls or flows ended as planned.
        ended,
        /// Payload bytes sent.
        bytes_sent,
        /// Payload bytes received.
        bytes_received,
    }
}

counts! {
    /// What the generator counts about itself.
    Generator {
        /// Packets that its own kernel refused to send.
        refused,
        /// Packets that its own receive buffers had no room for.
        receive_drops,
        /// Packets that left by direct egress, past its kernel's UDP.
        frames,
        /// Nanoseconds of CPU time used.
        cpu_ns,
        /// Nanoseconds of time that its threads existed.
        thread_ns,
    }
}

/// All figures of a stretch of time.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// Counters.
    pub counts: Counts,
    /// Round trips of media.
    pub latency: Latencies,
    /// One way, there; only with a far end on this host, whose clock is ours.
    pub up: Histogram<u64>,
    /// One way, back.
    pub down: Histogram<u64>,
    /// Round trips of connectivity checks.
    pub checks: Histogram<u64>,
    /// Times of set-up by phase.
    pub phases: BTreeMap<&'static str, Histogram<u64>>,
    /// Why calls or flows failed.
    pub failures: BTreeMap<&'static str, u64>,
    /// The longest silence of each call or flow.
    pub gaps: Histogram<u64>,
    /// Jitter of each call or flow (RFC 3550) at its end.
    pub jitter: Histogram<u64>,
    /// Loss of each call, in millionths.
    pub call_loss_ppm: Histogram<u64>,
    /// How late the generator was.
    pub lateness: Histogram<u64>,
    /// What else it did not manage.
    pub generator: Generator,
}

impl Default for Measurement {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            latency: Latencies::default(),
            up: histogram(),
            down: histogram(),
            checks: histogram(),
            phases: BTreeMap::new(),
            failures: BTreeMap::new(),
            gaps: histogram(),
            jitter: histogram(),
            call_loss_ppm: parts_per_million(),
            lateness: histogram(),
            generator: Generator::default(),
        }
    }
}

/// A histogram of shares, from one in a million to all.
fn parts_per_million() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1_000_000, 3).expect("these bounds are valid")
}

impl Measurement {
    /// Adds what another has.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.latency.merge(&other.latency);
        self.generator.merge(&other.generator);
        for (phase, times) in &other.phases {
            merge(self.phases.entry(phase).or_insert_with(histogram), times);
        }
        for (cause, count) in &other.failures {
            *self.failures.entry(cause).or_default() += count;
        }
        for (into, from) in [
            (&mut self.up, &other.up),
            (&mut self.down, &other.down),
            (&mut self.checks, &other.checks),
            (&mut self.gaps, &other.gaps),
            (&mut self.jitter, &other.jitter),
            (&mut self.call_loss_ppm, &other.call_loss_ppm),
            (&mut self.lateness, &other.lateness),
        ] {
            merge(into, from);
        }
    }

    /// Records a phase of a set-up.
    pub fn phase(&mut self, name: &'static str, time: super::Nanoseconds) {
        super::record(self.phases.entry(name).or_insert_with(histogram), time);
    }

    /// Counts a failure.
    pub fn failure(&mut self, cause: &'static str) {
        *self.failures.entry(cause).or_default() += 1;
    }

    /// Failures of every kind.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The share of packets lost, of those whose fate is known.
    #[must_use]
    pub fn loss(&self) -> f64 {
        share(self.counts.lost, self.counts.lost + self.counts.back)
    }

    /// The share of calls or flows that failed, of those begun.
    #[must_use]
    pub fn failure_share(&self) -> f64 {
        share(self.failed(), self.counts.started.max(self.failed()))
    }

    /// How busy the generator's threads were: 1 is one core each.
    #[must_use]
    pub fn busy(&self) -> f64 {
        share(self.generator.cpu_ns, self.generator.thread_ns)
    }
}

/// A share; of nothing, zero.
#[must_use]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_add_up() {
        let one = || {
            let counts = Counts { sent: 10, back: 8, lost: 2, started: 4, ..Counts::default() };
            let mut one = Measurement { counts, ..Measurement::default() };
            one.phase("ice", 5_000_000);
            one.failure("no answer");
            crate::measure::record(&mut one.latency.corrected, 7_000_000);
            one
        };
        let mut sum = one();
        sum.merge(&one());
        assert_eq!((sum.counts.sent, sum.counts.lost), (20, 4));
        assert_eq!((sum.phases["ice"].len(), sum.failures["no answer"]), (2, 2));
        assert_eq!(sum.latency.corrected.len(), 2);
        assert!((sum.loss() - 0.2).abs() < 1e-9 && (sum.failure_share() - 0.25).abs() < 1e-9);
        assert!(Measurement::default().loss().abs() < 1e-9);
    }

    #[test]
    fn rows_and_values_line_up() {
        let counts = Counts { sent: 1, bytes_received: 9, ..Counts::default() };
        assert_eq!(Counts::ROWS[0], ("sent", "Media packets sent."));
        assert_eq!((counts.values()[0], counts.values()[Counts::ROWS.len() - 1]), (1, 9));
    }
}
