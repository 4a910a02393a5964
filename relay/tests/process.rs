//! The relay as operators run it: the real program on a host of its own, clients and a shard on
//! others, and everything an operator does to it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
mod support;

use namespaces::{Hosts, on_host};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::{Arrived, Caller, SILENCE, Shard, check};
use wire::keyring::Keyring;

const RTP: &[u8] = &[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
const RTP_BACK: &[u8] = &[0x80, 111, 0, 9, 0, 0, 0, 2, 0, 0, 0, 3, 0xbb];
const PUBLIC: &str = "10.77.1.1:3478";
const PUBLIC_V6: &str = "[fd77:1::1]:3478";
const METRICS: &str = "127.0.0.1:9478";

const CONFIG: &str = r#"
listen = ["10.77.1.1:3478", "[fd77:1::1]:3478"]
workers = 2
keys = "KEYS"
[tunnel]
address = "10.77.2.1"
[admin]
socket = "SOCKET"
[drain]
deadline = "30s"
[[clusters]]
id = 1
name = "test"
resolve = "table"
transceivers = [{ id = 1, address = "10.77.2.2", shards = 1 }]
"#;

/// A running relay with its hosts.
struct Stage {
    relay: Child,
    shard: Shard,
    config: PathBuf,
    folder: tempfile::TempDir,
    hosts: Hosts,
}

impl Stage {
    fn start(engine: &str) -> Option<Self> {
        let hosts = Hosts::make()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        service::keyfile::create(&keys).unwrap();
        let keyring = service::keyfile::load(&keys).unwrap();
        let config = folder.path().join("relay.toml");
        let text = CONFIG
            .replace("KEYS", keys.to_str().unwrap())
            .replace("SOCKET", folder.path().join("relay.sock").to_str().unwrap());
        fs::write(&config, text).unwrap();
        let shard = on_host(&hosts.shard, || shard(&keyring));
        let relay = on_host(&hosts.relay, || {
            Command::new(env!("CARGO_BIN_EXE_ringway-relay"))
                .args(["run", "--engine", engine, "--config"])
                .arg(&config)
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap()
        });
        let mut stage = Self { relay, shard, config, folder, hosts };
        stage.wait_until_ready();
        Some(stage)
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.page("/ready").is_none_or(|page| !page.starts_with("HTTP/1.1 200")) {
            assert!(self.relay.try_wait().unwrap().is_none(), "the relay has ended");
            assert!(Instant::now() < deadline, "the relay is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A page of the relay's HTTP listener, headers and all.
    fn page(&self, path: &str) -> Option<String> {
        on_host(&self.hosts.relay, || {
            let mut stream = TcpStream::connect(METRICS).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
                .ok()?;
            let mut page = String::new();
            stream.read_to_string(&mut page).ok()?;
            Some(page)
        })
    }

    /// The sum of a metric over all series whose labels contain this.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let page = self.page("/metrics").unwrap();
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let ours = labels.is_empty() || (labels.starts_with('{') && labels.contains(label));
            ours.then(|| value.parse::<f64>().unwrap())
        });
        let values: Vec<_> = values.collect();
        assert!(!values.is_empty(), "there is no {name} with {label} in\n{page}");
        values.iter().sum()
    }

    /// Waits until a metric is what it should be: workers publish ten times a second.
    fn wait_for_metric(&self, name: &str, label: &str, right: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let value = self.metric(name, label);
            if right(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{name}{{{label}}} is {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn caller(&self, relay: &str) -> Caller {
        let relay: SocketAddr = relay.parse().unwrap();
        on_host(&self.hosts.client, || {
            Caller::on(
                relay,
                if relay.is_ipv4() { "10.77.1.2:0" } else { "[fd77:1::2]:0" }.parse().unwrap(),
            )
        })
    }

    /// A call that has been set up: the shard has answered.
    fn call(&mut self, relay: &str, tag: u32) -> (Caller, Arrived) {
        let caller = self.caller(relay);
        let (_, check) = self.shard.session(tag);
        caller.send(&check);
        let arrived = self.shard.receive_one();
        assert_eq!(arrived.packet, check);
        self.shard.send(arrived.relay, &arrived.client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);
        (caller, arrived)
    }

    fn goes_on(&mut self, caller: &Caller, arrived: &Arrived) {
        caller.send(RTP);
        assert_eq!(self.shard.receive_one().packet, RTP);
        self.shard.send(arrived.relay, &arrived.client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.relay.id()).unwrap()), signal).unwrap();
    }

    fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.relay.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the relay does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        // Two signals at once can be one.
        self.wait_for_metric("relay_draining", "", |draining| draining >= 1.0);
        self.signal(Signal::SIGTERM);
        assert!(self.wait_for_end(Duration::from_secs(10)).success());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Only after a failed test is it still there.
        let _ = self.relay.kill();
        let _ = self.relay.wait();
    }
}

fn shard(keyring: &Keyring) -> Shard {
    Shard::new("10.77.2.2:3600".parse().unwrap(), keyring)
}

#[test]
fn calls_go_through_with_either_engine_and_family() {
    for engine in ["mmsg", "auto"] {
        let Some(mut stage) = Stage::start(engine) else { return };
        let mut calls = Vec::new();
        for tag in 0..20 {
            let relay = if tag % 2 == 0 { PUBLIC } else { PUBLIC_V6 };
            calls.push(stage.call(relay, tag));
        }
        for (caller, arrived) in &calls {
            stage.goes_on(caller, arrived);
        }
        let relays: std::collections::BTreeSet<_> =
            calls.iter().map(|(_, arrived)| arrived.relay).collect();
        assert_eq!(relays.len(), 2, "twenty calls are spread over both workers");
        stage.wait_for_metric("relay_flows_assured", "worker", |flows| flows == 20.0);
        assert_eq!(stage.metric("relay_client_received_packets_total", "class=\"rtp\""), 20.0);
        assert_eq!(stage.metric("relay_worker_allocations_after_ready_total", "worker"), 0.0);
        stage.stop();
    }
}

#[test]
fn a_draining_relay_keeps_its_calls_and_takes_no_others() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.signal(Signal::SIGTERM);
    stage.wait_for_metric("relay_draining", "", |draining| draining >= 1.0);
    assert!(stage.page("/ready").unwrap().starts_with("HTTP/1.1 503"));
    assert!(stage.page("/live").unwrap().starts_with("HTTP/1.1 200"));

    let late = stage.caller(PUBLIC);
    late.send(&stage.shard.session(2).1);
    assert_eq!(stage.shard.receive(SILENCE), []);
    stage.goes_on(&caller, &arrived);
    assert!(stage.relay.try_wait().unwrap().is_none(), "a call is still going on");
    assert!(stage.folder.path().join("relay.sock").exists());

    stage.shard.gone(arrived.relay, &arrived.client);
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    assert!(!stage.folder.path().join("relay.sock").exists());
}

