//! What happens to a transceiver.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::findings::{Findings, Way};
use crate::run::Run;
use crate::stage::{Setting, Stage};

/// Within this time clients of a dead transceiver must have been told by their own ICE.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn kill(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { transceivers: 2, ..Setting::default() })?;
    stage.call_all()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    let killed = Instant::now();
    let away = stage.transceivers[0].kill_and_restart()?;
    let told = loop {
        run.pause(Duration::from_millis(200))?;
        let mut told = stage.fleet.with(move |calls| {
            let of_it = calls.members.iter().filter(|member| member.transceiver == 0);
            let when = |member: &crate::member::Member| member.closed.or(member.unanswered);
            of_it.map(|member| when(member).map(|at| at - killed)).collect::<Vec<_>>()
        })?;
        if told.iter().all(Option::is_some) || killed.elapsed() > TOLD_WITHIN {
            told.sort_unstable();
            break told;
        }
    };
    // New calls land on the one that is back.
    let before = stage.fleet.with(|calls| calls.members.len())?;
    stage.call(0)?;
    stage.wait_until_connected()?;
    stage.fleet.end()?;
    let revived = stage.transceivers[0].metric("transceiver_sessions_opened_total", "")?;
    let mut findings = others(&mut stage, before)?;
    let untold = told.iter().filter(|told| told.is_none()).count();
    let longest = told.last().copied().flatten().unwrap_or_default();
    findings.note(format!(
        "away for {} ms; of its {} clients {} were told by ICE (state disconnected, or closed), the last \
         after {:.1} s; {} of its flows were freed; the figures are those of the others",
        away.as_millis(),
        told.len(),
        told.len() - untold,
        longest.as_secs_f64(),
        stage.relay_metric("relay_flows_gone_total", "")?,
    ));
    findings.promise(untold == 0, format!("{untold} of its clients still think that they talk"));
    findings
        .promise((revived - 1.0).abs() < 0.5, format!("{revived} sessions opened instead of one"));
    findings.promise_no_loss();
    Ok(findings)
}

/// What the echoes of the second transceiver's calls say.
fn others(stage: &mut Stage<'_>, before: usize) -> Result<Findings> {
    let (figures, dropped) = stage.fleet.with(move |calls| {
        let others = || calls.members.iter().take(before).filter(|member| member.transceiver == 1);
        let figures: Vec<_> = others().map(|member| member.ledger.echo()).collect();
        (figures, others().filter(|member| member.is_lost()).count())
    })?;
    Ok(Findings {
        calls: figures.len(),
        dropped,
        sent: figures.iter().map(|it| it.sent).sum(),
        up: Some(Way::new(
            figures.iter().map(|it| it.lost_up).sum(),
            figures.iter().map(|it| it.gap_up).collect(),
        )),
        down: Some(Way::new(
            figures.iter().map(|it| it.lost_down).sum(),
            figures.iter().map(|it| it.gap_down).collect(),
        )),
        late: stage.fleet.late()?,
        ..Findings::default()
    })
}

pub(super) fn drain(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { transceivers: 2, ..Setting::default() })?;
    stage.call_all()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    stage.transceivers[0].signal(Signal::SIGTERM)?;
    run.pause(Duration::from_secs(1))?;
    let landed = stage.offer(0).is_ok();
    ensure!(stage.offer(1).is_ok(), "the other transceiver takes no calls");
    run.pause(Duration::from_secs(run.short_or(3, 10)))?;
    let mut findings = stage.end_of_echoes()?;
    findings.promise(!landed, "a new call landed on it");
    findings.promise_no_loss();
    // Its calls end, and it with them.
    let hung_up = Instant::now();
    stage.fleet.with(|calls| {
        for member in calls.members.iter_mut().filter(|member| member.transceiver == 0) {
            // One that fails to close is closed all the same.
            let _ = member.call.close(Instant::now());
            member.pump();
        }
    })?;
    let well = stage.transceivers[0].wait(DRAIN_PATIENCE);
    findings.promise(matches!(well, Ok(true)), format!("it did not end well: {well:?}"));
    findings.note(format!(
        "with its last call it ended, {:.1} s after that",
        hung_up.elapsed().as_secs_f64()
    ));
    Ok(findings)
}
