//! What happens to a relay.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::count;
use crate::findings::{Findings, Way};
use crate::member::Voice;
use crate::run::Run;
use crate::stage::{PUBLISHED, Setting, Stage};

/// A call's beat: how long a gap is even if nothing is lost.
const BEAT: Duration = Duration::from_millis(20);

pub(super) fn upgrade(run: &Run) -> Result<Findings> {
    let upgrades = run.short_or(3, 20);
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    stage.fleet.begin()?;
    let mut waited = Vec::new();
    for _ in 0..upgrades {
        let upgraded = stage.relays[0].upgrade()?;
        waited.push(upgraded["waited_us"].as_u64().unwrap_or_default());
        run.pause(Duration::from_millis(200))?;
    }
    run.pause(Duration::from_secs(1))?;
    let mut findings = stage.end_of_echoes()?;
    waited.sort_unstable();
    findings.note(format!(
        "{upgrades} upgrades; packets waited {} us at the median, {} us at most",
        waited[waited.len() / 2],
        waited[waited.len() - 1]
    ));
    findings.promise_no_loss();
    Ok(findings)
}

/// The echo says nothing once it hears nothing, so its return traffic teaches nobody. The parrot
/// repeats, in a pause, what was said before: it is what a model is that talks.
pub(super) fn kill_talking(run: &Run) -> Result<Findings> {
    kill_while_talking(run, false)
}

/// The same with a relay whose sockets and flows are kept.
pub(super) fn kill_talking_parked(run: &Run) -> Result<Findings> {
    kill_while_talking(run, true)
}

fn kill_while_talking(run: &Run, parks: bool) -> Result<Findings> {
    let talk = Duration::from_secs(run.short_or(6, 10));
    let mut stage = Stage::start(run, &Setting { backend: "parrot", parks, ..Setting::default() })?;
    stage.call_all()?;
    run.pause(talk)?;
    if parks {
        stage.wait_until_parked()?;
    }
    stage.fleet.with(|calls| calls.speak(Voice::Quiet))?;
    // It waits 700 ms for more.
    run.pause(Duration::from_millis(1_500))?;
    let before = stage.lost_in()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    let away = stage.relays[0].kill_and_restart()?;
    run.pause(Duration::from_secs(2))?;
    stage.fleet.end()?;
    let mut findings = silence(&mut stage, &before)?;
    let figures = stage
        .fleet
        .with(|calls| calls.members.iter().map(|it| it.ledger.talk()).collect::<Vec<_>>())?;
    let lost = figures.iter().map(|it| it.lost_down).sum();
    findings.down = Some(Way::new(lost, figures.iter().map(|it| it.gap_down).collect()));
    let mute = figures.iter().filter(|it| it.heard == 0).count();
    findings.promise(mute == 0, format!("in {mute} calls the parrot said nothing"));
    findings.note(format!(
        "the relay was away for {} ms; backend: parrot, repeating what it had been told, while the \
         client sends frames of silence",
        away.as_millis()
    ));
    if parks {
        look_what_was_kept(&stage, &mut findings)?;
    }
    findings.promise_gap(away + Duration::from_millis(60));
    findings.promise_no_drops();
    Ok(findings)
}

pub(super) fn kill_silent(run: &Run) -> Result<Findings> {
    kill_while_silent(run, &Setting::default(), Duration::from_secs(3))
}

pub(super) fn kill_silent_with_redis(run: &Run) -> Result<Findings> {
    let setting = Setting { redis: true, ..Setting::default() };
    kill_while_silent(run, &setting, Duration::from_millis(100))
}

pub(super) fn kill_silent_parked(run: &Run) -> Result<Findings> {
    let setting = Setting { parks: true, ..Setting::default() };
    kill_while_silent(run, &setting, Duration::from_millis(60))
}

/// The parrot is silent while it is talked to.
fn kill_while_silent(run: &Run, setting: &Setting, more: Duration) -> Result<Findings> {
    let &Setting { redis, parks, .. } = setting;
    let mut stage = Stage::start(run, &Setting { backend: "parrot", ..setting.clone() })?;
    stage.call_all()?;
    run.pause(Duration::from_secs(2))?;
    if parks {
        stage.wait_until_parked()?;
    }
    let before = stage.lost_in()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    let away = stage.relays[0].kill_and_restart()?;
    run.pause(Duration::from_secs(6))?;
    stage.fleet.end()?;
    let mut findings = silence(&mut stage, &before)?;
    findings.note(format!(
        "the relay was away for {} ms; backend: parrot, which says nothing while it is talked to; flows \
         learned from shards {}, recalled {}, made by checks {}",
        away.as_millis(),
        stage.relay_metric("relay_flows_learned_total", "")?,
        stage.relay_metric("relay_flows_recalled_total", "")?,
        stage.relay_metric("relay_flows_created_total", "")?,
    ));
    if redis {
        let misses = |outcome: &str| {
            let label = format!("outcome=\"{outcome}\"");
            stage.relay_metric("relay_flow_misses_total", &label)
        };
        findings.note(format!(
            "misses of the relay: {} found in Redis, {} nowhere, {} too busy to look, {} not looked for \
             again within the second",
            misses("cache")?,
            misses("nowhere")?,
            misses("busy")?,
            misses("repeated")?,
        ));
    }
    if parks {
        look_what_was_kept(&stage, &mut findings)?;
    }
    findings.promise_gap(away + more);
    findings.promise_no_drops();
    Ok(findings)
}

