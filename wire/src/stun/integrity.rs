//! MESSAGE-INTEGRITY: HMAC-SHA1 over the message up to the attribute. RFC 8489 section 14.5.

use super::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, INTEGRITY_BYTES};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use thiserror::Error;

/// Why a message does not prove that its sender knows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum IntegrityError {
    /// There is no MESSAGE-INTEGRITY.
    #[error("no MESSAGE-INTEGRITY")]
    Missing,
    /// It was made with another key, or of another message.
    #[error("MESSAGE-INTEGRITY is wrong")]
    Wrong,
}

/// Checks `sent` against the HMAC of `protected`, in constant time.
pub(super) fn verify(protected: &[u8], sent: &[u8], password: &[u8]) -> Result<(), IntegrityError> {
    let mac = hmac(protected, password).ok_or(IntegrityError::Wrong)?;
    mac.verify_slice(sent).map_err(|_| IntegrityError::Wrong)
}

/// The attribute's value for a message of which `protected` is everything ahead of the attribute.
pub(super) fn of(protected: &[u8], password: &[u8]) -> Option<[u8; INTEGRITY_BYTES]> {
    Some(hmac(protected, password)?.finalize().into_bytes().into())
}

/// "The length is then set to point to the length of the message up to, and including, the
/// MESSAGE-INTEGRITY attribute itself": what follows (FINGERPRINT) is not counted. The received
/// bytes stay as they are; the two bytes of the length are fed in from here.
fn hmac(protected: &[u8], password: &[u8]) -> Option<Hmac<Sha1>> {
    let body = protected.len().checked_sub(HEADER_BYTES)?;
    let length = u16::try_from(body + ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(password).ok()?;
    mac.update(&protected[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&protected[4..]);
    Some(mac)
}
