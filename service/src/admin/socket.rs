//! The socket as a file: made with its mode, never taken from a living process, and removed.
//!
//! A socket gets its mode from the umask when it is bound, and is open to connections from that
//! moment. So it is bound inside a directory that only we can enter, given its mode and group, and
//! only then moved to its place. The move also replaces a stale socket in one step.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Group;

/// Where the socket goes and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path of the socket.
    pub path: PathBuf,
    /// The group that may use it, besides the owner.
    pub group: Option<String>,
    /// Take the path over from a process that still answers on it: for a hot upgrade.
    pub take_over: bool,
}

/// Why the socket could not be made. Says what to do about it.
#[derive(Debug)]
pub struct BindError {
    path: PathBuf,
    reason: String,
}

impl std::error::Error for BindError {}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failed to make the admin socket {}: {}", self.path.display(), self.reason)
    }
}

/// A bound socket; removes its file when dropped, unless another process has taken its place.
#[derive(Debug)]
pub(super) struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    identity: (u64, u64),
}

impl Socket {
    pub(super) fn bind(place: &Place) -> Result<Self, BindError> {
        let path = &place.path;
        let refuse = |reason: String| BindError { path: path.clone(), reason };
        let folder = match path.parent() {
            Some(folder) if path.file_name().is_some() => folder,
            _ => return Err(refuse("this is no path of a file".into())),
        };
        let group = match &place.group {
            None => None,
            Some(name) => Some(group_id(name).map_err(refuse)?),
        };
        make_folder(folder).map_err(refuse)?;
        make_room(path, place.take_over).map_err(refuse)?;

        let private = PrivateFolder::in_folder(folder)
            .map_err(|error| refuse(format!("{} is not writable ({error})", folder.display())))?;
        let inside = private.path.join("s");
        let listener = UnixListener::bind(&inside).map_err(|error| {
            if error.kind() == ErrorKind::InvalidInput {
                refuse("the path is too long (a socket's may have about 90 bytes)".into())
            } else {
                refuse(error.to_string())
            }
        })?;
        let finish = || -> io::Result<(u64, u64)> {
            if group.is_some() {
                std::os::unix::fs::chown(&inside, None, group)?;
            }
            let mode = if group.is_some() { 0o660 } else { 0o600 };
            fs::set_permissions(&inside, Permissions::from_mode(mode))?;
            let identity = identity(&inside)?;
            fs::rename(&inside, path)?;
            Ok(identity)
        };
        let identity = finish().map_err(|error| refuse(error.to_string()))?;
        Ok(Self { listener: Some(listener), path: path.clone(), identity })
    }

    /// The listener, non-blocking; none the second time.
    pub(super) fn take_listener(&mut self) -> io::Result<UnixListener> {
        let listener = self
            .listener
            .take()
            .ok_or_else(|| io::Error::other("the listener was taken already"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // After a hot upgrade the file is the new process's. If removing fails, the next process
        // will find that nothing answers and replace it.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn group_id(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("there is no group \"{name}\" on this host")),
        Err(error) => Err(format!("looking up the group \"{name}\" failed ({error})")),
    }
}

/// Makes the last folder of the path. Not more: a typing mistake should not become a tree.
fn make_folder(folder: &Path) -> Result<(), String> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(format!(
            "its folder {} does not exist and cannot be made ({error}); systemd makes it with \
             RuntimeDirectory=, or choose another admin.socket",
            folder.display()
        )),
    }
}

/// Makes sure that what is at the path may be replaced: nothing, or a socket on which nobody
/// answers any more.
fn make_room(path: &Path, take_over: bool) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err("something that is no socket is there already".into());
        }
        Ok(_) => {}
    }
    if take_over {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another process answers on it: is it running already?".into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("another process seems to use it ({error})")),
    }
}

/// A folder only we can enter, removed when dropped.
struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    fn in_folder(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A short name: the whole path has to fit into a socket address.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{:x}.{count:x}", std::process::id()));
        // Left by a process of the same id that was killed in between: ours to remove.
        let _ = fs::remove_file(path.join("s"));
        let _ = fs::remove_dir(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Both are gone already, or of no harm: nobody else can enter.
        let _ = fs::remove_file(self.path.join("s"));
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path) -> Place {
        Place { path: path.into(), group: None, take_over: false }
    }

    fn refused(place: &Place) -> String {
        Socket::bind(place).unwrap_err().to_string()
    }

    #[test]
    fn it_has_its_mode_leaves_nothing_else_and_goes_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringway/relay.sock");
        let socket = Socket::bind(&place(&path)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_group_may_use_it_if_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.sock");
        let mine = Group::from_gid(nix::unistd::getegid()).unwrap().unwrap().name;
        let with = |group: &str| Place { group: Some(group.into()), ..place(&path) };
        let _socket = Socket::bind(&with(&mine)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let refused = refused(&with("no-such-group-here"));
        assert!(refused.contains("there is no group \"no-such-group-here\""), "{refused}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.sock");
        drop(UnixListener::bind(&path).unwrap());
        let living = Socket::bind(&place(&path)).unwrap();
        let refused = refused(&place(&path));
        assert!(refused.contains("another process answers on it"), "{refused}");
        UnixStream::connect(&path).unwrap();

        let upgraded = Socket::bind(&Place { take_over: true, ..place(&path) }).unwrap();
        drop(living);
        UnixStream::connect(&path).expect("the old process must not remove the new one's socket");
        drop(upgraded);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.sock");
        fs::write(&path, "precious").unwrap();
        assert!(refused(&place(&path)).contains("something that is no socket is there"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn places_that_cannot_be_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let table = [
            (folder.path().join("a/b/relay.sock"), "systemd makes it with RuntimeDirectory="),
            (folder.path().join("x".repeat(120)).join("relay.sock"), "too long"),
            (PathBuf::from("/"), "no path of a file"),
        ];
        for (path, reason) in table {
            let refused = refused(&place(&path));
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
