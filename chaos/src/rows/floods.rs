//! What strangers send.

use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::run::Run;
use crate::stage::{PUBLISHED, Setting, Stage};
use crate::strangers::{Flood, check, hint, minted};

const PER_SECOND: f64 = 100_000.0;
const DURATION: Duration = Duration::from_secs(10);
/// Different checks in a flood.
const CHECKS: u32 = 4_096;
/// Client addresses that one session may have, by each of the relay's two workers.
const ADDRESSES_PER_SESSION: usize = 8;
const WORKERS: usize = 2;
/// A hint that ended two hours ago.
const STALE: Duration = Duration::from_secs(3 * 3_600);
const LIFETIME: Duration = Duration::from_secs(3_600);

pub(super) fn random(run: &Run) -> Result<Findings> {
    let mut stage = calls(run)?;
    let (mut findings, flows) = under_flood(&mut stage, None)?;
    findings.promise(flows.made == 0.0, format!("{} flows were made", flows.made));
    Ok(findings)
}

pub(super) fn stale(run: &Run) -> Result<Findings> {
    let mut stage = calls(run)?;
    let then = SystemTime::now() - STALE;
    let checks = minted(&stage.keyring()?, CHECKS, |session| hint(session, then, LIFETIME))?;
    let (mut findings, flows) = under_flood(&mut stage, Some(checks))?;
    findings.promise(flows.made == 0.0, format!("{} flows were made", flows.made));
    Ok(findings)
}

/// Checks are authentic wherever they come from, so these make flows: of each session as many as it
/// may have.
pub(super) fn replay(run: &Run) -> Result<Findings> {
    let mut stage = calls(run)?;
    let checks = stage.fleet.with(|calls| {
        let of = |member: &crate::member::Member| member.check.as_ref().map(|(_, it)| it.clone());
        calls.members.iter().filter_map(of).collect::<Vec<_>>()
    })?;
    let (mut findings, flows) = under_flood(&mut stage, Some(checks))?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand calls at most")]
    let most = (run.calls * ADDRESSES_PER_SESSION * WORKERS) as f64;
    findings.promise(flows.at_most <= most, format!("{} flows at a time", flows.at_most));
    let replayed = stage.transceivers[0].metric("transceiver_checks_replayed_total", "")?;
    findings.note(format!("the transceiver knew {replayed} checks as copies"));
    let changes = stage.transceivers[0].metric("transceiver_address_changes_total", "")?;
    findings.promise(changes == 0.0, format!("{changes} calls were moved"));
    Ok(findings)
}

fn calls(run: &Run) -> Result<Stage<'_>> {
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    Ok(stage)
}

struct Flows {
    made: f64,
    at_most: f64,
}

fn under_flood(stage: &mut Stage<'_>, packets: Option<Vec<Vec<u8>>>) -> Result<(Findings, Flows)> {
    let run = stage.run;
    let made = |stage: &Stage<'_>| stage.relay_metric("relay_flows_created_total", "");
    let drops = |stage: &Stage<'_>| stage.relay_metric("relay_drops_total", "");
    let kernel = |stage: &Stage<'_>| stage.relay_metric("relay_kernel_drops_total", "");
    let before = [made(stage)?, drops(stage)?, kernel(stage)?];
    let cpu_before = stage.relays[0].cpu_time();
    stage.fleet.begin()?;
    let began = Instant::now();
    let flood = Flood::start(&run.network.attacker, Stage::public(0), packets, PER_SECOND)?;
    let mut at_most: f64 = 0.0;
    while began.elapsed() < DURATION {
        run.pause(Duration::from_millis(500))?;
        let flows = stage.relay_metric("relay_flows_new", "")?
            + stage.relay_metric("relay_flows_assured", "")?;
        at_most = at_most.max(flows);
    }
    let sent = flood.sent();
    drop(flood);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = stage.relays[0].cpu_time().saturating_sub(cpu_before);
    run.pause(Duration::from_millis(500))?;
    let mut findings = stage.end_of_echoes()?;
    run.pause(PUBLISHED)?;
    let made = made(stage)? - before[0];
    let kernel_drops = kernel(stage)? - before[2];
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let rate = sent as f64 / seconds / 1e3;
    findings.note(format!(
        "{rate:.0} kpps reached the relay's host from a million addresses for {seconds:.0} s; the relay \
         dropped {} of them itself, the kernel {kernel_drops} packets before it; the relay used {:.2} \
         cores; flows made {made}, at most {at_most} at a time",
        drops(stage)? - before[1],
        cpu.as_secs_f64() / seconds,
    ));
    // What was lost has been lost where packets are dropped unseen, and is counted there.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let lost = findings.lost() as f64;
    let transceiver = stage.transceivers[0].metric("transceiver_kernel_drops_total", "")?;
    findings.promise(
        lost <= kernel_drops + transceiver,
        format!("{lost} packets lost, and only {kernel_drops} dropped for want of CPU"),
    );
    findings.promise_no_drops();
    Ok((findings, Flows { made, at_most }))
}

/// The attackers' checks are true, for their own sessions; only the addresses are not theirs.
pub(super) fn spoof(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { transceivers: 2, ..Setting::default() })?;
    stage.call_all()?;
    let victims = stage
        .fleet
        .with(|calls| calls.members.iter().map(|member| member.address).collect::<Vec<_>>())?;
    // One session for a few victims, else the relay would refuse it for its many addresses. The
    // attackers' sessions are on the other shard and on the same one.
    let mut attackers = Vec::new();
    for chunk in 0..victims.len().div_ceil(ADDRESSES_PER_SESSION) {
        let (call, _, answer) = stage.offer(chunk % 2)?;
        attackers.push((call, credentials(&answer).context("no credentials in the answer")?));
    }
    let sockets = run.network.attacker.run(|| {
        let open = |victim| {
            let socket = UdpSocket::bind(victim).context("Failed to take a victim's address")?;
            socket.connect(Stage::public(0))?;
            Ok(socket)
        };
        victims.iter().map(open).collect::<Result<Vec<_>>>()
    })?;
    stage.fleet.begin()?;
    let end = Instant::now() + Duration::from_secs(run.short_or(4, 15));
    let mut sent = 0;
    while Instant::now() < end {
        for (index, socket) in sockets.iter().enumerate() {
            let (_, (ufrag, password)) = &attackers[index / ADDRESSES_PER_SESSION];
            // An ICMP error of an earlier one is no reason to stop.
            let _ = socket.send(&check(ufrag, password, sent)?);
            sent += 1;
        }
        run.pause(Duration::from_millis(100))?;
    }
    run.pause(Duration::from_secs(1))?;
    let mut findings = stage.end_of_echoes()?;
    findings.note(format!(
        "{sent} true checks of {} sessions from {} clients' addresses, ten a second for each; flows that \
         changed their shard: {}",
        attackers.len(),
        victims.len(),
        stage.relay_metric("relay_flows_repointed_total", "")?,
    ));
    findings.promise_no_loss();
    Ok(findings)
}

/// The server's ufrag and password.
fn credentials(answer: &str) -> Option<(String, String)> {
    let of = |name: &str| {
        answer.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::to_owned)
    };
    Some((of("a=ice-ufrag:")?, of("a=ice-pwd:")?))
}
