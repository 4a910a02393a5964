//! A relay and a transceiver, each the real program on a host of its own, ready for clients.

use crate::front::Front;
use crate::hosts::{Host, Hosts, NAT_INSIDE, NAT_OUTSIDE};
use crate::http::{self, Response};
use crate::nat::Nat;
use crate::peer::{Kind, Part, Peer};
use crate::process::Process;
use crate::programs;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// The relay's addresses, as clients without a NAT are told them.
pub const PUBLIC: [&str; 2] = ["10.78.1.1:3478", "[fd78:1::1]:3478"];

const RELAY_PAGES: SocketAddr = local(9478);
const TRANSCEIVER_PAGES: SocketAddr = local(9479);
const SIGNALING: SocketAddr = local(8080);
const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const METRIC_PATIENCE: Duration = Duration::from_secs(10);

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const RELAY: &str = r#"
listen = ["10.78.1.1:3478", "[fd78:1::1]:3478"]
workers = 2
keys = "FOLDER/keys.toml"
[tunnel]
address = "10.78.2.1"
[admin]
socket = "FOLDER/relay.sock"
[http]
listen = "127.0.0.1:9478"
[[clusters]]
id = 1
name = "test"
resolve = "table"
transceivers = [{ id = 1, address = "10.78.2.2", shards = 2 }]
"#;

const TRANSCEIVER: &str = r#"
cluster = 1
transceiver = 1
shards = 2
keys = "FOLDER/keys.toml"
ingress = [INGRESS]
backend = "echo"
[tunnel]
address = "10.78.2.2"
[signaling]
listen = "127.0.0.1:8080"
open = true
[rates]
# Everybody has the same address here.
address_per_second = 10_000
address_burst = 10_000
[admin]
socket = "FOLDER/transceiver.sock"
[http]
listen = "127.0.0.1:9479"
"#;

/// Everything that runs. Dropping it stops and removes all.
#[derive(Debug)]
pub struct Stage {
    /// The relay's program.
    pub relay: Process,
    /// The transceiver's program.
    pub transceiver: Process,
    nat: Option<Nat>,
    front: Front,
    front_address: SocketAddr,
    folder: tempfile::TempDir,
    /// Removed last, when nobody is on them any more.
    pub hosts: Hosts,
}

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The relay.
    Relay,
    /// The transceiver.
    Transceiver,
}

impl Stage {
    /// Starts both on hosts without a NAT. `None`, with a line that says why, where that cannot be.
    pub fn start() -> Option<Self> {
        Hosts::direct().map(Self::on)
    }

    /// Starts both, for a client that is behind a NAT.
    pub fn behind_nat() -> Option<Self> {
        Hosts::behind_nat().map(Self::on)
    }

    fn on(hosts: Hosts) -> Self {
        let folder = tempfile::tempdir().unwrap();
        service::keyfile::create(&folder.path().join("keys.toml")).unwrap();
        let nat = hosts.nat.as_ref().map(|host| {
            let inside = SocketAddr::new(NAT_INSIDE, 3478);
            host.run(|| Nat::start(inside, &NAT_OUTSIDE, PUBLIC[0].parse().unwrap()))
        });
        let ingress = match &nat {
            Some(nat) => format!("\"{}\"", nat.inside()),
            None => PUBLIC.map(|address| format!("\"{address}\"")).join(", "),
        };
        let relay = start(&hosts.relay, "relay", &programs::relay(), RELAY, folder.path());
        let config = TRANSCEIVER.replace("INGRESS", &ingress);
        let program = programs::transceiver();
        let transceiver =
            start(&hosts.transceiver, "transceiver", &program, &config, folder.path());
        let listener = hosts.client.run(|| TcpListener::bind("127.0.0.1:8080").unwrap());
        let front_address = listener.local_addr().unwrap();
        let front = hosts.transceiver.run(|| Front::start(listener, SIGNALING));
        let mut stage = Self { relay, transceiver, nat, front, front_address, folder, hosts };
        for program in [Program::Relay, Program::Transceiver] {
            stage.wait_until_ready(program);
        }
        stage
    }

