//! The keyring on disk: read with its permissions checked, made new without ever replacing one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use wire::hint::KeyChar;
use wire::keyring::{self, Keyring, KeyringError, KeyringText};
use wire::tunnel::TunnelKeyId;
use zeroize::Zeroizing;

/// More than 62 routing and 16 tunnel entries take, with comments to spare.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a key file could not be used or made. Every message names the file.
#[derive(Debug, Error)]
pub enum KeyfileError {
    /// It could not be opened or read.
    #[error("{path}: {error}{}", hint_for(.error))]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others on this host could read or change it.
    #[error(
        "{path}: has mode {mode:04o}, so other users could read its secrets; run: chmod 600 {path}"
    )]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any keyring.
    #[error("{path}: is larger than {FILE_BYTES_MAX} bytes; is this the right file?")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is no keyring.
    #[error("{path}:{}: {}", .error.line, .error.reason)]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        error: KeyringError,
    },
    /// There is a file already.
    #[error(
        "{path}: exists already; a keyring is never overwritten, because every session and tunnel depends on it"
    )]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("{path}: {error}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

fn hint_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "; copy the deployment's keyring there, or make a new one: ringway-relay keygen FILE"
        }
        _ => "",
    }
}

/// Reads the keyring in `path`.
pub fn load(path: &Path) -> Result<Keyring, KeyfileError> {
    let text = read_private(path)?;
    Keyring::parse(&text).map_err(|error| KeyfileError::Content { path: path.to_owned(), error })
}

/// Reads a file of secrets: one that no other user can read or change, and no larger than any such
/// file is.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyfileError> {
    let read = |error| KeyfileError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    // The group may read it: relay and transceiver can run as two users of one group.
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o027 != 0 {
        return Err(KeyfileError::Permissions { path: path.to_owned(), mode });
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeyfileError::TooLarge { path: path.to_owned() });
    }
    // All room at once: growing would leave copies behind that nobody wipes. A file that grows
    // meanwhile is cut, and its text then refused.
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(read)?;
    Ok(text)
}

/// Makes a new keyring in `path`, mode 0600. Refuses if there is anything already.
pub fn create(path: &Path) -> Result<(), KeyfileError> {
    let text = keyring::generate(getrandom::fill).map_err(KeyfileError::Random)?;
    let write = |error| KeyfileError::Write { path: path.to_owned(), error };
    // `create_new` checks and creates in one step, so nothing can come between; the mode is there
    // from the first moment.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyfileError::Exists { path: path.to_owned() },
        _ => write(error),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a keyring is worse than none, and it is ours: it was not there a moment ago.
        let _ = std::fs::remove_file(path);
        write(error)
    })
}

/// The text of one more routing entry, to be added to a keyring by hand.
pub fn fresh_routing_entry(id: KeyChar) -> Result<KeyringText, KeyfileError> {
    keyring::fresh_routing_entry(id, getrandom::fill).map_err(KeyfileError::Random)
}

/// The text of one more tunnel entry, to be added to a keyring by hand.
pub fn fresh_tunnel_entry(id: TunnelKeyId) -> Result<KeyringText, KeyfileError> {
    keyring::fresh_tunnel_entry(id, getrandom::fill).map_err(KeyfileError::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_created_keyring_loads_and_is_private() {
        let folder = folder();
        let path = folder.path().join("keys.toml");
        create(&path).unwrap();
        load(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn two_created_keyrings_share_nothing() {
        let folder = folder();
        let [a, b] = ["a", "b"].map(|name| {
            create(&folder.path().join(name)).unwrap();
            load(&folder.path().join(name)).unwrap()
        });
        assert_ne!(a.routing_used().key, b.routing_used().key);
        assert_ne!(a.routing_used().credential, b.routing_used().credential);
        assert_ne!(a.tunnel_used().secret, b.tunnel_used().secret);
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = folder();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, "precious").unwrap();
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("keys.toml: exists already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        // Nor is what a link points to.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(matches!(create(&link), Err(KeyfileError::Exists { .. })));
    }

    #[test]
    fn files_that_others_could_read_are_refused() {
        let folder = folder();
        let path = folder.path().join("keys.toml");
        create(&path).unwrap();
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o660, false),
            (0o601, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match load(&path) {
                Ok(_) => assert!(fine, "mode {mode:o} was taken"),
                Err(error) => {
                    assert!(!fine, "mode {mode:o}: {error}");
                    assert!(error.to_string().contains("chmod 600"), "{error}");
                }
            }
        }
    }

    #[test]
    fn errors_name_file_line_and_mend() {
        let folder = folder();
        let path = folder.path().join("keys.toml");
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("keys.toml: No such file"), "{error}");
        assert!(error.contains("ringway-relay keygen"), "{error}");

        write(&path, "\n\n[[routing]]\nid = \"A\"\nstate = \"used\"\n", 0o600);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("keys.toml:5: "), "{error}");

        write(&path, &"# much too long\n".repeat(8192), 0o600);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("is this the right file?"), "{error}");
    }

    #[test]
    fn fresh_entries_extend_a_keyring() {
        let folder = folder();
        let path = folder.path().join("keys.toml");
        create(&path).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&fresh_routing_entry(KeyChar::new('B').unwrap()).unwrap());
        text.push_str(&fresh_tunnel_entry(TunnelKeyId(2)).unwrap());
        write(&path, &text, 0o600);
        assert_eq!(load(&path).unwrap().routing_entries().len(), 2);
    }
}
