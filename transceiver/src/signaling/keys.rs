//! API keys: a file with one `name:key` a line.
//!
//! ```text
//! # who          key
//! web-backend:   rk_Jq3…
//! load-test:     rk_x81…
//! ```
//!
//! Keys themselves are not kept. Of each there is a SHA-256, to know it again, and a key for signing
//! client secrets that is derived from it. So secrets survive a restart, hold on every transceiver
//! that has the same file, and die with the line of the key that issued them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use service::keyfile::{self, KeyfileError};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// With a shorter one it could be found by trying.
const KEY_CHARS_MIN: usize = 20;
const KEY_CHARS_MAX: usize = 512;
const NAME_CHARS_MAX: usize = 64;
const KEYS_MAX: usize = 1_000;
/// Begins a client secret, and therefore no key.
pub(super) const SECRET_PREFIX: &str = "ek_";
const KEY_PREFIX: &str = "rk_";
/// Separates this use of a key from any other.
const SIGNING_LABEL: &[u8] = b"ringway client secret 1";

/// Signs client secrets.
#[derive(Clone)]
pub(super) struct SigningKey([u8; 32]);

impl SigningKey {
    /// One that nobody else has, for as long as this process lives.
    pub(super) fn random() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel's random source works");
        Self(key)
    }

    fn of(key: &str) -> Self {
        let mut mac = hmac(key.as_bytes());
        mac.update(SIGNING_LABEL);
        Self(mac.finalize().into_bytes().into())
    }

    /// Begins a signature.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        hmac(&self.0)
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// One key, without the key itself.
struct Entry {
    name: Arc<str>,
    digest: [u8; 32],
    signing: SigningKey,
}

/// All API keys that are good.
pub struct Keys(Vec<Entry>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.names().collect::<Vec<_>>()).finish()
    }
}

/// Why a file of API keys could not be used. Every message names the file.
#[derive(Debug, Error)]
pub enum KeysError {
    /// It could not be read.
    #[error("{path}: {error}; write one `name:key` a line into it, such as {example}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
        /// A line that would do.
        example: String,
    },
    /// Others could read it, or it is no file of keys.
    #[error(transparent)]
    File(KeyfileError),
    /// A line is wrong.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// What is wrong with it, without any of the key.
        reason: String,
    },
    /// It has no keys.
    #[error("{path}: has no keys, so nobody could make a call; add a line such as {example}")]
    Empty {
        /// Which file.
        path: PathBuf,
        /// A line that would do.
        example: String,
    },
}

impl Keys {
    /// Reads a file that nobody else can read.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        let text = keyfile::read_private(path).map_err(|error| match error {
            KeyfileError::Read { path, error } => {
                KeysError::Read { path, error, example: example() }
            }
            other => KeysError::File(other),
        })?;
        let keys = Self::parse(&text).map_err(|(line, reason)| KeysError::Line {
            path: path.to_owned(),
            line,
            reason,
        })?;
        if keys.0.is_empty() {
            return Err(KeysError::Empty { path: path.to_owned(), example: example() });
        }
        Ok(keys)
    }

    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut keys = Self(Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                keys.add(line).map_err(|reason| (index + 1, reason))?;
            }
        }
        Ok(keys)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let (name, key) =
            line.split_once(':').ok_or("has no colon: write name:key, one a line".to_owned())?;
        let (name, key) = (name.trim(), key.trim());
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(is_name) {
            return Err(format!(
                "the name before the colon must have 1 to {NAME_CHARS_MAX} characters of a-z, A-Z, \
                 0-9, `-`, `_` and `.`"
            ));
        }
        if !(KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&key.len())
            || !key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(format!(
                "the key of {name} must have {KEY_CHARS_MIN} to {KEY_CHARS_MAX} visible ASCII \
                 characters"
            ));
        }
        if key.starts_with(SECRET_PREFIX) {
            return Err(format!(
                "the key of {name} begins with {SECRET_PREFIX}, as only client secrets do"
            ));
        }
        let entry = Entry {
            name: name.into(),
            digest: Sha256::digest(key).into(),
            signing: SigningKey::of(key),
        };
        if self.0.iter().any(|other| other.name == entry.name) {
            return Err(format!("the name {name} stands above already; every key has its own"));
        }
        if let Some(other) = self.0.iter().find(|other| other.digest == entry.digest) {
            return Err(format!("{name} has the same key as {}", other.name));
        }
        if self.0.len() == KEYS_MAX {
            return Err(format!("there are more than {KEYS_MAX} keys"));
        }
        self.0.push(entry);
        Ok(())
    }

    /// The names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &*entry.name)
    }

    /// Whose key this is. Takes the same time whether or not, and whosever.
    pub(super) fn name_of(&self, key: &str) -> Option<Arc<str>> {
        let digest = <[u8; 32]>::from(Sha256::digest(key));
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.digest.ct_eq(&digest)) {
                found = Some(&entry.name);
            }
        }
        found.cloned()
    }

    /// What the key of that name signs with.
    pub(super) fn signing_key(&self, name: &str) -> Option<&SigningKey> {
        self.0.iter().find(|entry| &*entry.name == name).map(|entry| &entry.signing)
    }
}

