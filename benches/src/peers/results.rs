//! Everything measured, candidate by candidate.

use kit::statistics::Spread;
use serde_json::{Value, json};

use crate::candidate::Candidate;
use crate::footprint::Footprint;
use crate::subject::{Cost, Limit};

/// What was measured of one candidate.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// What its program calls itself.
    pub(crate) version: Option<String>,
    /// Repetitions at each fixed rate.
    pub(crate) fixed: Vec<(u32, Vec<Cost>)>,
    /// Repetitions of the search for its limit.
    pub(crate) limits: Vec<Limit>,
    /// Its weight with the usual number of flows.
    pub(crate) weights: Vec<Footprint>,
    /// Its weight with more flows, and how many more.
    pub(crate) weight_with_more: Option<(u32, Footprint)>,
}

impl Row {
    /// Nothing yet.
    pub(crate) fn new(candidate: Candidate, version: Option<String>, rates: &[u32]) -> Self {
        Self {
            candidate,
            version,
            fixed: rates.iter().map(|&rate| (rate, Vec::new())).collect(),
            limits: Vec::new(),
            weights: Vec::new(),
            weight_with_more: None,
        }
    }

    /// The spread of a figure at a fixed rate.
    pub(crate) fn at(&self, rate: u32, figure: impl Fn(&Cost) -> Option<f64>) -> Option<Spread> {
        let (_, costs) = self.fixed.iter().find(|(at, _)| *at == rate)?;
        Spread::of(costs.iter().filter_map(figure))
    }

    /// The spread of a figure at the limit.
    pub(crate) fn at_limit(&self, figure: impl Fn(&Cost) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.limits.iter().filter_map(|limit| figure(&limit.cost)))
    }

    /// Whether the generator gave out before it in any repetition.
    pub(crate) fn limit_is_at_least(&self) -> bool {
        self.limits.iter().any(|limit| limit.at_least)
    }

    /// The median of a figure of its weight.
    pub(crate) fn weight(&self, figure: impl Fn(&Footprint) -> u64) -> Option<f64> {
        Spread::of(self.weights.iter().map(|weight| figure(weight) as f64)).map(|it| it.median)
    }

    /// Kilobytes that one more flow takes.
    pub(crate) fn kb_per_flow(&self) -> Option<f64> {
        let (more, with_more) = self.weight_with_more?;
        let grown = with_more.rss_kb as f64 - self.weights.last()?.rss_kb as f64;
        Some((grown / f64::from(more)).max(0.0))
    }

    /// For the result file: medians, and every single measurement.
    pub(crate) fn to_json(&self) -> Value {
        let spread = |spread: Option<Spread>| spread.map(Spread::to_json);
        let fixed: Vec<Value> = self
            .fixed
            .iter()
            .map(|(rate, costs)| {
                json!({
                    "round_trips_per_second": rate,
                    "cpu_us_per_packet": spread(self.at(*rate, |cost| Some(cost.cpu_us))),
                    "median_us": spread(self.at(*rate, |cost| cost.median_us)),
                    "p99_us": spread(self.at(*rate, |cost| cost.p99_us)),
                    "loss": spread(self.at(*rate, |cost| Some(cost.loss))),
                    "repetitions": costs,
                })
            })
            .collect();
        json!({
            "candidate": self.candidate.name,
            "about": self.candidate.about,
            "version": self.version,
            "fixed_rates": fixed,
            "limit": {
                "round_trips_per_second": spread(self.at_limit(|cost| Some(cost.rate))),
                "cpu_us_per_packet": spread(self.at_limit(|cost| Some(cost.cpu_us))),
                "repetitions": self.limits,
            },
            "weights": self.weights,
            "kb_per_flow": self.kb_per_flow(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::candidate::ALL;
    use crate::subject::tests::cost;

    /// `name`, µs per packet at 60,000, at the limit, median latency, and thousands at the limit.
    pub(crate) fn row(name: &str, cpu_us: f64, limit_us: f64, median_us: f64, most: f64) -> Row {
        let candidate = *ALL.iter().find(|candidate| candidate.name == name).unwrap();
        let mut row = Row::new(candidate, None, &[60_000]);
        row.fixed[0].1.push(cost(60_000.0, cpu_us, median_us));
        let limit = cost(most * 1000.0, limit_us, median_us);
        row.limits.push(Limit { cost: limit, at_least: false });
        row.weights.push(Footprint { rss_kb: 10_000, threads: 2, sockets: 3 });
        row.weight_with_more = Some((4_000, Footprint { rss_kb: 50_000, threads: 2, sockets: 3 }));
        row
    }

    #[test]
    fn figures_are_medians_and_flows_have_a_price() {
        let mut row = row("nginx", 7.0, 5.0, 40.0, 100.0);
        row.fixed[0].1.push(cost(60_000.0, 9.0, 42.0));
        assert_eq!(row.at(60_000, |cost| Some(cost.cpu_us)).unwrap().median, 8.0);
        assert!(row.at(20_000, |cost| Some(cost.cpu_us)).is_none());
        assert_eq!(row.kb_per_flow(), Some(10.0));
        assert_eq!(row.weight(|it| it.threads), Some(2.0));
        let json = row.to_json();
        assert_eq!(json["limit"]["round_trips_per_second"]["median"], 100_000.0);
    }
}
