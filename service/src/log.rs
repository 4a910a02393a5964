//! Logs: tracing to stderr, as text for people or JSON for collectors.
//!
//! What a level means here: ERROR, somebody should be woken; WARN, somebody should look today;
//! INFO, what an operator did or must know; DEBUG, one line per session or decision; TRACE, per
//! packet. A packet from the network never causes more than TRACE, unless through [`Sparing`].

mod sparing;

use std::fmt;
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

pub use sparing::Sparing;

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people: coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Libraries that log each failure as it happens, without end. Who uses them says it once; unless
/// somebody asks for theirs by name, they say nothing.
const QUIET: &str = "redis=off";

/// Which lines are written: `info`, or by module: `info,ringway_relay::worker=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Level(String);

impl Level {
    fn filter(&self) -> EnvFilter {
        // It was parsed once when the level was made; what is left over would be a mistake of
        // ours, and a log at INFO is the harmless outcome.
        EnvFilter::try_new(format!("{QUIET},{}", self.0)).unwrap_or_else(|_| EnvFilter::new("info"))
    }
}

impl Default for Level {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.0
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || {
            format!(
                "must be one of off, error, warn, info, debug, trace, or such by module \
                 (\"info,relay::worker=debug\"), is \"{text}\""
            )
        };
        // A lone word that is no level would be taken for the name of a module, and switch off
        // every log line without a word.
        let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
        let sound = text.split(',').all(|part| {
            let level = part.rsplit('=').next().unwrap_or(part).trim();
            is_level(level) && !level.is_empty()
        });
        if sound && EnvFilter::try_new(&text).is_ok() { Ok(Self(text)) } else { Err(refuse()) }
    }
}

/// A log that was started; with it the level can be changed.
#[derive(Debug, Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Starts logging to stderr, for the whole process. Fails if something logs already.
    pub fn start(format: Format, level: &Level) -> Result<Self, TryInitError> {
        let (filter, handle) = reload::Layer::new(level.filter());
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let layer = match format {
            Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
            Format::Json => layer.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(layer).try_init()?;
        Ok(Self { filter: handle })
    }

    /// Changes which lines are written, at once.
    pub fn set_level(&self, level: &Level) -> Result<(), reload::Error> {
        self.filter.reload(level.filter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_mean_something_are_taken() {
        for text in ["info", "off", "TRACE", "info,ringway_relay=debug", "warn,a::b=trace"] {
            assert_eq!(Level::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn levels_that_would_silence_the_log_by_mistake_are_refused() {
        for text in ["", "verbose", "inf", "info,", "info,relay=loud", "=", "[", "info,[x"] {
            let refused = Level::try_from(text.to_owned()).unwrap_err();
            assert!(refused.starts_with("must be one of off, error"), "{refused}");
        }
    }

    /// One test only: a process has one log.
    #[test]
    fn the_level_changes_while_running() {
        let log = Log::start(Format::Json, &Level::try_from("off".to_owned()).unwrap()).unwrap();
        assert!(!tracing::enabled!(tracing::Level::ERROR));
        log.set_level(&Level::try_from("warn".to_owned()).unwrap()).unwrap();
        assert!(tracing::enabled!(tracing::Level::WARN));
        assert!(!tracing::enabled!(tracing::Level::INFO));
        assert!(!tracing::enabled!(target: "redis::aio", tracing::Level::ERROR), "not by itself");
        log.set_level(&Level::try_from("warn,redis=info".to_owned()).unwrap()).unwrap();
        assert!(tracing::enabled!(target: "redis::aio", tracing::Level::INFO), "asked for");
        assert!(Log::start(Format::Text, &Level::default()).is_err(), "one log per process");
        log.set_level(&Level::try_from("off".to_owned()).unwrap()).unwrap();
    }
}
