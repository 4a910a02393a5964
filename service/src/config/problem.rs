//! What is wrong with a configuration: where, which key, why, and what would be right.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node::Node;
use super::{duration, size};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file, at this line, counted from 1.
    File {
        /// The line.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag, as written.
    Flag(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The dotted key; empty when the file is no TOML at all.
    pub key: String,
    /// Why, and what would be right.
    pub reason: String,
}

/// Collects problems while a configuration is checked, so that the user sees all of them at once.
#[derive(Debug)]
pub struct Problems<'a> {
    root: &'a Node,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(root: &'a Node) -> Self {
        Self { root, found: Vec::new() }
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found
    }

    /// Notes that `key` (`flows.idle_new`, `clusters[0].id`) is wrong. The line is looked up: that
    /// of the key, or of the nearest table around it when the key itself was left to its default.
    pub fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        let key = key.into();
        let origin = self.root.origin(&key);
        self.found.push(Problem { origin, key, reason: reason.into() });
    }

    /// Notes `key` unless `low <= value <= high`. Values print as the user would write them.
    pub fn range<V: PartialOrd + fmt::Display + Copy>(
        &mut self,
        key: &str,
        value: V,
        low: V,
        high: V,
    ) {
        if value < low || value > high {
            self.add(key, format!("must be {low}..={high}, is {value}"));
        }
    }

    /// As [`range`](Self::range), for a duration.
    pub fn duration_range(&mut self, key: &str, value: Duration, low: Duration, high: Duration) {
        if value < low || value > high {
            let [value, low, high] = [value, low, high].map(duration::format);
            self.add(key, format!("must be from {low} to {high}, is {value}"));
        }
    }

    /// As [`range`](Self::range), for a size in bytes.
    pub fn size_range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if value < low || value > high {
            let [value, low, high] = [value, low, high].map(size::format);
            self.add(key, format!("must be from {low} to {high}, is {value}"));
        }
    }
}

/// A configuration that was refused, with every problem found. Displays one line for each:
/// `relay.toml:17: workers: must be 1..=64, is 0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(file: Option<&Path>, problems: Vec<Problem>) -> Self {
        Self { file: file.map(Path::to_owned), problems }
    }

    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the system has many more, all rare")]
        let reason = match error.kind() {
            ErrorKind::NotFound => "there is no such file; `print-config` writes one to start from",
            ErrorKind::PermissionDenied => "this user may not read it",
            ErrorKind::InvalidData => "is not text (UTF-8)",
            ErrorKind::IsADirectory => "is a directory, not a file",
            _ => "cannot be read",
        };
        let reason = format!("{reason} ({error})");
        Self::new(Some(file), vec![Problem { origin: Origin::Default, key: String::new(), reason }])
    }

    /// The problems, in the order they were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = super::display_name(self.file.as_deref());
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.origin {
                Origin::Default => write!(f, "{file}: ")?,
                Origin::File { line } => write!(f, "{file}:{line}: ")?,
                Origin::Environment(name) => write!(f, "environment {name}: ")?,
                Origin::Flag(flag) => write!(f, "flag {flag}: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}", problem.reason)?;
        }
        Ok(())
    }
}
