//! Configuration: one typed value out of four sources, and errors an operator can act on.
//!
//! ```text
//! defaults  <  file (TOML)  <  environment (RINGWAY_FLOWS_IDLE_NEW)  <  flags (--set flows.idle_new=10s)
//!                    └────────────── one tree of values, each with its origin ──────────────┘
//!                                                   │ serde
//!                                          the typed configuration ── check() ── every problem at once
//! ```
//!
//! The tree is our own (`node`), and so is the serde deserializer over it (`deserialize`), because
//! then every error, even one a `Deserialize` implementation far below raises, knows the dotted key
//! and the line it came from: `relay.toml:17: workers: must be 1..=64, is 0`.
//!
//! A process defines a struct, implements [`Schema`] for it and calls [`Sources::load`].

pub mod change;
mod cores;
mod deserialize;
pub mod duration;
mod node;
mod overlay;
mod problem;
pub mod sections;
pub mod size;
mod suggest;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use change::{Change, Changes, ReloadReport};
pub use cores::{CPU_MAX, Cpus, Threads};
pub use problem::{ConfigError, Origin, Problem, Problems};

use node::Node;

/// A configuration that can be loaded: a serde struct with defaults for everything.
pub trait Schema: DeserializeOwned + Serialize + Default {
    /// Every key there is, in the order of the printed defaults.
    const KEYS: &'static [Key];

    /// Checks what types cannot: ranges, and how keys relate to each other. Reports all it finds.
    fn check(&self, problems: &mut Problems<'_>);
}

/// The configuration of a process that is run, asked and reloaded: what the command line and the
/// start need to know of any.
pub trait Process: Schema {
    /// What the process is called: `relay`.
    const NAME: &'static str;

    /// The commented defaults, as `print-config` prints them.
    const DEFAULT_FILE: &'static str;

    /// One line: what this configuration comes to.
    fn summary(&self) -> String;

    /// What is allowed, but seldom meant. One sentence each.
    fn remarks(&self) -> Vec<String>;

    /// Where the process listens for `ctl`.
    fn admin_socket(&self) -> &Path;

    /// What it logs.
    fn log(&self) -> &sections::Log;
}

/// What the names of all environment variables of ours begin with.
pub const ENVIRONMENT_PREFIX: &str = "RINGWAY_";

/// One key of a [`Schema`], dotted, such as `flows.idle_new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The dotted path. A key whose value is a list of tables stands for all that is in it.
    pub path: &'static str,
    /// Whether a running process can take a new value.
    pub reload: Reload,
}

impl Key {
    /// A key that a running process can change.
    #[must_use]
    pub const fn live(path: &'static str) -> Self {
        Self { path, reload: Reload::Live }
    }

    /// A key that is read once, at start.
    #[must_use]
    pub const fn restart(path: &'static str) -> Self {
        Self { path, reload: Reload::Restart }
    }

    /// The environment variable that sets this key: `flows.idle_new` is `RINGWAY_FLOWS_IDLE_NEW`.
    #[must_use]
    pub fn variable(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// When a new value of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once, on reload.
    Live,
    /// When the process starts again.
    Restart,
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the user wrote it, for error messages: `--workers`.
    pub flag: String,
    /// The dotted key it sets.
    pub key: String,
    /// The value: TOML, or plain text.
    pub value: String,
}

impl Flag {
    /// A flag that sets `key` to `value`.
    pub fn new(flag: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { flag: flag.into(), key: key.into(), value: value.into() }
    }
}

/// Where a configuration comes from. Later sources win: file, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; none means defaults.
    pub file: Option<PathBuf>,
    /// What the names of this process's variables begin with, such as `RINGWAY_`.
    pub prefix: String,
    /// Environment variables, all of them: those of other programs are passed over.
    pub environment: Vec<(String, String)>,
    /// Settings from the command line, in order.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// Sources with this process's environment. Variables that are not UTF-8 are not ours.
    #[must_use]
    pub fn with_environment(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { file, prefix: ENVIRONMENT_PREFIX.to_owned(), environment, flags }
    }

    /// Reads, merges and checks everything. Nothing has been started when this fails. Reading the
    /// same sources again is what a reload does.
    pub fn load<T: Schema>(&self) -> Result<Loaded<T>, ConfigError> {
        let text = match &self.file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError::unreadable(path, &error))?,
            None => String::new(),
        };
        self.parse(&text)
    }

    /// As [`load`](Self::load), with the file's text at hand.
    pub fn parse<T: Schema>(&self, text: &str) -> Result<Loaded<T>, ConfigError> {
        let file = self.file.as_deref();
        let mut problems = Vec::new();
        let mut root =
            node::parse(text).map_err(|problem| ConfigError::new(file, vec![problem]))?;
        let warnings = overlay::environment(
            &mut root,
            T::KEYS,
            &self.prefix,
            &self.environment,
            &mut problems,
        );
        overlay::flags(&mut root, T::KEYS, &self.flags, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError::new(file, problems));
        }
        let config = typed::<T>(&root).map_err(|problems| ConfigError::new(file, problems))?;
        Ok(Loaded { config, warnings })
    }
}

/// A configuration that holds, and what was odd on the way.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// Sentences worth a warning in the log: a variable that looks like a misspelt key.
    pub warnings: Vec<String>,
}

fn typed<T: Schema>(root: &Node) -> Result<T, Vec<Problem>> {
    let config = T::deserialize(deserialize::NodeDeserializer::root(root))
        .map_err(|fault| vec![fault.into_problem()])?;
    let mut problems = Problems::new(root);
    config.check(&mut problems);
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The file's name for messages: what the user typed.
fn display_name(file: Option<&Path>) -> String {
    file.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests;
