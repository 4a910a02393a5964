//! Descriptors that a service manager gives a process at its start (man sd_listen_fds): they begin at
//! 3, and the environment says how many there are, what they are called, and who they are for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// The variables that tell of them. They are not for a process that this one starts.
pub const VARIABLES: [&str; 3] = [PROCESS, COUNT, NAMES];

const PROCESS: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
/// `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More than any unit of ours keeps.
const DESCRIPTORS_MAX: u16 = 4_096;

/// A descriptor, and what it is called.
#[derive(Debug)]
pub struct Inherited {
    /// Its name. The manager lets two have the same.
    pub name: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
}

/// Takes what the manager has given to this process: nothing, if there is no such manager. To be
/// called before anything else is opened. A second call finds nothing.
pub fn take() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let (process, count, names) = (variable(PROCESS), variable(COUNT), variable(NAMES));
    if TAKEN.swap(true, Ordering::Relaxed) || process != Some(std::process::id().to_string()) {
        return Ok(Vec::new());
    }
    let names = named(&count.unwrap_or_default(), names.as_deref())?;
    // All are looked at before the first is taken.
    for raw in (FIRST..).take(names.len()) {
        // SAFETY: "set the file descriptor flags", of whatever has this number, if anything has.
        let result = unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) };
        Errno::result(result).map_err(|error| {
            io::Error::other(format!("{COUNT} names descriptor {raw}, which is not open: {error}"))
        })?;
    }
    let own = |(raw, name)| {
        // SAFETY: it is open (above). The manager has opened it for this process (the process's number
        // is in the environment), nothing else here knows of it, and it is taken once.
        Inherited { name, descriptor: unsafe { OwnedFd::from_raw_fd(raw) } }
    };
    Ok((FIRST..).zip(names).map(own).collect())
}

/// Names for as many as there are.
fn named(count: &str, names: Option<&str>) -> io::Result<Vec<String>> {
    let count: u16 = match count.parse() {
        Ok(count) if count <= DESCRIPTORS_MAX => count,
        _ => return Err(io::Error::other(format!("{COUNT} is no number of descriptors"))),
    };
    let mut names = names.unwrap_or_default().split(':').map(str::to_owned);
    Ok((0..count).map(|_| names.next().unwrap_or_default()).collect())
}

/// Has a command's process find descriptors as if a service manager had started it. Only that process
/// can say its own number: `sh -c 'LISTEN_PID=$$ exec "$@"' sh PROGRAM …`.
pub fn pass<'a>(
    command: &mut Command,
    descriptors: impl IntoIterator<Item = (&'a str, &'a OwnedFd)>,
) -> io::Result<()> {
    let mut names = Vec::new();
    let mut copies = Vec::new();
    for (name, descriptor) in descriptors {
        names.push(name);
        // Far from where they go: one that is put there must not hide another.
        let far = FcntlArg::F_DUPFD_CLOEXEC(FIRST + RawFd::from(DESCRIPTORS_MAX));
        let copy = fcntl(descriptor.as_fd(), far)?;
        // SAFETY: the kernel has just made it, and nothing else knows of it.
        copies.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    command.env(COUNT, names.len().to_string()).env(NAMES, names.join(":"));
    let place = move || {
        for (copy, to) in copies.iter().zip(FIRST..) {
            // SAFETY: whatever has that number in the child is std's, which closes it with exec; a
            // duplicate is what stays open then.
            Errno::result(unsafe { libc::dup2(copy.as_raw_fd(), to) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, dup2 is all that this calls, and it may be called there; the
    // array of copies is read and nothing is allocated.
    unsafe { command.pre_exec(place) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn names_are_as_many_as_descriptors() {
        let table: [(&str, Option<&str>, &[&str]); 4] = [
            ("2", Some("one:two"), &["one", "two"]),
            ("3", Some("one:two"), &["one", "two", ""]),
            ("1", Some("one:two"), &["one"]),
            ("1", None, &[""]),
        ];
        for (count, names, expected) in table {
            assert_eq!(named(count, names).unwrap(), expected, "{count} {names:?}");
        }
        for count in ["", "-1", "some", "4097"] {
            assert!(named(count, None).is_err(), "{count}");
        }
    }

    #[test]
    fn a_process_without_a_manager_finds_nothing() {
        assert!(take().unwrap().is_empty());
    }

    #[test]
    fn a_child_finds_what_is_passed_in_its_order() {
        let pipes: Vec<_> = (0..3).map(|_| std::io::pipe().unwrap()).collect();
        let (mut readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let writers: Vec<OwnedFd> = writers.into_iter().map(OwnedFd::from).collect();
        let say = "echo $LISTEN_FDNAMES >&3; echo $LISTEN_FDS >&4; echo $LISTEN_PID $$ >&5";
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh", "sh", "-c", say]);
        pass(&mut command, ["a", "b", "c"].into_iter().zip(&writers)).unwrap();
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"").unwrap();
        assert!(child.wait().unwrap().success());
        drop((command, writers));
        let said: Vec<String> = readers
            .iter_mut()
            .map(|reader| {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text.trim().to_owned()
            })
            .collect();
        assert_eq!(said[..2], ["a:b:c", "3"]);
        let (process, its) = said[2].split_once(' ').unwrap();
        assert_eq!(process, its);
    }
}
