//! `ringway-transceiver ctl`: asks a running transceiver, and shows what it says to a person, or as
//! it is to a script.

pub(crate) mod args;
mod dashboard;
mod show;

use std::time::Duration;

use serde_json::Value;
use service::cli::{self, Ctl};
use service::config::ReloadReport;
use service::exit;
use transceiver::control::admin::protocol::{Done, Request, Sessions, Status};
use transceiver::control::config::Config;

use args::Question;

/// A status takes a second to measure, and a shard that is stuck five to be given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks and shows.
pub(crate) fn run(ctl: &Ctl<Question>) -> anyhow::Result<()> {
    let client = ctl.reach.client::<Config>(PATIENCE)?;
    let request = ctl.question.request();
    if ctl.reach.json {
        return cli::json(&client, &request, request == Request::Top);
    }
    match &ctl.question {
        Question::Status { line: false } => {
            exit::print(&dashboard::render(&client.call::<Status>(&request)?))
        }
        Question::Status { line: true } => {
            exit::print(&dashboard::line(&client.call::<Status>(&request)?))
        }
        Question::Top => cli::watch(&client, &request, dashboard::render),
        Question::Sessions { .. } => {
            exit::print(&show::sessions(&client.call::<Sessions>(&request)?))
        }
        Question::Session { .. } => exit::print(&show::session(&client.call::<Value>(&request)?)),
        Question::Hangup { .. } | Question::Drain | Question::Undrain => {
            exit::print(&format!("{}\n", client.call::<Done>(&request)?.done))
        }
        Question::Reload => exit::print(&client.call::<ReloadReport>(&request)?.to_string()),
    }
}
