//! `scripts/demo.sh`, run by the system's plain shell with the programs of this build.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{OFFER, PROGRAM, ask, free_tcp, wait_for_end};

/// The folder with both programs; none, with a line that says so, if the relay was not built.
fn programs() -> Option<PathBuf> {
    let folder = Path::new(PROGRAM).parent().unwrap();
    if folder.join("ringway-relay").exists() {
        return Some(folder.to_owned());
    }
    println!("skipped: {} has no ringway-relay: cargo build -p ringway-relay", folder.display());
    None
}

/// One demo at a time: two that look for free ports at one moment find the same.
static ALONE: Mutex<()> = Mutex::new(());

/// The demo, in a process group of its own, as a terminal would start it.
struct Demo {
    _alone: MutexGuard<'static, ()>,
    script: Child,
    lines: BufReader<ChildStdout>,
    shown: String,
    page: SocketAddr,
    folder: tempfile::TempDir,
}

impl Demo {
    fn command(
        page: SocketAddr,
        udp_port: u16,
        folder: &Path,
        more: &[(&str, &str)],
    ) -> Option<Command> {
        let mut command = Command::new("/bin/sh");
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo.sh"))
            .env("DEMO_BIN", programs()?)
            .env("DEMO_DIR", folder.join("state"))
            .env("TMPDIR", folder)
            .env("PORT", page.port().to_string())
            .env("UDP_PORT", udp_port.to_string())
            // What belongs to another deployment is not the demo's.
            .env("RINGWAY_SHARDS", "nonsense")
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Some(command)
    }

    fn start(more: &[(&str, &str)]) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (page, folder) = (free_tcp(), tempfile::tempdir().unwrap());
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let udp_port = udp.local_addr().unwrap().port();
        let mut command = Self::command(page, udp_port, folder.path(), more)?;
        drop(udp);
        let mut script = command.spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap());
        let mut demo = Self { _alone: alone, script, lines, shown: String::new(), page, folder };
        demo.read_until("Ctrl-C stops it.");
        Some(demo)
    }

    fn read_until(&mut self, wanted: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.shown.push_str(&line);
            if std::mem::take(&mut line).contains(wanted) {
                return;
            }
        }
        let mut said = String::new();
        self.script.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("the demo ended before it said {wanted}:\n{}\n{said}", self.shown);
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.script.id()).unwrap())
    }

    /// A program of the demo, by its name.
    fn process(&self, name: &str) -> Pid {
        let found = members(self.group()).into_iter().find(|pid| {
            let path = fs::read_link(format!("/proc/{pid}/exe"));
            path.is_ok_and(|path| path.file_name().is_some_and(|file| file == name))
        });
        found.unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Whether nothing of it is left, soon.
    fn is_gone(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !members(self.group()).is_empty() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let rest = fs::read_dir(self.folder.path()).unwrap();
        rest.map(|entry| entry.unwrap().file_name()).eq(["state"])
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only after a failed test is any of it still there.
        if !members(self.group()).is_empty() {
            let _ = killpg(self.group(), Signal::SIGKILL);
        }
        let _ = self.script.wait();
    }
}

/// The processes of a group that have not ended.
fn members(group: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap();
    let member = |entry: std::io::Result<fs::DirEntry>| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name: state, parent, group.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let in_group = fields.nth(1)?.parse() == Ok(group.as_raw());
        (in_group && state != "Z").then_some(Pid::from_raw(pid))
    };
    processes.filter_map(member).collect()
}

