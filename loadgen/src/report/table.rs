//! A report for people at a terminal.

use std::fmt::Write;

use super::{Figures, Report};
use crate::measure::Summary;
use crate::plan::Mode;
use crate::slo::percent;
use crate::verdict::Verdict;

/// The whole report as text.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    header(&mut text, report);
    if matches!(report.mode, Mode::Sweep | Mode::Search | Mode::Soak) {
        steps(&mut text, report);
    }
    if !matches!(report.mode, Mode::Sweep | Mode::Search) {
        result(&mut text, &report.result);
    }
    ending(&mut text, report);
    text
}

/// Writing to a `String` cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        let _ = writeln!($text, $($format)*);
    };
}

fn header(text: &mut String, report: &Report) {
    let unit = &report.kind;
    line!(text, "{} to {}, {:.0} s", capitalised(unit), report.target, report.elapsed_s);
    let host = &report.host;
    let governor =
        if host.governor.is_empty() { String::new() } else { format!(", {}", host.governor) };
    line!(
        text,
        "from {} ({}, {} CPUs{governor}, Linux {}), {} threads, {}, revision {}",
        host.name,
        host.cpu,
        host.cpus,
        host.kernel,
        report.threads,
        report.engine,
        report.build.revision
    );
}

fn steps(text: &mut String, report: &Report) {
    line!(text, "");
    line!(
        text,
        "{:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}",
        if report.mode == Mode::Soak { "" } else { report.kind.as_str() },
        "packets/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "loss",
        "failed"
    );
    for step in &report.steps {
        let latency = &step.latency;
        line!(
            text,
            "{:>12} {:>10.0} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>9} {:>8}",
            step.label,
            step.packets_per_second,
            latency.p50_ms,
            latency.p90_ms,
            latency.p99_ms,
            latency.p999_ms,
            percent(step.loss),
            step.failures.values().sum::<u64>()
        );
    }
}

fn result(text: &mut String, figures: &Figures) {
    let counts = &figures.counts;
    line!(text, "");
    line!(
        text,
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "milliseconds",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max"
    );
    let row = |text: &mut String, name: &str, summary: &Summary| {
        if summary.count > 0 {
            line!(
                text,
                "{name:<34} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                summary.p50_ms,
                summary.p90_ms,
                summary.p99_ms,
                summary.p999_ms,
                summary.max_ms
            );
        }
    };
    row(text, "round trip", &figures.latency);
    row(text, "  as a closed loop would have it", &figures.latency_uncorrected);
    row(text, "  there", &figures.up);
    row(text, "  and back", &figures.down);
    row(text, "connectivity checks", &figures.checks);
    for (phase, summary) in &figures.phases {
        row(text, &format!("set-up: {phase}"), summary);
    }
    row(text, "jitter of each", &figures.jitter);
    row(text, "longest silence of each", &figures.gap);
    row(text, "generator's own lateness", &figures.lateness);
    line!(text, "");
    line!(
        text,
        "begun {}, connected {}, ended {}, failed {} ({})",
        counts.started,
        counts.connected,
        counts.ended,
        figures.failures.values().sum::<u64>(),
        percent(figures.failure_share)
    );
    for (cause, count) in &figures.failures {
        line!(text, "  {count} × {cause}");
    }
    line!(
        text,
        "packets sent {} ({:.0}/s), back {}, lost {} ({}), of which on the way there {}",
        counts.sent,
        figures.packets_per_second,
        counts.back,
        counts.lost,
        percent(figures.loss),
        counts.lost_up
    );
    line!(
        text,
        "reordered {} (there {}), doubled {} (there {}), too late {}, foreign {}",
        counts.reordered,
        counts.reordered_up,
        counts.duplicates,
        counts.duplicates_up,
        counts.too_late,
        counts.foreign
    );
    line!(
        text,
        "the generator was {:.0} % busy, could not send {}, dropped {}",
        figures.generator_busy * 100.0,
        figures.generator.refused,
        figures.generator.receive_drops
    );
}

fn ending(text: &mut String, report: &Report) {
    line!(text, "");
    if let Some(finding) = &report.finding {
        line!(text, "{finding}");
    }
    for objective in &report.objectives {
        let value = objective.value.as_deref().unwrap_or("not measured");
        let met = if objective.met { "met   " } else { "MISSED" };
        line!(text, "{met} {} = {value}, at most {}", objective.metric, objective.limit);
    }
    if report.interrupted {
        line!(text, "stopped before its end");
    }
    let because = report.bottlenecks.join("; ");
    match report.verdict {
        Verdict::Met if !report.bottlenecks.is_empty() => {
            line!(text, "Met, although the generator did not keep up: {because}.");
        }
        Verdict::Met if report.objectives.is_empty() => {
            line!(text, "Done. With --slo p99=20ms,loss=0.1% there is a verdict.");
        }
        Verdict::Met => {
            line!(text, "Met.");
        }
        Verdict::Nothing => {
            line!(text, "Nothing connected, so nothing was measured.");
        }
        Verdict::Missed => {
            line!(text, "Missed.");
        }
        Verdict::Bottleneck => {
            line!(
                text,
                "No verdict on the target: the generator was the bottleneck, since {because}."
            );
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{about, report, story};
    use crate::verdict::Limits;

    #[test]
    fn the_table_says_what_matters() {
        let text = render(&report(50, 50));
        for part in [
            "Flows to 127.0.0.1:3478",
            "round trip",
            "as a closed loop would have it",
            "50.0",
            "1 × no answer to any check",
            "lost 50 (5.000 %)",
            "MISSED p99 = 50.0",
            "MISSED loss = 5.000 %, at most 1.000 %",
            "\nMissed.\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(render(&report(5, 0)).ends_with("\nMet.\n"));
    }

    #[test]
    fn a_sweep_has_a_row_for_each_step() {
        let about = about(Mode::Sweep);
        let report = Report::new(&about, &story(5, 0), &"p99=1s".parse().unwrap(), Limits::FLOWS);
        let text = render(&report);
        let rows = text.lines().filter(|line| line.starts_with("    ") && line.contains("5.001"));
        assert_eq!(rows.count(), 2, "{text}");
    }
}
