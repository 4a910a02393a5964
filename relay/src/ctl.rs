//! `ringway-relay ctl`: asks a running relay, and shows what it says to a person, or as it is to a
//! script.

pub(crate) mod args;
mod dashboard;
pub(crate) mod show;

use std::time::Duration;

use anyhow::bail;
use relay::control::admin::protocol::{Done, Flows, Found, Peers, Request, Status, Traced};
use relay::control::config::Config;
use relay::control::decode::Decoded;
use relay::control::upgrade::Upgraded;
use service::cli::{self, Ctl};
use service::config::ReloadReport;
use service::exit;

use args::Question;

/// A status takes a second to measure, and a worker that is stuck five to be given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A new process may take half a minute to be ready: it allocates its tables first.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);

/// Asks and shows.
pub(crate) fn run(ctl: &Ctl<Question>) -> anyhow::Result<()> {
    let request = ctl.question.request();
    let patience = if request == Request::Upgrade { UPGRADE_PATIENCE } else { PATIENCE };
    let client = ctl.reach.client::<Config>(patience)?;
    if ctl.reach.json {
        return cli::json(&client, &request, request == Request::Top);
    }
    match &ctl.question {
        Question::Status => exit::print(&dashboard::render(&client.call::<Status>(&request)?)),
        Question::Top => cli::watch(&client, &request, dashboard::render),
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
