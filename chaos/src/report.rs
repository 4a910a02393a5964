//! Tells what was found: on the terminal, and in the documentation.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::findings::{Findings, Way};
use crate::rows::{ROWS, Row};

const BEGIN: &str = "<!-- chaos: begin (make chaos writes this) -->";
const END: &str = "<!-- chaos: end -->";

/// A row and what it found.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) row: &'static Row,
    pub(crate) findings: Findings,
}

/// Says something that is not the result.
pub(crate) fn say(text: &str) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Lists all rows.
pub(crate) fn list() -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for row in ROWS {
        let short = if row.short { " (also in --short)" } else { "" };
        writeln!(out, "{}{short}\n    {}\n    promised: {}", row.name, row.fault, row.promise)?;
    }
    Ok(true)
}

impl Line {
    /// What came of it, as the last line of its progress.
    pub(crate) fn brief(&self) -> String {
        let findings = &self.findings;
        let way = |way: &Option<Way>| match way {
            Some(way) => format!("{} lost, worst gap {} ms", way.lost, millis(way.worst())),
            None => "not looked at".to_owned(),
        };
        let mut text = format!(
            "  {} dropped; up {}; down {}",
            findings.dropped,
            way(&findings.up),
            way(&findings.down)
        );
        for note in &findings.notes {
            let _ = write!(text, "\n  {note}");
        }
        for broken in &findings.broken {
            let _ = write!(text, "\n  BROKEN: {broken}");
        }
        text
    }
}

fn millis(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e3)
}

/// The table on the terminal.
pub(crate) fn table(lines: &[Line]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<18} {:>5} {:>7} {:>7} | {:>7} {:>6} {:>6} {:>6} | {:>7} {:>6} {:>6} {:>6} | {:>5} | kept",
        "row",
        "calls",
        "dropped",
        "frames",
        "lost up",
        "median",
        "p99",
        "worst",
        "down",
        "median",
        "p99",
        "worst",
        "late",
    )?;
    for Line { row, findings } in lines {
        let [lost_up, median_up, p99_up, worst_up] = cells(&findings.up);
        let [lost_down, median_down, p99_down, worst_down] = cells(&findings.down);
        let kept = if findings.broken.is_empty() { "yes" } else { "NO" };
        writeln!(
            out,
            "{:<18} {:>5} {:>7} {:>7} | {lost_up:>7} {median_up:>6} {p99_up:>6} {worst_up:>6} | \
             {lost_down:>7} {median_down:>6} {p99_down:>6} {worst_down:>6} | {:>5} | {kept}",
            row.name,
            findings.calls,
            findings.dropped,
            findings.sent,
            millis(findings.late),
        )?;
    }
    Ok(())
}

fn cells(way: &Option<Way>) -> [String; 4] {
    match way {
        Some(way) => {
            [way.lost.to_string(), millis(way.gap(50)), millis(way.gap(99)), millis(way.worst())]
        }
        None => std::array::from_fn(|_| "–".to_owned()),
    }
}

/// Renews the table between the markers of a file.
pub(crate) fn renew(file: &Path, lines: &[Line], calls: usize) -> Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("Failed to read {name}"))?;
    let host = loadgen::host::Host::current();
    let table = markdown(lines, calls, &host);
    let renewed = between(&text, &table).with_context(|| format!("{name} has no markers"))?;
    std::fs::write(file, renewed).with_context(|| format!("Failed to write {name}"))
}

fn between(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

fn markdown(lines: &[Line], calls: usize, host: &loadgen::host::Host) -> String {
    let mut text = format!(
        "{}, revision {}; {calls} calls unless the row says otherwise; {} × {}, kernel {}; {} build.\n\n",
        today(),
        service::build::Build::current().revision,
        host.cpus,
        host.cpu,
        host.kernel,
        if cfg!(debug_assertions) { "debug" } else { "release" },
    );
    text.push_str(
        "| fault | promise | dropped | lost up | gap up: median, p99, worst, ms | lost down \
         | gap down: median, p99, worst, ms | late, ms | kept |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for Line { row, findings } in lines {
        let [lost_up, median_up, p99_up, worst_up] = cells(&findings.up);
        let [lost_down, median_down, p99_down, worst_down] = cells(&findings.down);
        let kept = if findings.broken.is_empty() { "yes" } else { "**no**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {lost_up} | {median_up}, {p99_up}, {worst_up} | {lost_down} | \
             {median_down}, {p99_down}, {worst_down} | {} | {kept} |",
            row.fault,
            row.promise,
            findings.dropped,
            findings.calls,
            millis(findings.late),
        );
    }
    text.push_str("\nWhat else was seen:\n\n");
    for Line { row, findings } in lines {
        for note in &findings.notes {
            let _ = writeln!(text, "- *{}*: {note}", row.fault);
        }
        for broken in &findings.broken {
            let _ = writeln!(text, "- *{}*: **broken: {broken}**", row.fault);
        }
    }
    text
}

/// The date, in UTC; nothing where there is no such program.
fn today() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%F"]).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_renewed() {
        let text = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        let renewed = between(&text, "new\n").unwrap();
        assert_eq!(renewed, format!("# Title\n{BEGIN}\n\nnew\n\n{END}\nrest\n"));
        assert_eq!(between(&renewed, "new\n").unwrap(), renewed);
        assert_eq!(between("no markers", "new"), None);
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
