//! Making the changes, one by one: noted, made, verified. What a driver refuses is said, and the
//! rest goes on.

use std::collections::BTreeSet;

use anyhow::Result;

use super::journal::Journal;
use super::knob::Act;
use crate::finding::{Change, Finding};
use crate::host::Host;
use crate::items::{Item, Risk};

/// Which items to change.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these; empty means all.
    pub only: BTreeSet<String>,
    /// Risky ones that are wanted.
    pub allow: BTreeSet<String>,
}

impl Selection {
    /// Whether an item is asked about at all.
    #[must_use]
    pub fn concerns(&self, item: &Item) -> bool {
        self.only.is_empty() || self.only.contains(item.name)
    }

    /// Whether an item may be changed.
    #[must_use]
    pub fn permits(&self, item: &Item) -> bool {
        item.risk != Risk::Risky || self.allow.contains(item.name)
    }
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The item it is for.
    pub item: &'static str,
    /// Its interface, if it has one.
    pub subject: String,
    /// What to set.
    pub change: Change,
}

impl Step {
    /// What is done.
    #[must_use]
    pub fn act(&self) -> Act {
        self.change.knob.act(&self.change.to)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes that are wanted and permitted, in order.
    pub steps: Vec<Step>,
    /// Changes of risky items that nobody allowed.
    pub withheld: Vec<Step>,
}

/// What would make the findings right.
#[must_use]
pub fn plan(findings: &[(&'static Item, Finding)], selection: &Selection) -> Plan {
    let mut plan = Plan::default();
    for (item, finding) in findings.iter().filter(|(item, _)| selection.concerns(item)) {
        let to = if selection.permits(item) { &mut plan.steps } else { &mut plan.withheld };
        to.extend(finding.changes.iter().map(|change| Step {
            item: item.name,
            subject: finding.subject.clone(),
            change: change.clone(),
        }));
    }
    plan
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is so now, as reading it again shows.
    Done {
        /// What was there.
        before: String,
    },
    /// It was so already.
    Already,
    /// It is not so, and why.
    Refused(String),
}

/// Makes the changes, telling of each. Fails only if the journal does: then nothing may be changed.
pub fn apply(
    host: &Host,
    steps: &[Step],
    journal: &mut Journal,
    mut tell: impl FnMut(&Step, &Outcome) -> Result<()>,
) -> Result<()> {
    for step in steps {
        let outcome = make(host, step, journal)?;
        tell(step, &outcome)?;
    }
    Ok(())
}

fn make(host: &Host, step: &Step, journal: &mut Journal) -> Result<Outcome> {
    let Change { knob, to } = &step.change;
    // What cannot be read could not be put back.
    let before = match knob.read(host) {
        Ok(before) => before,
        Err(missing) => return Ok(Outcome::Refused(missing.to_string())),
    };
    if knob.is_same(&before, to) {
        return Ok(Outcome::Already);
    }
    journal.note(step.item, knob, &before, to)?;
    if let Err(missing) = step.act().perform(host) {
        // A program may have failed half-way.
        if knob.read(host).is_ok_and(|now| knob.is_same(&now, &before)) {
            forget_unless_changed(journal, step, &before)?;
        }
        return Ok(Outcome::Refused(missing.to_string()));
    }
    Ok(match knob.read(host) {
        Ok(now) if knob.is_same(&now, to) => Outcome::Done { before },
        Ok(now) if knob.is_same(&now, &before) => {
            forget_unless_changed(journal, step, &before)?;
            Outcome::Refused(format!("it says yes and stays at {now}"))
        }
        // Near is what drivers do with sizes: it is noted as it came out, to be put back.
        Ok(now) => {
            journal.note(step.item, knob, &before, &now)?;
            Outcome::Refused(format!("it became {now} instead"))
        }
        Err(missing) => Outcome::Refused(format!("not to be verified: {missing}")),
    })
}

/// Nothing was changed by this step; but an earlier run may have, whose value is still to be put back.
fn forget_unless_changed(journal: &mut Journal, step: &Step, before: &str) -> Result<()> {
    let knob = &step.change.knob;
    let noted = journal.entries().iter().find(|entry| entry.knob == *knob);
    match noted.map(|entry| knob.is_same(&entry.before, before)) {
        Some(true) => journal.forget(knob),
        Some(false) => journal.note(step.item, knob, before, before),
        None => Ok(()),
    }
}
