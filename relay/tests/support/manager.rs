//! A service manager's stand-in, as far as the relay can see: it listens to what it is told, keeps what
//! it is given, and gives that to the next process.
#![allow(dead_code)] // Each test file uses its part.

use engine::handover::Channel;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Descriptors that it keeps.
const KEPT_MAX: usize = 100;

#[derive(Debug, Default)]
struct State {
    told: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
    /// Names under which something was put, each time.
    put: Vec<String>,
}

/// The manager, listening until it is dropped.
#[derive(Debug)]
pub(crate) struct Manager {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Manager {
    pub(crate) fn start(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let listener = Arc::downgrade(&state);
        std::thread::spawn(move || listen(&Channel::from(OwnedFd::from(socket)), &listener));
        Self { path: path.to_owned(), state }
    }

    /// What it was told since this was last asked, but for the watchdog and what it keeps.
    pub(crate) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().told)
    }

    /// The names of what it keeps, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let mut names: Vec<_> = state.kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Waits until something has been put anew under names that begin so, for each of them.
    pub(crate) fn wait_for(&self, beginnings: &[&str]) {
        self.state.lock().unwrap().put.clear();
        self.wait_since_start(beginnings);
    }

    /// Waits until something has been put under names that begin so, for each of them, by the process
    /// that was started last.
    pub(crate) fn wait_since_start(&self, beginnings: &[&str]) {
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
    pub(crate) fn replace(&self, beginning: &str, with: impl Fn() -> OwnedFd) -> usize {
        let mut state = self.state.lock().unwrap();
        let all = state.kept.iter_mut().filter(|(name, _)| name.starts_with(beginning));
        all.map(|(_, descriptor)| *descriptor = with()).count()
    }

    /// Keeps something else as well.
    pub(crate) fn keep(&self, name: &str, descriptor: OwnedFd) {
        self.state.lock().unwrap().kept.push((name.to_owned(), descriptor));
    }

    /// A command for a service of this manager's that keeps descriptors for it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(program);
        command.env("FDSTORE", KEPT_MAX.to_string());
        let mut state = self.state.lock().unwrap();
        state.put.clear();
        // As systemd has it: the last first.
        let kept = state.kept.iter().rev().map(|(name, kept)| (name.as_str(), kept));
        engine::inherited::pass(&mut command, kept).unwrap();
        command
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
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
