//! A report as one page that needs nothing else: figures, and plots drawn as SVG. No script, so it
//! can be opened from anywhere, mailed, and kept.

mod plot;

use std::fmt::Write;

use super::{Report, table};
use crate::plan::Mode;
use plot::{Axis, Line, Plot};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
    padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;\
    margin-top:2rem}pre{background:#f5f6f8;padding:1rem;overflow-x:auto;font-size:13px}svg{width:100%;\
    height:auto}.met{color:#136f3a}.missed{color:#a3251d}";

/// The page.
#[must_use]
pub fn render(report: &Report) -> String {
    let verdict = format!("{:?}", report.verdict).to_lowercase();
    let title = format!("Ringway {} to {}: {verdict}", report.kind, report.target);
    let title = escape(&title);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1 class=\"{verdict}\">{title}</h1>\n<pre>{}</pre>\n",
        escape(&table::render(report))
    );
    let mut section = |heading: &str, plot: &Plot<'_>| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(page, "<h2>{heading}</h2>{}", plot.svg());
    };
    section("Percentile spectrum of the round trip", &spectrum(report));
    section("Round trip over time", &over_time(report));
    if matches!(report.mode, Mode::Sweep | Mode::Search) {
        section("Latency against load", &sweep(report));
    }
    let arguments = escape(&report.arguments.join(" "));
    let _ = writeln!(page, "<h2>Command</h2><pre>ringway-loadgen {arguments}</pre></html>");
    page
}

fn spectrum(report: &Report) -> Plot<'_> {
    // The axis counts nines: 0 is the fastest packet, 1 is p90, 2 is p99.
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-9).log10();
    let of = |value: fn(&super::SpectrumPoint) -> f64| {
        report
            .spectrum
            .iter()
            .filter(|point| point.quantile < 1.0)
            .map(|point| (nines(point.quantile), value(point)))
            .collect()
    };
    Plot {
        x: Axis::Nines,
        y: Axis::Linear("ms"),
        lines: vec![
            Line { name: "corrected", points: of(|point| point.corrected_ms) },
            Line {
                name: "as a closed loop would have it",
                points: of(|point| point.uncorrected_ms),
            },
        ],
    }
}

fn over_time(report: &Report) -> Plot<'_> {
    let of = |value: fn(&super::Second) -> Option<f64>| {
        report
            .seconds
            .iter()
            .filter_map(|second| Some((second.elapsed_s, value(second)?)))
            .collect()
    };
    Plot {
        x: Axis::Linear("s"),
        y: Axis::Linear("ms"),
        lines: vec![
            Line { name: "p50", points: of(|second| second.p50_ms) },
            Line { name: "p99", points: of(|second| second.p99_ms) },
        ],
    }
}

fn sweep(report: &Report) -> Plot<'_> {
    let mut steps: Vec<_> = report.steps.iter().collect();
    steps.sort_by_key(|step| step.load);
    let of = |value: fn(&super::Figures) -> f64| {
        steps.iter().map(|step| (f64::from(step.load), value(step))).collect()
    };
    Plot {
        x: Axis::Linear(&report.kind),
        y: Axis::Linear("ms"),
        lines: vec![
            Line { name: "p50", points: of(|step| step.latency.p50_ms) },
            Line { name: "p99", points: of(|step| step.latency.p99_ms) },
        ],
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{about, report, story};
    use crate::verdict::Limits;

    #[test]
    fn the_page_needs_nothing_else_and_shows_everything() {
        let page = render(&report(50, 0));
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("<polyline").count(), 4);
        for outside in ["http://", "https://", "<script", "src=", "@import"] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
        let about = about(Mode::Sweep);
        let swept = Report::new(&about, &story(5, 0), &crate::slo::Slo::default(), Limits::FLOWS);
        assert_eq!(render(&swept).matches("<svg").count(), 3);
    }

    #[test]
    fn a_target_cannot_write_into_the_page() {
        let hostile = Report { target: "<script>alert(1)</script>".into(), ..report(5, 0) };
        assert!(!render(&hostile).contains("<script"));
    }

    #[test]
    fn an_empty_test_has_a_page_too() {
        let empty = crate::conduct::Story::default();
        let report =
            Report::new(&about(Mode::Steady), &empty, &crate::slo::Slo::default(), Limits::FLOWS);
        assert!(render(&report).contains("nothing was measured"));
    }
}
