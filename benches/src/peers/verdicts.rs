//! Who wins what: Ringway as it ships beside the best peer, figure by figure, whoever is ahead; and
//! the bars that were set beforehand.

use kit::statistics::Spread;

use crate::candidate::{BATCHING_GO, OURS, OURS_DIRECT, OURS_DIRECT_PATIENT, OURS_PATIENT, Role};
use crate::results::Row;

/// A difference below this share is no difference: two runs of one program differ as much.
const NOISE: f64 = 0.1;

/// One figure, ours beside the best peer's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// Which.
    pub(crate) figure: String,
    /// Ours.
    pub(crate) ours: f64,
    /// The best peer's.
    pub(crate) best: f64,
    /// Who that is.
    pub(crate) peer: &'static str,
    /// More is better.
    pub(crate) more_is_better: bool,
}

impl Verdict {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let Self { figure, ours, best, peer, .. } = self;
        let better = if self.more_is_better { ours / best } else { best / ours };
        let winner = if better > 1.0 + NOISE {
            "Ringway".to_owned()
        } else if better < 1.0 / (1.0 + NOISE) {
            format!("**{peer}**")
        } else {
            "even".to_owned()
        };
        let digits = usize::from(ours.max(*best) < 100.0);
        format!(
            "{figure} | {ours:.digits$} | {best:.digits$} ({peer}) | {:.2} | {winner}",
            ours / best
        )
    }
}

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// What is wanted.
    pub(crate) what: String,
    /// The ratio reached.
    pub(crate) is: f64,
    /// The highest that meets it.
    pub(crate) most: f64,
}

impl Bar {
    /// Whether it is met.
    pub(crate) fn is_met(&self) -> bool {
        self.is <= self.most
    }
}

/// The rate that the bar at a fixed rate is about.
const BAR_RATE: u32 = 60_000;

/// Every figure of the table that both sides have.
pub(crate) fn verdicts(rows: &[Row]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut add = |figure: String, more_is_better, of: &dyn Fn(&Row) -> Option<f64>| {
        verdicts.extend(compare(rows, OURS, figure, more_is_better, of));
    };
    let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
    let rates: Vec<u32> =
        rows.first().into_iter().flat_map(|row| &row.fixed).map(|it| it.0).collect();
    for rate in rates {
        let at = format!("at {rate} round trips/s");
        add(format!("CPU {at}, µs/packet"), false, &|row| {
            median(row.at(rate, |cost| Some(cost.cpu_us)))
        });
        add(format!("median round trip {at}, µs"), false, &|row| {
            median(row.at(rate, |cost| cost.median_us))
        });
        add(format!("p99 round trip {at}, µs"), false, &|row| {
            median(row.at(rate, |cost| cost.p99_us))
        });
    }
    add("CPU at its limit, µs/packet".to_owned(), false, &|row| {
        median(row.at_limit(|cost| Some(cost.cpu_us)))
    });
    add("most round trips/s, thousands".to_owned(), true, &|row| {
        median(row.at_limit(|cost| Some(cost.rate / 1000.0)))
    });
    add("resident memory, MB".to_owned(), false, &|row| {
        row.weight(|weight| weight.rss_kb).map(|kb| kb / 1024.0)
    });
    add("threads".to_owned(), false, &|row| row.weight(|weight| weight.threads));
    verdicts
}

fn compare(
    rows: &[Row],
    name: &str,
    figure: String,
    more_is_better: bool,
    of: &dyn Fn(&Row) -> Option<f64>,
) -> Option<Verdict> {
    let ours = of(rows.iter().find(|row| row.candidate.name == name)?)?;
    let peers = rows.iter().filter(|row| row.candidate.role == Role::Peer);
    let figures = peers.filter_map(|row| Some((of(row)?, row.candidate.name)));
    let better = |a: &(f64, _), b: &(f64, _)| a.0.total_cmp(&b.0);
    let (best, peer) =
        if more_is_better { figures.max_by(better) } else { figures.min_by(better) }?;
    Some(Verdict { figure, ours, best, peer, more_is_better })
}

/// The bars for which there are measurements: as it ships, with direct egress, and with twice the patience.
pub(crate) fn bars(rows: &[Row]) -> Vec<Bar> {
    [
        (OURS, ""),
        (OURS_DIRECT, ", direct egress"),
        (OURS_PATIENT, ", coalescing 200 µs"),
        (OURS_DIRECT_PATIENT, ", direct egress, coalescing 200 µs"),
    ]
    .into_iter()
    .flat_map(|(name, note)| bars_of(rows, name, note))
    .collect()
}

fn bars_of(rows: &[Row], name: &str, note: &str) -> Vec<Bar> {
    let mut bars = Vec::new();
    let at_rate = compare(rows, name, String::new(), false, &|row| {
        row.at(BAR_RATE, |cost| Some(cost.cpu_us)).map(|spread| spread.median)
    });
    bars.extend(at_rate.map(|Verdict { ours, best, peer, .. }| Bar {
        what: format!("CPU at {BAR_RATE} round trips/s, × best peer ({peer}){note}"),
        is: ours / best,
        most: 0.5,
    }));
    let limit = |name| {
        let row = rows.iter().find(|row| row.candidate.name == name)?;
        row.at_limit(|cost| Some(cost.cpu_us)).map(|spread| spread.median)
    };
    bars.extend(limit(name).zip(limit(BATCHING_GO)).map(|(ours, go)| Bar {
        what: format!("CPU at the limit, × {BATCHING_GO}{note}"),
        is: ours / go,
        most: 0.75,
    }));
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::row;

    fn rows() -> Vec<Row> {
        vec![
            row(OURS, 3.0, 2.4, 120.0, 200.0),
            row("mmsg", 2.0, 1.0, 20.0, 300.0),
            row(BATCHING_GO, 6.5, 4.0, 40.0, 120.0),
            row("nginx", 7.0, 5.0, 38.0, 100.0),
        ]
    }

    #[test]
    fn the_best_peer_is_the_measure_and_a_peer_that_wins_is_named() {
        let verdicts = verdicts(&rows());
        let words: Vec<_> = verdicts.iter().map(Verdict::words).collect();
        assert!(words[0].ends_with("3.0 | 6.5 (gorelay-batch) | 0.46 | Ringway"), "{}", words[0]);
        assert!(words[1].ends_with("120 | 38 (nginx) | 3.16 | **nginx**"), "{}", words[1]);
        assert!(words[4].contains("200 | 120 (gorelay-batch) | 1.67 | Ringway"), "{}", words[4]);
        assert!(words[5].ends_with("even"), "{}", words[5]);
    }

    #[test]
    fn bars_are_about_the_best_peer_and_the_batching_go_relay() {
        let told: Vec<_> = bars(&rows()).iter().map(|bar| (bar.is, bar.is_met())).collect();
        assert_eq!(told, [(3.0 / 6.5, true), (2.4 / 4.0, true)]);
        let both = [rows(), vec![row(OURS_DIRECT, 2.6, 1.6, 120.0, 300.0)]].concat();
        let told: Vec<_> = bars(&both).iter().map(|bar| (bar.is, bar.is_met())).collect();
        assert_eq!(told[2..], [(2.6 / 6.5, true), (1.6 / 4.0, true)]);
        let slow = vec![row(OURS, 4.0, 3.5, 1.0, 1.0), row(BATCHING_GO, 6.5, 4.0, 1.0, 1.0)];
        assert!(bars(&slow).iter().all(|bar| !bar.is_met()));
        assert!(bars(&slow[..1]).is_empty(), "nobody to compare with");
    }
}
