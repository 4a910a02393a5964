//! The report that people read: a table, and behind it what to do about each line that is not fine.

use super::table::{lined_up, wrapped};
use super::{Report, by_hand};
use crate::finding::{Finding, State};
use crate::items::{Item, Risk};

const WIDTH: usize = 96;
/// Shell lines of one item. A host with many cores has as many for its governor.
const LINES_MAX: usize = 4;

/// The report. With `all`, also what this host does not have.
#[must_use]
pub fn check(report: &Report<'_>, all: bool) -> String {
    let mut text = format!(
        "profile {}, kernel {}, {}\n\n",
        report.profile, report.facts.kernel.release, report.configuration
    );
    let titles = ["", "item", "now", "wanted", "risk"].map(str::to_owned).to_vec();
    let shown = |(_, finding): &&(&Item, Finding)| all || finding.state != State::NotHere;
    let rows = report.findings.iter().filter(shown).map(|(item, finding)| row(item, finding));
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
    for line in lined_up(&rows) {
        text.push_str(&line);
        text.push('\n');
    }
    for (item, finding) in report.findings {
        let worth = finding.state >= State::Advice || !finding.remark.is_empty();
        if worth && (all || finding.state != State::NotHere) {
            text.push_str(&details(item, finding));
        }
    }
    text.push_str(&summary(report));
    text
}

fn row(item: &Item, finding: &Finding) -> Vec<String> {
    let wanted = if finding.state == State::Fine { "" } else { finding.wanted.as_str() };
    let risk = if finding.changes.is_empty() { "" } else { risk(item.risk) };
    vec![
        mark(finding.state).to_owned(),
        name(item, finding),
        finding.now.clone(),
        wanted.to_owned(),
        risk.to_owned(),
    ]
}

fn mark(state: State) -> &'static str {
    match state {
        State::Fine => "ok",
        State::NotHere => "-",
        State::Unknown => "?",
        State::Advice => "!",
        State::Breaks => "!!",
    }
}

fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::None => "",
        Risk::Low => "low",
        Risk::Risky => "risky",
    }
}

fn name(item: &Item, finding: &Finding) -> String {
    if finding.subject.is_empty() {
        item.name.to_owned()
    } else {
        format!("{} {}", item.name, finding.subject)
    }
}

fn details(item: &Item, finding: &Finding) -> String {
    let mut text = format!("\n{} {}\n", mark(finding.state), name(item, finding));
    let why = if finding.state >= State::Advice { item.why } else { "" };
    for line in wrapped(&format!("{why} {}", sentence(&finding.remark)), WIDTH - 3) {
        text.push_str(&format!("   {line}\n"));
    }
    if finding.changes.is_empty() {
        for line in by_hand(finding).iter().flat_map(|line| wrapped(line, WIDTH - 6)) {
            text.push_str(&format!("      {line}\n"));
        }
    } else {
        let lines = by_hand(finding);
        for line in lines.iter().take(LINES_MAX) {
            text.push_str(&format!("      {line}\n"));
        }
        if lines.len() > LINES_MAX {
            let more = lines.len() - LINES_MAX;
            let name = item.name;
            text.push_str(&format!(
                "      and {more} more: `ringway-tuning plan --only {name} --allow {name}`\n"
            ));
        }
    }
    text
}

fn sentence(text: &str) -> String {
    // A name of a setting is no word to begin with a capital.
    if text.split(' ').next().is_some_and(|word| word.contains(['.', '_'])) {
        return format!("{text}.");
    }
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => {
            format!("{}{}.", first.to_uppercase(), letters.as_str().trim_end_matches('.'))
        }
        None => String::new(),
    }
}

fn summary(report: &Report<'_>) -> String {
    let count = |state| report.count(state);
    let changes = report.findings.iter().any(|(_, finding)| !finding.changes.is_empty());
    let mut text = format!(
        "\n{} fine, {} could be better (!), {} break the relay (!!), {} cannot be told (?)\n",
        count(State::Fine),
        count(State::Advice),
        count(State::Breaks),
        count(State::Unknown)
    );
    if changes {
        text.push_str(
            "`ringway-tuning plan` shows what `apply` would run; `explain ITEM` tells more\n",
        );
    }
    text
}