    fn wait_until_ready(&mut self, program: Program) {
        let deadline = Instant::now() + START_PATIENCE;
        while self.page(program, "/ready").is_none_or(|page| page.status != 200) {
            self.process(program).assert_running();
            assert!(Instant::now() < deadline, "the {program:?} is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn process(&mut self, program: Program) -> &mut Process {
        match program {
            Program::Relay => &mut self.relay,
            Program::Transceiver => &mut self.transceiver,
        }
    }

    /// Kills the relay without a word, and starts it again.
    pub fn restart_relay(&mut self) {
        self.relay.kill();
        self.relay =
            start(&self.hosts.relay, "relay", &programs::relay(), RELAY, self.folder.path());
        self.wait_until_ready(Program::Relay);
    }

    /// A client of this kind, asking for this backend; `None` if it is not installed.
    pub fn client(&self, kind: Kind, model: &str) -> Option<Peer> {
        self.client_with_pauses(kind, model, 0)
    }

    /// A client that is silent for a while after each round of tones.
    pub fn client_with_pauses(&self, kind: Kind, model: &str, silence_ms: u32) -> Option<Peer> {
        let origin = format!("http://{}", self.front_address);
        let part = Part { origin: &origin, model, silence_ms };
        // Each client has its own folder: there may be two of a kind.
        let folder = tempfile::Builder::new().prefix("client").tempdir_in(self.folder.path());
        Peer::start(kind, &self.hosts.client, part, &folder.unwrap().keep())
    }

    /// The client's NAT.
    pub fn nat(&self) -> &Nat {
        self.nat.as_ref().expect("a stage behind a NAT")
    }

    /// Sends a request to the transceiver's signaling, as a client does.
    pub fn signal(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        http::request(&self.hosts.client, self.front_address, method, path, headers, body)
            .expect("signaling answers")
    }

    /// What the transceiver says of a call; `None` if there is no such call.
    pub fn report(&self, call: &str) -> Option<Value> {
        let answer = self.signal("GET", &format!("/v1/realtime/calls/{call}"), &[], b"");
        match answer.status {
            200 => Some(serde_json::from_str(&answer.body).unwrap()),
            404 => None,
            other => panic!("{other}: {}", answer.body),
        }
    }

    /// Waits until the transceiver has ended a call.
    pub fn wait_for_end_of(&self, call: &str) {
        let deadline = Instant::now() + METRIC_PATIENCE;
        while let Some(report) = self.report(call) {
            if report["state"] == "ended" {
                return;
            }
            assert!(Instant::now() < deadline, "the call goes on: {report}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A page of a program's listener for operators.
    pub fn page(&self, program: Program, path: &str) -> Option<Response> {
        match program {
            Program::Relay => http::get(&self.hosts.relay, RELAY_PAGES, path),
            Program::Transceiver => http::get(&self.hosts.transceiver, TRANSCEIVER_PAGES, path),
        }
    }

    /// The sum of a metric over all series whose labels contain this; 0 if there is none yet.
    pub fn metric(&self, program: Program, name: &str, label: &str) -> f64 {
        let page = self.page(program, "/metrics").expect("metrics").body;
        http::metric(&page, name, label)
            .unwrap_or_else(|| panic!("no {name}{{{label}}} in\n{page}"))
    }

    /// Waits until a metric is what it should be: they are published ten times a second.
    pub fn wait_for_metric(
        &self,
        program: Program,
        name: &str,
        label: &str,
        right: impl Fn(f64) -> bool,
    ) -> f64 {
        let deadline = Instant::now() + METRIC_PATIENCE;
        loop {
            let value = self.metric(program, name, label);
            if right(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{name}{{{label}}} is {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends both programs as an operator does, and sees that they end well.
    pub fn stop(mut self) {
        for program in [Program::Transceiver, Program::Relay] {
            let process = self.process(program);
            process.assert_running();
            process.signal(Signal::SIGTERM);
            // Two signals at once can be one; the second one ends calls that are still there.
            std::thread::sleep(Duration::from_millis(200));
            if process.is_running() {
                process.signal(Signal::SIGTERM);
            }
            let status = process.wait(STOP_PATIENCE);
            assert!(status.success(), "the {program:?} ended with {status}");
        }
        drop(self.front);
    }
}

fn start(host: &Host, name: &str, program: &Path, config: &str, folder: &Path) -> Process {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, config.replace("FOLDER", folder.to_str().unwrap())).unwrap();
    let arguments = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
    Process::start(host, name, program, arguments, folder)
}
