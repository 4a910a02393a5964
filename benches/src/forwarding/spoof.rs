//! `spoof`: forged STUN in masses, while established flows go on. What does a forged packet cost,
//! what do the flows lose, and does any forged packet leave a flow behind?

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;

use crate::arrivals::{datagrams_between, packets_in};
use crate::cases::{Candidate, Cases, Direction, Engine};
use crate::command_line::Spoof;
use crate::forged::{Forgery, Mixed};
use crate::rig::{From, Rig};
use crate::run::relay_program;
use crate::subject::Subject;
use kit::host::Host;
use kit::namespaces::Arrival;
use kit::relay::{metric, metrics};
use kit::report::{progress, warn_if_unoptimised, write_files};
use kit::schedule::Pace;
use kit::stop::Stop;

/// Established flows.
const CLIENTS: u32 = 2_000;
/// Media without forgeries, to know what it costs by itself.
const BASELINE: Duration = Duration::from_secs(2);

/// What a worker counts is in the metrics after this time.
const PUBLISHED: Duration = Duration::from_millis(500);
/// The relay's metrics that tell of flows and of what was dropped.
const FLOWS_NEW: &str = "relay_flows_new";
const FLOWS_ASSURED: &str = "relay_flows_assured";
const FLOWS_CREATED: &str = "relay_flows_created_total";
const DROPS: &str = "relay_drops_total";

/// The relay's own account at one moment. `None`: it has no such metric.
#[derive(Debug, Clone, Copy, Serialize)]
struct Account {
    flows_new: Option<f64>,
    flows_assured: Option<f64>,
    flows_created: Option<f64>,
    drops: Option<f64>,
}

impl Account {
    fn read(rig: &Rig) -> Self {
        // Workers publish their numbers now and then.
        std::thread::sleep(PUBLISHED);
        let text = metrics(&rig.topology.relay).unwrap_or_else(|error| {
            progress(&format!("the relay's own account is missing: {error:#}"));
            String::new()
        });
        Self {
            flows_new: metric(&text, FLOWS_NEW, ""),
            flows_assured: metric(&text, FLOWS_ASSURED, ""),
            flows_created: metric(&text, FLOWS_CREATED, ""),
            drops: metric(&text, DROPS, ""),
        }
    }
}

/// One phase: what was offered, what it cost, what became of it.
#[derive(Debug, Serialize)]
struct Phase {
    name: &'static str,
    seconds: f64,
    forged: u64,
    media: u64,
    media_arrived: u64,
    cpu_ns: u64,
    utilisation: f64,
    before: Account,
    after: Account,
}

impl Phase {
    fn media_loss(&self) -> f64 {
        (1.0 - self.media_arrived as f64 / self.media.max(1) as f64).max(0.0)
    }

    /// What each forged packet added to the media's cost.
    fn cpu_us_per_forged(&self, baseline: &Self) -> Option<f64> {
        let media_ns = baseline.cpu_ns as f64 / baseline.seconds * self.seconds;
        (self.forged > 0).then(|| (self.cpu_ns as f64 - media_ns) / self.forged as f64 / 1000.0)
    }

    /// All of the relay's time over all packets: an upper bound for a forged one.
    fn cpu_us_per_packet(&self) -> f64 {
        self.cpu_ns as f64 / (self.forged + self.media).max(1) as f64 / 1000.0
    }
}

/// Runs all phases and writes the report.
#[expect(clippy::print_stdout, reason = "the table is this program's output")]
pub(crate) fn run(options: &Spoof) -> Result<()> {
    warn_if_unoptimised();
    let stop = Stop::listen()?;
    let mut cases = Cases::of(std::slice::from_ref(&options.engine))?;
    let relay = relay_program(options.relay.as_deref(), &mut cases)
        .context("spoof needs the relay's program: build it, or give --relay PATH")?;
    let engine = match options.engine.as_str() {
        "relay-mmsg" => Engine::RelayMmsg,
        _ => Engine::RelayUring,
    };
    let candidate = Candidate { engine, coalesce_us_max: Some(100) };
    let folder = tempfile::tempdir().context("Failed to make a folder for the run's files")?;
    let mut rig = Rig::build(folder.path(), stop)?;
    progress(&format!("establishing {CLIENTS} flows"));
    let mut subject = Subject::start(&mut rig, candidate, CLIENTS, &relay, folder.path())?;

    let media = f64::from(options.media_kpps) * 1000.0;
    let rate = f64::from(options.kpps) * 1000.0;
    let flood = Duration::from_secs_f64(options.packets as f64 / rate);
    let mut phases = vec![];
    for (name, forgery) in [
        ("media alone", None),
        ("bad hints", Some(Forgery::BadHint)),
        ("good hints, bad integrity", Some(Forgery::BadIntegrity)),
    ] {
        progress(name);
        let (mut source, pace, duration) = match forgery {
            None => (Mixed::media(CLIENTS), media, BASELINE),
            Some(forgery) => {
                let all = media + rate;
                (Mixed::forged(CLIENTS, subject.sessions()?, forgery, media / all)?, all, flood)
            }
        };
        phases.push(phase(&mut rig, &mut subject, name, &mut source, pace, duration)?);
    }
    drop(rig);
    let host = Host::observe();
    let text = to_markdown(&host, candidate, &phases);
    println!("{text}");
    let data = json!({
        "schema": 1,
        "host": host.to_json(),
        "candidate": candidate.to_string(),
        "phases": phases,
    });
    let data = serde_json::to_string_pretty(&data).context("Failed to write JSON")?;
    let stem = host.file_stem("spoof");
    write_files(&options.results, &stem, &[("md", &text), ("json", &data)])
}