/// Every flow is there again before a packet could have taught it, and no packet found a full socket.
fn look_what_was_kept(stage: &Stage<'_>, findings: &mut Findings) -> Result<()> {
    let restored = stage.relay_metric("relay_flows_restored_total", "")?;
    let taught = stage.relay_metric("relay_flows_learned_total", "")?
        + stage.relay_metric("relay_flows_created_total", "")?;
    let dropped = stage.relay_metric("relay_kernel_drops_total", "")?;
    findings.note(format!(
        "flows restored from what was kept {restored}, made anew {taught}; packets that found a full \
         socket {dropped}"
    ));
    let all = count(restored) >= findings.calls as u64 && count(taught) == 0;
    findings.promise(all, format!("{restored} flows were restored, {taught} made anew"));
    Ok(())
}

/// What the transceiver says of the way up: it counts what it misses, by sequence numbers. With one
/// fault these are in a row, and the gap is as long as they are.
fn silence(stage: &mut Stage<'_>, before: &[u64]) -> Result<Findings> {
    let reports = stage.reports()?;
    let dropped = reports.iter().filter(|report| report["state"] != "connected").count();
    let after = stage.lost_in()?;
    let lost: Vec<u64> =
        after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before)).collect();
    let gap = |lost: &u64| BEAT * u32::try_from(lost + 1).unwrap_or(u32::MAX);
    let sent =
        stage.fleet.with(|calls| calls.members.iter().map(|it| it.ledger.talk().sent).sum())?;
    Ok(Findings {
        calls: reports.len(),
        dropped,
        sent,
        up: Some(Way::new(lost.iter().sum(), lost.iter().map(gap).collect())),
        late: stage.fleet.late()?,
        ..Findings::default()
    })
}

/// A relay that gets no CPU loses what its buffers cannot hold. What it says it has lost must be what
/// is missing.
pub(super) fn starved(run: &Run) -> Result<Findings> {
    let buffers = "[buffers]\nreceive_socket_bytes = \"64KiB\"\nring_buffers = 64\n";
    let mut stage = Stage::start(run, &Setting { relay_extra: buffers, ..Setting::default() })?;
    stage.call_all()?;
    // Without anything under way, both sides have counted the same packets.
    let before = books(&mut stage)?;
    stage.fleet.begin()?;
    run.pause(Duration::from_millis(500))?;
    stage.relays[0].signal(Signal::SIGSTOP)?;
    let stopped = Instant::now();
    run.pause(Duration::from_millis(400))?;
    stage.relays[0].signal(Signal::SIGCONT)?;
    let stopped = stopped.elapsed();
    run.pause(Duration::from_secs(2))?;
    let mut findings = stage.end_of_echoes()?;
    let after = books(&mut stage)?;
    let [sent, received, dropped] = [0, 1, 2].map(|index| after[index] - before[index]);
    findings.note(format!(
        "stopped for {} ms; clients sent {sent} datagrams, the relay received {received} and the kernel \
         dropped {dropped} before it",
        stopped.as_millis()
    ));
    findings.promise(dropped > 0.0, "nothing was dropped: the row shows nothing");
    let books_agree = sent.to_bits() == (received + dropped).to_bits();
    findings.promise(books_agree, format!("{} packets are in no books", sent - received - dropped));
    findings.promise_no_drops();
    Ok(findings)
}

/// Datagrams that the clients have sent, those that the relay received, and those that the kernel
/// dropped in front of it, at a moment at which nobody sends.
fn books(stage: &mut Stage<'_>) -> Result<[f64; 3]> {
    stage.fleet.with(|calls| calls.speak(Voice::Off))?;
    let (sent, frozen) = stage.fleet.freeze()?;
    // What is under way arrives, and is published.
    stage.run.pause(Duration::from_secs(1))?;
    let relay = &stage.relays[0];
    let received = relay.metric("relay_client_received_packets_total", "")?;
    let dropped = relay.metric("relay_kernel_drops_total", "socket=\"public\"")?;
    drop(frozen);
    stage.fleet.with(|calls| calls.speak(Voice::Loud))?;
    stage.run.pause(PUBLISHED)?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    Ok([sent as f64, received, dropped])
}
