//! Client secrets (`ek_…`): what a server of the customer gives to a browser, so that it may make
//! calls for a while without an API key.
//!
//! Stateless: all there is to know is in the secret, signed.
//!
//! ```text
//! ek_ base64url( version 1 · expires 8 · number 8 · name length 1 · name · session JSON · HMAC-SHA256 32 )
//! ```
//!
//! It is signed, not encrypted: whoever has a secret can read the session in it.

use super::access::AuthFailure;
use super::keys::{SECRET_PREFIX, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use serde_json::Value;
use std::time::Duration;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// A secret travels in a header, and proxies bound those.
pub(super) const SESSION_BYTES_MAX: usize = 4_096;
/// More than the longest session and name make, in base64.
const SECRET_CHARS_MAX: usize = 6_144;

/// Which secret: what its calls are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SecretNumber([u8; 8]);

impl SecretNumber {
    pub(super) fn random() -> Self {
        let mut number = [0; 8];
        getrandom::fill(&mut number).expect("the kernel's random source works");
        Self(number)
    }
}

/// What a secret says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Secret {
    pub(super) number: SecretNumber,
    /// Until when it opens calls, in seconds since 1970.
    pub(super) expires_at: u64,
    /// The API key that issued it.
    pub(super) key_name: String,
    /// What its calls get as their session, if they bring none.
    pub(super) session: Option<Value>,
}

/// The session is too long for a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTooLong;

impl Secret {
    /// The text, signed.
    pub(super) fn issue(&self, signing: &SigningKey) -> Result<String, SessionTooLong> {
        let session = self.session.as_ref().map(Value::to_string).unwrap_or_default();
        if session.len() > SESSION_BYTES_MAX {
            return Err(SessionTooLong);
        }
        let name = self.key_name.as_bytes();
        // Names are bounded where keys are read.
        let name_length = u8::try_from(name.len()).map_err(|_| SessionTooLong)?;
        let mut bytes = vec![VERSION];
        bytes.extend(self.expires_at.to_be_bytes());
        bytes.extend(self.number.0);
        bytes.push(name_length);
        bytes.extend(name);
        bytes.extend(session.as_bytes());
        let mut mac = signing.mac();
        mac.update(&bytes);
        bytes.extend(mac.finalize().into_bytes());
        Ok(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a text whose signature is good. Whether it has expired is for the caller to see.
    pub(super) fn verify<'a>(
        text: &str,
        signing: impl FnOnce(&str) -> Option<&'a SigningKey>,
    ) -> Result<Self, AuthFailure> {
        let text = text.strip_prefix(SECRET_PREFIX).ok_or(AuthFailure::Malformed)?;
        if text.len() > SECRET_CHARS_MAX {
            return Err(AuthFailure::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AuthFailure::Malformed)?;
        let (signed, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(AuthFailure::Malformed)?;
        let unsigned = Unsigned::read(signed).ok_or(AuthFailure::Malformed)?;
        let mut mac = signing(unsigned.key_name).ok_or(AuthFailure::Forged)?.mac();
        mac.update(signed);
        mac.verify_slice(tag).map_err(|_| AuthFailure::Forged)?;
        let session = match unsigned.session {
            [] => None,
            json => Some(serde_json::from_slice(json).map_err(|_| AuthFailure::Malformed)?),
        };
        Ok(Self {
            number: unsigned.number,
            expires_at: unsigned.expires_at,
            key_name: unsigned.key_name.to_owned(),
            session,
        })
    }

    /// Whether it still opens calls.
    pub(super) const fn is_good_at(&self, since_1970: Duration) -> bool {
        since_1970.as_secs() < self.expires_at
    }
}

/// What stands in a secret, if it is one.
struct Unsigned<'a> {
    expires_at: u64,
    number: SecretNumber,
    key_name: &'a str,
    session: &'a [u8],
}

impl<'a> Unsigned<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
        let (expires_at, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (&length, rest) = rest.split_first()?;
        let (name, session) = rest.split_at_checked(usize::from(length))?;
        Some(Self {
            expires_at: u64::from_be_bytes(*expires_at),
            number: SecretNumber(*number),
            key_name: std::str::from_utf8(name).ok()?,
            session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn secret(session: Option<Value>) -> Secret {
        let number = SecretNumber([7; 8]);
        Secret { number, expires_at: 1_000, key_name: "web".into(), session }
    }

    #[test]
    fn what_was_issued_is_read_back() {
        let signing = SigningKey::random();
        for session in [None, Some(json!({"model": "echo", "instructions": "be kind"}))] {
            let secret = secret(session);
            let text = secret.issue(&signing).unwrap();
            assert!(text.starts_with("ek_") && text.is_ascii(), "{text}");
            let read = Secret::verify(&text, |name| (name == "web").then_some(&signing)).unwrap();
            assert_eq!(read, secret);
        }
    }

    #[test]
    fn a_secret_ends_with_its_last_second() {
        let secret = secret(None);
        assert!(secret.is_good_at(Duration::from_millis(999_999)));
        assert!(!secret.is_good_at(Duration::from_secs(1_000)));
    }

    #[test]
    fn the_longest_session_still_fits_and_a_longer_one_is_refused() {
        let of = |length: usize| secret(Some(Value::String("x".repeat(length - 2))));
        let signing = SigningKey::random();
        let long_name = Secret { key_name: "n".repeat(64), ..of(SESSION_BYTES_MAX) };
        let text = long_name.issue(&signing).unwrap();
        assert_eq!(Secret::verify(&text, |_| Some(&signing)), Ok(long_name));
        assert_eq!(of(SESSION_BYTES_MAX + 1).issue(&signing), Err(SessionTooLong));
    }

    #[test]
    fn another_key_or_no_key_signed_nothing() {
        let signing = SigningKey::random();
        let text = secret(None).issue(&signing).unwrap();
        let other = SigningKey::random();
        assert_eq!(Secret::verify(&text, |_| Some(&other)), Err(AuthFailure::Forged));
        assert_eq!(Secret::verify(&text, |_| None), Err(AuthFailure::Forged));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_a_forgery(at in 3_usize..100, to in "[A-Za-z0-9_-]") {
            let signing = SigningKey::random();
            let mut text = secret(Some(json!({"model": "echo"}))).issue(&signing).unwrap();
            let at = at.min(text.len() - 2);
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert!(Secret::verify(&text, |_| Some(&signing)).is_err());
        }

        #[test]
        fn no_text_panics(text: String, bytes: Vec<u8>) {
            let signing = SigningKey::random();
            let _ = Secret::verify(&text, |_| Some(&signing));
            let text = format!("ek_{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert!(Secret::verify(&text, |_| Some(&signing)).is_err());
        }
    }
}
