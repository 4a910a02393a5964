//! The commands that change something, or say what they would change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use service::exit::{Usage, print};
use tuning::change::apply::{self, Outcome, Selection, Step};
use tuning::change::journal::{Entry, JOURNAL, Journal};
use tuning::change::persist::{self, Call};
use tuning::change::revert::{self, Restored};
use tuning::host::Host;
use tuning::items;

use super::look;
use crate::args::{Apply, Choice, Persist, Plan, Revert, Unpersist};

/// Something was refused; the rest is done.
const REFUSED: u8 = 1;

fn selection(choice: Choice) -> Selection {
    let set = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    Selection { only: set(choice.items.only), allow: set(choice.allow) }
}

pub(crate) fn plan(plan: Plan) -> Result<u8> {
    let looked = look(plan.subject, plan.host.as_deref())?;
    let found = apply::plan(&looked.findings, &selection(plan.choice));
    if plan.json {
        let list = |steps: &[Step]| steps.iter().map(step_json).collect::<Vec<_>>();
        let document =
            json!({ "version": 1, "steps": list(&found.steps), "withheld": list(&found.withheld) });
        print(&format!("{document:#}\n"))?;
        return Ok(0);
    }
    let mut text = script(&found.steps, "");
    if !found.withheld.is_empty() {
        let names: BTreeSet<&str> = found.withheld.iter().map(|step| step.item).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(",");
        text.push_str(&format!("\n# Risky, only with --allow {names}\n"));
        text.push_str(&script(&found.withheld, "# "));
    }
    print(if text.is_empty() { "# nothing to change\n" } else { &text })?;
    Ok(0)
}

/// Shell lines, with a remark before each item's first.
fn script(steps: &[Step], prefix: &str) -> String {
    let mut text = String::new();
    let mut last = None;
    for step in steps {
        if last != Some((step.item, &step.subject)) {
            let why = items::named(step.item).map_or("", |item| item.why);
            text.push_str(
                &format!("# {} {}: {why}\n", step.item, step.subject).replace(" : ", ": "),
            );
        }
        text.push_str(&format!("{prefix}{}\n", step.act()));
        last = Some((step.item, &step.subject));
    }
    text
}

fn step_json(step: &Step) -> serde_json::Value {
    let line = step.act().to_string();
    json!({ "item": step.item, "subject": step.subject, "to": step.change.to, "command": line })
}

/// Passes of `apply`: one change can make room for another, as more queues have more interrupts.
const PASSES_MAX: usize = 3;

pub(crate) fn apply(args: Apply) -> Result<u8> {
    let root = args.subject.root.clone();
    must_be_root(root.as_deref())?;
    let selection = selection(args.choice);
    let mut looked = look(args.subject.clone(), None)?;
    let mut found = apply::plan(&looked.findings, &selection);
    let mut journal = Journal::open(&below(root.as_deref(), &args.place.journal), &looked.host)?;
    let (mut refused, mut tried, mut told) = (0, Vec::new(), Vec::new());
    for _ in 0..PASSES_MAX {
        apply::apply(&looked.host, &found.steps, &mut journal, |step, outcome| {
            let words = match outcome {
                Outcome::Done { before } => format!("done, was {before}"),
                Outcome::Already => "was so already".to_owned(),
                Outcome::Refused(why) => {
                    refused += 1;
                    format!("REFUSED: {why}")
                }
            };
            if args.json {
                let mut row = step_json(step);
                row["outcome"] = outcome_word(outcome).into();
                row["remark"] = words.into();
                told.push(row);
                return Ok(());
            }
            print(&format!("{}\n    {words}\n", step.act()))
        })?;
        tried.append(&mut found.steps);
        looked = look(args.subject.clone(), None)?;
        found = apply::plan(&looked.findings, &selection);
        // What was refused is not asked for again.
        found.steps.retain(|step| tried.iter().all(|done| done.change.knob != step.change.knob));
        if found.steps.is_empty() {
            break;
        }
    }
    let withheld: BTreeSet<&str> = found.withheld.iter().map(|step| step.item).collect();
    if args.json {
        let document = json!({ "version": 1, "steps": told, "withheld": withheld });
        print(&format!("{document:#}\n"))?;
    } else {
        let mut text = match tried.len() {
            0 => "nothing to change\n".to_owned(),
            all => format!("{} of {all} changes made\n", all - refused),
        };
        if !withheld.is_empty() {
            let names = withheld.into_iter().collect::<Vec<_>>().join(",");
            text.push_str(&format!("not done, because risky: {names} (--allow {names})\n"));
        }
        if !journal.entries().is_empty() {
            text.push_str(
                "`ringway-tuning revert` puts it back; `persist` keeps it over a restart\n",
            );
        }
        print(&text)?;
    }
    Ok(if refused == 0 { 0 } else { REFUSED })
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Already => "already",
        Outcome::Refused(_) => "refused",
    }
}

