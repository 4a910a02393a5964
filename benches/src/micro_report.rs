//! Turns what the micro benchmarks left behind into a Markdown table with the host in it.
//!
//! `bench-report [CRITERION_FOLDER]` prints to standard output; `make bench` keeps it in
//! `benches/results/`.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

struct Row {
    low_ns: f64,
    median_ns: f64,
    high_ns: f64,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the program's output")]
fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or("target/criterion".into(), PathBuf::from);
    match report(&folder) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-report: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(folder: &Path) -> Result<String> {
    let mut rows = BTreeMap::new();
    collect(folder, &mut rows)?;
    anyhow::ensure!(
        !rows.is_empty(),
        "no results under {}: run `cargo bench -p ringway-benches` first",
        folder.display()
    );
    let mut text = String::new();
    writeln!(text, "# Micro benchmarks\n\n{}", host())?;
    writeln!(
        text,
        "One core, warm caches, medians of 100 samples with their 95 % interval. Absolute times\n\
         differ from machine to machine and, on a shared one, from minute to minute: compare rows\n\
         of one run.\n"
    )?;
    writeln!(text, "| benchmark | median, ns | interval, ns |\n|---|---:|---:|")?;
    for (name, row) in rows {
        let Row { low_ns, median_ns, high_ns } = row;
        writeln!(text, "| {name} | {median_ns:.1} | {low_ns:.1} – {high_ns:.1} |")?;
    }
    Ok(text)
}

/// Criterion leaves a folder `new` for each benchmark, with its name and its estimates.
fn collect(folder: &Path, rows: &mut BTreeMap<String, Row>) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("Failed to list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == "new") {
            let name = json(&path.join("benchmark.json"))?;
            let estimates = json(&path.join("estimates.json"))?;
            let median = &estimates["median"];
            let number = |value: &Value| value.as_f64().context("an estimate is no number");
            let interval = &median["confidence_interval"];
            let row = Row {
                low_ns: number(&interval["lower_bound"])?,
                median_ns: number(&median["point_estimate"])?,
                high_ns: number(&interval["upper_bound"])?,
            };
            let name = name["full_id"].as_str().context("a benchmark has no name")?;
            rows.insert(name.to_owned(), row);
        } else {
            collect(&path, rows)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("Failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("Failed to parse {}", path.display()))
}

/// A line on each thing that a reader needs to judge the figures.
fn host() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name))
        .map_or("unknown", str::trim);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let virtual_machine = if cpuinfo.contains("hypervisor") { ", virtual" } else { "" };
    format!(
        "- host: {cores} × {model}{virtual_machine}\n- kernel: {}\n- compiler: {}, release \
         profile with fat LTO\n- revision: {}\n- date: {}\n",
        output("uname", &["-r"]),
        output("rustc", &["--version"]),
        output("git", &["describe", "--always", "--dirty"]),
        output("date", &["+%Y-%m-%d"]),
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
