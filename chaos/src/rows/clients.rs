//! What happens to clients, and to the way they come.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::findings::Findings;
use crate::run::Run;
use crate::stage::{Setting, Stage};

/// str0m's clients check every three seconds at the latest that the way is open.
const STUN_INTERVAL: Duration = Duration::from_secs(3);
const ROUND_TRIP: Duration = Duration::from_millis(100);

pub(super) fn nat_rebinds(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    stage.fleet.with(crate::fleet::Calls::rebind_all)??;
    run.pause(Duration::from_secs(run.short_or(5, 8)))?;
    let mut findings = stage.end_of_echoes()?;
    let changes = stage.transceivers[0].metric("transceiver_address_changes_total", "")?;
    findings.note(format!("the transceiver saw {changes} addresses change"));
    findings.promise_gap(STUN_INTERVAL + ROUND_TRIP);
    findings.promise_no_drops();
    Ok(findings)
}

pub(super) fn ice_restarts(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    let offers = stage.fleet.with(|calls| {
        let restart = |member: &mut crate::member::Member| {
            let offer = member.call.restart_ice(Instant::now());
            member.pump();
            offer.map(|offer| (member.transceiver, member.id.clone(), offer))
        };
        calls.members.iter_mut().map(restart).collect::<Result<Vec<_>, _>>()
    })??;
    for (index, (transceiver, id, offer)) in offers.into_iter().enumerate() {
        let path = format!("/v1/realtime/calls/{id}");
        let offer = Some(("application/sdp", offer.as_str()));
        let answer = stage.signal(transceiver, "PATCH", &path, offer)?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        stage.fleet.with(move |calls| {
            let member = &mut calls.members[index];
            let accepted = member.call.accept_answer(&answer.body, Instant::now());
            member.pump();
            accepted
        })??;
    }
    run.pause(Duration::from_secs(run.short_or(4, 10)))?;
    let mut findings = stage.end_of_echoes()?;
    let restarts = stage.transceivers[0].metric("transceiver_ice_restarts_total", "")?;
    findings.note(format!("the transceiver saw {restarts} restarts"));
    findings.promise_no_drops();
    Ok(findings)
}

pub(super) fn ingress_gone(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { relays: 2, ..Setting::default() })?;
    stage.call_all()?;
    let sent = |stage: &Stage<'_>, relay: usize| {
        stage.relays[relay].metric("relay_client_received_packets_total", "class=\"rtp\"")
    };
    let share = [sent(&stage, 0)?, sent(&stage, 1)?];
    let gone = usize::from(share[1] > share[0]);
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    stage.relays[gone].kill()?;
    run.pause(Duration::from_secs(40))?;
    let mut findings = stage.end_of_echoes()?;
    findings.note(format!(
        "audio came by the first relay {}, by the second {} times before; relay {} was killed; client: \
         str0m, which knows of both from its answer",
        share[0],
        share[1],
        gone + 1
    ));
    findings.promise_no_drops();
    Ok(findings)
}
