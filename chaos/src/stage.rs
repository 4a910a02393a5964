//! Relays and transceivers as a row wants them, and calls through them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use loadgen::call::{Call, Identity};
use serde_json::Value;
use testbed::manager::Manager;
use wire::keyring::Keyring;

use crate::count;
use crate::findings::{Findings, Way};
use crate::fleet::Fleet;
use crate::ledger::Figures;
use crate::member::{Member, Voice};
use crate::namespaces::Network;
use crate::page::{self, Response};
use crate::process::{Plan, Process};
use crate::redis::Redis;
use crate::run::Run;

const SIGNALING: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const PARK_PATIENCE: Duration = Duration::from_secs(30);
/// What workers count is published within this time.
pub(crate) const PUBLISHED: Duration = Duration::from_millis(300);

/// What a row wants.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) relays: usize,
    pub(crate) transceivers: usize,
    /// What the transceivers' clients talk to.
    pub(crate) backend: &'static str,
    /// The first relay has a Redis beside it.
    pub(crate) redis: bool,
    /// A service manager keeps the first relay's sockets and flows.
    pub(crate) parks: bool,
    /// More for the relays' configuration.
    pub(crate) relay_extra: &'static str,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            relays: 1,
            transceivers: 1,
            backend: "echo",
            redis: false,
            parks: false,
            relay_extra: "",
        }
    }
}

/// Everything that runs in a row. Dropping it ends all.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// First of all: calls end before what carries them.
    pub(crate) fleet: Fleet,
    pub(crate) relays: Vec<Process<'a>>,
    pub(crate) transceivers: Vec<Process<'a>>,
    pub(crate) redis: Option<Redis<'a>>,
    pub(crate) network: &'a Network,
    pub(crate) run: &'a Run,
    identity: Identity,
    folder: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    pub(crate) fn start(run: &'a Run, setting: &Setting) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        service::keyfile::create(&folder.path().join("keys.toml"))?;
        let redis = setting.redis.then(|| Redis::start(&run.network.relays[0])).transpose()?;
        let plan = |name: &str, pages_port| Plan {
            name: name.to_owned(),
            program: run.programs.join(format!("ringway-{}", name.trim_end_matches(['1', '2']))),
            folder: folder.path().to_path_buf(),
            pages_port,
        };
        let mut relays = Vec::new();
        for (host, number) in run.network.relays.iter().zip(1..).take(setting.relays) {
            let plan = plan(&format!("relay{number}"), 9478);
            fs::write(plan.config(), relay_config(folder.path(), number, setting))?;
            let manager = || Manager::start(&folder.path().join("notify.sock"));
            let manager = (setting.parks && number == 1).then(manager);
            relays.push(Process::start_by(manager, plan, host)?);
        }
        let mut transceivers = Vec::new();
        for (host, number) in run.network.transceivers.iter().zip(1..).take(setting.transceivers) {
            let plan = plan(&format!("transceiver{number}"), 9479);
            fs::write(plan.config(), transceiver_config(folder.path(), number, setting))?;
            transceivers.push(Process::start(plan, host)?);
        }
        let fleet = Fleet::start(&run.network.clients)?;
        let identity = Identity::generate()?;
        let network = &run.network;
        Ok(Self { fleet, relays, transceivers, redis, network, run, identity, folder })
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    pub(crate) fn keyring(&self) -> Result<Keyring> {
        service::keyfile::load(&self.keys()).context("Failed to read the keys")
    }

    /// The address of a relay for clients.
    pub(crate) fn public(relay: usize) -> SocketAddr {
        SocketAddr::from(([10, 79, if relay == 0 { 1 } else { 2 }, 1], 3478))
    }

    /// Asks a transceiver's signaling.
    pub(crate) fn signal(
        &self,
        transceiver: usize,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response> {
        let host = &self.network.transceivers[transceiver];
        host.run(|| page::request(SIGNALING, method, path, body))
    }

    /// Offers a call: the call, its name, and the answer.
    pub(crate) fn offer(&self, transceiver: usize) -> Result<(Call, String, String)> {
        let (call, offer) = Call::with_identity(&self.identity, Instant::now())?;
        let offer = Some(("application/sdp", offer.as_str()));
        let answer = self.signal(transceiver, "POST", "/v1/realtime/calls", offer)?;
        ensure!(answer.status == 201, "refused with {}: {}", answer.status, answer.body);
        let location = answer.location.context("no Location")?;
        let id = location.rsplit('/').next().unwrap_or_default().to_owned();
        Ok((call, id, answer.body))
    }

    /// As many calls as the row is run with, spread over the transceivers, connected and talking.
    pub(crate) fn call_all(&mut self) -> Result<()> {
        let count = self.run.calls;
        self.run.say(&format!("{count} calls"));
        for index in 0..count {
            self.call(index % self.transceivers.len())?;
        }
        self.wait_until_connected()?;
        self.fleet.with(|calls| calls.speak(Voice::Loud))?;
        self.run.pause(Duration::from_secs(2))
    }

    /// One more call, which is not waited for.
    pub(crate) fn call(&mut self, transceiver: usize) -> Result<()> {
        let (mut call, id, answer) = self.offer(transceiver)?;
        self.run.check()?;
        self.fleet.with(move |calls| {
            call.accept_answer(&answer, Instant::now())?;
            let ip = calls.next_address();
            let mut member = Member::new(call, id, transceiver, ip)?;
            member.pump();
            calls.join(member)
        })?
    }

    pub(crate) fn wait_until_connected(&mut self) -> Result<()> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            let missing = self
                .fleet
                .with(|calls| calls.members.iter().filter(|member| !member.connected).count())?;
            if missing == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{missing} calls do not connect");
            self.run.pause(Duration::from_millis(20))?;
        }
    }

    /// Waits until the flows of all calls are parked.
    pub(crate) fn wait_until_parked(&mut self) -> Result<()> {
        let calls = self.fleet.with(|calls| calls.members.len())?;
        let deadline = Instant::now() + PARK_PATIENCE;
        loop {
            let parked = count(self.relays[0].metric("relay_parked_flows", "")?);
            if parked >= calls as u64 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{parked} flows of {calls} calls are parked");
            self.run.pause(Duration::from_millis(100))?;
        }
    }

    /// What the transceivers say of all calls.
    pub(crate) fn reports(&mut self) -> Result<Vec<Value>> {
        let all = self.fleet.with(|calls| {
            let of = |member: &Member| (member.transceiver, member.id.clone());
            calls.members.iter().map(of).collect::<Vec<_>>()
        })?;
        all.iter()
            .map(|(transceiver, id)| {
                let path = format!("/v1/realtime/calls/{id}");
                let answer = self.signal(*transceiver, "GET", &path, None)?;
                ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
                serde_json::from_str(&answer.body).context("Failed to understand a report")
            })
            .collect()
    }

    /// Packets that never came to the transceiver, by its own count, of each call.
    pub(crate) fn lost_in(&mut self) -> Result<Vec<u64>> {
        let of = |report: &Value| report["media"]["lost_in"].as_u64().context("no lost_in");
        self.reports()?.iter().map(of).collect()
    }

    /// Ends the counting of echoes: what was lost, and which calls are.
    pub(crate) fn end_of_echoes(&mut self) -> Result<Findings> {
        self.fleet.end()?;
        let figures = self.fleet.echoes()?;
        let dropped =
            self.fleet.with(|calls| calls.members.iter().filter(|it| it.is_lost()).count())?;
        let way = |lost: fn(&Figures) -> u64, gap: fn(&Figures) -> Duration| {
            Way::new(figures.iter().map(lost).sum(), figures.iter().map(gap).collect())
        };
        Ok(Findings {
            calls: figures.len(),
            dropped,
            sent: figures.iter().map(|it| it.sent).sum(),
            up: Some(way(|it| it.lost_up, |it| it.gap_up)),
            down: Some(way(|it| it.lost_down, |it| it.gap_down)),
            late: self.fleet.late()?,
            ..Findings::default()
        })
    }

    /// Sums a metric over all relays, or none.
    pub(crate) fn relay_metric(&self, name: &str, label: &str) -> Result<f64> {
        self.relays.iter().map(|relay| relay.metric(name, label)).sum()
    }
}

