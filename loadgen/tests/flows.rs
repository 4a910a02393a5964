//! `flows` and `sink` with the real programs on loopback: straight, and through a relay.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::direct::{Ring, RingError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::program;
use testbed::Host;

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
    sink_at("127.0.0.1:0", keys, words)
}

fn sink_at(listen: &str, keys: &Path, words: &[&str]) -> (Process, SocketAddr) {
    let mut child = program(&["sink", "--listen", listen, "--keys", keys.to_str().unwrap()])
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

#[test]
fn a_generator_that_cannot_keep_up_says_so_unless_the_objectives_were_met_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let (_sink, address) = sink(&keys, &["--direct"]);
    // Four million packets a second are more than any thread sends.
    let load = ["--flows", "2000", "--profile", "2000x160", "--duration", "2s", "--beyond-caps"];
    for (slo, code, verdict) in [
        (None, 3, "bottleneck"),
        (Some("p99=0.001ms"), 3, "bottleneck"),
        (Some("loss=100%"), 0, "met"),
    ] {
        let words: Vec<&str> =
            load.into_iter().chain(slo.into_iter().flat_map(|slo| ["--slo", slo])).collect();
        let (is, report) = flows(address, &keys, &words);
        assert!(!report["bottlenecks"].as_array().unwrap().is_empty(), "{slo:?}");
        assert_eq!((is, report["verdict"].as_str()), (code, Some(verdict)), "{slo:?}");
    }
}

#[test]
fn a_soak_that_is_stopped_reports_what_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let (_sink, address) = sink(&keys, &["--direct"]);
    let report = folder.path().join("soak.json");
    let mut soak = program(&["flows", "--soak", "--flows", "20", "-q", "--relay"])
        .args([&address.to_string(), "--keys", keys.to_str().unwrap()])
        .args(["--json", report.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .map(Process)
        .unwrap();
    // Some stretches of a soak are a minute each; it need not come to the end of the first.
    std::thread::sleep(Duration::from_secs(3));
    assert!(soak.0.try_wait().unwrap().is_none(), "an hour is not over");
    kill(Pid::from_raw(i32::try_from(soak.0.id()).unwrap()), Signal::SIGINT).unwrap();
    let code = soak.0.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!((&report["mode"], &report["interrupted"]), (&"soak".into(), &true.into()));
    assert_eq!(report["steps"].as_array().unwrap().len(), 1);
    assert_all_came_back(&report, 20);
}

/// A network of our own, in which private addresses are fair game and public ones are not.
#[test]
fn flows_in_a_namespace_come_from_its_networks_and_go_where_they_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let made = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs root, unshare and ip");
        return;
    }
    let run = |target: &str, words: &[&str]| {
        let script = "ip link set lo up && ip address add $0/32 dev lo && \
            ip route add local 10.99.0.0/16 dev lo && \
            { \"$1\" sink --direct --keys \"$2\" --listen $0:3600 --duration 8s >&2 & sleep 0.5; } && \
            exec \"$@\"";
        let script = script.replace("exec \"$@\"", "shift 2 && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", &script, target, support::PROGRAM]).arg(&keys);
        command.args([support::PROGRAM, "flows", "--relay", &format!("{target}:3600"), "--keys"]);
        command.arg(&keys).args(["--sources", "10.99.0.0/16", "--flows", "300"]);
        command.args(["--duration", "2s", "--json", "-", "-q"]).args(words).output().unwrap()
    };
    // Where it cannot be told whose network this is, it counts as the host's.
    let told = std::fs::read_link("/proc/1/ns/net").is_ok();
    let private = ["--target-authorized", "10.77.0.1"];
    let private = run("10.77.0.1", if told { &[] } else { &private });
    let allowed = run("203.0.113.1", &["--target-authorized", "203.0.113.1"]);
    for output in [private, allowed] {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).expect(&text);
        assert_all_came_back(&report, 300);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    }
    for words in [&[][..], &["--target-authorized", "203.0.113.2"]] {
        let output = run("203.0.113.1", words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--target-authorized"), "{text}");
    }
}

/// Two hosts with a wire between them, both past their kernels' UDP.
#[test]
fn with_direct_egress_packets_leave_as_frames_and_come_back_as_ever() {
    if matches!(Ring::open(1, 0), Err(RingError::Unknown | RingError::NotPermitted)) {
        return println!("skipped: no AF_XDP here");
    }
    let (generator, far) = match (Host::make("generator"), Host::make("far")) {
        (Ok(generator), Ok(far)) => (generator, far),
        (Err(error), _) | (_, Err(error)) => return println!("skipped: {error}"),
    };
    let far_name = far.name();
    generator
        .configure(&format!(
            "link add g0 type veth peer name f0 netns {far_name}\nlink set g0 up\n\
             address add 10.76.1.2/24 dev g0\nroute add local 10.128.0.0/9 dev lo\n"
        ))
        .unwrap();
    far.configure(
        "link set f0 up\naddress add 10.76.1.1/24 dev f0\nroute add 10.128.0.0/9 via 10.76.1.2\n",
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let egress = ["--direct", "--direct-egress"];
    let (mut sink, address) = far.run(|| sink_at("10.76.1.1:0", &keys, &egress));
    let words = "--flows 200 --duration 3s --sources 10.128.0.0/9 --target-authorized 10.76.1.1 \
                 --direct-egress";
    let words: Vec<_> = words.split_whitespace().collect();
    let (code, report) = generator.run(|| flows(address, &keys, &words));
    assert_all_came_back(&report, 200);
    assert!(code == 0 || code == 3, "{code}");
    let (frames, sent) =
        (&report["result"]["generator"]["frames"], &report["result"]["counts"]["sent"]);
    // All but what leaves in the first second, before the neighbour is known.
    assert!(number(frames) * 2 > number(sent), "{frames} of {sent}");
    assert!(report["engine"].as_str().unwrap().ends_with(", direct egress"), "{report:#}");

    // One thread has the only queue of the device, and there is none for a second.
    let two: Vec<_> = words.iter().copied().chain(["--threads", "2"]).collect();
    let refused = generator.run(|| refusal(&address.to_string(), &keys, &two));
    assert!(refused.contains("every queue of the device"), "{refused}");
    sink.0.kill().unwrap();
}

/// What `flows` says when it will not begin.
fn refusal(target: &str, keys: &Path, words: &[&str]) -> String {
    let flows = ["flows", "--relay", target, "--keys", keys.to_str().unwrap(), "-q"];
    let output = program(&flows).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn direct_egress_where_it_cannot_be_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let said = refusal("127.0.0.1:3478", &keys, &["--direct-egress"]);
    assert!(said.contains("--sources"), "{said}");
    let sources = ["--direct-egress", "--sources", "127.64.0.0/10"];
    let said = refusal("127.0.0.1:3478", &keys, &sources);
    assert!(said.contains("not for loopback"), "{said}");
    let sink = ["sink", "--direct-egress", "--listen", "0.0.0.0:0", "--keys"];
    let output = program(&sink).arg(&keys).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("0.0.0.0 is none"), "{said}");
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
