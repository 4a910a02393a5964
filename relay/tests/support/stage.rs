//! A running relay as operators run it, on a host of its own, with clients and a shard on others.
#![allow(dead_code)] // Each test file uses its part.

use crate::namespaces::{Hosts, on_host};
use crate::support::{Arrived, Caller, Shard};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use testbed::manager::Manager;
use wire::keyring::Keyring;

pub(crate) const RTP: &[u8] = &[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
pub(crate) const RTP_BACK: &[u8] = &[0x80, 111, 0, 9, 0, 0, 0, 2, 0, 0, 0, 3, 0xbb];
pub(crate) const PUBLIC: &str = "10.77.1.1:3478";
pub(crate) const PUBLIC_V6: &str = "[fd77:1::1]:3478";
pub(crate) const METRICS: &str = "127.0.0.1:9478";

pub(crate) const CONFIG: &str = r#"
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
pub(crate) struct Stage {
    pub(crate) relay: Child,
    pub(crate) manager: Manager,
    /// The manager keeps descriptors for it.
    parks: bool,
    pub(crate) shard: Shard,
    program: PathBuf,
    engine: String,
    pub(crate) config: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) hosts: Hosts,
}

impl Stage {
    pub(crate) fn start(engine: &str) -> Option<Self> {
        Self::start_as(engine, |_| env!("CARGO_BIN_EXE_ringway-relay").into())
    }

    /// The same, by a manager that keeps descriptors for it.
    pub(crate) fn start_parking(engine: &str) -> Option<Self> {
        let mut stage = Self::start(engine)?;
        stage.relay.kill().unwrap();
        stage.relay.wait().unwrap();
        stage.parks();
        stage.restart();
        Some(stage)
    }

    /// From the next start on.
    pub(crate) fn parks(&mut self) {
        self.parks = true;
    }

    /// Runs a program that is put somewhere under the folder of this stage.
    pub(crate) fn start_as(
        engine: &str,
        program: impl Fn(&std::path::Path) -> PathBuf,
    ) -> Option<Self> {
        Self::start_with(engine, "", program)
    }

    /// With more of a configuration, tables only.
    pub(crate) fn start_with(
        engine: &str,
        more: &str,
        program: impl Fn(&std::path::Path) -> PathBuf,
    ) -> Option<Self> {
        let hosts = Hosts::make()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        service::keyfile::create(&keys).unwrap();
        let keyring = service::keyfile::load(&keys).unwrap();
        let config = folder.path().join("relay.toml");
        let text = CONFIG
            .replace("KEYS", keys.to_str().unwrap())
            .replace("SOCKET", folder.path().join("relay.sock").to_str().unwrap());
        fs::write(&config, text + more).unwrap();
        let shard = on_host(&hosts.shard, || shard(&keyring));
        let program = program(folder.path());
        let manager = Manager::start(&folder.path().join("notify.sock"));
        let relay = spawn(&hosts, &manager, false, &program, engine, &config);
        let mut stage = Self {
            relay,
            manager,
            parks: false,
            shard,
            program,
            engine: engine.to_owned(),
            config,
            folder,
            hosts,
        };
        stage.wait_until_ready();
        Some(stage)
    }

    /// What the relay has told its service manager since this was last asked, but for the watchdog.
    pub(crate) fn told(&self) -> Vec<String> {
        self.manager.told()
    }

    /// Starts the relay again, after its end.
    pub(crate) fn restart(&mut self) {
        let Self { hosts, manager, parks, program, engine, config, .. } = self;
        self.relay = spawn(hosts, manager, *parks, program, engine, config);
        self.wait_until_ready();
    }

    /// Asks the relay by its own program.
    pub(crate) fn ctl(&self, words: &[&str]) -> std::process::Output {
        let socket = self.folder.path().join("relay.sock");
        Command::new(env!("CARGO_BIN_EXE_ringway-relay"))
            .args(["ctl", "--json", "--socket"])
            .arg(socket)
            .args(words)
            .output()
            .unwrap()
    }

    pub(crate) fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.page("/ready").is_none_or(|page| !page.starts_with("HTTP/1.1 200")) {
            assert!(self.relay.try_wait().unwrap().is_none(), "the relay has ended");
            assert!(Instant::now() < deadline, "the relay is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A page of the relay's HTTP listener, headers and all.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
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
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
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
    pub(crate) fn wait_for_metric(
        &self,
        name: &str,
        label: &str,
        right: impl Fn(f64) -> bool,
    ) -> f64 {
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

    pub(crate) fn caller(&self, relay: &str) -> Caller {
        let relay: SocketAddr = relay.parse().unwrap();
        on_host(&self.hosts.client, || {
            Caller::on(
                relay,
                if relay.is_ipv4() { "10.77.1.2:0" } else { "[fd77:1::2]:0" }.parse().unwrap(),
            )
        })
    }

    /// A call that has been set up: the shard has answered.
    pub(crate) fn call(&mut self, relay: &str, tag: u32) -> (Caller, Arrived) {
        let caller = self.caller(relay);
        let (_, check) = self.shard.session(tag);
        caller.send(&check);
        let arrived = self.shard.receive_one();
        assert_eq!(arrived.packet, check);
        self.shard.send(arrived.relay, &arrived.client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);
        (caller, arrived)
    }

    pub(crate) fn goes_on(&mut self, caller: &Caller, arrived: &Arrived) {
        caller.send(RTP);
        assert_eq!(self.shard.receive_one().packet, RTP);
        self.shard.send(arrived.relay, &arrived.client, RTP_BACK);
        assert_eq!(caller.receive(), RTP_BACK);
    }

    /// Processes that run with this stage's configuration.
    fn successors(&self) -> Vec<Pid> {
        let config = self.config.as_os_str().as_encoded_bytes();
        let ours = |process: &Pid| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == config)
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.map(Pid::from_raw).filter(ours).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.relay.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.relay.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the relay does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn stop(mut self) {
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
        // Nor are those that took over from it, which are no children of ours.
        for process in self.successors() {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

fn spawn(
    hosts: &Hosts,
    manager: &Manager,
    parks: bool,
    program: &std::path::Path,
    engine: &str,
    config: &std::path::Path,
) -> Child {
    let command = || if parks { manager.command(program) } else { Command::new(program) };
    on_host(&hosts.relay, || {
        command()
            .args(["run", "--engine", engine, "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", manager.path())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    })
}

pub(crate) fn shard(keyring: &Keyring) -> Shard {
    Shard::new("10.77.2.2:3600".parse().unwrap(), keyring)
}
