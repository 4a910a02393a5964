//! Who may do what.
//!
//! An API key may do everything. A client secret may open calls until it expires, and whatever
//! concerns the calls that it opened for as long as they last. In open mode, which somebody must
//! have asked for, everybody may do everything.

use super::keys::{Keys, SECRET_PREFIX, SigningKey};
use super::secret::{Secret, SecretNumber};
use crate::call::CallId;
use axum::http::{HeaderMap, header};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// Calls whose secret is remembered. A call beyond that is its API key's alone.
const REMEMBERED_MAX: usize = 65_536;
/// Who issues secrets where everybody may.
const OPEN_NAME: &str = "open";

/// Who is let in.
#[derive(Clone)]
pub struct Access(Mode);

#[derive(Clone)]
enum Mode {
    /// Everybody. Secrets are signed with a key of this process, and end with it.
    Open(SigningKey),
    Keys(Arc<Keys>),
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Mode::Open(_) => f.write_str("Open"),
            Mode::Keys(keys) => keys.fmt(f),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Caller {
    /// Somebody, in open mode.
    Anybody,
    /// Somebody with an API key.
    Key(Arc<str>),
    /// Somebody with a client secret, which may have expired.
    Secret(Box<Secret>),
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum AuthFailure {
    #[error(
        "send `Authorization: Bearer KEY`, with an API key of this transceiver or a client secret (ek_…)"
    )]
    Missing,
    #[error(
        "the Authorization header is not `Bearer` and an API key or a whole client secret (ek_…)"
    )]
    Malformed,
    #[error("this API key is unknown here: check it against the transceiver's file of API keys")]
    UnknownKey,
    #[error(
        "this client secret was not issued here, or its API key was removed: ask for a new one"
    )]
    Forged,
    #[error(
        "this client secret has expired: ask your server for a new one, or give it a longer expires_after"
    )]
    Expired,
}

impl AuthFailure {
    pub(super) const ALL: [Self; 5] =
        [Self::Missing, Self::Malformed, Self::UnknownKey, Self::Forged, Self::Expired];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Expired => "expired",
        }
    }
}

/// A client secret does not do for this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a client secret cannot issue client secrets: send an API key, from your server")]
pub(super) struct Forbidden;

impl Access {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self(Mode::Open(SigningKey::random()))
    }

    /// Whoever has one of these keys, or a client secret of one.
    #[must_use]
    pub fn with_keys(keys: Keys) -> Self {
        Self(Mode::Keys(Arc::new(keys)))
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.0, Mode::Open(_))
    }

    /// Who sent these headers. An expired secret still says whose calls it opened.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthFailure> {
        let bearer = bearer(headers);
        match (&self.0, bearer) {
            // A secret brings its session even where nobody needs one.
            (_, Ok(text)) if text.starts_with(SECRET_PREFIX) => {
                let secret = Secret::verify(text, |name| self.signing_key(name))?;
                Ok(Caller::Secret(Box::new(secret)))
            }
            (Mode::Open(_), _) => Ok(Caller::Anybody),
            (Mode::Keys(keys), bearer) => {
                keys.name_of(bearer?).map(Caller::Key).ok_or(AuthFailure::UnknownKey)
            }
        }
    }

    /// What a caller signs the secrets with that it issues, and its name.
    pub(super) fn issuer<'a>(
        &'a self,
        caller: &'a Caller,
    ) -> Result<(&'a str, &'a SigningKey), Forbidden> {
        let name = match caller {
            Caller::Anybody => OPEN_NAME,
            Caller::Key(name) => name,
            Caller::Secret(_) => return Err(Forbidden),
        };
        self.signing_key(name).map(|signing| (name, signing)).ok_or(Forbidden)
    }

    fn signing_key(&self, name: &str) -> Option<&SigningKey> {
        match &self.0 {
            Mode::Open(signing) => (name == OPEN_NAME).then_some(signing),
            Mode::Keys(keys) => keys.signing_key(name),
        }
    }
}

impl Caller {
    /// Whether it may open calls now.
    pub(super) fn may_open(&self, since_1970: Duration) -> Result<(), AuthFailure> {
        match self {
            Self::Secret(secret) if !secret.is_good_at(since_1970) => Err(AuthFailure::Expired),
            _ => Ok(()),
        }
    }
}

/// RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, AuthFailure> {
    let value = headers.get(header::AUTHORIZATION).ok_or(AuthFailure::Missing)?;
    let value = value.to_str().map_err(|_| AuthFailure::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(AuthFailure::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(AuthFailure::Malformed);
    }
    Ok(token)
}

/// Which secret opened which call: the newest of them, as many as fit. An entry does no harm when
/// its call is over, because no other call ever gets the name.
#[derive(Debug, Default)]
pub(super) struct Openers(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    by_call: HashMap<CallId, SecretNumber>,
    oldest_first: VecDeque<CallId>,
}

