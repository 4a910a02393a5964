//! Line plots as SVG.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
/// Told apart by those who do not see colours well, too.
const COLOURS: [&str; 3] = ["#0b5fa5", "#d1660a", "#4b8b3b"];

/// How values are laid along an axis, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Axis<'a> {
    /// Evenly, from zero, in this unit.
    Linear(&'a str),
    /// As numbers of nines: 2 is 99 %.
    Nines,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(super) struct Plot<'a> {
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    pub(super) lines: Vec<Line>,
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let (x_step, x_end) = scale(all().map(|point| point.0).fold(0.0, f64::max));
        let (y_step, y_end) = scale(all().map(|point| point.1).fold(0.0, f64::max));
        let x = |value: f64| LEFT + value / x_end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / y_end * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"12\">"
        );
        // Writing to a `String` cannot fail.
        for value in ticks(y_step, y_end) {
            let at = y(value);
            let _ = write!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                label(self.y, value, y_step)
            );
        }
        for value in ticks(x_step, x_end) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(value),
                HEIGHT - BOTTOM + 18.0,
                label(self.x, value, x_step)
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points: String = line.points.iter().fold(String::new(), |mut text, point| {
                let _ = write!(text, "{:.1},{:.1} ", x(point.0), y(point.1));
                text
            });
            #[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
            let legend = LEFT + 220.0 * index as f64;
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 points=\"{points}\"/><path d=\"M{legend} 12h18\" stroke=\"{colour}\" \
                 stroke-width=\"3\"/><text x=\"{}\" y=\"16\">{}</text>",
                legend + 24.0,
                line.name
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

/// A round distance between ticks, and the round end of an axis that reaches `largest`.
fn scale(largest: f64) -> (f64, f64) {
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let rough = largest / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    (step, step * (largest / step).ceil())
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..20u8)
        .map(move |index| f64::from(index) * step)
        .take_while(move |value| *value <= end * 1.001)
}

fn label(axis: Axis<'_>, value: f64, step: f64) -> String {
    match axis {
        Axis::Linear(unit) => {
            // As many places as the distance between two ticks needs.
            let places = if step >= 1.0 {
                0
            } else if step >= 0.1 {
                1
            } else {
                3
            };
            format!("{value:.places$} {unit}")
        }
        Axis::Nines if value.fract() > 1e-9 => String::new(),
        Axis::Nines => match 100.0 - 100.0 * 10f64.powf(-value) {
            share if value < 2.5 => format!("p{share:.0}"),
            share => format!("p{share}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values_beyond_the_data() {
        for (largest, step, end) in [
            (6.0, 1.0, 6.0),
            (7.0, 2.0, 8.0),
            (0.9, 0.2, 1.0),
            (1234.0, 500.0, 1500.0),
            (0.0, 0.2, 1.0),
        ] {
            let (is_step, is_end) = scale(largest);
            assert!((is_step - step).abs() < 1e-9 && (is_end - end).abs() < 1e-9, "{largest}");
        }
    }

    #[test]
    fn nines_are_called_percentiles() {
        let labels: Vec<_> =
            (0..5).map(|nines| label(Axis::Nines, f64::from(nines), 1.0)).collect();
        assert_eq!(labels, ["p0", "p90", "p99", "p99.9", "p99.99"]);
    }

    #[test]
    fn points_stay_inside() {
        let points = vec![(0.0, 0.0), (3.0, 17.0), (9.5, 80.0)];
        let lines = vec![Line { name: "line", points }];
        let plot = Plot { x: Axis::Linear("s"), y: Axis::Linear("ms"), lines };
        let svg = plot.svg();
        let (_, rest) = svg.split_once("points=\"").unwrap();
        let (points, _) = rest.split_once('"').unwrap();
        for point in points.split_whitespace() {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
        }
    }
}
