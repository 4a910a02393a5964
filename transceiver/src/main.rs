//! `ringway-transceiver`: the command line. What the commands do is the library's.

mod args;
mod ctl;
mod keys;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use service::config::{ConfigError, Loaded, Sources};
use service::exit;
use transceiver::control::config::{Config, DEFAULT_FILE, ENVIRONMENT_PREFIX};

use args::{Args, CheckConfig, Command, PrintConfig, Run, Settings};

fn main() -> ExitCode {
    let command = Args::parse().into_command();
    exit::run(|| match command {
        Command::Run(run) => start(run),
        Command::CheckConfig(check) => check_config(&check),
        Command::PrintConfig(print) => print_config(&print),
        Command::Ctl(question) => ctl::run(&question),
        Command::ApiKey(wanted) => keys::api_key(&wanted),
    })
}

fn load(file: Option<PathBuf>, settings: &Settings) -> Result<Loaded<Config>, ConfigError> {
    Sources::with_environment(file, ENVIRONMENT_PREFIX, settings.flags()).load()
}

/// Runs the transceiver until it is told to stop.
fn start(run: Run) -> anyhow::Result<()> {
    let flags = run.settings.flags();
    transceiver::control::run(Sources::with_environment(run.config, ENVIRONMENT_PREFIX, flags))
}

fn check_config(check: &CheckConfig) -> anyhow::Result<()> {
    let Loaded { config, warnings } = load(Some(check.file.clone()), &check.settings)?;
    let file = check.file.display();
    let mut text = format!("{file}: good; {}\n", config.summary());
    for remark in warnings.into_iter().chain(config.remarks()) {
        text.push_str(&format!("note: {remark}\n"));
    }
    exit::print(&text)
}

/// Without a file and flags, the commented defaults; else what they come to, without comments.
fn print_config(print: &PrintConfig) -> anyhow::Result<()> {
    if print.config.is_none() && print.settings.is_empty() {
        return exit::print(DEFAULT_FILE);
    }
    let loaded = load(print.config.clone(), &print.settings)?;
    let text = toml::to_string(&loaded.config).context("Failed to print the configuration")?;
    exit::print(&text)
}
