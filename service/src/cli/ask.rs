//! `ctl`: how a running process is reached, and its answers shown to a script or, again and again,
//! to a person.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::Client;
use crate::config::{Process, Sources};
use crate::{exit, show};

/// `ctl`: which process, and what to ask it.
#[derive(Debug, Args)]
pub struct Ctl<Q: Subcommand> {
    /// Which process.
    #[command(flatten)]
    pub reach: Reach,
    /// What to ask.
    #[command(subcommand)]
    pub question: Q,
}

/// How a running process is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// The admin socket of the running process.
    #[arg(long, value_name = "PATH", env = "RINGWAY_ADMIN_SOCKET", global = true)]
    socket: Option<PathBuf>,
    /// Its configuration file: admin.socket is used, if --socket is not given.
    #[arg(long, short, value_name = "FILE", env = "RINGWAY_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Reach {
    /// A client that waits `patience` for each line of an answer.
    pub fn client<C: Process>(&self, patience: Duration) -> anyhow::Result<Client> {
        Ok(Client::new(&self.socket::<C>()?, C::NAME, patience))
    }

    /// Where the process listens: as told, or as its configuration says, or where it does by
    /// default.
    fn socket<C: Process>(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if self.config.is_none() {
            // Not the environment either: a variable that the process would refuse is no reason not
            // to ask one that runs.
            return Ok(C::default().admin_socket().to_owned());
        }
        let sources = Sources::with_environment(self.config.clone(), Vec::new());
        let loaded = sources.load::<C>().context("Failed to learn admin.socket; try --socket")?;
        Ok(loaded.config.admin_socket().to_owned())
    }
}

/// Prints the answer as it is; of an answer that streams, each value on a line.
pub fn json(client: &Client, request: &impl Serialize, streams: bool) -> anyhow::Result<()> {
    if streams {
        for value in client.stream::<Value>(request)? {
            exit::print(&format!("{}\n", value?))?;
        }
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&client.call::<Value>(request)?)?;
    exit::print(&format!("{text}\n"))
}

/// Shows an answer that streams: in place on a terminal, else below each other.
pub fn watch<T: DeserializeOwned>(
    client: &Client,
    request: &impl Serialize,
    render: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let in_place = std::io::stdout().is_terminal();
    if in_place {
        exit::print(show::CLEAR)?;
    }
    for value in client.stream::<T>(request)? {
        let text = render(&value?);
        exit::print(&if in_place { show::over(&text) } else { format!("{text}\n") })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::config::{Key, Problems, Schema, sections::Log};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        ctl: Ctl<Question>,
    }

    #[derive(Debug, Subcommand)]
    enum Question {
        Status,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        socket: PathBuf,
        log: Log,
    }

    impl Default for Config {
        fn default() -> Self {
            Self { socket: PathBuf::from("/run/usual.sock"), log: Log::default() }
        }
    }

    impl Schema for Config {
        const KEYS: &'static [Key] = &[Key::restart("socket")];

        fn check(&self, _: &mut Problems<'_>) {}
    }

    impl Process for Config {
        const NAME: &'static str = "relay";
        const DEFAULT_FILE: &'static str = "";

        fn summary(&self) -> String {
            String::new()
        }

        fn remarks(&self) -> Vec<String> {
            Vec::new()
        }

        fn admin_socket(&self) -> &Path {
            &self.socket
        }

        fn log(&self) -> &Log {
            &self.log
        }
    }

    fn socket(words: &[&str]) -> anyhow::Result<PathBuf> {
        let line = Line::try_parse_from(std::iter::once(&"ctl").chain(words)).unwrap();
        line.ctl.reach.socket::<Config>()
    }

    #[test]
    fn the_socket_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, "socket = \"/run/other.sock\"\n").unwrap();
        let file = file.to_str().unwrap();
        let table: [(&[&str], &str); 4] = [
            (&["status"], "/run/usual.sock"),
            (&["--config", file, "status"], "/run/other.sock"),
            (&["status", "--config", file], "/run/other.sock"),
            (&["--config", file, "--socket", "/x", "status"], "/x"),
        ];
        for (words, expected) in table {
            assert_eq!(socket(words).unwrap(), PathBuf::from(expected), "{words:?}");
        }
        std::fs::write(file, "sockt = \"/x\"\n").unwrap();
        let error = format!("{:#}", socket(&["--config", file, "status"]).unwrap_err());
        assert!(error.contains("--socket") && error.contains("sockt"), "{error}");
    }
}
