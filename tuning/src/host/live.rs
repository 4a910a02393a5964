//! A host that is there: its files and its programs.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Missing, Reading};

/// No question takes this long; a driver that hangs must not take the rest along.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any file here has; a cap, because trees can be anybody's.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Where programs are.
const PROGRAM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

#[derive(Debug)]
pub(super) struct Live {
    root: PathBuf,
}

impl Live {
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        Self { root: root.unwrap_or_else(|| PathBuf::from("/")) }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn read(&self, path: &str) -> Reading {
        let text = || {
            let mut bytes = Vec::new();
            std::fs::File::open(self.at(path))?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        text().map_err(|error| missing(path, &error))
    }

    pub(super) fn list(&self, path: &str) -> Reading {
        let entries = std::fs::read_dir(self.at(path)).map_err(|error| missing(path, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_by(|a, b| natural(a).cmp(&natural(b)));
        Ok(names.join("\n"))
    }

    pub(super) fn link(&self, path: &str) -> Reading {
        let target = std::fs::read_link(self.at(path)).map_err(|error| missing(path, &error))?;
        let name = target.file_name().unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    pub(super) fn write(&self, path: &str, value: &str) -> Result<(), Missing> {
        let mut options = std::fs::OpenOptions::new();
        // Truncating means nothing to /proc and /sys, and replaces the text in a tree of files.
        let mut write = || {
            let mut file = options.write(true).truncate(true).open(self.at(path))?;
            // As `echo` does: nothing at all would be no write, and leave the old value there.
            file.write_all(format!("{value}\n").as_bytes())
        };
        write().map_err(|error: io::Error| missing(path, &error))
    }

    /// The number of a process whose name begins so. The kernel keeps 15 letters.
    pub(super) fn process(&self, name: &str) -> Reading {
        let wanted = name.get(..15).unwrap_or(name);
        let names = self.list("/proc")?;
        let mut numbers = names.lines().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let found = numbers
            .find(|pid| self.read(&format!("/proc/{pid}/comm")).is_ok_and(|text| text == wanted));
        found.map(str::to_owned).ok_or_else(|| Missing::Absent(format!("process {name}")))
    }

    pub(super) fn run(&self, words: &[&str]) -> Reading {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Missing::Failed("no program".to_owned()));
        };
        let absent = || Missing::Absent((*program).to_owned());
        let path = self.program(program).ok_or_else(absent)?;
        // Messages in English, as they are parsed.
        let child = Command::new(path)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing(program, &error))?;
        finish(program, child)
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let mut paths = PROGRAM_FOLDERS.iter().map(|folder| self.at(folder).join(name));
        paths.find(|path| is_program(path))
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Waits for a program, not for ever.
fn finish(program: &str, mut child: std::process::Child) -> Reading {
    let failed = |error: &io::Error| Missing::Failed(format!("{program}: {error}"));
    // Read by threads: a full pipe would stop the program.
    let reader = |pipe: Option<Box<dyn io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                // What could not be read is not there: the exit status says whether that is bad.
                let _ = pipe.take(TEXT_BYTES_MAX).read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).trim().to_owned()
        })
    };
    let stdout = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            break status;
        }
        if Instant::now() > deadline {
            // It is given up either way.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Missing::Failed(format!("{program} did not end in {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    if status.success() {
        return Ok(stdout);
    }
    let said = stderr.lines().chain(stdout.lines()).find(|line| !line.trim().is_empty());
    Err(Missing::Failed(said.map_or_else(|| format!("{program}: {status}"), str::to_owned)))
}

fn missing(what: &str, error: &io::Error) -> Missing {
    match error.kind() {
        ErrorKind::NotFound => Missing::Absent(what.to_owned()),
        ErrorKind::PermissionDenied => Missing::Denied(what.to_owned()),
        _ => Missing::Failed(format!("{what}: {error}")),
    }
}

/// Sorts `rx-2` before `rx-10`.
fn natural(name: &str) -> (String, u64, &str) {
    let digits = name
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |index| index + name[index..].chars().next().map_or(1, char::len_utf8));
    let (word, number) = name.split_at(digits);
    (word.to_owned(), number.parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_and_folders_of_a_tree() {
        let tree = tempfile::tempdir().unwrap();
        let live = Live::new(Some(tree.path().into()));
        std::fs::create_dir_all(tree.path().join("sys/queues")).unwrap();
        for name in ["rx-10", "rx-2", "tx-0"] {
            std::fs::write(tree.path().join("sys/queues").join(name), " 7\n").unwrap();
        }
        assert_eq!(live.list("/sys/queues").unwrap(), "rx-2\nrx-10\ntx-0");
        assert_eq!(live.read("/sys/queues/rx-2").unwrap(), "7");
        live.write("/sys/queues/rx-2", "12").unwrap();
        assert_eq!(live.read("/sys/queues/rx-2").unwrap(), "12");
        let absent = Err(Missing::Absent("/sys/new".to_owned()));
        assert_eq!(live.read("/sys/new"), absent);
        assert_eq!(live.write("/sys/new", "1").map(|()| String::new()), absent);
    }

    #[test]
    fn a_tree_has_programs_of_its_own() {
        let tree = tempfile::tempdir().unwrap();
        let live = Live::new(Some(tree.path().into()));
        let folder = tree.path().join("usr/sbin");
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("tool");
        std::fs::write(
            &program,
            "#!/bin/sh\nif [ \"$1\" = no ]; then echo sorry >&2; exit 3; fi\necho $#\n",
        )
        .unwrap();
        assert_eq!(live.run(&["tool"]), Err(Missing::Absent("tool".to_owned())), "not executable");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(live.run(&["tool", "a b", "c"]).unwrap(), "2");
        assert_eq!(live.run(&["tool", "no"]), Err(Missing::Failed("sorry".to_owned())));
        assert_eq!(live.run(&["sh"]), Err(Missing::Absent("sh".to_owned())), "this host's");
    }
}
