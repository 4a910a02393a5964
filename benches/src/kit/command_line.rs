//! What the command lines of the benchmarks have in common.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::forwarder::{self, Style};
use crate::{process, soaker};

/// What a benchmark starts itself as: parts of the rig that are processes of their own.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// (internal) Forward packets in the benchmark's network, until killed.
    #[command(hide = true)]
    Forwarder {
        /// How.
        style: Style,
    },
    /// (internal) Spin, until killed.
    #[command(hide = true)]
    Soak,
    /// (internal) Move to the worker's core, into a namespace, and become another program.
    #[command(hide = true)]
    Inside {
        /// The file that stands for the namespace.
        #[arg(long)]
        namespace: Option<PathBuf>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

impl Internal {
    /// Becomes it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Forwarder { style } => forwarder::run(style),
            Self::Soak => soaker::soak(),
            Self::Inside { namespace, command } => process::inside(namespace.as_deref(), &command),
        }
    }
}

/// A time given in seconds, within bounds.
pub fn seconds(text: &str, bounds: RangeInclusive<f64>) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if bounds.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("not between {} and {}", bounds.start(), bounds.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_within_their_bounds() {
        assert_eq!(seconds("0.5", 0.1..=10.0), Ok(Duration::from_millis(500)));
        for refused in ["0.05", "11", "x", "NaN", "-1"] {
            assert!(seconds(refused, 0.1..=10.0).is_err(), "{refused}");
        }
        assert_eq!(seconds("99", 0.2..=30.0).unwrap_err(), "not between 0.2 and 30");
    }
}
