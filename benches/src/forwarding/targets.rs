//! What the relay is to reach, beside what it reached. A report, not a test: a shared machine has
//! bad days, and a figure that fails a build gets its target moved, not its cause found.

use serde_json::{Value, json};

use crate::cases::{BUDGET_US, Candidate, Direction, Engine, FLOWS_USUAL, Load};
use crate::results::{Cell, Results};

/// One target and its outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// What is wanted.
    pub(crate) what: &'static str,
    /// At most this.
    pub(crate) most: f64,
    /// What came out.
    pub(crate) is: f64,
    /// "× naive" or "µs".
    pub(crate) unit: &'static str,
}

impl Outcome {
    /// Whether it was reached.
    pub(crate) fn is_met(&self) -> bool {
        self.is <= self.most
    }

    /// As the table says it.
    pub(crate) fn verdict(&self) -> &'static str {
        if self.is_met() { "PASS" } else { "MISS" }
    }

    /// For the result file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "candidate": self.candidate.to_string(),
            "target": self.what,
            "most": self.most,
            "is": self.is,
            "unit": self.unit,
            "met": self.is_met(),
        })
    }
}

/// All targets, which are about the relay as it ships, for which there are measurements.
pub(crate) fn judge(results: &Results) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for engine in [Engine::RelayUring, Engine::RelayMmsg] {
        let candidate = Candidate { engine, coalesce_us_max: Some(BUDGET_US) };
        let cell = |direction, load| Cell { direction, load, flows: FLOWS_USUAL, candidate };
        let mut add = |what, most, unit, is: Option<f64>| {
            outcomes.extend(is.map(|is| Outcome { candidate, what, most, is, unit }));
        };

        let saturated = |direction| cpu_ratio(results, &cell(direction, Load::Saturation));
        add("CPU, client → shard, saturated", 1.0 / 3.0, "× naive", saturated(Direction::Forward));
        add("CPU, shard → client, saturated", 2.0 / 3.0, "× naive", saturated(Direction::Reverse));
        for (direction, cost, added) in [
            (
                Direction::Forward,
                "whole core, client → shard, 50 kpps",
                "median latency, client → shard, 50 kpps",
            ),
            (
                Direction::Reverse,
                "whole core, shard → client, 50 kpps",
                "median latency, shard → client, 50 kpps",
            ),
        ] {
            let cell = cell(direction, Load::Paced(50));
            add(cost, 0.5, "× naive", core_ratio(results, &cell));
            let latency = results.at(&cell).and_then(|it| it.latency(|it| it.median_us));
            add(added, 120.0, "µs", latency.map(|spread| spread.median));
        }
    }
    outcomes
}

/// A cell's CPU cost in units of the naive forwarder's.
pub(crate) fn cpu_ratio(results: &Results, cell: &Cell) -> Option<f64> {
    let is = results.at(cell)?.cost(|cost| cost.cpu_us)?.median;
    ratio(is, results.naive(cell)?.cost(|cost| cost.cpu_us)?.median)
}

/// A cell's whole-core cost in units of the naive forwarder's.
pub(crate) fn core_ratio(results: &Results, cell: &Cell) -> Option<f64> {
    ratio(results.at(cell)?.core()?.median, results.naive(cell)?.core()?.median)
}

/// None where the noise of the machine has eaten a figure: what is left of a core is a difference, and
/// can come out as nothing or less.
fn ratio(is: f64, naive: f64) -> Option<f64> {
    (is > 0.0 && naive > 0.0).then(|| is / naive)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::{Cost, Latency};

    pub(crate) fn cost(cpu_us: f64, core_us: Option<f64>) -> Cost {
        Cost {
            cpu_us,
            core_us,
            offered_kpps: 50.0,
            arrived_kpps: 50.0,
            loss: 0.0,
            utilisation: 0.5,
            waiting: 0.0,
            stolen: 0.0,
            bundled: 1.0,
            bunched: 0.0,
        }
    }

    pub(crate) fn results() -> Results {
        let mut results = Results::default();
        let naive = Candidate { engine: Engine::Naive, coalesce_us_max: None };
        let relay = Candidate { engine: Engine::RelayUring, coalesce_us_max: Some(100) };
        for (candidate, cpu_us, core_us) in [(naive, 3.0, 12.0), (relay, 0.9, 6.6)] {
            let cell =
                |load| Cell { direction: Direction::Forward, load, flows: FLOWS_USUAL, candidate };
            results.entry(cell(Load::Saturation)).costs.push(cost(cpu_us, None));
            let paced = results.entry(cell(Load::Paced(50)));
            paced.costs.push(cost(cpu_us, Some(core_us)));
            let (median_us, p99_us) = (90.0, 200.0);
            paced.latencies.push(Latency { median_us, p99_us, loss: 0.0, bunched: 0.0 });
        }
        results
    }

    #[test]
    fn nothing_is_a_multiple_of_noise() {
        for (is, naive, want) in
            [(6.0, 12.0, Some(0.5)), (6.0, 0.0, None), (-1.0, 12.0, None), (-1.0, -2.0, None)]
        {
            assert_eq!(ratio(is, naive), want, "{is} {naive}");
        }
    }

    #[test]
    fn targets_are_judged_where_there_is_something_to_judge() {
        let outcomes = judge(&results());
        let told: Vec<_> = outcomes.iter().map(|it| (it.what, it.verdict())).collect();
        assert_eq!(
            told,
            [
                ("CPU, client → shard, saturated", "PASS"),
                ("whole core, client → shard, 50 kpps", "MISS"),
                ("median latency, client → shard, 50 kpps", "PASS"),
            ]
        );
    }
}
