//! `run`, `check-config` and `print-config`: the commands that load a configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Settings;
use crate::config::{Loaded, Process, Sources};
use crate::exit;

/// `run`.
#[derive(Debug, Args)]
pub struct Run<S: Settings> {
    /// The configuration file; without one, defaults, variables and flags are all there is.
    #[arg(long, short, value_name = "FILE", env = "RINGWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// What flags say.
    #[command(flatten)]
    pub settings: S,
}

impl<S: Settings> Run<S> {
    /// Where the configuration comes from.
    pub fn sources(self) -> Sources {
        Sources::with_environment(self.config, self.settings.flags())
    }
}

/// `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig<S: Settings> {
    /// The file to check.
    #[arg(value_name = "FILE", env = "RINGWAY_CONFIG")]
    file: PathBuf,
    #[command(flatten)]
    settings: S,
}

impl<S: Settings> CheckConfig<S> {
    /// Says what the file comes to, or all that is wrong with it.
    pub fn run<C: Process>(self) -> anyhow::Result<()> {
        let shown = self.file.display().to_string();
        let sources = Sources::with_environment(Some(self.file), self.settings.flags());
        let Loaded { config, warnings } = sources.load::<C>()?;
        let mut text = format!("{shown}: good; {}\n", config.summary());
        for remark in warnings.into_iter().chain(config.remarks()) {
            text.push_str(&format!("note: {remark}\n"));
        }
        exit::print(&text)
    }
}

/// `print-config`.
#[derive(Debug, Args)]
pub struct PrintConfig<S: Settings> {
    /// Print what this file, variables and flags come to, instead of the commented defaults.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: S,
}

impl<S: Settings> PrintConfig<S> {
    /// Prints. Without a file and flags, the commented defaults; else what they come to.
    pub fn run<C: Process>(self) -> anyhow::Result<()> {
        let flags = self.settings.flags();
        if self.config.is_none() && flags.is_empty() {
            return exit::print(C::DEFAULT_FILE);
        }
        let loaded = Sources::with_environment(self.config, flags).load::<C>()?;
        let text = toml::to_string(&loaded.config).context("Failed to print the configuration")?;
        exit::print(&text)
    }
}
