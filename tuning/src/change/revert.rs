//! Putting back what was there before, last change first.

use anyhow::Result;

use super::journal::{Entry, Journal};
use crate::host::Host;

/// How putting one thing back went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// It is as it was, as reading it again shows.
    Done,
    /// It was so already.
    Already,
    /// Somebody else has set it since, to this: left alone.
    Foreign(String),
    /// It belongs to an earlier start of the host, and nothing is left of it.
    Gone,
    /// It could not be put back, and why. It stays in the journal.
    Refused(String),
}

/// What is in the journal and to be put back, last first.
#[must_use]
pub fn plan(journal: &Journal, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    journal.entries().iter().rev().filter(|entry| wanted(entry)).cloned().collect()
}

/// Puts things back. With `force`, also what somebody else has set since.
pub fn revert(
    host: &Host,
    entries: &[Entry],
    journal: &mut Journal,
    force: bool,
    mut tell: impl FnMut(&Entry, &Restored) -> Result<()>,
) -> Result<()> {
    for entry in entries {
        let restored = restore(host, entry, journal, force);
        if !matches!(restored, Restored::Refused(_) | Restored::Foreign(_)) {
            journal.forget(&entry.knob)?;
        }
        tell(entry, &restored)?;
    }
    Ok(())
}

fn restore(host: &Host, entry: &Entry, journal: &Journal, force: bool) -> Restored {
    let Entry { knob, before, after, .. } = entry;
    if !journal.is_current(entry) {
        return Restored::Gone;
    }
    let now = match knob.read(host) {
        Ok(now) => now,
        Err(missing) => return Restored::Refused(missing.to_string()),
    };
    if knob.is_same(&now, before) {
        return Restored::Already;
    }
    if !knob.is_same(&now, after) && !force {
        return Restored::Foreign(now);
    }
    if let Err(missing) = knob.act(before).perform(host) {
        return Restored::Refused(missing.to_string());
    }
    match knob.read(host) {
        Ok(now) if knob.is_same(&now, before) => Restored::Done,
        Ok(now) => Restored::Refused(format!("it says yes and stays at {now}")),
        Err(missing) => Restored::Refused(format!("not to be verified: {missing}")),
    }
}
