//! What a row has found, and whether its promise was kept.

use std::time::Duration;

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) lost: u64,
    /// The longest gap of each call, sorted.
    gaps: Vec<Duration>,
}

impl Way {
    pub(crate) fn new(lost: u64, mut gaps: Vec<Duration>) -> Self {
        gaps.sort_unstable();
        Self { lost, gaps }
    }

    /// The gap that this share (in percent) of the calls did not exceed.
    pub(crate) fn gap(&self, percent: usize) -> Duration {
        let rank = (self.gaps.len() * percent).div_ceil(100);
        self.gaps.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn worst(&self) -> Duration {
        self.gap(100)
    }
}

/// What was measured, and what is to be said about it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) calls: usize,
    pub(crate) dropped: usize,
    /// Frames that clients sent.
    pub(crate) sent: u64,
    /// Nothing: the row does not look at this way.
    pub(crate) up: Option<Way>,
    pub(crate) down: Option<Way>,
    /// The latest that a client has sent a frame: how much the measurement itself was disturbed.
    pub(crate) late: Duration,
    pub(crate) notes: Vec<String>,
    /// The parts of the promise that were broken.
    pub(crate) broken: Vec<String>,
}

impl Findings {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A part of the promise.
    pub(crate) fn promise(&mut self, kept: bool, otherwise: impl Into<String>) {
        if !kept {
            self.broken.push(otherwise.into());
        }
    }

    pub(crate) fn promise_no_drops(&mut self) {
        let dropped = self.dropped;
        self.promise(dropped == 0, format!("{dropped} calls dropped"));
    }

    pub(crate) fn promise_no_loss(&mut self) {
        let lost = self.lost();
        self.promise(lost == 0, format!("{lost} packets lost"));
        self.promise_no_drops();
    }

    pub(crate) fn lost(&self) -> u64 {
        [&self.up, &self.down].into_iter().flatten().map(|way| way.lost).sum()
    }

    /// No gap is longer, either way.
    pub(crate) fn promise_gap(&mut self, most: Duration) {
        let ways = [("up", &self.up), ("down", &self.down)];
        let longer: Vec<_> = ways
            .into_iter()
            .filter_map(|(name, way)| Some((name, way.as_ref()?.worst())))
            .filter(|(_, worst)| *worst > most)
            .map(|(name, worst)| {
                format!(
                    "a gap {name} of {} ms, promised {} ms",
                    worst.as_millis(),
                    most.as_millis()
                )
            })
            .collect();
        self.broken.extend(longer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_gaps_are_those_of_calls() {
        let way = Way::new(0, (1..=200).rev().map(Duration::from_millis).collect());
        for (percent, ms) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(way.gap(percent).as_millis(), ms, "{percent}");
        }
        assert_eq!(Way::new(0, vec![]).worst(), Duration::ZERO);
    }

    #[test]
    fn a_promise_is_broken_by_either_way_and_says_by_how_much() {
        let way = |ms| Some(Way::new(1, vec![Duration::from_millis(ms)]));
        let mut findings = Findings { up: way(10), down: way(90), ..Findings::default() };
        findings.promise_gap(Duration::from_millis(90));
        assert_eq!(findings.broken, Vec::<String>::new());
        findings.promise_gap(Duration::from_millis(50));
        findings.promise_no_loss();
        let broken = ["a gap down of 90 ms, promised 50 ms", "2 packets lost"];
        assert_eq!(findings.broken, broken);
    }
}
