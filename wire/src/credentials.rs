//! The ICE password of a session, derived from its ufrag, so that nobody has to look it up.
//!
//! Transceiver and relay share a secret. Both derive `ice-pwd` from it and the ufrag, so a relay
//! that has never heard of a session can tell whether the sender of a STUN request has seen its
//! SDP answer. Only such a request may create a flow.

use crate::base62;
use crate::hint::Ufrag;
use crate::secret::Secret;
use crate::stun::{IntegrityError, Message};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Characters of a derived password: two times 128 bits. RFC 8839 section 5.4 wants 22 at least
/// and 128 bits of randomness.
pub const ICE_PWD_CHARS: usize = 2 * base62::CHARS;

/// Keeps these derivations apart from any other use of the same secret.
const SALT: &[u8] = b"ringway credentials v1";
const LABEL: &[u8] = b"ice-pwd";

/// A session's ICE password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IcePwd([u8; ICE_PWD_CHARS]);

impl IcePwd {
    /// The text, for the SDP answer.
    pub fn as_str(&self) -> &str {
        // Only base62 characters are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text as bytes: the key of MESSAGE-INTEGRITY.
    pub const fn as_bytes(&self) -> &[u8; ICE_PWD_CHARS] {
        &self.0
    }
}

impl fmt::Debug for IcePwd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IcePwd(secret)")
    }
}

/// The secret that all passwords of a routing key's sessions are derived from.
#[derive(Clone)]
pub struct CredentialSecret {
    secret: Secret<32>,
    /// Extracted once; a derivation is then one expansion.
    derivation: Hkdf<Sha256>,
}

impl CredentialSecret {
    /// Bytes of a secret.
    pub const BYTES: usize = 32;

    /// Prepares the derivation.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self { derivation: Hkdf::new(Some(SALT), &bytes), secret: Secret::new(bytes) }
    }

    /// The password that belongs to one of our ufrags.
    pub fn ice_pwd(&self, ufrag: &Ufrag) -> IcePwd {
        self.derive(ufrag.as_bytes())
    }

    /// The password that belongs to a ufrag's text.
    pub(crate) fn derive(&self, ufrag: &[u8]) -> IcePwd {
        let mut bytes = [0; 32];
        self.derivation
            .expand_multi_info(&[LABEL, ufrag], &mut bytes)
            .expect("HKDF fails only for outputs of more than 255 hashes; this is one");
        let mut text = [0; ICE_PWD_CHARS];
        for (text, half) in text.chunks_exact_mut(base62::CHARS).zip(bytes.as_chunks().0) {
            text.copy_from_slice(&base62::encode(u128::from_be_bytes(*half)));
        }
        bytes.zeroize();
        IcePwd(text)
    }

    /// Whether the sender of this STUN request knows the password of `ufrag`, that is, has seen
    /// the SDP answer it stood in.
    pub fn proves_answer_seen(
        &self,
        ufrag: &[u8],
        request: &Message<'_>,
    ) -> Result<(), IntegrityError> {
        if !request.has_integrity() {
            // Cheaper to say before the password is derived.
            return Err(IntegrityError::Missing);
        }
        request.verify_integrity(self.derive(ufrag).as_bytes())
    }
}

impl PartialEq for CredentialSecret {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for CredentialSecret {}

impl fmt::Debug for CredentialSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialSecret(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Encoder, Kind};

    const UFRAG: &[u8] = b"A4Vkl8lQzXqJTedM3OGBt21";

    fn secret() -> CredentialSecret {
        CredentialSecret::new([0x42; 32])
    }

    fn check<'b>(buffer: &'b mut [u8], password: Option<&[u8]>) -> Message<'b> {
        let request = Encoder::new(buffer, Kind::BindingRequest, *b"transaction1")
            .and_then(|request| request.username(UFRAG, b"abcd"))
            .and_then(|request| match password {
                Some(password) => request.integrity(password),
                None => Ok(request),
            })
            .unwrap();
        Message::parse(request.finish()).unwrap()
    }

    /// Both ends derive it, and they may run different releases. The text was computed apart from
    /// this code, with Python's hmac.
    #[test]
    fn the_derivation_is_frozen() {
        assert_eq!(secret().derive(UFRAG).as_str(), "2OXIPB1r1bmqWRl8PrEQUB59RCjk6ZCwW4fykqA4qU5Z");
    }

    #[test]
    fn passwords_satisfy_ice() {
        let password = secret().derive(UFRAG);
        assert_eq!(password.as_str().len(), ICE_PWD_CHARS);
        assert!(password.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        // RFC 8839 section 5.4: "ice-pwd-att = … 22*256ice-char".
        const { assert!(ICE_PWD_CHARS >= 22 && ICE_PWD_CHARS <= 256) };
        // A key of HMAC-SHA1 longer than its block would be hashed first on every packet.
        const { assert!(ICE_PWD_CHARS <= 64) };
    }

    #[test]
    fn every_secret_and_every_ufrag_has_its_own() {
        let password = secret().derive(UFRAG);
        let other = b"A4Vkl8lQzXqJTedM3OGBt22";
        assert_ne!(password.as_bytes(), secret().derive(other).as_bytes());
        let other = CredentialSecret::new([0x43; 32]);
        assert_ne!(password.as_bytes(), other.derive(UFRAG).as_bytes());
    }

    #[test]
    fn only_who_saw_the_answer_proves_it() {
        let password = secret().derive(UFRAG);
        let other = CredentialSecret::new([0x43; 32]).derive(UFRAG);
        let mut buffer = [0; 256];
        for (name, key, want) in [
            ("the session's password", Some(&password.as_bytes()[..]), Ok(())),
            ("no integrity", None, Err(IntegrityError::Missing)),
            ("an empty key", Some(&[][..]), Err(IntegrityError::Wrong)),
            ("another secret's", Some(other.as_bytes()), Err(IntegrityError::Wrong)),
            ("one character less", Some(&password.as_bytes()[1..]), Err(IntegrityError::Wrong)),
        ] {
            let request = check(&mut buffer, key);
            assert_eq!(secret().proves_answer_seen(UFRAG, &request), want, "{name}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", secret()), "CredentialSecret(secret)");
        assert_eq!(format!("{:?}", secret().derive(UFRAG)), "IcePwd(secret)");
    }
}
