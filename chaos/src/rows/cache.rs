//! What happens to the flow cache.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::findings::Findings;
use crate::run::Run;
use crate::stage::{Setting, Stage};

const SLOW: Duration = Duration::from_millis(500);
const EACH: Duration = Duration::from_secs(4);
/// Looks like media, and is none of theirs.
const MEDIA: [u8; 14] = [0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa, 0xbb];
/// Clients that no flow knows, so that the relay has something to ask Redis.
const UNKNOWN: u8 = 50;

pub(super) fn trouble(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting { redis: true, ..Setting::default() })?;
    stage.call_all()?;
    let strangers = Strangers::new(run)?;
    strangers.ask_for(Duration::from_secs(1), run)?;
    let cached = say(&stage, "DBSIZE")?;
    stage.fleet.begin()?;
    run.say("Redis is slow");
    for _ in 0..4 {
        say(&stage, &format!("CLIENT PAUSE {} ALL", SLOW.as_millis()))?;
        strangers.ask_for(Duration::from_secs(1), run)?;
    }
    run.say("Redis is full of garbage");
    for socket in &strangers.0 {
        say(&stage, &format!("SET ringway:flow:{} garbage", socket.local_addr()?))?;
    }
    strangers.ask_for(EACH, run)?;
    run.say("Redis has no room");
    say(&stage, "CONFIG SET maxmemory 1")?;
    strangers.ask_for(EACH, run)?;
    run.say("Redis is gone");
    if let Some(redis) = &mut stage.redis {
        redis.kill()?;
    }
    strangers.ask_for(EACH, run)?;
    run.say("Redis is back");
    if let Some(redis) = &mut stage.redis {
        redis.restart()?;
    }
    strangers.ask_for(EACH * 2, run)?;
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
    for outcome in ["failed", "garbage"] {
        let seen = operations(&format!("outcome=\"{outcome}\""))? > 0.0;
        findings.promise(seen, format!("nothing was {outcome}: the row shows nothing"));
    }
    findings.promise_no_loss();
    Ok(findings)
}

/// Clients of no call.
struct Strangers(Vec<UdpSocket>);

impl Strangers {
    fn new(run: &Run) -> Result<Self> {
        run.network.attacker.run(|| {
            let open = |last| {
                let socket = UdpSocket::bind((Ipv4Addr::new(10, 96, 0, last), 0))?;
                socket.connect(Stage::public(0))?;
                Ok(socket)
            };
            Ok(Self((1..=UNKNOWN).map(open).collect::<Result<_>>()?))
        })
    }

    /// Each sends a packet of media a second, which is as often as the relay looks for one client.
    fn ask_for(&self, time: Duration, run: &Run) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for socket in &self.0 {
                // An ICMP error of an earlier one is no reason to stop.
                let _ = socket.send(&MEDIA);
            }
            run.pause(Duration::from_secs(1))?;
        }
        Ok(())
    }
}

fn say(stage: &Stage<'_>, command: &str) -> Result<String> {
    stage.redis.as_ref().map_or_else(|| Ok(String::new()), |redis| redis.say(command))
}
