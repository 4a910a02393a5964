//! What each command does, between the command line and the library.

mod change;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use relay::control::config::Config;
use service::config::{Loaded, Sources};
use service::exit::{Usage, print};
use tuning::facts::Facts;
use tuning::finding::{Finding, Scene};
use tuning::host::{Archive, Host};
use tuning::items::{self, ITEMS, Item};
use tuning::needs::Needs;
use tuning::profile::Profile;
use tuning::report::{self, Report};
use tuning::rules;

use crate::args::{Capture, Check, Explain, Items, Subject};

pub(crate) use change::{apply, persist, plan, revert, unpersist};

/// Where the relay's configuration is, if it is where it belongs.
const CONFIG: &str = "/etc/ringway/relay.toml";

/// A host that was looked at.
struct Looked {
    host: Host,
    facts: Facts,
    profile: Profile,
    configuration: String,
    findings: Vec<(&'static Item, Finding)>,
}

/// Looks at the host and judges it.
fn look(subject: Subject, captured: Option<&Path>) -> Result<Looked> {
    let host = match captured {
        None => Host::live(subject.root),
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("Failed to read the captured host {shown}"))?;
            let archive: Archive =
                Archive::parse(&text).map_err(|error| Usage(format!("{shown}: {error}")))?;
            Host::captured(archive)
        }
    };
    let file = subject.config.or_else(|| Some(PathBuf::from(CONFIG)).filter(|path| path.exists()));
    let configuration = file.as_ref().map_or_else(
        || format!("no {CONFIG}: the relay's defaults"),
        |file| format!("configuration {}", file.display()),
    );
    let sources = Sources::with_environment(file, Vec::new());
    let Loaded { config, .. } = sources.load::<Config>()?;
    let facts = Facts::gather(&host);
    let profile = subject.profile.unwrap_or_else(|| Profile::of(&facts.place));
    let missing = |name: &&String| !facts.nics.iter().any(|nic| nic.name == **name);
    if let Some(name) = subject.interface.iter().find(missing) {
        let names: Vec<_> = facts.nics.iter().map(|nic| nic.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Usage(format!("no interface {name} is up; there are {names}")).into());
    }
    let needs = Needs::new(config, &facts, subject.interface);
    let findings = rules::judge(&Scene { facts: &facts, needs: &needs, profile });
    Ok(Looked { host, facts, profile, configuration, findings })
}

pub(crate) fn check(check: Check) -> Result<u8> {
    let mut looked = look(check.subject, check.host.as_deref())?;
    keep(&mut looked.findings, &check.items);
    let report = Report {
        profile: looked.profile,
        configuration: looked.configuration,
        facts: &looked.facts,
        findings: &looked.findings,
    };
    if check.json {
        print(&format!("{}\n", report.json().context("Failed to write JSON")?))?;
    } else {
        print(&report::text(&report, check.all))?;
    }
    Ok(report.exit_code())
}

fn keep(findings: &mut Vec<(&'static Item, Finding)>, items: &Items) {
    if !items.only.is_empty() {
        findings.retain(|(item, _)| items.only.iter().any(|name| name == item.name));
    }
}

pub(crate) fn capture(capture: Capture) -> Result<u8> {
    let looked = look(capture.subject, None)?;
    let heading =
        "# A host, captured by ringway-tuning. Look at it: ringway-tuning check --host FILE\n";
    print(&format!("{heading}{}", looked.host.into_archive()))?;
    Ok(0)
}

pub(crate) fn explain(explain: &Explain) -> Result<u8> {
    let Some(item) = explain.item.as_deref().and_then(items::named) else {
        let line = |item: &Item| format!("{:<24}{}\n", item.name, item.why);
        print(&ITEMS.iter().map(line).collect::<String>())?;
        return Ok(0);
    };
    print(&format!("{}: {}\n\n{}\n", item.name, item.why, items::explain(item)))?;
    Ok(0)
}
