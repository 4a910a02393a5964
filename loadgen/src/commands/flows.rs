//! `flows`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use crossbeam::channel::bounded;
use loadgen::conduct::{Threads, conduct};
use loadgen::control::{Control, Share};
use loadgen::flows::{self, Sessions, Worker, WorkerSettings};
use loadgen::plan::{Mode, Plan};
use loadgen::report::About;
use loadgen::slo::Slo;
use loadgen::target::Permission;
use loadgen::verdict::Limits;
use service::exit::Usage;
use service::keyfile;
use wire::hint::{ClusterId, TransceiverId};

use crate::args::{Flows, Place};
use crate::attend::Attendant;
use crate::{advise, commands};

/// Windows that wait to be gathered; a thread hands in one a second.
pub(crate) const WINDOWS_MAX: usize = 4096;

/// Runs the test.
pub(crate) fn run(wanted: &Flows) -> anyhow::Result<ExitCode> {
    let target = target(wanted)?;
    let rate = wanted.profile.rate();
    let settings = wanted.timing.settings(wanted.flows, rate, &wanted.safety)?;
    let slo = objectives(settings.mode, wanted.output.slo.as_ref());
    let keyring = keyfile::load(&wanted.keys)?;
    if wanted.threads.direct_egress && wanted.sources.is_none() {
        let why = "--direct-egress needs --sources: the network that packets come from";
        return Err(Usage(why.to_owned()).into());
    }
    let (control, windows) = (Arc::new(Control::default()), bounded(WINDOWS_MAX));
    let count = wanted.threads.threads.min(wanted.flows);
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gave no random bytes")?;
    let [first, run] = [&seed[..4], &seed[4..]]
        .map(|half| half.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)));
    let mut workers = Vec::new();
    for index in 0..count {
        let worker = WorkerSettings {
            target,
            sources: wanted.sources,
            flows_max: wanted.flows.div_ceil(count),
            flows: flows::Settings::new(wanted.profile),
            engine: wanted.threads.engine,
            direct_egress: wanted.threads.direct_egress,
            cpu: wanted.threads.cpus.get(index as usize).copied(),
        };
        // A sixteenth of all session numbers for each, from a random start.
        let sessions =
            Sessions::new(keyring.clone(), place(wanted.place), first.wrapping_add(index << 20));
        let share = Share { index, count };
        let (worker, notes) = Worker::new(&worker, share, sessions, run.wrapping_add(index))?;
        if index == 0 {
            notes.iter().for_each(|note| advise(&format!("note: {note}")));
        }
        workers.push(worker);
    }
    let engine = workers.first().map_or("none", Worker::engine_name);
    let past = if wanted.threads.direct_egress { ", direct egress" } else { "" };
    let engine = format!("{engine}{past}");
    let about = About {
        kind: "flows",
        mode: settings.mode,
        target: wanted.relay.clone(),
        arguments: commands::arguments(),
        started_at: SystemTime::now(),
        engine,
        threads: count,
    };
    let mut attendant = Attendant::start("flows", &settings, &wanted.output)?;
    let (sender, receiver) = windows;
    let story = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (control, sender) = (Arc::clone(&control), sender.clone());
                scope.spawn(move || worker.run(&control, &sender))
            })
            .collect();
        drop(sender);
        let (stop, mut watch) = attendant.watch();
        let all = Threads { control: &control, windows: &receiver, stop };
        let story = conduct(Plan::new(settings), &slo, Limits::FLOWS, all, &mut watch);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        story
    })?;
    attendant.end();
    commands::report(&about, &story, &slo, Limits::FLOWS, &wanted.output)
}

/// The objectives; a search needs some.
pub(crate) fn objectives(mode: Mode, wanted: Option<&Slo>) -> Slo {
    wanted.cloned().unwrap_or_else(|| match mode {
        Mode::Search => "p99=20ms,loss=0.1%".parse().unwrap_or_default(),
        _ => Slo::default(),
    })
}

pub(crate) fn place(place: Place) -> flows::Place {
    flows::Place {
        cluster: ClusterId(place.cluster),
        transceiver: TransceiverId(place.transceiver),
        shards: place.shards,
    }
}

fn target(wanted: &Flows) -> anyhow::Result<SocketAddr> {
    let name = wanted.relay.rsplit_once(':').map_or(wanted.relay.as_str(), |(host, _)| host);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address = wanted
        .relay
        .to_socket_addrs()
        .with_context(|| format!("--relay {}: write HOST:PORT", wanted.relay))?
        .next()
        .ok_or_else(|| Usage(format!("--relay {} leads nowhere", wanted.relay)))?;
    Permission::new(wanted.safety.target_authorized.clone())
        .check(name, address.ip())
        .map_err(|refused| Usage(refused.to_string()))?;
    Ok(address)
}
