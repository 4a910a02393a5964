//! The commands, one file each, and what the tests have in common: conducting, watching, reporting.

pub(crate) mod calls;
pub(crate) mod compare;
pub(crate) mod flows;
pub(crate) mod ping;
pub(crate) mod sink;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use loadgen::conduct::Story;
use loadgen::report::{About, Report, hdr, html, table};
use loadgen::slo::Slo;
use loadgen::verdict::Limits;
use service::exit;

use crate::args::Output;

/// The command line without what must not be in a file.
pub(crate) fn arguments() -> Vec<String> {
    redact(std::env::args().skip(1))
}

fn redact(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut secret_follows = false;
    words
        .map(|word| {
            if std::mem::replace(&mut secret_follows, word == "--token") {
                return "…".to_owned();
            }
            if word.starts_with("--token=") { "--token=…".to_owned() } else { word }
        })
        .collect()
}

/// Prints the table, writes the files, and says the exit code.
pub(crate) fn report(
    about: &About,
    story: &Story,
    slo: &Slo,
    limits: Limits,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let report = Report::new(about, story, slo, limits);
    let json = serde_json::to_string_pretty(&report).context("Failed to make JSON")?;
    if output.json.as_deref() == Some(Path::new("-")) {
        exit::print(&format!("{json}\n"))?;
    } else {
        exit::print(&table::render(&report))?;
        if let Some(path) = &output.json {
            write(path, format!("{json}\n").as_bytes())?;
        }
    }
    if let Some(path) = &output.html {
        write(path, html::render(&report).as_bytes())?;
    }
    let corrected = &story.total.latency.corrected;
    if let Some(path) = &output.hgrm {
        write(path, hdr::hgrm(corrected).as_bytes())?;
    }
    if let Some(path) = &output.hlog {
        write(path, &hdr::hlog(&story.intervals, about.started_at)?)?;
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("Failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_no_file() {
        let words =
            ["calls", "--token", "secret", "--url", "x", "--token=secret", "--token-file", "f"];
        let redacted = redact(words.iter().map(|word| (*word).to_owned())).join(" ");
        assert_eq!(redacted, "calls --token … --url x --token=… --token-file f");
    }
}
