//! Writes a STUN message into a caller's buffer.

use super::{
    ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, Kind, MAGIC_COOKIE, TransactionId, attribute,
    fingerprint, integrity,
};
use crate::address::Address;
use thiserror::Error;

/// The buffer is too small for the message, or the message longer than STUN can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the STUN message does not fit")]
pub struct Full;

/// A message under construction. Attributes appear in the order of the calls; integrity and
/// fingerprint, where wanted, come last and in this order.
#[derive(Debug)]
pub struct Encoder<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Encoder<'a> {
    /// Starts a message.
    pub fn new(buffer: &'a mut [u8], kind: Kind, transaction: TransactionId) -> Result<Self, Full> {
        let header = buffer.first_chunk_mut::<HEADER_BYTES>().ok_or(Full)?;
        header[..2].copy_from_slice(&kind.bits().to_be_bytes());
        header[2..4].fill(0);
        header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        header[8..].copy_from_slice(&transaction);
        Ok(Self { buffer, length: HEADER_BYTES })
    }

    /// USERNAME `receiver:sender`, the ufrags of both sides.
    pub fn username(self, receiver: &[u8], sender: &[u8]) -> Result<Self, Full> {
        self.attribute(attribute::USERNAME, &[receiver, b":", sender])
    }

    /// PRIORITY of the candidate that a response would discover.
    pub fn priority(self, priority: u32) -> Result<Self, Full> {
        self.attribute(attribute::PRIORITY, &[&priority.to_be_bytes()])
    }

    /// ICE-CONTROLLING with the sender's tie-breaker.
    pub fn ice_controlling(self, tie_breaker: u64) -> Result<Self, Full> {
        self.attribute(attribute::ICE_CONTROLLING, &[&tie_breaker.to_be_bytes()])
    }

    /// USE-CANDIDATE: nominates the path.
    pub fn use_candidate(self) -> Result<Self, Full> {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    /// ERROR-CODE with an empty reason phrase. RFC 8489 section 14.8.
    pub fn error_code(self, code: u16) -> Result<Self, Full> {
        let class = u8::try_from(code / 100).map_err(|_| Full)?;
        let number = u8::try_from(code % 100).map_err(|_| Full)?;
        self.attribute(attribute::ERROR_CODE, &[&[0, 0, class, number]])
    }

    /// XOR-MAPPED-ADDRESS: the requester's address as the responder sees it.
    pub fn xor_mapped_address(self, address: Address) -> Result<Self, Full> {
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        let [port_high, port_low] = port.to_be_bytes();
        let family = if address.is_ipv4() { 0x01 } else { 0x02 };
        let mut ip = [0; 16];
        let bytes = address.ip_bytes();
        let ip = &mut ip[..bytes.len()];
        for ((out, byte), mask) in ip.iter_mut().zip(bytes).zip(&self.buffer[4..HEADER_BYTES]) {
            *out = byte ^ mask;
        }
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, family, port_high, port_low], ip])
    }

    /// MESSAGE-INTEGRITY keyed with the receiver's ICE password.
    pub fn integrity(self, password: &[u8]) -> Result<Self, Full> {
        let value = integrity::of(&self.buffer[..self.length], password).ok_or(Full)?;
        self.attribute(attribute::MESSAGE_INTEGRITY, &[&value])
    }

    /// FINGERPRINT.
    pub fn fingerprint(mut self) -> Result<Self, Full> {
        self.write_length(self.length + ATTRIBUTE_HEADER_BYTES + 4)?;
        let value = fingerprint::of(&self.buffer[..self.length]);
        self.attribute(attribute::FINGERPRINT, &[&value.to_be_bytes()])
    }

    /// An attribute of any other type.
    pub fn other(self, kind: u16, value: &[u8]) -> Result<Self, Full> {
        self.attribute(kind, &[value])
    }

    /// The finished message.
    pub fn finish(self) -> &'a [u8] {
        &self.buffer[..self.length]
    }

    fn attribute(mut self, kind: u16, parts: &[&[u8]]) -> Result<Self, Full> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let end = self.length + ATTRIBUTE_HEADER_BYTES + length.next_multiple_of(4);
        let length = u16::try_from(length).map_err(|_| Full)?;
        let room = self.buffer.get_mut(self.length..end).ok_or(Full)?;
        room[..2].copy_from_slice(&kind.to_be_bytes());
        room[2..4].copy_from_slice(&length.to_be_bytes());
        let mut at = ATTRIBUTE_HEADER_BYTES;
        for part in parts {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        room[at..].fill(0);
        self.length = end;
        self.write_length(end)?;
        Ok(self)
    }

    fn write_length(&mut self, end: usize) -> Result<(), Full> {
        let length = u16::try_from(end - HEADER_BYTES).map_err(|_| Full)?;
        self.buffer[2..4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}
