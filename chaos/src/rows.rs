//! The faults, each a function that breaks one thing and looks what the calls say.

mod cache;
mod churn;
mod clients;
mod floods;
mod keys;
mod relay;
mod transceiver;

use std::time::Duration;

use anyhow::Result;

use crate::findings::Findings;
use crate::run::Run;
use crate::stage::{Setting, Stage};

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What breaks.
    pub(crate) fault: &'static str,
    pub(crate) promise: &'static str,
    /// Whether it is run with `--short` too.
    pub(crate) short: bool,
    pub(crate) run: fn(&Run) -> Result<Findings>,
}

/// All rows, the harmless first: what it shows is the measurement's own noise.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "nothing",
        fault: "nothing happens",
        promise: "0 lost, 0 dropped",
        short: false,
        run: nothing,
    },
    Row {
        name: "upgrade",
        fault: "relay hot upgrade, 20 times in a row",
        promise: "0 lost, 0 dropped",
        short: true,
        run: relay::upgrade,
    },
    Row {
        name: "kill-talking",
        fault: "relay kill -9 and restart, the model talks",
        promise: "gap at most the restart + 60 ms, 0 dropped",
        short: true,
        run: relay::kill_talking,
    },
    Row {
        name: "kill-silent-redis",
        fault: "the same, the model is silent, Redis up",
        promise: "gap up at most the restart + 100 ms, 0 dropped",
        short: false,
        run: relay::kill_silent_with_redis,
    },
    Row {
        name: "kill-silent",
        fault: "the same, no Redis",
        promise: "gap up at most the restart + the client's STUN interval (str0m: 3 s), 0 dropped",
        short: false,
        run: relay::kill_silent,
    },
    Row {
        name: "kill-parked",
        fault: "relay kill -9 and restart, its sockets and flows kept by its manager, the model talks",
        promise: "gap at most the restart + 60 ms, every flow kept, 0 dropped",
        short: true,
        run: relay::kill_talking_parked,
    },
    Row {
        name: "kill-parked-silent",
        fault: "the same, kept by its manager, the model is silent",
        promise: "gap up at most the restart + 60 ms, every flow kept, 0 dropped",
        short: false,
        run: relay::kill_silent_parked,
    },
    Row {
        name: "redis",
        fault: "Redis slow (500 ms), full of garbage, killed, back again",
        promise: "0 lost, 0 dropped",
        short: false,
        run: cache::trouble,
    },
    Row {
        name: "starved",
        fault: "the relay does not run for 400 ms, with small socket buffers and rings",
        promise: "every packet lost is counted, exactly; service resumes by itself; 0 dropped",
        short: false,
        run: relay::starved,
    },
    Row {
        name: "nat",
        fault: "every client's NAT rebinds at once",
        promise: "audio back within 3 s and a round trip, 0 dropped",
        short: true,
        run: clients::nat_rebinds,
    },
    Row {
        name: "ice-restart",
        fault: "every client restarts ICE",
        promise: "0 dropped",
        short: false,
        run: clients::ice_restarts,
    },
    Row {
        name: "ingress-gone",
        fault: "one of two ingress relays disappears for good",
        promise: "clients that were given both go on by ICE: 0 dropped",
        short: false,
        run: clients::ingress_gone,
    },
    Row {
        name: "transceiver-kill",
        fault: "one of two transceivers is killed (kill -9) and started again",
        promise: "its clients learn it within 30 s, no session comes back as another's; the others' \
                  calls: 0 lost",
        short: false,
        run: transceiver::kill,
    },
    Row {
        name: "transceiver-drain",
        fault: "one of two transceivers drains (SIGTERM)",
        promise: "live calls: 0 lost; no new ones land there; it ends with its last call",
        short: false,
        run: transceiver::drain,
    },
    Row {
        name: "rotation",
        fault: "routing and tunnel keys rotated, all three steps",
        promise: "0 lost, 0 dropped",
        short: false,
        run: keys::rotation,
    },
    Row {
        name: "reload",
        fault: "configuration changed and reloaded every second for a minute, on both",
        promise: "0 lost, 0 dropped",
        short: false,
        run: keys::reload,
    },
    Row {
        name: "flood-random",
        fault: "flood: 100,000 spoofed STUN packets a second, random",
        promise: "0 dropped, no flow made",
        short: false,
        run: floods::random,
    },
    Row {
        name: "flood-stale",
        fault: "flood: the same with hints that have expired",
        promise: "0 dropped, no flow made",
        short: false,
        run: floods::stale,
    },
    Row {
        name: "flood-replay",
        fault: "flood: the clients' own checks, replayed from other addresses",
        promise: "0 dropped, no call moved, at most 8 flows for a session and worker",
        short: false,
        run: floods::replay,
    },
    Row {
        name: "spoof",
        fault: "attackers with sessions of their own send checks from the clients' addresses",
        promise: "the clients' calls go on: 0 lost, 0 dropped",
        short: true,
        run: floods::spoof,
    },
    Row {
        name: "churn",
        fault: "a million call set-ups at the packet level, and a thousand real calls",
        promise: "memory, buffers, flows and files flat; 0 dropped",
        short: false,
        run: churn::churn,
    },
];

fn nothing(run: &Run) -> Result<Findings> {
    let mut stage = Stage::start(run, &Setting::default())?;
    stage.call_all()?;
    stage.fleet.begin()?;
    run.pause(Duration::from_secs(run.short_or(3, 20)))?;
    let mut findings = stage.end_of_echoes()?;
    findings.promise_no_loss();
    Ok(findings)
}