fn phase(
    rig: &mut Rig,
    subject: &mut Subject,
    name: &'static str,
    source: &mut Mixed,
    rate: f64,
    duration: Duration,
) -> Result<Phase> {
    rig.topology.arrivals(Arrival::Delivered)?;
    let Some(probed) = subject.probe(rig)? else { bail!("only the relay can be spoofed") };
    let before = Account::read(rig);
    rig.topology.arrivals(Arrival::Dropped)?;
    let traffic = rig.traffic(Direction::Forward)?;
    let cpu = subject.process.cpu_time()?;
    let driven = rig.drive(From::Clients, source, Pace::Even(rate), duration, |_| Ok(()))?;
    rig.drain()?;
    let cpu = subject.process.cpu_time()?.since(cpu);
    let bytes = rig.traffic(Direction::Forward)?.since(traffic).received_payload_bytes();
    subject.process.check()?;
    rig.topology.arrivals(Arrival::Delivered)?;
    let after_probe = subject.probe(rig)?.context("the relay has lost its tunnel")?;
    let sealed = datagrams_between(&probed, &after_probe);
    Ok(Phase {
        name,
        seconds: driven.elapsed.as_secs_f64(),
        forged: source.forged_packets,
        media: source.media_packets,
        media_arrived: packets_in(Direction::Forward, bytes, Some(sealed)),
        cpu_ns: cpu.run_ns,
        utilisation: cpu.run_ns as f64 / driven.elapsed.as_nanos() as f64,
        before,
        after: Account::read(rig),
    })
}

fn to_markdown(host: &Host, candidate: Candidate, phases: &[Phase]) -> String {
    let mut text =
        format!("# Forged first packets\n\n{}- relay: {candidate}\n\n", host.to_markdown());
    text.push_str(
        "| phase | forged | kpps | CPU µs/forged | CPU µs/packet | busy % | media lost % | flows new \
         | flows assured | flows made | dropped by the relay |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for phase in phases {
        let (before, after) = (&phase.before, &phase.after);
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |it| format!("{it:.0}"));
        let grown = |before: Option<f64>, after: Option<f64>| {
            number(before.zip(after).map(|(before, after)| after - before))
        };
        let cost = phases.first().and_then(|baseline| phase.cpu_us_per_forged(baseline));
        let written = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {:.2} | {:.0} | {:.3} | {} → {} | {} → {} | {} | {} |",
            phase.name,
            phase.forged,
            (phase.forged + phase.media) as f64 / phase.seconds / 1000.0,
            cost.map_or("–".to_owned(), |cost| format!("{cost:.2}")),
            phase.cpu_us_per_packet(),
            phase.utilisation * 100.0,
            phase.media_loss() * 100.0,
            number(before.flows_new),
            number(after.flows_new),
            number(before.flows_assured),
            number(after.flows_assured),
            grown(before.flows_created, after.flows_created),
            grown(before.drops, after.drops),
        );
        written.expect("writing to a String cannot fail");
    }
    text.push_str(
        "\n*CPU µs/forged* is what the process spent beyond what the media alone cost it in the same \
         time, over the forged packets; wake-ups that media and forgeries share count once, so it is \
         the price of one more. *CPU µs/packet* is all of its time over all packets. *Bad hints* are \
         minted with another key of the same name, *bad integrity* has a true hint and a wrong \
         password; both come from ever new addresses. Media goes from clients to shards, one packet of \
         each of the established flows in turn.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_media_costs_by_itself_is_not_blamed_on_forgeries() {
        let nothing =
            Account { flows_new: None, flows_assured: None, flows_created: None, drops: None };
        let phase = |name, seconds, forged, cpu_ns| Phase {
            name,
            seconds,
            forged,
            media: 1000,
            media_arrived: 999,
            cpu_ns,
            utilisation: 0.5,
            before: nothing,
            after: nothing,
        };
        let baseline = phase("media alone", 1.0, 0, 1_000_000);
        let flood = phase("bad hints", 2.0, 4_000, 10_000_000);
        assert_eq!(baseline.cpu_us_per_forged(&baseline), None);
        assert_eq!(flood.cpu_us_per_forged(&baseline), Some(2.0));
        assert!((flood.cpu_us_per_packet() - 2.0).abs() < 1e-9);
        assert!((flood.media_loss() - 0.001).abs() < 1e-9);
    }
}
