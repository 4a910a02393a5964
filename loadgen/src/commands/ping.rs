//! `ping`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use loadgen::call::{Call, udp_candidates};
use loadgen::calls::signaling::{Signaling, SignalingSettings};
use loadgen::flows::Sessions;
use loadgen::ping::{Credentials, ping, table};
use loadgen::target::Permission;
use service::exit::{self, Usage};
use service::keyfile;

use super::calls::token;
use super::flows::place;
use crate::args::Ping;

/// Pings, and prints the table.
pub(crate) fn run(wanted: &Ping) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("Failed to start a runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, run_within(wanted))
}

async fn run_within(wanted: &Ping) -> anyhow::Result<ExitCode> {
    let permission = Permission::new(wanted.target_authorized.clone());
    let mut addresses = wanted.addresses.clone();
    let signaling = signaling(wanted, &permission)?;
    let (credentials, location) = match &signaling {
        Some(signaling) => {
            let (credentials, candidates, location) = call(signaling).await?;
            addresses.extend(candidates);
            (credentials, location)
        }
        None => (minted(wanted)?, None),
    };
    addresses.sort();
    addresses.dedup();
    ensure!(!addresses.is_empty(), Usage("there is no relay to ping: name its ADDRESS".into()));
    for address in &addresses {
        permission.check_answer(*address).map_err(|refused| Usage(refused.to_string()))?;
    }
    let tasks: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let (credentials, count, interval) =
                (credentials.clone(), wanted.count, wanted.interval);
            tokio::task::spawn_local(
                async move { ping(address, &credentials, count, interval).await },
            )
        })
        .collect();
    let mut rows = Vec::new();
    for task in tasks {
        rows.push(task.await.context("a task panicked")?);
    }
    if let (Some(signaling), Some(location)) = (&signaling, location) {
        signaling.hang_up(&location).await;
    }
    if wanted.json {
        let json = serde_json::to_string_pretty(&rows).context("Failed to make JSON")?;
        exit::print(&format!("{json}\n"))?;
    } else {
        exit::print(&table(&rows))?;
    }
    // Like a test: nothing answered is an error, some silence is a miss.
    Ok(match rows.iter().filter(|row| row.answered > 0).count() {
        0 => ExitCode::FAILURE,
        answered if answered < rows.len() => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    })
}

fn signaling(wanted: &Ping, permission: &Permission) -> anyhow::Result<Option<Signaling>> {
    let Some(url) = &wanted.url else { return Ok(None) };
    let settings = SignalingSettings {
        url: url.clone(),
        token: token(wanted.token.as_deref(), wanted.token_file.as_deref())?,
        model: None,
        ca_file: wanted.ca_file.clone(),
    };
    Signaling::new(&settings, permission).map(Some)
}

/// Credentials of a session that any sink with the same keyring answers for.
fn minted(wanted: &Ping) -> anyhow::Result<Credentials> {
    let keys = wanted.keys.as_ref().context("--url or --keys is needed")?;
    let session = Sessions::new(keyfile::load(keys)?, place(wanted.place), 0).mint();
    Ok(Credentials {
        ufrag: session.ufrag.to_string(),
        client_ufrag: "ping".into(),
        password: session.password.as_str().to_owned(),
    })
}

/// Makes a call for its credentials; nothing is ever sent in it but checks.
async fn call(
    signaling: &Signaling,
) -> anyhow::Result<(Credentials, Vec<SocketAddr>, Option<String>)> {
    let (_, offer) = Call::new(Instant::now()).context("Failed to make an offer")?;
    let answered = signaling.offer(&offer).await.context("Failed to make a call")?;
    let credentials =
        Credentials::of(&offer, &answered.answer).context("the answer has no ICE credentials")?;
    Ok((credentials, udp_candidates(&answered.answer), answered.location))
}
