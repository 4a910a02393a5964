//! Redis on the relay's host, and a stage whose relay uses it.
#![allow(dead_code)] // Each test file uses its part.

use crate::namespaces::on_host;
use crate::stage::{PUBLIC, RTP, Stage};
use crate::support::{Arrived, Caller, SILENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where one server is, if there is but one.
pub(crate) const PORT: u16 = 6379;

/// A Redis server on the relay's host.
pub(crate) struct Redis {
    process: Child,
    host: String,
    port: u16,
}

impl Redis {
    /// `None`, with a line that says why, where there is no such program.
    pub(crate) fn start(host: &str) -> Option<Self> {
        Self::start_on(host, PORT, &[])
    }

    pub(crate) fn start_on(host: &str, port: u16, more: &[String]) -> Option<Self> {
        let port_word = port.to_string();
        let words =
            ["--port", &port_word, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        Self::run(host, port, Command::new("redis-server").args(words).args(more))
    }

    /// A server as a command says, which must be on this port.
    pub(crate) fn run(host: &str, port: u16, command: &mut Command) -> Option<Self> {
        match on_host(host, || command.stdout(Stdio::null()).spawn()) {
            Ok(process) => {
                let redis = Self { process, host: host.to_owned(), port };
                let deadline = Instant::now() + Duration::from_secs(10);
                while redis.connect().is_none() {
                    assert!(Instant::now() < deadline, "Redis does not start");
                    std::thread::sleep(Duration::from_millis(10));
                }
                Some(redis)
            }
            Err(error) => {
                println!("skipped: redis-server (package redis-server): {error}");
                None
            }
        }
    }

    pub(crate) fn connect(&self) -> Option<TcpStream> {
        on_host(&self.host, || TcpStream::connect(("127.0.0.1", self.port)).ok())
    }

    /// The first line of the answer.
    pub(crate) fn say(&self, command: &str) -> String {
        let mut stream = self.connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{command}\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// An answer that is a number.
    pub(crate) fn count(&self, command: &str) -> u32 {
        let answer = self.say(command);
        answer.strip_prefix(':').unwrap_or_else(|| panic!("{command}: {answer}")).parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An authority of its own, and a certificate for Redis that it has signed. False, with a line that
/// says why, without openssl.
pub(crate) fn make_certificates(folder: &Path) -> bool {
    let extension = folder.join("extension");
    fs::write(&extension, "subjectAltName = IP:127.0.0.1\n").unwrap();
    let lines = [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout redis.key -out redis.csr -subj /CN=redis",
        "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out redis.pem -days 2 \
         -extfile extension",
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other",
    ];
    for line in lines {
        let output =
            Command::new("openssl").args(line.split_whitespace()).current_dir(folder).output();
        match output {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) => {
                println!("skipped: openssl: {error}");
                return false;
            }
        }
    }
    true
}

/// What a server needs for a port with TLS beside its other one.
pub(crate) fn tls(folder: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let words = [
        ["--tls-port".to_owned(), port.to_string()],
        ["--tls-cert-file".to_owned(), file("redis.pem")],
        ["--tls-key-file".to_owned(), file("redis.key")],
        ["--tls-ca-cert-file".to_owned(), file("ca.pem")],
        ["--tls-auth-clients", "no"].map(str::to_owned),
    ];
    words.concat()
}

/// The name of a caller's flow.
pub(crate) fn key(caller: &Caller) -> String {
    format!("ringway:flow:{}", caller.address())
}

impl Stage {
    /// Starts the relay anew, with a flow cache from now on.
    pub(crate) fn use_cache(&mut self, url: &str, settings: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let section = format!("[redis]\nurl = \"{url}\"\n{settings}\n[admin]");
        fs::write(&self.config, text.replace("[admin]", &section)).unwrap();
        self.kill_and_restart();
    }

    pub(crate) fn cache(&self, operation: &str, outcome: &str) -> f64 {
        let page = self.page("/metrics").unwrap();
        let series = format!(
            "relay_cache_operations_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} "
        );
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    pub(crate) fn wait_for_cache(&self, operation: &str, outcome: &str, least: f64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.cache(operation, outcome) < least {
            assert!(Instant::now() < deadline, "{operation} {outcome} stays below {least}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill_and_restart(&mut self) -> Instant {
        let killed = Instant::now();
        self.relay.kill().unwrap();
        self.relay.wait().unwrap();
        self.restart();
        killed
    }

    /// Sends media until it arrives, or the patience is at its end.
    pub(crate) fn arrives(&mut self, caller: &Caller, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            caller.send(RTP);
            if !self.shard.receive(Duration::from_millis(20)).is_empty() {
                return true;
            }
        }
        false
    }

    pub(crate) fn still_answers(&mut self, caller: &Caller, arrived: &Arrived) {
        while !self.shard.receive(SILENCE).is_empty() {}
        self.goes_on(caller, arrived);
    }

    /// Sets up calls, one after the other, until something is so.
    pub(crate) fn calls_until(&mut self, mut tag: u32, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !so(self) {
            assert!(Instant::now() < deadline, "it does not recover");
            self.call(PUBLIC, tag);
            tag += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has clients of no call send media, until something is so.
    pub(crate) fn strangers_until(&mut self, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !so(self) {
            assert!(Instant::now() < deadline, "it does not recover");
            self.caller(PUBLIC).send(RTP);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