#[test]
fn the_demo_serves_a_page_takes_calls_and_cleans_up() {
    let Some(mut demo) = Demo::start(&[("BACKEND", "echo")]) else { return };
    let keys = demo.folder.path().join("state/keys.toml");
    assert_eq!(keys.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(demo.shown.contains(&format!("http://{}", demo.page)), "{}", demo.shown);

    let page = ask(demo.page, "GET", "/", &[], "").unwrap();
    assert!(page.status == 200 && page.body.contains("<html"), "{page:?}");
    let sdp = [("Content-Type", "application/sdp")];
    let call = ask(demo.page, "POST", "/v1/realtime/calls", &sdp, OFFER).unwrap();
    assert_eq!(call.status, 201, "{call:?}");
    let candidates: Vec<_> =
        call.body.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert!(candidates.last().unwrap().contains("127.0.0.1"), "behind all others: {candidates:?}");

    let numbers = demo.shown.lines().find(|line| line.contains("/metrics")).unwrap();
    for part in numbers.split_whitespace().filter_map(|word| word.strip_prefix("http://")) {
        let address = part.strip_suffix("/metrics").unwrap().parse().unwrap();
        let metrics = ask(address, "GET", "/metrics", &[], "").unwrap();
        assert!(metrics.body.contains("_uptime_seconds"), "{metrics:?}");
    }

    // Ctrl-C: a terminal tells the whole group.
    killpg(demo.group(), Signal::SIGINT).unwrap();
    assert!(wait_for_end(&mut demo.script).success());
    assert!(demo.is_gone());
    demo.read_until("Stopped.");
}

#[test]
fn other_devices_are_told_the_address_they_can_reach_and_how_to_get_a_microphone() {
    let Some(mut demo) = Demo::start(&[("ADVERTISE", "192.0.2.99")]) else { return };
    let sdp = [("Content-Type", "application/sdp")];
    let call = ask(demo.page, "POST", "/v1/realtime/calls", &sdp, OFFER).unwrap();
    let first = call.body.lines().find(|line| line.starts_with("a=candidate:")).unwrap();
    assert!(first.contains("192.0.2.99"), "{call:?}");
    for part in ["ssh -L", "unsafely-treat-insecure-origin-as-secure", "http://192.0.2.99:"] {
        assert!(demo.shown.contains(part), "{part} in\n{}", demo.shown);
    }
    kill(demo.group(), Signal::SIGTERM).unwrap();
    assert!(wait_for_end(&mut demo.script).success());
    assert!(demo.is_gone());
}

#[test]
fn when_one_program_ends_the_other_does_not_stay() {
    for name in ["ringway-relay", "ringway-transceiver"] {
        let Some(mut demo) = Demo::start(&[]) else { return };
        kill(demo.process(name), Signal::SIGKILL).unwrap();
        assert_eq!(wait_for_end(&mut demo.script).code(), Some(1));
        let mut said = String::new();
        demo.script.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let short = name.strip_prefix("ringway-").unwrap();
        assert!(said.contains(&format!("the {short} has ended")), "{said}");
        assert!(demo.is_gone());
    }
}

#[test]
fn what_cannot_work_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (taken_tcp, taken_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap().port());
    let free_udp = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let empty = folder.path().to_str().unwrap().to_owned();
    type Case<'a> = (SocketAddr, u16, &'a [(&'a str, &'a str)], &'a str);
    let table: [Case<'_>; 6] = [
        (taken_tcp, free_udp, &[], "make demo PORT="),
        (free_tcp(), taken_udp, &[], "make demo UDP_PORT="),
        (free_tcp(), free_udp, &[("BACKEND", "gpt")], "BACKEND must be parrot or echo"),
        (free_tcp(), free_udp, &[("ADVERTISE", "my-host")], "an address of this machine"),
        (free_tcp(), free_udp, &[("ADVERTISE", "1.2.3")], "ingress[0]"),
        (free_tcp(), free_udp, &[("DEMO_BIN", &empty)], "there is no program"),
    ];
    for (page, udp_port, more, expected) in table {
        let Some(mut command) = Demo::command(page, udp_port, folder.path(), more) else { return };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
        assert!(said.starts_with("demo: ") && said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_machine_without_rust_or_a_compiler_is_told_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bin");
    fs::create_dir(&path).unwrap();
    // Only what every system has.
    for tool in ["env", "sed", "dirname", "cat", "awk"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
        let found = found.iter().find(|file| file.exists()).unwrap();
        std::os::unix::fs::symlink(found, path.join(tool)).unwrap();
    }
    let run = || {
        let output = Command::new("/bin/sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo.sh"))
            .env_clear()
            .env("PATH", &path)
            .env("HOME", folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run();
    assert!(code == Some(1) && said.contains("https://rustup.rs"), "{said}");
    std::os::unix::fs::symlink("/bin/false", path.join("cargo")).unwrap();
    let (code, said) = run();
    assert!(code == Some(1) && said.contains("apt-get install gcc"), "{said}");
}
