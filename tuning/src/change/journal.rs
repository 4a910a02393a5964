//! What was there before: the file that `revert` goes by.
//!
//! An entry is on disk before its change is made. If the power fails in between, reverting finds
//! the old value and has nothing to do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use service::exit::Usage;

use super::files;
use super::knob::Knob;
use crate::host::Host;

/// Where the journal is, unless another place is named.
pub const JOURNAL: &str = "/var/lib/ringway/tuning.json";

/// Of this program's files.
const VERSION: u32 = 1;

/// What was changed, in order.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    written: Written,
    boot: String,
    /// Held as long as this lives: two that change a host at once would note each other's values.
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    entries: Vec<Entry>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The item it was for.
    pub item: String,
    /// What was set.
    pub knob: Knob,
    /// To what it was set before the first change.
    pub before: String,
    /// To what it was set by the last.
    pub after: String,
    /// Which start of the host it belongs to.
    pub boot: String,
}

impl Journal {
    /// Opens the journal, for this process alone.
    pub fn open(path: &Path, host: &Host) -> Result<Self> {
        let shown = path.display();
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)
            .with_context(|| format!("Failed to make the journal's folder {}", folder.display()))?;
        let lock = File::create(path.with_extension("lock"))
            .with_context(|| format!("Failed to lock the journal {shown}"))?;
        if lock.try_lock().is_err() {
            bail!("another ringway-tuning is changing this host: the journal {shown} is locked");
        }
        let written = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Usage(format!(
                    "{shown} is no journal of this program: {error}; move it away to go on"
                ))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Written { version: VERSION, entries: Vec::new() }
            }
            Err(error) => {
                return Err(error).with_context(|| format!("Failed to read the journal {shown}"));
            }
        };
        if written.version != VERSION {
            bail!(Usage(format!(
                "{shown} is of version {}, this program's is {VERSION}",
                written.version
            )));
        }
        let boot = host.read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self { path: path.to_owned(), written, boot, _lock: lock })
    }

    /// What was changed, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.written.entries
    }

    /// Whether an entry's knob is still the same thing: not if the host has started since, and
    /// numbers its interrupts anew.
    #[must_use]
    pub fn is_current(&self, entry: &Entry) -> bool {
        entry.boot == self.boot || entry.knob.survives_boot()
    }

    /// Notes a change that is about to be made. What was there before the first one stays noted.
    pub fn note(&mut self, item: &str, knob: &Knob, before: &str, after: &str) -> Result<()> {
        self.written.entries.retain(|entry| {
            entry.knob != *knob || entry.boot == self.boot || entry.knob.survives_boot()
        });
        let known = self.written.entries.iter_mut().find(|entry| entry.knob == *knob);
        match known {
            Some(entry) => after.clone_into(&mut entry.after),
            None => self.written.entries.push(Entry {
                item: item.to_owned(),
                knob: knob.clone(),
                before: before.to_owned(),
                after: after.to_owned(),
                boot: self.boot.clone(),
            }),
        }
        self.save()
    }

    /// Takes out what is as it was.
    pub fn forget(&mut self, knob: &Knob) -> Result<()> {
        self.written.entries.retain(|entry| entry.knob != *knob);
        self.save()
    }

    fn save(&self) -> Result<()> {
        let failed = || format!("Failed to write the journal {}", self.path.display());
        if self.written.entries.is_empty() {
            return files::remove(&self.path).map(|_| ()).with_context(failed);
        }
        let text = serde_json::to_string_pretty(&self.written).with_context(failed)?;
        files::replace(&self.path, &format!("{text}\n")).with_context(failed)
    }
}
