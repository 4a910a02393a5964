//! The real program on loopback, so that it runs anywhere, and clients by hand-written HTTP.
#![allow(dead_code)] // Each test file uses its part.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-transceiver");
/// What a browser would offer.
pub(crate) const OFFER: &str = include_str!("../offers/audio-and-data.sdp");
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the program with nothing of ours in its environment.
pub(crate) fn program(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words);
    for name in ["RINGWAY_CONFIG", "RINGWAY_ADMIN_SOCKET", "RINGWAY_KEYS", "RINGWAY_TRANSCEIVER"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A TCP port that was free a moment ago.
pub(crate) fn free_tcp() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Two UDP ports beside each other that were free a moment ago.
fn free_udp() -> u16 {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 65_000 && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// One HTTP request, and its answer.
pub(crate) fn ask(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A running transceiver of two shards.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) signaling: SocketAddr,
    http: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) keys: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Running {
    /// In open mode, with more lines of configuration before its tables.
    pub(crate) fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (keys, socket) = (path("keys.toml"), path("transceiver.sock"));
        let config = path("transceiver.toml");
        service::keyfile::create(&keys).unwrap();
        let (signaling, http) = (free_tcp(), free_tcp());
        let text = format!(
            "ingress = [\"192.0.2.1:3478\"]\ntransceiver = 7\nshards = 2\nkeys = {keys:?}\n{more}\n\
             tunnel.address = \"127.0.0.1\"\ntunnel.port_base = {}\n\
             signaling.listen = \"{signaling}\"\nadmin.socket = {socket:?}\n\
             http.listen = \"{http}\"\n",
            free_udp(),
        );
        let text =
            if more.contains("signaling.open") { text } else { text + "signaling.open = true\n" };
        fs::write(&config, text).unwrap();
        let child = program(&["run", "--config", config.to_str().unwrap()])
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut running = Self { child, signaling, http, socket, config, keys, folder };
        running.wait_until_ready();
        running
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while ask(self.http, "GET", "/ready", &[], "").map_or(0, |answer| answer.status) != 200 {
            assert!(self.child.try_wait().unwrap().is_none(), "the transceiver has ended");
            assert!(Instant::now() < deadline, "the transceiver is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A page of the listener for health and metrics.
    pub(crate) fn page(&self, path: &str) -> Answer {
        ask(self.http, "GET", path, &[], "").unwrap()
    }

    /// A request to signaling.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(self.signaling, method, path, &[("Content-Type", "application/sdp")], body).unwrap()
    }

    /// Opens a call, and says what it is called.
    pub(crate) fn call(&self) -> String {
        let answer = self.ask("POST", "/v1/realtime/calls", OFFER);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("location").unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// The sum of a metric over all series whose labels contain this.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let page = self.page("/metrics").body;
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

    /// Waits until a metric is what it should be: shards publish ten times a second.
    pub(crate) fn wait_for_metric(&self, name: &str, label: &str, expected: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, label);
            if value == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{name}{{{label}}} is {value}, not {expected}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child)
    }

    /// `ctl` with these words.
    pub(crate) fn ctl(&self, words: &[&str]) -> Output {
        let socket = self.socket.to_str().unwrap();
        program(&["ctl", "--socket", socket]).args(words).output().unwrap()
    }

    /// What `ctl` shows.
    pub(crate) fn shows(&self, words: &[&str]) -> String {
        let output = self.ctl(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let words: Vec<_> = ["--json"].iter().chain(words).copied().collect();
        serde_json::from_str(&self.shows(&words)).unwrap()
    }

    /// Replaces a part of the configuration file.
    pub(crate) fn rewrite(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from} in\n{text}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failed test is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_for_end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a file that only its owner can read.
pub(crate) fn private_file(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
