//! The borrowed view of one received message.

use super::{
    ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, INTEGRITY_BYTES, IntegrityError, Kind, MAGIC_COOKIE,
    TransactionId, USERNAME_BYTES_MAX, attribute, fingerprint, integrity,
};
use crate::address::Address;
use thiserror::Error;

/// Why a datagram is no STUN message. One variant for each check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum StunError {
    /// Fewer bytes than a header has.
    #[error("shorter than a STUN header")]
    TooShort,
    /// The two high bits of the first byte are not zero.
    #[error("the first two bits are not zero")]
    NotStun,
    /// The magic cookie is another.
    #[error("wrong magic cookie")]
    WrongCookie,
    /// The length field is not a multiple of four.
    #[error("length is not a multiple of four")]
    LengthUnaligned,
    /// The length field and the datagram disagree.
    #[error("length differs from the datagram's")]
    LengthMismatch,
    /// An attribute reaches beyond the end of the message.
    #[error("attribute reaches beyond the message")]
    AttributeOverrun,
    /// An attribute has a length that its type cannot have.
    #[error("attribute of an impossible length")]
    AttributeLength,
    /// Two USERNAMEs ahead of the integrity.
    #[error("more than one USERNAME")]
    TwoUsernames,
}

/// A STUN message inside a received datagram. All attributes lie within it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    username: Option<&'a [u8]>,
    xor_mapped_address: Option<&'a [u8]>,
    /// Where the MESSAGE-INTEGRITY attribute starts: what it protects ends here.
    integrity_at: Option<usize>,
    fingerprint_at: Option<usize>,
    use_candidate: bool,
}

impl<'a> Message<'a> {
    /// Checks the header and walks the attributes once. The walk is bounded by the datagram: each
    /// step moves on by at least four bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(StunError::TooShort)?;
        if header[0] & 0xc0 != 0 {
            return Err(StunError::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(StunError::WrongCookie);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) {
            return Err(StunError::LengthUnaligned);
        }
        if HEADER_BYTES + length != bytes.len() {
            return Err(StunError::LengthMismatch);
        }
        let mut message = Self {
            bytes,
            username: None,
            xor_mapped_address: None,
            integrity_at: None,
            fingerprint_at: None,
            use_candidate: false,
        };
        message.walk()?;
        Ok(message)
    }

    fn walk(&mut self) -> Result<(), StunError> {
        let mut at = HEADER_BYTES;
        while at < self.bytes.len() {
            // The length is a multiple of four and so is `at`: an attribute header always fits.
            let (header, rest) = self.bytes[at..]
                .split_first_chunk::<ATTRIBUTE_HEADER_BYTES>()
                .ok_or(StunError::AttributeOverrun)?;
            let kind = u16::from_be_bytes([header[0], header[1]]);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let padded = length.next_multiple_of(4);
            if padded > rest.len() {
                return Err(StunError::AttributeOverrun);
            }
            self.remember(kind, &rest[..length], at)?;
            at += ATTRIBUTE_HEADER_BYTES + padded;
        }
        Ok(())
    }

    /// RFC 8489 section 14.5: agents "MUST ignore all other attributes that follow
    /// MESSAGE-INTEGRITY", FINGERPRINT excepted. FINGERPRINT counts only as the last attribute.
    ///
    /// Of an attribute that comes twice, section 14 lets a receiver process the first and leave the
    /// rest, and some stacks take the last. A USERNAME that relay and transceiver could read
    /// differently must not get past the relay, so two are refused; no client sends two.
    #[inline]
    fn remember(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), StunError> {
        match (kind, self.integrity_at) {
            (attribute::USERNAME, None) => {
                if value.len() > USERNAME_BYTES_MAX {
                    return Err(StunError::AttributeLength);
                }
                if self.username.replace(value).is_some() {
                    return Err(StunError::TwoUsernames);
                }
            }
            (attribute::USE_CANDIDATE, None) => self.use_candidate = true,
            (attribute::XOR_MAPPED_ADDRESS, None) => {
                self.xor_mapped_address = self.xor_mapped_address.or(Some(value));
            }
            (attribute::MESSAGE_INTEGRITY, None) => {
                if value.len() != INTEGRITY_BYTES {
                    return Err(StunError::AttributeLength);
                }
                self.integrity_at = Some(at);
            }
            (attribute::FINGERPRINT, _) => {
                if value.len() != 4 {
                    return Err(StunError::AttributeLength);
                }
                if at + ATTRIBUTE_HEADER_BYTES + 4 == self.bytes.len() {
                    self.fingerprint_at = Some(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the message is for.
    pub fn kind(&self) -> Kind {
        Kind::from_bits(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// What ties a response to its request.
    pub fn transaction(&self) -> TransactionId {
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        transaction
    }

    /// The USERNAME attribute, if there is one ahead of the integrity.
    pub const fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// The part of USERNAME before the first `:`, which is the receiver's ufrag (RFC 8445 section
    /// 7.2.2). `None` without a USERNAME or without a colon in it.
    #[inline]
    pub fn ufrag(&self) -> Option<&'a [u8]> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        Some(&username[..colon])
    }

    /// Whether the client nominates this path.
    pub const fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// The sender's address as the responder saw it. RFC 8489 section 14.2.
    pub fn xor_mapped_address(&self) -> Option<Address> {
        let value = self.xor_mapped_address?;
        let (&[_, family, port_high, port_low], ip) = value.split_first_chunk::<4>()?;
        let [cookie_high, cookie_low, ..] = MAGIC_COOKIE.to_be_bytes();
        let port = u16::from_be_bytes([port_high ^ cookie_high, port_low ^ cookie_low]);
        // The mask is the cookie and the transaction id: the header from its fourth byte on.
        let mask = &self.bytes[4..HEADER_BYTES];
        match family {
            0x01 => Some(Address::from_v4(unmask(ip, mask)?, port)),
            0x02 => Some(Address::from_v6(unmask(ip, mask)?, port)),
            _ => None,
        }
    }

    /// Whether MESSAGE-INTEGRITY is there.
    pub const fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Checks MESSAGE-INTEGRITY with the receiver's ICE password as the key (RFC 8489 section
    /// 14.5, short-term credentials). The comparison takes the same time for every wrong value.
    pub fn verify_integrity(&self, password: &[u8]) -> Result<(), IntegrityError> {
        let at = self.integrity_at.ok_or(IntegrityError::Missing)?;
        let value_at = at + ATTRIBUTE_HEADER_BYTES;
        integrity::verify(
            &self.bytes[..at],
            &self.bytes[value_at..value_at + INTEGRITY_BYTES],
            password,
        )
    }

    /// Whether FINGERPRINT is right; `None` if there is none. It tells STUN from other protocols
    /// and proves nothing about the sender.
    pub fn fingerprint(&self) -> Option<bool> {
        let at = self.fingerprint_at?;
        let sent = self.bytes[at + ATTRIBUTE_HEADER_BYTES..].first_chunk::<4>()?;
        Some(fingerprint::of(&self.bytes[..at]) == u32::from_be_bytes(*sent))
    }
}

fn unmask<const N: usize>(value: &[u8], mask: &[u8]) -> Option<[u8; N]> {
    let mut bytes: [u8; N] = value.try_into().ok()?;
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    Some(bytes)
}
