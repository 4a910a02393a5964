//! What the measured has to satisfy: `p99=20ms,loss=0.1%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::measure::{Measurement, nanoseconds};

/// A list of objectives, all to be met.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slo(pub Vec<Objective>);

/// One objective: a metric and the most it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// What is bounded.
    pub metric: Metric,
    /// The bound: nanoseconds of a time, or a share of one.
    pub limit: f64,
}

/// Something that can be bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A quantile of the (corrected) round trip of media.
    Latency(Quantile),
    /// A quantile of the time a set-up took as a whole.
    Setup(Quantile),
    /// A quantile of the longest silence of a call.
    Gap(Quantile),
    /// The share of packets lost.
    Loss,
    /// The share of packets out of order.
    Reordered,
    /// The share of packets that came more than once.
    Duplicates,
    /// The share of calls or flows that failed.
    Failures,
}

/// A quantile as it is written: `p99.9`, `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile(f64);

impl Quantile {
    const MAX: Self = Self(1.0);

    /// As a share of one.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }
}

/// The phase that is the whole set-up.
pub const SETUP_PHASE: &str = "total";

const METRICS: &str = "p50, p99, p99.9 … or max (round trip), setup_p95, gap_max, loss, reordered, \
                       duplicates, failures";

impl Metric {
    fn is_time(self) -> bool {
        matches!(self, Self::Latency(_) | Self::Setup(_) | Self::Gap(_))
    }

    /// The value measured, in the unit of the limit. `None` if nothing was measured.
    #[must_use]
    pub fn value(self, of: &Measurement) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds up to 104 days are exact")]
        let quantile = |histogram: &hdrhistogram::Histogram<u64>, quantile: Quantile| {
            (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile.0) as f64)
        };
        let counts = &of.counts;
        let judged = counts.back + counts.lost;
        let share = |part: u64, whole: u64| (whole > 0).then(|| crate::measure::share(part, whole));
        match self {
            Self::Latency(at) => quantile(&of.latency.corrected, at),
            Self::Setup(at) => quantile(of.phases.get(SETUP_PHASE)?, at),
            Self::Gap(at) => quantile(&of.gaps, at),
            Self::Loss => share(counts.lost, judged),
            Self::Reordered => share(counts.reordered, counts.back),
            Self::Duplicates => share(counts.duplicates, counts.back),
            Self::Failures => share(of.failed(), counts.started),
        }
    }
}

impl Objective {
    /// Whether it is met, and the value. What was not measured is not met: an SLO that nothing
    /// was held against must not look good.
    #[must_use]
    pub fn judge(&self, of: &Measurement) -> (bool, Option<f64>) {
        let value = self.metric.value(of);
        (value.is_some_and(|value| value <= self.limit), value)
    }

    /// A value of this objective's metric, for people.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        if self.metric.is_time() { format!("{:.3} ms", value / 1e6) } else { percent(value) }
    }
}

/// A share for people.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (metric, limit) = text
            .split_once('=')
            .or_else(|| text.split_once("<="))
            .ok_or_else(|| format!("\"{text}\": write METRIC=LIMIT, such as p99=20ms,loss=0.1%"))?;
        let (metric, limit): (Metric, _) = (metric.trim().parse()?, limit.trim());
        let limit = if metric.is_time() {
            let time = parse_time(limit)
                .ok_or_else(|| format!("\"{text}\": the limit is a time, such as 20ms or 1.5ms"))?;
            #[expect(clippy::cast_precision_loss, reason = "a limit needs no 53 bits")]
            let limit = nanoseconds(time) as f64;
            limit
        } else {
            let percent: Option<f64> =
                limit.strip_suffix('%').and_then(|number| number.trim().parse().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            percent.ok_or_else(|| {
                format!("\"{text}\": the limit is a share from 0% to 100%, such as 0.1%")
            })? / 100.0
        };
        Ok(Self { metric, limit })
    }
}

