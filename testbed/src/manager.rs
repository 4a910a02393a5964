//! A service manager's stand-in for tests and for the fault suite, as far as a relay can see: it listens
//! to what it is told, keeps what it is given, and gives that to the next process.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is a test that fails")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use engine::handover::Channel;
use engine::inherited;

/// What goes before the words of a program that finds what is kept for it: only its own process can say
/// its number.
pub const BEFORE_PROGRAM: [&str; 4] = ["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"];

/// Descriptors that it keeps, unless told otherwise.
const KEPT_MAX: usize = 100;

#[derive(Debug)]
struct State {
    kept_max: usize,
    told: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
    /// Names under which something was put, each time.
    put: Vec<String>,
}

/// The manager, listening until it is dropped. It panics if it is told what none of ours should say.
#[derive(Debug)]
pub struct Manager {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Manager {
    /// Listens there from now on.
    pub fn start(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let state =
            State { kept_max: KEPT_MAX, told: Vec::new(), kept: Vec::new(), put: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let listener = Arc::downgrade(&state);
        std::thread::spawn(move || listen(&Channel::from(OwnedFd::from(socket)), &listener));
        Self { path: path.to_owned(), state }
    }

    /// What it was told since this was last asked, but for the watchdog and what it keeps.
    pub fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().told)
    }

    /// The names of what it keeps, sorted.
    pub fn names(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let mut names: Vec<_> = state.kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Waits until something has been put anew under names that begin so, for each of them.
    pub fn wait_for(&self, beginnings: &[&str]) {
        self.state.lock().unwrap().put.clear();
        self.wait_since_start(beginnings);
    }

    /// Waits until something has been put under names that begin so, for each of them, by the process
    /// that was started last.
    pub fn wait_since_start(&self, beginnings: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_there = |beginning: &&str| {
            self.state.lock().unwrap().put.iter().any(|name| name.starts_with(*beginning))
        };
        while !beginnings.iter().all(is_there) {
            assert!(Instant::now() < deadline, "{beginnings:?}: {:?}", self.names());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Keeps other things under names that begin so.
    pub fn replace(&self, beginning: &str, with: impl Fn() -> OwnedFd) -> usize {
        let mut state = self.state.lock().unwrap();
        let all = state.kept.iter_mut().filter(|(name, _)| name.starts_with(beginning));
        all.map(|(_, descriptor)| *descriptor = with()).count()
    }

    /// Keeps something else as well.
    pub fn keep(&self, name: &str, descriptor: OwnedFd) {
        self.state.lock().unwrap().kept.push((name.to_owned(), descriptor));
    }

    /// Says so to the processes that are started from now on.
    pub fn keep_at_most(&self, count: usize) {
        self.state.lock().unwrap().kept_max = count;
    }

    /// A command for a service of this manager's that keeps descriptors for it.
    pub fn command(&self, program: &Path) -> Command {
        let [shell, words @ ..] = BEFORE_PROGRAM;
        let mut command = Command::new(shell);
        command.args(words).arg(program);
        self.serve(&mut command);
        command
    }

    /// Makes a command one for such a service. Its words are the caller's: [`BEFORE_PROGRAM`] among
    /// them.
    pub fn serve(&self, command: &mut Command) {
        let mut state = self.state.lock().unwrap();
        command.env("NOTIFY_SOCKET", &self.path).env("FDSTORE", state.kept_max.to_string());
        // As systemd has it: the last first.
        let kept = state.kept.iter().rev().map(|(name, kept)| (name.as_str(), kept));
        inherited::pass(command, kept).unwrap();
        state.put.clear();
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn listen(channel: &Channel, state: &Weak<Mutex<State>>) {
    loop {
        let received = channel.receive(Duration::from_millis(100));
        let Some(state) = state.upgrade() else { return };
        let Ok((message, descriptors)) = received else { continue };
        let message = String::from_utf8(message).unwrap();
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let mut state = state.lock().unwrap();
        match message.lines().next().unwrap() {
            "FDSTORE=1" => {
                assert!(message.lines().any(|line| line == "FDPOLL=0"), "{message}");
                let name = name.unwrap();
                for descriptor in descriptors {
                    let known = state.kept.iter().any(|(_, kept)| same(kept, &descriptor));
                    if !known {
                        state.kept.push((name.to_owned(), descriptor));
                    }
                }
                assert!(state.kept.len() <= KEPT_MAX);
                state.put.push(name.to_owned());
            }
            "FDSTOREREMOVE=1" => state.kept.retain(|(kept, _)| Some(kept.as_str()) != name),
            // What came with it is closed here.
            "BARRIER=1" => {}
            "WATCHDOG=1" => {}
            _ => state.told.push(message),
        }
    }
}

/// The same file. (systemd asks for the same open one, which is the same for sockets.)
fn same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let [one, other] = [one, other].map(|it| {
        let metadata = File::from(it.try_clone().unwrap()).metadata().unwrap();
        (metadata.dev(), metadata.ino())
    });
    one == other
}
