//! How a test came out, and whether it can be believed.

use serde::{Deserialize, Serialize};

use crate::measure::{MILLISECOND, Measurement, Nanoseconds, milliseconds, share};
use crate::slo::{Slo, percent};

/// How a test came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All objectives were met, if there were any.
    Met,
    /// Nothing was measured: nothing answered.
    Nothing,
    /// Objectives were missed, by the target.
    Missed,
    /// The generator did not keep up, so that the figures say little about the target.
    Bottleneck,
}

impl Verdict {
    /// The exit code of the program.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Met => 0,
            Self::Nothing => 1,
            Self::Missed => 2,
            Self::Bottleneck => 3,
        }
    }
}

/// From where on the generator counts as the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Its 99th percentile of lateness.
    pub lateness_p99: Nanoseconds,
    /// Packets its own kernel refused or dropped, of those sent.
    pub own_loss: f64,
    /// How busy its threads may be.
    pub busy: f64,
}

impl Limits {
    /// For flows: a quarter of a packet time.
    pub const FLOWS: Self = Self { lateness_p99: 5 * MILLISECOND, own_loss: 1e-4, busy: 0.97 };
    /// For calls, whose timers tick in milliseconds.
    pub const CALLS: Self = Self { lateness_p99: 10 * MILLISECOND, own_loss: 1e-4, busy: 0.97 };
}

/// Why the generator was the bottleneck; empty if it was not.
#[must_use]
pub fn bottlenecks(of: &Measurement, limits: Limits) -> Vec<String> {
    let mut reasons = Vec::new();
    let late = of.lateness.value_at_quantile(0.99);
    if !of.lateness.is_empty() && late > limits.lateness_p99 {
        reasons.push(format!(
            "it sent late (p99 {:.1} ms, {:.1} ms is tolerable): give it more --threads or an idle \
             CPU",
            milliseconds(late),
            milliseconds(limits.lateness_p99)
        ));
    }
    let sent = of.counts.sent.max(1);
    for (count, what) in [
        (of.generator.refused, "its kernel refused to send"),
        (
            of.generator.receive_drops,
            "its receive buffers overflowed (sysctl -w net.core.rmem_max=8388608)",
        ),
    ] {
        if share(count, sent) > limits.own_loss {
            reasons
                .push(format!("{what}: {count} packets, {} of all", percent(share(count, sent))));
        }
    }
    if of.busy() > limits.busy {
        reasons.push(format!("its threads were {} busy", percent(of.busy())));
    }
    reasons
}

/// The verdict on a whole test.
///
/// A generator that was late has measured itself into the corrected latencies and lost packets of
/// its own. So what met the objectives in spite of that has met them; only what missed them, or was
/// to be held against nothing, cannot be told from the generator's own fault.
#[must_use]
pub fn verdict(of: &Measurement, slo: &Slo, is_bottleneck: bool) -> Verdict {
    let met = slo.0.iter().all(|objective| objective.judge(of).0);
    if of.counts.connected == 0 {
        return Verdict::Nothing;
    }
    match (met, is_bottleneck) {
        (true, true) if slo.0.is_empty() => Verdict::Bottleneck,
        (false, true) => Verdict::Bottleneck,
        (true, _) => Verdict::Met,
        (false, false) => Verdict::Missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::record;

    #[test]
    fn whose_fault_it_was() {
        let mut measured = Measurement::default();
        let slo: Slo = "loss=1%".parse().unwrap();
        assert_eq!(verdict(&measured, &slo, false), Verdict::Nothing);
        measured.counts.connected = 1;
        measured.counts.back = 100;
        let none = Slo::default();
        for (lost, bottleneck, with, without) in [
            (0, false, Verdict::Met, Verdict::Met),
            (0, true, Verdict::Met, Verdict::Bottleneck),
            (50, false, Verdict::Missed, Verdict::Met),
            (50, true, Verdict::Bottleneck, Verdict::Bottleneck),
        ] {
            measured.counts.lost = lost;
            assert_eq!(verdict(&measured, &slo, bottleneck), with, "{lost} {bottleneck}");
            assert_eq!(verdict(&measured, &none, bottleneck), without, "{lost} {bottleneck}");
        }
    }

    #[test]
    fn the_generator_looks_at_itself() {
        let mut measured = Measurement::default();
        measured.counts.sent = 1_000;
        assert!(bottlenecks(&measured, Limits::FLOWS).is_empty());
        for _ in 0..100 {
            record(&mut measured.lateness, 6 * MILLISECOND);
        }
        measured.generator.refused = 1;
        measured.generator.receive_drops = 1;
        measured.generator.cpu_ns = 99;
        measured.generator.thread_ns = 100;
        let reasons = bottlenecks(&measured, Limits::FLOWS);
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        assert_eq!(bottlenecks(&measured, Limits::CALLS).len(), 3, "calls may be later");
    }
}
