//! The host as text: files, folders, what programs print. Nothing is interpreted here.
//!
//! A host is the machine this runs on, a tree that stands in for one, or an [`Archive`] captured
//! from another. Only the first two can be changed.

mod archive;
mod live;

use std::cell::RefCell;
use std::path::PathBuf;

pub use archive::{Archive, Malformed};
use live::Live;

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is no such file, or no such program.
    #[error("{0} is not there")]
    Absent(String),
    /// There is, and it is not for this user.
    #[error("{0} is not permitted (run as root?)")]
    Denied(String),
    /// It said no: a program's last line, or the kernel's error.
    #[error("{0}")]
    Failed(String),
}

/// What is read, or why it is not.
pub type Reading = Result<String, Missing>;

/// A host to look at.
#[derive(Debug)]
pub struct Host {
    source: Source,
    /// All that was read, for a capture.
    seen: RefCell<Archive>,
}

#[derive(Debug)]
enum Source {
    Live(Live),
    Archive(Archive),
}

impl Host {
    /// The machine this runs on, or a tree that stands in for it: then files are those below
    /// `root`, and programs those in its `usr/sbin` and `usr/bin`.
    #[must_use]
    pub fn live(root: Option<PathBuf>) -> Self {
        Self { source: Source::Live(Live::new(root)), seen: RefCell::default() }
    }

    /// A host that was captured.
    #[must_use]
    pub fn captured(archive: Archive) -> Self {
        Self { source: Source::Archive(archive), seen: RefCell::default() }
    }

    /// All that was read so far: what [`Host::captured`] makes the same findings from.
    #[must_use]
    pub fn into_archive(self) -> Archive {
        self.seen.into_inner()
    }

    /// The text of a file, without white space around it.
    pub fn read(&self, path: &str) -> Reading {
        self.look(&format!("file {path}"), |live| live.read(path))
    }

    /// The names in a folder, in order. A folder that is not there is empty.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let names = self.look(&format!("list {path}"), |live| live.list(path));
        names.map_or_else(|_| Vec::new(), |text| text.lines().map(str::to_owned).collect())
    }

    /// The last name of what a symbolic link points to: a driver, for one.
    pub fn link(&self, path: &str) -> Reading {
        self.look(&format!("link {path}"), |live| live.link(path))
    }

    /// What a program prints. It must do no more than look.
    pub fn ask(&self, words: &[&str]) -> Reading {
        self.look(&format!("run {}", words.join(" ")), |live| live.run(words))
    }

    /// What io_uring offers, found out by using it; fails with the reason and the remedy.
    pub fn io_uring(&self) -> Reading {
        self.look("probe io_uring", |_| {
            let found = engine::probe();
            match &found.uring {
                Ok(_) => Ok(found.to_string()),
                Err(refusal) => Err(Missing::Failed(refusal.to_string())),
            }
        })
    }

    /// The number of a process of this name.
    pub fn process(&self, name: &str) -> Option<u32> {
        let found = self.look(&format!("probe process {name}"), |live| live.process(name));
        found.ok()?.parse().ok()
    }

    /// Writes to a file that is there.
    pub fn write(&self, path: &str, value: &str) -> Result<(), Missing> {
        self.change(|live| live.write(path, value))
    }

    /// Runs a program that changes something.
    pub fn run(&self, words: &[&str]) -> Result<(), Missing> {
        self.change(|live| live.run(words).map(|_| ()))
    }

    fn look(&self, what: &str, find: impl FnOnce(&Live) -> Reading) -> Reading {
        match &self.source {
            Source::Archive(archive) => archive.reading(what),
            Source::Live(live) => {
                let reading = find(live);
                self.seen.borrow_mut().add(what, reading.clone());
                reading
            }
        }
    }

    fn change(&self, act: impl FnOnce(&Live) -> Result<(), Missing>) -> Result<(), Missing> {
        match &self.source {
            Source::Live(live) => act(live),
            Source::Archive(_) => Err(Missing::Failed("a capture cannot be changed".to_owned())),
        }
    }
}