#[test]
fn a_reload_takes_what_is_good_and_refuses_the_rest() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    let good = fs::read_to_string(&stage.config).unwrap();
    let generation = "relay_config_generation";
    assert_eq!(stage.metric(generation, ""), 1.0);

    fs::write(&stage.config, good.replace("deadline = \"30s\"", "deadline = \"soon\"")).unwrap();
    stage.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.metric(generation, ""), 1.0, "a bad file changes nothing");
    stage.goes_on(&caller, &arrived);

    fs::write(&stage.config, good.replace("id = 1, address", "id = 2, address")).unwrap();
    stage.signal(Signal::SIGHUP);
    stage.wait_for_metric(generation, "", |generation| generation == 2.0);
    stage.goes_on(&caller, &arrived);
    let late = stage.caller(PUBLIC);
    late.send(&stage.shard.session(2).1);
    assert_eq!(stage.shard.receive(SILENCE), [], "transceiver 1 is called 2 now");
    let unknown = "reason=\"transceiver_unknown\"";
    stage.wait_for_metric("relay_drops_total", unknown, |drops| drops == 1.0);

    // A keyring that others could read is as bad as a bad one.
    let keys = stage.folder.path().join("keys.toml");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    stage.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.metric(generation, ""), 2.0);
    stage.stop();
}

/// Twenty thousand packets that prove nothing, while calls go on: no flow is made, nothing reaches
/// the shard, and every one of them is accounted for.
#[test]
fn a_flood_of_unproven_checks_makes_no_flow_and_harms_no_call() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    let (ufrag, _) = stage.shard.session(2);
    let foreign = check(b"somebodyelsesufragentir", b"pwd");
    let unproven = check(ufrag.as_bytes(), b"not the password");
    let attacker = stage.caller(PUBLIC);
    for round in 0..100 {
        for _ in 0..100 {
            attacker.send(&foreign);
            attacker.send(&unproven);
        }
        if round % 10 == 0 {
            stage.goes_on(&caller, &arrived);
        }
    }
    assert_eq!(stage.shard.receive(SILENCE), []);
    let deadline = Instant::now() + Duration::from_secs(10);
    let accounted = || {
        let reasons = ["hint_unknown_key", "hint_forged", "hint_text", "integrity_wrong"];
        let of = |reason| stage.metric("relay_drops_total", &format!("reason=\"{reason}\""));
        let dropped: f64 = reasons.into_iter().map(of).sum();
        dropped + stage.metric("relay_kernel_drops_total", "socket=\"public\"")
    };
    while accounted() < 20_000.0 {
        assert!(Instant::now() < deadline, "only {} are accounted for", accounted());
    }
    assert_eq!(accounted(), 20_000.0);
    assert_eq!(stage.metric("relay_flows_new", "worker"), 0.0);
    assert_eq!(stage.metric("relay_flows_assured", "worker"), 1.0);
    stage.stop();
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("relay.toml");
    for (text, wants) in [
        ("workers = 0\n", ["relay.toml:1: workers", "must be"]),
        ("\n\nworker = 2\n", ["relay.toml:3: worker", "workers"]),
        ("listen = [\"nowhere\"]\n", ["relay.toml:1: listen[0]", "invalid socket address"]),
        ("keys = \"/nowhere/keys.toml\"\n", ["/nowhere/keys.toml", "ringway-relay keygen"]),
    ] {
        fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringway-relay"))
            .args(["run", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {message}");
        for want in wants {
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}
