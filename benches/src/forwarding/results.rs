//! All measurements of a run, by cell of the table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cases::{Candidate, Direction, Engine, Load};
use crate::measure::{Cost, Latency};
use kit::statistics::Spread;

/// What a row of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Which way the packets went.
    pub(crate) direction: Direction,
    /// How many were offered.
    pub(crate) load: Load,
    /// How many flows there were.
    pub(crate) flows: u32,
    /// Who carried them.
    pub(crate) candidate: Candidate,
}

/// What was measured for a cell.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Costs that count.
    pub(crate) costs: Vec<Cost>,
    /// Latencies.
    pub(crate) latencies: Vec<Latency>,
    /// Costs of starved measurements, which do not.
    pub(crate) starved: Vec<Cost>,
}

impl Measured {
    /// The spread of one figure of the costs.
    pub(crate) fn cost(&self, figure: impl Fn(&Cost) -> f64) -> Option<Spread> {
        Spread::of(self.costs.iter().map(figure))
    }

    /// The spread of the whole-core cost.
    pub(crate) fn core(&self) -> Option<Spread> {
        Spread::of(self.costs.iter().filter_map(|cost| cost.core_us))
    }

    /// The spread of one figure of the latencies.
    pub(crate) fn latency(&self, figure: impl Fn(&Latency) -> f64) -> Option<Spread> {
        Spread::of(self.latencies.iter().map(figure).filter(|value| value.is_finite()))
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Results {
    cells: BTreeMap<Cell, Measured>,
}

impl Results {
    /// A cell, to add to.
    pub(crate) fn entry(&mut self, cell: Cell) -> &mut Measured {
        self.cells.entry(cell).or_default()
    }

    /// All cells, in the order of the table.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (&Cell, &Measured)> {
        self.cells.iter()
    }

    /// One cell.
    pub(crate) fn at(&self, cell: &Cell) -> Option<&Measured> {
        self.cells.get(cell)
    }

    /// The naive forwarder under the same load.
    pub(crate) fn naive(&self, cell: &Cell) -> Option<&Measured> {
        let candidate = Candidate { engine: Engine::Naive, coalesce_us_max: None };
        self.at(&Cell { candidate, ..*cell })
    }

    /// For the result file: each cell with its medians, and every single measurement.
    pub(crate) fn to_json(&self) -> Value {
        self.cells()
            .map(|(cell, measured)| {
                let spread = |spread: Option<Spread>| spread.map(Spread::to_json);
                json!({
                    "direction": cell.direction.name(),
                    "load": cell.load.to_string(),
                    "flows": cell.flows,
                    "engine": cell.candidate.engine.name(),
                    "coalesce_us_max": cell.candidate.coalesce_us_max,
                    "cpu_us_per_packet": spread(measured.cost(|cost| cost.cpu_us)),
                    "core_us_per_packet": spread(measured.core()),
                    "arrived_kpps": spread(measured.cost(|cost| cost.arrived_kpps)),
                    "latency_us_median": spread(measured.latency(|it| it.median_us)),
                    "latency_us_p99": spread(measured.latency(|it| it.p99_us)),
                    "costs": measured.costs,
                    "latencies": measured.latencies,
                    "starved": measured.starved,
                })
            })
            .collect()
    }
}