/// A new key: 32 random bytes, in letters that need no escaping anywhere.
pub fn fresh() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).expect("the kernel's random source works");
    let mut key = Zeroizing::new(String::with_capacity(64));
    key.push_str(KEY_PREFIX);
    URL_SAFE_NO_PAD.encode_string(*bytes, &mut key);
    key
}

/// A line for whoever has none. The key in it is fresh, and good.
fn example() -> String {
    format!("web:{}", *fresh())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const GOOD: &str =
        "# who may call\nweb: rk_0123456789abcdef0123\n\nload.test:another-key-of-20-char\n";

    #[test]
    fn a_key_is_known_by_its_name_and_a_stranger_is_not() {
        let keys = Keys::parse(GOOD).unwrap();
        assert_eq!(keys.names().collect::<Vec<_>>(), ["web", "load.test"]);
        assert_eq!(keys.name_of("rk_0123456789abcdef0123").as_deref(), Some("web"));
        assert_eq!(keys.name_of("another-key-of-20-char").as_deref(), Some("load.test"));
        for stranger in ["", "web", "rk_0123456789abcdef012", "rk_0123456789abcdef01234"] {
            assert_eq!(keys.name_of(stranger), None, "{stranger}");
        }
        let shown = format!("{keys:?}");
        assert!(!shown.contains("rk_"), "{shown}");
        assert!(Keys::parse(&format!("fresh:{}", *fresh())).is_ok());
    }

    #[test]
    fn a_wrong_line_is_named_and_its_key_is_not_told() {
        for (text, line, reason) in [
            ("web rk_0123456789abcdef0123", 1, "name:key"),
            ("\n\n:rk_0123456789abcdef0123", 3, "the name"),
            ("we b:rk_0123456789abcdef0123", 1, "the name"),
            ("web:short", 1, "20 to 512"),
            ("web:rk_0123456789 abcdef0123", 1, "visible"),
            ("web:ek_0123456789abcdef0123", 1, "client secrets"),
            ("a:rk_0123456789abcdef0123\na:rk_0123456789abcdef0124", 2, "stands above"),
            ("a:rk_0123456789abcdef0123\nb:rk_0123456789abcdef0123", 2, "the same key as a"),
        ] {
            let (at, told) = Keys::parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(told.contains(reason), "{text}: {told}");
            assert!(!told.contains("0123456789"), "{told}");
        }
        let many: String = (0..=KEYS_MAX).map(|n| format!("k{n}:key-number-{n:020}\n")).collect();
        assert_eq!(Keys::parse(&many).unwrap_err().0, KEYS_MAX + 1);
    }

    #[test]
    fn the_file_must_be_private_and_have_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-keys");
        let error = Keys::load(&path).unwrap_err().to_string();
        assert!(error.contains("api-keys") && error.contains("name:key"), "{error}");
        assert!(!error.contains("keygen"), "that makes another kind of file: {error}");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write(GOOD, 0o644);
        let error = Keys::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        write(GOOD, 0o600);
        assert_eq!(Keys::load(&path).unwrap().names().count(), 2);
        write("# none yet\n", 0o600);
        let error = Keys::load(&path).unwrap_err().to_string();
        assert!(error.contains("has no keys"), "{error}");
        write("web\n", 0o600);
        let error = Keys::load(&path).unwrap_err().to_string();
        assert!(error.contains("api-keys:1: "), "{error}");
    }
}
