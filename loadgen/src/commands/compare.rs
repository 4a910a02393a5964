//! `compare`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use loadgen::report::{Report, compare};
use service::exit;

use crate::args::Compare;

/// Prints two reports side by side.
pub(crate) fn run(wanted: &Compare) -> anyhow::Result<ExitCode> {
    let [before, after] = [read(&wanted.before)?, read(&wanted.after)?];
    let name = |path: &Path| {
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        stem.to_string_lossy().into_owned()
    };
    let names = [name(&wanted.before), name(&wanted.after)];
    exit::print(&compare::render([&names[0], &names[1]], [&before, &after]))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("Failed to read {}", path.display()))?;
    compare::read(&text).map_err(|error| anyhow::anyhow!("{} {error}", path.display()))
}
