//! What happens to the flow cache.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::findings::Findings;
use crate::run::Run;
use crate::stage::{Setting, Stage};
use crate::strangers::Flood;

const SLOW: Duration = Duration::from_millis(500);
const EACH: Duration = Duration::from_secs(4);
/// Packets of clients that no flow knows, so that the relay has something to ask Redis.
const UNKNOWN_PER_SECOND: f64 = 200.0;

pub(super) fn trouble(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { redis: true, ..Setting::default() })?;
    stage.call_all()?;
    let clients = stage
        .fleet
        .with(|calls| calls.members.iter().map(|member| member.address).collect::<Vec<_>>())?;
    let media = vec![vec![0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa, 0xbb]];
    let _strangers =
        Flood::start(&run.network.attacker, Stage::public(0), Some(media), UNKNOWN_PER_SECOND)?;
    run.pause(Duration::from_secs(1))?;
    let cached = say(&stage, "DBSIZE")?;
    stage.fleet.begin()?;
    run.say("Redis is slow");
    for _ in 0..4 {
        say(&stage, &format!("CLIENT PAUSE {} ALL", SLOW.as_millis()))?;
        run.pause(Duration::from_secs(1))?;
    }
    run.say("Redis is full of garbage");
    for client in &clients {
        say(&stage, &format!("SET {} garbage", key(client)))?;
    }
    run.pause(EACH)?;
    run.say("Redis has no room");
    say(&stage, "CONFIG SET maxmemory 1")?;
    run.pause(EACH)?;
    run.say("Redis is gone");
    if let Some(redis) = &mut stage.redis {
        redis.kill()?;
    }
    run.pause(EACH)?;
    run.say("Redis is back");
    if let Some(redis) = &mut stage.redis {
        redis.restart()?;
    }
    run.pause(EACH * 2)?;
    let mut findings = stage.end_of_echoes()?;
    let operations = |label: &str| stage.relay_metric("relay_cache_operations_total", label);
    findings.note(format!(
        "{cached} in Redis at first; what came of what the relay asked of it: {} done or found, {} absent, \
         {} garbage, {} failed, {} skipped",
        operations("outcome=\"done\"")? + operations("outcome=\"found\"")?,
        operations("outcome=\"absent\"")?,
        operations("outcome=\"garbage\"")?,
        operations("outcome=\"failed\"")?,
        operations("outcome=\"skipped\"")?,
    ));
    findings.promise(operations("outcome=\"failed\"")? > 0.0, "Redis was never in trouble");
    findings.promise_no_loss();
    Ok(findings)
}

fn key(client: &SocketAddr) -> String {
    format!("ringway:flow:{client}")
}

fn say(stage: &Stage<'_>, command: &str) -> Result<String> {
    stage.redis.as_ref().map_or_else(|| Ok(String::new()), |redis| redis.say(command))
}