fn relay_config(folder: &Path, number: u8, setting: &Setting) -> String {
    let folder = folder.display();
    let redis = if setting.redis && number == 1 {
        "[redis]\nurl = \"redis://127.0.0.1:6379\"\ntimeout = \"100ms\"\n"
    } else {
        ""
    };
    format!(
        r#"listen = ["10.79.{number}.1:3478"]
workers = 2
keys = "{folder}/keys.toml"
coalesce_us_max = 100
[tunnel]
address = "10.79.9.{number}"
[admin]
socket = "{folder}/relay{number}.sock"
[http]
listen = "127.0.0.1:9478"
{redis}{}
[[clusters]]
id = 1
name = "chaos"
resolve = "table"
transceivers = [
    {{ id = 1, address = "10.79.9.11", shards = 1 }},
    {{ id = 2, address = "10.79.9.12", shards = 1 }},
]
"#,
        setting.relay_extra
    )
}

fn transceiver_config(folder: &Path, number: u8, setting: &Setting) -> String {
    let folder = folder.display();
    let ingress: Vec<_> =
        (1..=setting.relays).map(|relay| format!("\"10.79.{relay}.1:3478\"")).collect();
    format!(
        r#"cluster = 1
transceiver = {number}
shards = 1
keys = "{folder}/keys.toml"
ingress = [{}]
backend = "{}"
[tunnel]
address = "10.79.9.1{number}"
[signaling]
listen = "127.0.0.1:8080"
open = true
connections_per_address_max = 4096
[rates]
# Everybody has the same address here.
address_per_second = 10_000
address_burst = 10_000
[calls]
per_shard_max = 2000
[admin]
socket = "{folder}/transceiver{number}.sock"
[http]
listen = "127.0.0.1:9479"
"#,
        ingress.join(", "),
        setting.backend
    )
}