impl Openers {
    pub(super) fn remember(&self, call: CallId, secret: SecretNumber) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while remembered.oldest_first.len() >= REMEMBERED_MAX {
            if let Some(oldest) = remembered.oldest_first.pop_front() {
                remembered.by_call.remove(&oldest);
            }
        }
        remembered.by_call.insert(call, secret);
        remembered.oldest_first.push_back(call);
    }

    /// Whether a caller may touch a call.
    pub(super) fn admit(&self, access: &Access, caller: &Caller, call: CallId) -> bool {
        match caller {
            Caller::Anybody | Caller::Key(_) => true,
            Caller::Secret(_) if access.is_open() => true,
            Caller::Secret(secret) => {
                let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                remembered.by_call.get(&call) == Some(&secret.number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use wire::hint::ShardId;

    const KEY: &str = "rk_0123456789abcdef0123";

    fn with_keys() -> Access {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        service_file(&path, &format!("web:{KEY}\n"));
        Access::with_keys(Keys::load(&path).unwrap())
    }

    fn service_file(path: &std::path::Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn headers(authorization: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(authorization.as_bytes()).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn secret(number: SecretNumber, access: &Access) -> (Caller, String) {
        let caller = access.caller(&headers(&format!("Bearer {KEY}"))).unwrap();
        let (name, signing) = access.issuer(&caller).unwrap();
        let secret = Secret { number, expires_at: 100, key_name: name.to_owned(), session: None };
        let text = secret.issue(signing).unwrap();
        (Caller::Secret(Box::new(secret)), text)
    }

    #[test]
    fn only_keys_and_secrets_of_keys_are_let_in() {
        let access = with_keys();
        let caller = |authorization: &str| access.caller(&headers(authorization));
        assert_eq!(access.caller(&HeaderMap::new()), Err(AuthFailure::Missing));
        let (expected, text) = secret(SecretNumber::random(), &access);
        let tampered = text.replace("ek_AQ", "ek_AR");
        let other = secret(SecretNumber::random(), &with_keys_named("other")).1;
        for (authorization, result) in [
            (format!("Bearer {KEY}"), Ok(Caller::Key("web".into()))),
            (format!("bearer  {KEY} "), Ok(Caller::Key("web".into()))),
            (format!("Bearer {text}"), Ok(expected)),
            (KEY.to_owned(), Err(AuthFailure::Malformed)),
            ("Bearer ".to_owned(), Err(AuthFailure::Malformed)),
            (format!("Basic {KEY}"), Err(AuthFailure::Malformed)),
            ("Bearer \u{fc}".to_owned(), Err(AuthFailure::Malformed)),
            (format!("Bearer {KEY}x"), Err(AuthFailure::UnknownKey)),
            ("Bearer ek_".to_owned(), Err(AuthFailure::Malformed)),
            ("Bearer ek_no base64".to_owned(), Err(AuthFailure::Malformed)),
            (format!("Bearer {tampered}"), Err(AuthFailure::Forged)),
            (format!("Bearer {other}"), Err(AuthFailure::Forged)),
        ] {
            assert_eq!(caller(&authorization), result, "{authorization}");
        }
    }

    fn with_keys_named(name: &str) -> Access {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        service_file(&path, &format!("{name}:{KEY}\n"));
        Access::with_keys(Keys::load(&path).unwrap())
    }

    #[test]
    fn secrets_outlive_the_process_but_not_their_key() {
        let (_, text) = secret(SecretNumber::random(), &with_keys());
        assert!(with_keys().caller(&headers(&format!("Bearer {text}"))).is_ok(), "loaded again");
        let open = Access::open();
        let (name, signing) = open.issuer(&Caller::Anybody).unwrap();
        let number = SecretNumber::random();
        let own = Secret { number, expires_at: 9, key_name: name.to_owned(), session: None };
        let own = headers(&format!("Bearer {}", own.issue(signing).unwrap()));
        assert!(open.caller(&own).is_ok());
        assert_eq!(Access::open().caller(&own), Err(AuthFailure::Forged));
        assert_eq!(open.caller(&headers("Bearer whatever")), Ok(Caller::Anybody));
        assert_eq!(open.caller(&headers(&format!("Bearer {text}"))), Err(AuthFailure::Forged));
    }

    #[test]
    fn a_secret_opens_calls_for_a_while_and_issues_none() {
        let access = with_keys();
        let (caller, _) = secret(SecretNumber::random(), &access);
        assert_eq!(caller.may_open(Duration::from_secs(99)), Ok(()));
        assert_eq!(caller.may_open(Duration::from_secs(100)), Err(AuthFailure::Expired));
        assert!(access.issuer(&caller).is_err());
    }

    #[test]
    fn a_secret_touches_the_calls_that_it_opened() {
        let access = with_keys();
        let (one, other) = (SecretNumber::random(), SecretNumber::random());
        let (caller, _) = secret(one, &access);
        let call = |number: u8| CallId::new(ShardId(0), [number; 14]);
        let openers = Openers::default();
        openers.remember(call(1), one);
        openers.remember(call(2), other);
        assert!(openers.admit(&access, &caller, call(1)));
        assert!(!openers.admit(&access, &caller, call(2)));
        assert!(!openers.admit(&access, &caller, call(3)));
        assert!(openers.admit(&access, &Caller::Key("web".into()), call(2)));
        assert!(openers.admit(&Access::open(), &caller, call(2)));
    }

    #[test]
    fn memory_of_openers_is_bounded() {
        let openers = Openers::default();
        let number = SecretNumber::random();
        for count in 0..u32::try_from(REMEMBERED_MAX).unwrap() + 10 {
            let mut random = [0; 14];
            random[..4].copy_from_slice(&count.to_be_bytes());
            openers.remember(CallId::new(ShardId(0), random), number);
        }
        let remembered = openers.0.lock().unwrap();
        assert_eq!(remembered.by_call.len(), REMEMBERED_MAX);
        assert_eq!(remembered.oldest_first.len(), REMEMBERED_MAX);
    }
}
