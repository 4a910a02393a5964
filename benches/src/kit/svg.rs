//! Bar charts as SVG: panels below each other, a bar for each candidate, and a whisker from the least
//! to the most of its repetitions. Nothing but what a result page needs, so that it needs no library.

use std::fmt::Write;

use crate::statistics::Spread;

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
const LABEL_WIDTH: f64 = 210.0;
const VALUE_WIDTH: f64 = 70.0;
const BAR_HEIGHT: f64 = 15.0;
const ROW_HEIGHT: f64 = 21.0;
const TITLE_HEIGHT: f64 = 34.0;

/// A bar of a panel.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// How long it is.
    pub value: Spread,
    /// Whether it is ours, and has another colour.
    pub ours: bool,
}

/// Bars that are compared with each other.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    /// The bars, from above.
    pub bars: Vec<Bar>,
}

/// Draws panels; those without bars are left out.
#[must_use]
pub fn draw(title: &str, panels: &[Panel]) -> String {
    let panels: Vec<&Panel> = panels.iter().filter(|panel| !panel.bars.is_empty()).collect();
    let rows: usize = panels.iter().map(|panel| panel.bars.len()).sum();
    let height = 2.0 * MARGIN + TITLE_HEIGHT * (panels.len() + 1) as f64 + ROW_HEIGHT * rows as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escaped(title)
    );
    let mut y = MARGIN + 14.0;
    text(&mut svg, MARGIN, y, "start", "font-size=\"16\" font-weight=\"600\"", title);
    y += TITLE_HEIGHT - 14.0;
    for panel in panels {
        y = draw_panel(&mut svg, panel, y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, top: f64) -> f64 {
    let most = panel.bars.iter().map(|bar| bar.value.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - 2.0 * MARGIN - LABEL_WIDTH - VALUE_WIDTH) / most;
    let left = MARGIN + LABEL_WIDTH;
    text(svg, MARGIN, top + 20.0, "start", "font-weight=\"600\"", &panel.title);
    let mut y = top + TITLE_HEIGHT;
    for bar in &panel.bars {
        let middle = y + BAR_HEIGHT / 2.0;
        text(svg, left - 8.0, middle + 4.0, "end", "", &bar.label);
        let colour = if bar.ours { "#0b6e4f" } else { "#9aa5b1" };
        let Spread { median, min, max, .. } = bar.value;
        put(
            svg,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" \
                 fill=\"{colour}\"/>\n\
                 <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#1f2933\" stroke-width=\"1.5\"/>\n",
                median * scale,
                left + min * scale,
                left + max * scale,
            ),
        );
        let shown = format!("{median:.*}", if median < 100.0 { 2 } else { 0 });
        text(svg, left + max * scale + 6.0, middle + 4.0, "start", "", &shown);
        y += ROW_HEIGHT;
    }
    y
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, style: &str, what: &str) {
    let what = escaped(what);
    put(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#1f2933\" {style}>{what}</text>\n"
        ),
    );
}

fn put(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    svg.write_fmt(arguments).expect("writing to a String cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, values: &[f64]) -> Bar {
        let value = Spread::of(values.iter().copied()).unwrap();
        Bar { label: label.to_owned(), value, ours: false }
    }

    #[test]
    fn the_longest_whisker_fills_the_panel_and_the_rest_is_in_proportion() {
        let bars = vec![bar("a & b", &[5.0]), bar("c", &[9.0, 10.0, 10.0])];
        let panels = [
            Panel { title: "µs".to_owned(), bars },
            Panel { title: "empty".to_owned(), bars: vec![] },
        ];
        let svg = draw("<title>", &panels);
        let widths: Vec<f64> = svg
            .split("width=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .filter(|width| *width > 2.0)
            .collect();
        assert_eq!(widths.len(), 2, "{svg}");
        assert!((widths[1] - 2.0 * widths[0]).abs() < 0.2, "{widths:?}");
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;title&gt;"));
        assert!(!svg.contains("empty"));
    }
}