pub(crate) fn revert(args: Revert) -> Result<u8> {
    must_be_root(args.root.as_deref())?;
    let path = below(args.root.as_deref(), &args.place.journal);
    let host = Host::live(args.root);
    let mut journal = Journal::open(&path, &host)?;
    let only = args.items.only;
    let entries = revert::plan(&journal, |entry| only.is_empty() || only.contains(&entry.item));
    if args.dry_run {
        let line = |entry: &Entry| format!("{}\n", entry.knob.act(&entry.before));
        print(&entries.iter().map(line).collect::<String>())?;
        return Ok(0);
    }
    let (mut left, mut told) = (0, Vec::new());
    revert::revert(&host, &entries, &mut journal, args.force, |entry, restored| {
        let (word, remark) = match restored {
            Restored::Done => ("done", format!("done, was {}", entry.after)),
            Restored::Already => ("already", "was so already".to_owned()),
            Restored::Gone => ("gone", "gone with the last restart of the host".to_owned()),
            Restored::Foreign(now) => {
                left += 1;
                let after = &entry.after;
                (
                    "foreign",
                    format!("LEFT ALONE: it is {now}, not {after} as apply set it (--force)"),
                )
            }
            Restored::Refused(why) => {
                left += 1;
                ("refused", format!("REFUSED: {why}"))
            }
        };
        let line = entry.knob.act(&entry.before);
        if args.json {
            told.push(json!({ "item": entry.item, "command": line.to_string(), "outcome": word, "remark": remark }));
            return Ok(());
        }
        print(&format!("{line}\n    {remark}\n"))
    })?;
    if args.json {
        let document = json!({ "version": 1, "steps": told });
        print(&format!("{document:#}\n"))?;
    } else if entries.is_empty() {
        print("nothing to put back\n")?;
    } else {
        print(&format!("{} of {} put back\n", entries.len() - left, entries.len()))?;
    }
    Ok(if left == 0 { 0 } else { REFUSED })
}

pub(crate) fn persist(args: Persist) -> Result<u8> {
    let root = args.subject.root.clone();
    if !args.dry_run {
        must_be_root(root.as_deref())?;
    }
    let config = args.subject.config.clone();
    let interfaces = args.subject.interface.clone();
    let looked = look(args.subject, None)?;
    let path = below(root.as_deref(), &args.place.journal);
    let journal = Journal::open(&path, &looked.host)?;
    if journal.entries().is_empty() {
        return Err(Usage(format!(
            "nothing to keep: {} says that nothing was changed; `ringway-tuning apply` first",
            path.display()
        ))
        .into());
    }
    let program = std::env::current_exe().context("Failed to find out where this program is")?;
    let mut arguments = vec!["--profile".to_owned(), looked.profile.to_string()];
    if let Some(config) = config {
        let config = std::path::absolute(config).context("Failed to name the configuration")?;
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
    }
    if !interfaces.is_empty() {
        arguments.extend(["--interface".to_owned(), interfaces.join(",")]);
    }
    if args.place.journal != Path::new(JOURNAL) {
        arguments.extend(["--journal".to_owned(), args.place.journal.display().to_string()]);
    }
    let call = Call { program: program.display().to_string(), arguments };
    let files = persist::plan(journal.entries(), &call);
    if args.dry_run {
        let file = |file: &persist::Persisted| format!("--- {}\n{}\n", file.path, file.text);
        print(&files.iter().map(file).collect::<String>())?;
        return Ok(0);
    }
    persist::persist(root.as_deref().unwrap_or(Path::new("/")), &files)?;
    let mut text: String = files.iter().map(|file| format!("wrote {}\n", file.path)).collect();
    text.push_str(
        "in force from the next start of the host; `ringway-tuning unpersist` removes it\n",
    );
    print(&text)?;
    Ok(0)
}

pub(crate) fn unpersist(args: &Unpersist) -> Result<u8> {
    must_be_root(args.root.as_deref())?;
    let removed = persist::unpersist(args.root.as_deref().unwrap_or(Path::new("/")))?;
    let mut text: String = removed.iter().map(|path| format!("removed {path}\n")).collect();
    if text.is_empty() {
        text.push_str("there was nothing to remove\n");
    }
    print(&text)?;
    Ok(0)
}

/// Changing a host takes root; a tree takes who owns it.
fn must_be_root(root: Option<&Path>) -> Result<()> {
    if root.is_none() && !nix::unistd::geteuid().is_root() {
        return Err(Usage("changing this host takes root: run it with sudo".to_owned()).into());
    }
    Ok(())
}

/// A path on the host, below the tree that stands in for it.
fn below(root: Option<&Path>, path: &Path) -> PathBuf {
    match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}
