//! `ringway-relay ctl`: asks a running relay, and shows what it says to a person, or as it is to a
//! script.

pub(crate) mod args;
mod dashboard;
pub(crate) mod show;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use relay::control::admin::protocol::{Done, Flows, Found, Peers, Request, Status, Traced};
use relay::control::config::{Config, ENVIRONMENT_PREFIX};
use relay::control::decode::Decoded;
use relay::control::upgrade::Upgraded;
use serde_json::Value;
use service::admin::Client;
use service::config::{ReloadReport, Sources};
use service::exit;

use args::{Ctl, Question};

/// A status takes a second to measure, and a worker that is stuck five to be given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A new process may take half a minute to be ready: it allocates its tables first.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);

/// Asks and shows.
pub(crate) fn run(ctl: &Ctl) -> anyhow::Result<()> {
    let request = ctl.question.request();
    let patience = if request == Request::Upgrade { UPGRADE_PATIENCE } else { PATIENCE };
    let client = Client::new(&socket(ctl)?, "relay", patience);
    if ctl.json {
        return json(&client, &request);
    }
    match &ctl.question {
        Question::Status => exit::print(&dashboard::render(&client.call::<Status>(&request)?)),
        Question::Top => top(&client, &request),
        Question::Flows { .. } => exit::print(&show::flows(&client.call::<Flows>(&request)?)),
        Question::Flow(_) => {
            let found: Found = client.call(&request)?;
            if found.flows.is_empty() {
                bail!("no worker has a flow of this client; `ctl trace` says what would make one");
            }
            exit::print(&show::found(&found))
        }
        Question::Forget(_) => {
            let found: Found = client.call(&request)?;
            if found.flows.is_empty() {
                bail!("no worker has a flow of this client");
            }
            exit::print(&format!("forgotten:\n{}", show::found(&found)))
        }
        Question::Peers => exit::print(&show::peers(&client.call::<Peers>(&request)?)),
        Question::Drain | Question::Undrain => {
            exit::print(&format!("{}\n", client.call::<Done>(&request)?.done))
        }
        Question::Reload => exit::print(&client.call::<ReloadReport>(&request)?.to_string()),
        Question::Upgrade => exit::print(&show::upgraded(&client.call::<Upgraded>(&request)?)),
        Question::Decode { .. } => exit::print(&show::decoded(&client.call::<Decoded>(&request)?)),
        Question::Trace(_) => exit::print(&show::traced(&client.call::<Traced>(&request)?)),
    }
}

/// Where the relay listens: as told, or as its configuration says, or where it does by default.
fn socket(ctl: &Ctl) -> anyhow::Result<PathBuf> {
    if let Some(socket) = &ctl.socket {
        return Ok(socket.clone());
    }
    if ctl.config.is_none() {
        // Not the environment either: a variable that the relay would refuse is no reason not to
        // ask one that runs.
        return Ok(Config::default().admin.socket);
    }
    let sources = Sources::with_environment(ctl.config.clone(), ENVIRONMENT_PREFIX, Vec::new());
    let loaded = sources.load::<Config>().context("Failed to learn admin.socket; try --socket")?;
    Ok(loaded.config.admin.socket)
}

/// The answer as it is; what streams, a line each.
fn json(client: &Client, request: &Request) -> anyhow::Result<()> {
    if *request == Request::Top {
        for value in client.stream::<Value>(request)? {
            exit::print(&format!("{}\n", value?))?;
        }
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&client.call::<Value>(request)?)?;
    exit::print(&format!("{text}\n"))
}

/// Shows the status again and again: in place on a terminal, else below each other.
fn top(client: &Client, request: &Request) -> anyhow::Result<()> {
    let in_place = std::io::stdout().is_terminal();
    if in_place {
        exit::print(service::show::CLEAR)?;
    }
    for status in client.stream::<Status>(request)? {
        let text = dashboard::render(&status?);
        exit::print(&if in_place { service::show::over(&text) } else { format!("{text}\n") })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        ctl: Ctl,
    }

    fn parse(words: &[&str]) -> Ctl {
        Line::try_parse_from(std::iter::once(&"ctl").chain(words)).unwrap().ctl
    }

    #[test]
    fn the_socket_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, "[admin]\nsocket = \"/run/other.sock\"\n").unwrap();
        let file = file.to_str().unwrap();
        let table: [(&[&str], &str); 4] = [
            (&["status"], "/run/ringway/relay.sock"),
            (&["--config", file, "status"], "/run/other.sock"),
            (&["status", "--config", file], "/run/other.sock"),
            (&["--config", file, "--socket", "/x", "status"], "/x"),
        ];
        for (words, expected) in table {
            assert_eq!(socket(&parse(words)).unwrap(), PathBuf::from(expected), "{words:?}");
        }
        std::fs::write(file, "[admin]\nsockt = \"/x\"\n").unwrap();
        let error = format!("{:#}", socket(&parse(&["--config", file, "status"])).unwrap_err());
        assert!(error.contains("--socket") && error.contains("sockt"), "{error}");
    }
}
