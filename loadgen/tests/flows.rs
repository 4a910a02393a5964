//! `flows` and `sink` with the real programs on loopback: straight, and through a relay.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::program;

/// A child that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keys(folder: &Path) -> PathBuf {
    let path = folder.join("keys.toml");
    service::keyfile::create(&path).unwrap();
    path
}

/// Starts a sink, and reads from what it says where it listens.
fn sink(keys: &Path, words: &[&str]) -> (Process, SocketAddr) {
    let mut child = program(&["sink", "--listen", "127.0.0.1:0", "--keys", keys.to_str().unwrap()])
        .args(words)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    (Process(child), address)
}

fn flows(target: SocketAddr, keys: &Path, words: &[&str]) -> (i32, Value) {
    let target = target.to_string();
    let mut all =
        vec!["flows", "--relay", &target, "--keys", keys.to_str().unwrap(), "--json", "-", "-q"];
    all.extend(words);
    let output = program(&all).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), report)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn assert_all_came_back(report: &Value, flows: u64) {
    let counts = &report["result"]["counts"];
    assert_eq!(
        (number(&counts["connected"]), number(&counts["ended"])),
        (flows, flows),
        "{counts:#}"
    );
    assert!(number(&counts["sent"]) > flows * 50, "{counts:#}");
    assert_eq!(number(&counts["sent"]), number(&counts["back"]) + number(&counts["lost"]));
    // On loopback, and far from any capacity: but the machine may be busy.
    assert!(number(&counts["lost"]) * 20 < number(&counts["sent"]), "{counts:#}");
    assert!(number(&report["result"]["up"]["count"]) > 0, "the far end's clock is ours");
}

#[test]
fn flows_come_back_from_a_sink_without_a_relay() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let (mut sink, address) = sink(&keys, &["--direct"]);
    for engine in ["mmsg", "auto"] {
        let words = ["--flows", "200", "--duration", "3s", "--threads", "2", "--engine", engine];
        let (code, report) = flows(address, &keys, &words);
        assert_all_came_back(&report, 200);
        assert!(code == 0 || code == 3, "{code}");
    }
    let ping = program(&["ping", "--keys", keys.to_str().unwrap(), &address.to_string()]);
    let output = { ping }.args(["--interval", "1ms"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("5/5"));

    kill(Pid::from_raw(i32::try_from(sink.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = sink.0.wait().unwrap();
    assert!(status.success());
    let mut said = String::new();
    BufReader::new(sink.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("sent back "), "{said}");
}

#[test]
fn nobody_there_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    // Bound, and silent.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let words = ["--flows", "3", "--duration", "11s", "--slo", "loss=100%"];
    let (code, report) = flows(silent.local_addr().unwrap(), &keys, &words);
    assert_eq!((code, report["verdict"].as_str()), (1, Some("nothing")));
    assert_eq!(report["result"]["failures"]["no answer to any check"], 3);
    assert_eq!(report["result"]["counts"]["sent"], 0, "nothing without consent");
}

#[test]
fn flows_go_through_a_real_relay() {
    let Some(relay) = relay_program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let keys = keys(folder.path());
    let (_sink, shard) = sink(&keys, &[]);
    let entry = program(&["sink", "--listen", &shard.to_string(), "--print-relay-config"]);
    let entry = String::from_utf8({ entry }.output().unwrap().stdout).unwrap();
    // Free a moment ago; nobody else in this test takes ports of this kind.
    let free = |_| UdpSocket::bind("127.0.0.1:0").unwrap();
    let [public, tunnel] = [0, 1].map(free);
    let public_address = public.local_addr().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (config, socket) = (path("relay.toml"), path("relay.sock"));
    let text = format!(
        "listen = [\"{public_address}\"]\nworkers = 1\nkeys = {keys:?}\n\
         [flows]\nper_worker = 4096\nnew_max = 1024\n\
         [tunnel]\naddress = \"127.0.0.1\"\nport_base = {}\n\
         [admin]\nsocket = {socket:?}\n[http]\nlisten = \"{http}\"\n{entry}",
        tunnel.local_addr().unwrap().port(),
    );
    std::fs::write(&config, text).unwrap();
    drop((public, tunnel));
    let mut child = Command::new(&relay)
        .args(["run", "--log-level", "error", "--config"])
        .arg(&config)
        .spawn()
        .map(Process)
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(child.0.try_wait().unwrap().is_none(), "the relay has ended");
        assert!(Instant::now() < deadline, "the relay makes no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    let html = path("flows.html");
    let words = ["--flows", "100", "--duration", "4s", "--html", html.to_str().unwrap()];
    let (code, report) = flows(public_address, &keys, &words);
    assert_all_came_back(&report, 100);
    assert!(code == 0 || code == 3, "{code}");
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
}

/// The relay beside our own program, if it has been built.
fn relay_program() -> Option<PathBuf> {
    let path = Path::new(support::PROGRAM).with_file_name("ringway-relay");
    if !path.exists() {
        println!("skipped: needs ringway-relay: cargo build -p ringway-relay");
        return None;
    }
    Some(path)
}
