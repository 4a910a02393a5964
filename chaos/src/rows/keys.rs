//! What operators change while calls go on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use wire::hint::KeyChar;
use wire::tunnel::TunnelKeyId;

use crate::findings::Findings;
use crate::process::edit;
use crate::run::Run;
use crate::stage::{PUBLISHED, Setting, Stage};

const STEP: Duration = Duration::from_secs(2);

/// The old routing key is dropped when the calls that were minted with it are over: so calls of the
/// old key end before the third step, as operating.md has it, and calls of the new one go through it.
pub(super) fn rotation(run: &Run) -> Result<Findings> {
    let mut stage =
        Stage::start(run, &Setting { relays: 2, transceivers: 2, ..Setting::default() })?;
    stage.call_all()?;
    let keys = stage.keys();
    stage.fleet.begin()?;
    run.pause(STEP)?;

    run.say("accept the new");
    let routing =
        service::keyfile::fresh_routing_entry(KeyChar::new('B').context("a key's name")?)?;
    let tunnel = service::keyfile::fresh_tunnel_entry(TunnelKeyId(2))?;
    let text = fs::read_to_string(&keys)?;
    fs::write(&keys, format!("{text}\n{}\n{}", *routing, *tunnel))?;
    reload_all(&stage)?;
    run.pause(STEP)?;

    run.say("use the new");
    for (old, new) in [("id = \"A\"", "id = \"B\""), ("id = 1", "id = 2")] {
        edit(&keys, &format!("{old}\nstate = \"use\""), &format!("{old}\nstate = \"accept\""))?;
        edit(&keys, &format!("{new}\nstate = \"accept\""), &format!("{new}\nstate = \"use\""))?;
    }
    reload_all(&stage)?;
    run.pause(STEP)?;
    let mut first = stage.end_of_echoes()?;
    stage.fleet.with(crate::fleet::Calls::hang_up_all)?;
    run.pause(Duration::from_millis(500))?;
    stage.fleet.with(crate::fleet::Calls::forget_all)?;
    stage.call_all()?;
    stage.fleet.begin()?;

    run.say("drop the old");
    let text = fs::read_to_string(&keys)?;
    fs::write(&keys, without(&without(&text, "id = \"A\""), "id = 1"))?;
    reload_all(&stage)?;
    run.pause(STEP * 2)?;
    let mut findings = stage.end_of_echoes()?;
    findings.note(format!(
        "first two steps: {} frames, {} lost, {} of {} calls dropped, worst gap {} ms; then, with calls of \
         the new key, the third: the figures",
        first.sent,
        first.lost(),
        first.dropped,
        first.calls,
        first.down.as_ref().map_or(0, |way| way.worst().as_millis()),
    ));
    first.promise_no_loss();
    findings.broken.append(&mut first.broken);
    findings.promise_no_loss();
    Ok(findings)
}

fn reload_all(stage: &Stage<'_>) -> Result<()> {
    for process in stage.relays.iter().chain(&stage.transceivers) {
        process.ctl("reload")?;
    }
    Ok(())
}

/// The keyring without the entry that has this line.
fn without(text: &str, line: &str) -> String {
    let mut entries = text.split("[[");
    let head = entries.next().unwrap_or_default().to_owned();
    entries
        .filter(|entry| !entry.lines().any(|it| it == line))
        .fold(head, |text, entry| format!("{text}[[{entry}"))
}

pub(super) fn reload(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    let generation = |stage: &Stage<'_>| -> Result<f64> {
        Ok(stage.relay_metric("relay_config_generation", "")?
            + stage.transceivers[0].metric("transceiver_config_generation", "")?)
    };
    let before = generation(&stage)?;
    stage.fleet.begin()?;
    let reloads = run.short_or(3, 60);
    for round in 0..reloads {
        let ([from, to], [less, more]) = if round % 2 == 0 {
            (["100", "101"], ["2000", "2001"])
        } else {
            (["101", "100"], ["2001", "2000"])
        };
        let (relay, transceiver) = (&stage.relays[0], &stage.transceivers[0]);
        let coalesce = |us: &str| format!("coalesce_us_max = {us}\n");
        edit(&relay.plan.config(), &coalesce(from), &coalesce(to))?;
        let per_shard = |calls: &str| format!("per_shard_max = {calls}\n");
        edit(&transceiver.plan.config(), &per_shard(less), &per_shard(more))?;
        reload_all(&stage)?;
        run.pause(Duration::from_secs(1))?;
    }
    let mut findings = stage.end_of_echoes()?;
    run.pause(PUBLISHED)?;
    let taken = generation(&stage)? - before;
    findings.promise(
        (taken - 2.0 * f64::from(reloads)).abs() < 0.5,
        format!("{taken} configurations were taken instead of {}", 2 * reloads),
    );
    findings.note(format!("{taken} configurations taken"));
    findings.promise_no_loss();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_goes_and_the_others_stay() {
        let text =
            "# head\n[[routing]]\nid = \"A\"\nx = 1\n[[routing]]\nid = \"B\"\n[[tunnel]]\nid = 1\n";
        let rest = without(&without(text, "id = \"A\""), "id = 1");
        assert_eq!(rest, "# head\n[[routing]]\nid = \"B\"\n");
    }
}
