//! What an operator sees and does, with the real program: on loopback, so that it runs anywhere.

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Caller, Shard};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-relay");
const RTP: &[u8] = &[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];

/// Runs the program with nothing of ours in its environment.
fn program(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words);
    for name in ["RINGWAY_CONFIG", "RINGWAY_ADMIN_SOCKET", "RINGWAY_KEYS"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two ports beside each other, free as soon as the sockets are dropped.
fn free_ports() -> (u16, [UdpSocket; 2]) {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX
            && let Ok(second) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            return (port, [first, second]);
        }
    }
}

/// A running relay of two workers, and a shard.
struct Stage {
    relay: Child,
    shard: Shard,
    public: SocketAddr,
    socket: PathBuf,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (keys, socket, config) = (path("keys.toml"), path("relay.sock"), path("relay.toml"));
        assert!(program(&["keygen", keys.to_str().unwrap()]).output().unwrap().status.success());
        let shard =
            Shard::new("127.0.0.1:0".parse().unwrap(), &service::keyfile::load(&keys).unwrap());
        // Held until all are chosen, so that no two are the same.
        let (public, held_public) = free_ports();
        let (tunnel, held_tunnel) = free_ports();
        let public = SocketAddr::from(([127, 0, 0, 1], public));
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "listen = [\"{public}\"]\nworkers = 2\nkeys = {keys:?}\nengine = \"mmsg\"\n\
             [flows]\nper_worker = 4096\nnew_max = 1024\n\
             [tunnel]\naddress = \"127.0.0.1\"\nport_base = {tunnel}\n\
             [admin]\nsocket = {socket:?}\n[http]\nlisten = \"{http}\"\n\
             [[clusters]]\nid = 1\nname = \"lab\"\nresolve = \"table\"\n\
             allow_special = [\"127.0.0.0/8\"]\n\
             transceivers = [{{ id = 1, address = \"127.0.0.1\", port_base = {}, shards = 1 }}]\n",
            shard.address().port(),
        );
        fs::write(&config, text).unwrap();
        drop((held_public, held_tunnel));
        let mut relay = program(&["run", "--log-level", "error", "--config"])
            .arg(&config)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(relay.try_wait().unwrap().is_none(), "the relay has ended");
            assert!(Instant::now() < deadline, "the relay makes no socket");
            std::thread::sleep(Duration::from_millis(20));
        }
        let stage = Self { relay, shard, public, socket, config, _folder: folder };
        // The file is there before the workers are; an answer comes only from a relay that runs.
        stage.says(&["peers"]);
        stage
    }

    fn ctl(&self, words: &[&str]) -> Output {
        program(&["ctl", "--socket", self.socket.to_str().unwrap()]).args(words).output().unwrap()
    }

    /// What a question that succeeds prints.
    fn says(&self, words: &[&str]) -> String {
        let output = self.ctl(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{words:?}");
        text(&output.stdout)
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], words].concat())).unwrap()
    }

    /// What a question that fails prints.
    fn refuses(&self, words: &[&str]) -> String {
        let output = self.ctl(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// A call that its shard has answered, and its ufrag.
    fn call(&mut self, tag: u32) -> (Caller, String) {
        let caller = Caller::on(self.public, "127.0.0.1:0".parse().unwrap());
        let (ufrag, check) = self.shard.session(tag);
        caller.send(&check);
        let arrived = self.shard.receive_one();
        self.shard.send(arrived.relay, &arrived.client, RTP);
        assert_eq!(caller.receive(), RTP);
        (caller, ufrag)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.relay.id()).unwrap()), Signal::SIGKILL);
        let _ = self.relay.wait();
    }
}