/// Like the durations of configurations, with a fraction allowed.
fn parse_time(text: &str) -> Option<Duration> {
    if let Ok(time) = service::config::duration::parse(text) {
        return Some(time);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "s" => number,
        "ms" => number / 1e3,
        "us" => number / 1e6,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no metric \"{text}\": use {METRICS}");
        Ok(match text {
            "loss" => Self::Loss,
            "reordered" => Self::Reordered,
            "duplicates" => Self::Duplicates,
            "failures" => Self::Failures,
            _ => match text.split_once('_') {
                Some(("setup", rest)) => Self::Setup(rest.parse().map_err(|()| unknown())?),
                Some(("gap", rest)) => Self::Gap(rest.parse().map_err(|()| unknown())?),
                Some(_) => return Err(unknown()),
                None => Self::Latency(text.parse().map_err(|()| unknown())?),
            },
        })
    }
}

impl FromStr for Quantile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "max" {
            return Ok(Self::MAX);
        }
        let percentile: f64 = text.strip_prefix('p').ok_or(())?.parse().map_err(|_| ())?;
        (0.0..=100.0).contains(&percentile).then_some(Self(percentile / 100.0)).ok_or(())
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.write_str("max");
        }
        // 99.9 / 100 * 100 is not 99.9 to a computer.
        let percentile = (self.0 * 1e8).round() / 1e6;
        write!(f, "p{percentile}")
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(at) => write!(f, "{at}"),
            Self::Setup(at) => write!(f, "setup_{at}"),
            Self::Gap(at) => write!(f, "gap_{at}"),
            Self::Loss => f.write_str("loss"),
            Self::Reordered => f.write_str("reordered"),
            Self::Duplicates => f.write_str("duplicates"),
            Self::Failures => f.write_str("failures"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Counts, record};

    #[test]
    fn objectives_are_read_and_said_again() {
        let slo: Slo =
            "p99=20ms, loss=0.1%,setup_p95=1.5s,gap_max=200ms,p99.9=1.5ms".parse().unwrap();
        let said: Vec<String> = slo
            .0
            .iter()
            .map(|objective| format!("{}={}", objective.metric, objective.show(objective.limit)))
            .collect();
        assert_eq!(
            said,
            [
                "p99=20.000 ms",
                "loss=0.100 %",
                "setup_p95=1500.000 ms",
                "gap_max=200.000 ms",
                "p99.9=1.500 ms"
            ]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("p99", "METRIC=LIMIT"),
            ("", "METRIC=LIMIT"),
            ("p99=20", "a time"),
            ("p99=0.1%", "a time"),
            ("loss=20ms", "a share"),
            ("loss=101%", "a share"),
            ("p101=1ms", "there is no metric \"p101\""),
            ("speed=1ms", "there is no metric \"speed\""),
            ("setup_best=1ms", "there is no metric"),
            ("a_p99=1ms", "there is no metric"),
        ] {
            let error = text.parse::<Slo>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_what_was_not_measured_is_not_met() {
        let mut measured = Measurement::default();
        let judge = |text: &str, measured: &Measurement| {
            text.parse::<Objective>().unwrap().judge(measured).0
        };
        for text in ["p99=1s", "loss=100%", "failures=100%", "setup_p50=1s"] {
            assert!(!judge(text, &measured), "{text}");
        }
        measured.counts = Counts { back: 999, lost: 1, started: 10, ..Counts::default() };
        for _ in 0..1000 {
            record(&mut measured.latency.corrected, 10_000_000);
        }
        measured.failure("no answer");
        for (text, met) in [
            ("loss=0.1%", true),
            ("loss=0.09%", false),
            ("p99=10.1ms", true),
            ("max=9ms", false),
            ("failures=10%", true),
            ("failures=9%", false),
        ] {
            assert_eq!(judge(text, &measured), met, "{text}");
        }
    }
}
