//! Findings, for people and for programs.

mod table;
mod text;

use serde::Serialize;

use crate::facts::Facts;
use crate::finding::{Finding, State};
use crate::items::{Item, Risk};
use crate::profile::Profile;

pub use text::check as text;

/// A report on a host.
#[derive(Debug)]
pub struct Report<'a> {
    /// The profile.
    pub profile: Profile,
    /// Where the relay's needs are from: a file's name, or that there is none.
    pub configuration: String,
    /// The host.
    pub facts: &'a Facts,
    /// What was found.
    pub findings: &'a [(&'static Item, Finding)],
}

impl Report<'_> {
    /// The worst that was found decides the exit code: 0 fine, 1 advice, 2 something breaks.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let worst = self.findings.iter().map(|(_, finding)| finding.state).max();
        match worst {
            Some(State::Breaks) => 2,
            Some(State::Advice) => 1,
            _ => 0,
        }
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|(_, finding)| finding.state == state).count()
    }

    /// For programs. Fields may be added; none changes its meaning without a new version.
    pub fn json(&self) -> serde_json::Result<String> {
        let items = self.findings.iter().map(|(item, finding)| Row {
            item: item.name,
            subject: &finding.subject,
            state: finding.state,
            now: &finding.now,
            wanted: &finding.wanted,
            why: item.why,
            risk: item.risk,
            remark: &finding.remark,
            by_hand: by_hand(finding),
        });
        let counts = Counts {
            fine: self.count(State::Fine),
            not_here: self.count(State::NotHere),
            unknown: self.count(State::Unknown),
            advice: self.count(State::Advice),
            breaks: self.count(State::Breaks),
        };
        let document = Document {
            version: 1,
            profile: self.profile,
            configuration: &self.configuration,
            kernel: &self.facts.kernel.release,
            exit_code: self.exit_code(),
            counts,
            items: items.collect(),
        };
        serde_json::to_string_pretty(&document)
    }
}

/// Shell lines, or what a person does.
fn by_hand(finding: &Finding) -> Vec<String> {
    if finding.changes.is_empty() {
        return Some(finding.by_hand.clone()).filter(|text| !text.is_empty()).into_iter().collect();
    }
    finding.changes.iter().map(|change| change.knob.act(&change.to).to_string()).collect()
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    profile: Profile,
    configuration: &'a str,
    kernel: &'a str,
    exit_code: u8,
    counts: Counts,
    items: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Counts {
    fine: usize,
    not_here: usize,
    unknown: usize,
    advice: usize,
    breaks: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    item: &'static str,
    subject: &'a str,
    state: State,
    now: &'a str,
    wanted: &'a str,
    why: &'static str,
    risk: Risk,
    remark: &'a str,
    by_hand: Vec<String>,
}
