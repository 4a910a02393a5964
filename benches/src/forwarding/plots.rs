//! The results as pictures.

use kit::statistics::Spread;
use kit::svg::{Bar, Panel, draw as draw_panels};

use crate::cases::{Direction, FLOWS_USUAL, Load};
use crate::results::{Cell, Measured, Results};

/// All pictures, each with the ending of its file's name.
pub(crate) fn draw(results: &Results) -> Vec<(String, String)> {
    let cost = |measured: &Measured| measured.cost(|cost| cost.cpu_us);
    let core = |measured: &Measured| measured.core().or_else(|| cost(measured));
    let latency = |measured: &Measured| measured.latency(|latency| latency.median_us);
    let usual = |cell: &Cell| cell.flows == FLOWS_USUAL;
    let candidate = |cell: &Cell| cell.candidate.to_string();
    let both = |cell: &Cell| format!("{}, {} flows", cell.candidate, cell.flows);
    [
        (
            "cpu.svg",
            "CPU of the process, µs per packet",
            panels(results, &usual, &candidate, &cost),
        ),
        ("core.svg", "The whole core, µs per packet", panels(results, &usual, &candidate, &core)),
        ("latency.svg", "Median latency, µs", panels(results, &usual, &candidate, &latency)),
        (
            "flows.svg",
            "CPU by number of flows, µs per packet",
            panels(
                results,
                &|cell| {
                    cell.candidate
                        .coalesce_us_max
                        .is_none_or(|budget| budget == crate::cases::BUDGET_US)
                },
                &both,
                &cost,
            ),
        ),
    ]
    .into_iter()
    .filter(|(_, _, panels)| panels.iter().any(|panel| !panel.bars.is_empty()))
    .map(|(ending, title, panels)| (ending.to_owned(), draw_panels(title, &panels)))
    .collect()
}

fn panels(
    results: &Results,
    wanted: &dyn Fn(&Cell) -> bool,
    label: &dyn Fn(&Cell) -> String,
    figure: &dyn Fn(&Measured) -> Option<Spread>,
) -> Vec<Panel> {
    let mut panels = Vec::new();
    for direction in Direction::ALL {
        for load in Load::ALL {
            let way = match direction {
                Direction::Forward => "client → shard",
                Direction::Reverse => "shard → client",
            };
            let bars = results
                .cells()
                .filter(|(cell, _)| cell.direction == direction && cell.load == load)
                .filter(|(cell, _)| wanted(cell))
                .filter_map(|(cell, measured)| {
                    let ours = cell.candidate.engine.is_relay();
                    Some(Bar { label: label(cell), value: figure(measured)?, ours })
                })
                .collect();
            panels.push(Panel { title: format!("{way}, {load}"), bars });
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::tests::results;

    #[test]
    fn a_picture_has_what_was_measured() {
        let pictures = draw(&results());
        let names: Vec<_> = pictures.iter().map(|(ending, _)| ending.as_str()).collect();
        assert_eq!(names, ["cpu.svg", "core.svg", "latency.svg", "flows.svg"]);
        let cpu = &pictures[0].1;
        assert!(
            cpu.contains("relay-uring coalesce 100") && cpu.contains("client → shard, 50 kpps")
        );
        assert!(!cpu.contains("shard → client"), "nothing was measured there");
    }
}