#[test]
fn an_operator_looks_at_a_running_relay() {
    let mut stage = Stage::start();
    let calls: Vec<_> = (0..6).map(|tag| stage.call(tag)).collect();
    let client = calls[0].0.address().to_string();

    // Peers are pinged once a second; the status takes one.
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = loop {
        stage.shard.receive(Duration::from_millis(300));
        let status = stage.json(&["status"]);
        if status["peers"][0]["up"] == true {
            break status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
    };
    assert_eq!(status["engine"], "mmsg", "{status:#}");
    assert_eq!((&status["generation"], &status["draining"]), (&1.into(), &false.into()));
    let workers = status["workers"].as_array().unwrap();
    let flows = |worker: &Value| worker["flows_assured"].as_u64().unwrap();
    assert_eq!((workers.len(), workers.iter().map(flows).sum()), (2, 6));
    assert_eq!(status["peers"][0]["route"]["cluster"], "lab");

    let screen = stage.says(&["status"]);
    for part in
        ["taking new flows, configuration 1", "engine mmsg, as configured", "lab/1/0", "drops"]
    {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    assert!(stage.says(&["peers"]).contains("lab/1/0"));

    let flow = stage.json(&["flow", &client]);
    assert_eq!(flow["flows"][0]["state"], "assured", "{flow:#}");
    assert_eq!(flow["flows"][0]["session"], 0, "{flow:#}");
    assert!(stage.says(&["flow", &client]).contains("lab/1/0"));
    assert!(stage.refuses(&["flow", "127.0.0.1:1"]).contains("no worker has a flow"));

    // Page by page, each flow once.
    let mut seen = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let mut words = vec!["flows", "--limit", "1"];
        words.extend(from.iter().flat_map(|from| ["--from", from.as_str()]));
        let page = stage.json(&words);
        let flows = page["flows"].as_array().unwrap();
        assert!(flows.len() <= 1);
        seen.extend(flows.iter().map(|flow| flow["client"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => from = Some(next.to_owned()),
            None => break,
        }
    }
    seen.sort();
    let mut wanted: Vec<_> = calls.iter().map(|(caller, _)| caller.address().to_string()).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
    assert!(stage.refuses(&["flows", "--worker", "2"]).contains("they are 0 to 1"));
    assert!(stage.refuses(&["flows", "--from", "9:0"]).contains("9:0"));

    // A stream ends when its reader leaves.
    let mut top = program(&["ctl", "--json", "--socket", stage.socket.to_str().unwrap(), "top"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(top.stdout.take().unwrap()));
    for _ in 0..2 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["generation"], 1);
    }
    drop(lines);
    assert!(top.wait().unwrap().success(), "a reader that left is no failure");
}

#[test]
fn an_operator_asks_what_would_happen() {
    let mut stage = Stage::start();
    let (caller, ufrag) = stage.call(7);
    let client = caller.address().to_string();

    let decoded = stage.json(&["decode", &ufrag]);
    assert_eq!((&decoded["cluster"], &decoded["session"]), (&1.into(), &7.into()));
    assert_eq!(decoded["validity"], "valid");
    assert!(stage.refuses(&["decode", "hello"]).contains("has 23"));

    let traced = stage.says(&["trace", &client, "--ufrag", &ufrag]);
    assert!(traced.contains("an assured flow to cluster 1 transceiver 1 shard 0"), "{traced}");
    let (other, _) = stage.shard.session(8);
    let traced = stage.json(&["trace", "127.0.0.1:9", "--ufrag", &other]);
    assert_eq!(traced["forwarded"], true, "{traced:#}");
    assert!(traced["outcome"].as_str().unwrap().ends_with("a new flow is made"), "{traced:#}");
    assert!(stage.refuses(&["flow", "127.0.0.1:9"]).contains("no worker"), "only a trace");
    let traced = stage.says(&["trace", "127.0.0.1:9", "--hex", "80 6f 00 01"]);
    assert!(traced.contains("=> dropped as flow_unknown"), "{traced}");
    let foreign = stage.says(&["trace", "127.0.0.1:9", "--ufrag", "abcd"]);
    assert!(foreign.contains("=> dropped as hint_length"), "{foreign}");
    assert!(stage.refuses(&["trace", "127.0.0.1:9", "--hex", "8"]).contains("pairs"));
    assert!(stage.refuses(&["trace", "[::1]:9", "--hex", "80"]).contains("family"));
}

#[test]
fn an_operator_changes_something() {
    let mut stage = Stage::start();
    let (caller, _) = stage.call(1);
    let client = caller.address().to_string();

    assert!(stage.says(&["drain"]).starts_with("draining: /ready fails"));
    assert_eq!(stage.json(&["status"])["draining"], true);
    let (ufrag, _) = stage.shard.session(2);
    let traced = stage.says(&["trace", "127.0.0.1:9", "--ufrag", &ufrag]);
    assert!(traced.contains("=> dropped as draining"), "{traced}");
    assert!(stage.says(&["undrain"]).starts_with("not draining"));
    let traced = stage.says(&["trace", "127.0.0.1:9", "--ufrag", &ufrag]);
    assert!(traced.contains("a new flow is made"), "{traced}");

    assert!(stage.says(&["forget", &client]).starts_with("forgotten:\n"));
    assert!(stage.refuses(&["forget", &client]).contains("no worker has a flow"));

    assert!(stage.says(&["reload"]).contains("nothing has changed"));
    let good = fs::read_to_string(&stage.config).unwrap();
    fs::write(&stage.config, good.replace("name = \"lab\"", "name = \"voice\"")).unwrap();
    assert!(stage.says(&["reload"]).contains("\"lab\" -> \"voice\""));
    assert!(stage.says(&["peers"]).contains("voice/1/0"));
    fs::write(&stage.config, good.replace("workers = 2", "workers = 3")).unwrap();
    assert!(stage.says(&["reload"]).contains("takes a restart: workers: 2 -> 3"));
    fs::write(&stage.config, good.replace("workers = 2", "workers = 0")).unwrap();
    assert!(stage.refuses(&["reload"]).contains("relay.toml:2: workers"));
    assert_eq!(stage.json(&["status"])["generation"], 4);
}

#[test]
fn without_a_relay_ctl_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("relay.sock");
    let output =
        program(&["ctl", "--socket", socket.to_str().unwrap(), "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is the relay running?"), "{}", text(&output.stderr));
}

#[test]
fn keys_are_made_extended_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    let file = keys.to_str().unwrap();
    let made = program(&["keygen", file]).output().unwrap();
    assert!(made.status.success() && made.stdout.is_empty());
    assert!(text(&made.stderr).contains("Next: copy it"), "{}", text(&made.stderr));
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let again = program(&["keygen", file]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("never overwritten"), "{}", text(&again.stderr));

    for words in [["keygen", "--routing", "B"], ["keygen", "--tunnel", "2"]] {
        let entry = program(&words).output().unwrap();
        assert!(entry.status.success());
        assert!(text(&entry.stderr).contains("append this entry"), "{}", text(&entry.stderr));
        append(&keys, &entry.stdout);
    }
    let keyring = service::keyfile::load(&keys).unwrap();
    assert_eq!((keyring.routing_entries().len(), keyring.tunnel_entries().len()), (2, 2));

    let shard = Shard::new("127.0.0.1:0".parse().unwrap(), &keyring);
    let (ufrag, _) = shard.session(9);
    let decoded = program(&["decode", &ufrag, "--keys", file]).output().unwrap();
    let shown = text(&decoded.stdout);
    assert!(decoded.status.success(), "{}", text(&decoded.stderr));
    for part in ["key          A (state use)", "session      0x000009", "UTC, in "] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let refused = program(&["decode", "C0000000000000000000000", "--keys", file]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let reason = text(&refused.stderr);
    assert!(reason.contains("the key C, which is not in the keyring (it has: AB)"), "{reason}");
}

fn append(file: &Path, bytes: &[u8]) {
    let mut text = fs::read(file).unwrap();
    text.extend_from_slice(bytes);
    fs::write(file, text).unwrap();
}
