//! A day's coming and going, compressed.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::findings::Findings;
use crate::process::Process;
use crate::run::Run;
use crate::stage::{PUBLISHED, Setting, Stage};
use crate::strangers::{Flood, hint, minted};

/// Below what the relay enters as new flows.
const PER_SECOND: f64 = 10_000.0;
const LIFETIME: Duration = Duration::from_secs(3_600);
/// Sessions that come; each from many addresses in the end, as the addresses go on.
const SESSIONS: u32 = 200_000;
/// What memory may grow by between the first tenth and the end: an allocator's own business.
const GROWTH_BYTES_MAX: u64 = 4 << 20;

/// Checks that are true in everything make flows; that there is no such session the shard says, by
/// `gone`, and the flow is freed. Real calls come and go beside them, and others stay.
pub(super) fn churn(run: &Run) -> Result<Findings> {
    let set_ups: u64 = run.short_or(50_000, 1_000_000);
    let real = run.short_or(50, 1_000);
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    let standing = stage.fleet.with(|calls| calls.members.len())?;
    let now = SystemTime::now();
    let checks = minted(&stage.keyring()?, SESSIONS, |session| hint(session, now, LIFETIME))?;
    stage.fleet.begin()?;
    let flood = Flood::start(&run.network.attacker, Stage::public(0), Some(checks), PER_SECOND)?;
    let mut early = None;
    let mut calls = 0;
    let mut flows_max: f64 = 0.0;
    while flood.sent() < set_ups || calls < real {
        if calls < real {
            stage.call(0)?;
            calls += 1;
            if calls % 20 == 0 {
                // So many at a time come about, and go.
                run.pause(Duration::from_millis(300))?;
                stage.fleet.with(move |calls| calls.hang_up_after(standing))?;
            }
        } else {
            run.pause(Duration::from_millis(500))?;
        }
        if early.is_none() && flood.sent() > set_ups / 10 && calls > real / 10 {
            early = Some(footprints(&stage)?);
        }
        if calls % 20 == 0 {
            let flows = stage.relay_metric("relay_flows_new", "")?
                + stage.relay_metric("relay_flows_assured", "")?;
            flows_max = flows_max.max(flows);
        }
    }
    let sent = flood.sent();
    let late = footprints(&stage)?;
    drop(flood);
    run.pause(Duration::from_secs(1))?;
    stage.fleet.with(move |calls| calls.hang_up_after(standing))?;
    let mut findings = stage.end_of_echoes()?;
    run.pause(PUBLISHED)?;
    let made = stage.relay_metric("relay_flows_created_total", "")?;
    findings.note(format!(
        "{sent} set-ups sent, {made} flows made, at most {flows_max} at a time; {calls} real calls came \
         and went"
    ));
    findings.promise(made > 0.0, "no flow was made: the row shows nothing");
    for ((name, before), (_, after)) in early.unwrap_or_default().into_iter().zip(late) {
        findings.note(format!(
            "{name}: {:.1} MiB and {} files after a tenth, {:.1} MiB and {} at the end",
            mebibytes(before.0),
            before.1,
            mebibytes(after.0),
            after.1
        ));
        let grown = after.0.saturating_sub(before.0);
        findings.promise(
            grown <= GROWTH_BYTES_MAX,
            format!("{name} has grown by {:.1} MiB", mebibytes(grown)),
        );
        findings.promise(
            after.1 <= before.1 + 8,
            format!("{name} had {} open files and has {}", before.1, after.1),
        );
    }
    let allocated = stage.relay_metric("relay_worker_allocations_after_ready_total", "")?;
    findings.promise(allocated == 0.0, format!("workers allocated {allocated} times"));
    findings.promise_no_drops();
    Ok(findings)
}

type Footprint = (u64, usize);

fn footprints(stage: &Stage<'_>) -> Result<Vec<(String, Footprint)>> {
    let of = |process: &Process<'_>| Ok((process.plan.name.clone(), process.footprint()?));
    stage.relays.iter().chain(&stage.transceivers).map(of).collect()
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
