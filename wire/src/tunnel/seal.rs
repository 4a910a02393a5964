//! The sending end of a leg.

use super::{
    ABOUT_BYTES, About, Bundle, COUNTER_MAX, Direction, HEADER_BYTES, Kind, SenderId, TAG_BYTES,
    TunnelKeyId, TunnelSecret, nonce,
};
use aws_lc_rs::aead::{Aad, LessSafeKey};
use thiserror::Error;

/// Bytes of a `ping` or `pong` datagram.
pub const ECHO_BYTES: usize = HEADER_BYTES + ECHO_CONTENT_BYTES + TAG_BYTES;
pub(super) const ECHO_CONTENT_BYTES: usize = 8 + ABOUT_BYTES;

/// The sealer has used up all 2^48 counters (at a million datagrams a second: after nine years). A
/// new one, with a new sender id, can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the tunnel's counter is used up")]
pub struct CounterExhausted;

/// Seals what one end sends on one leg. The only owner of its counter: it cannot be cloned.
#[derive(Debug)]
pub struct Sealer {
    key: LessSafeKey,
    key_id: TunnelKeyId,
    sender: SenderId,
    counter: u64,
}

impl Sealer {
    /// A sealer for a sender id that was drawn for it just now and is used for nothing else.
    pub fn new(
        secret: &TunnelSecret,
        key_id: TunnelKeyId,
        direction: Direction,
        sender: SenderId,
    ) -> Self {
        Self { key: secret.key(direction, sender), key_id, sender, counter: 0 }
    }

    /// Which secret it seals with.
    pub const fn key_id(&self) -> TunnelKeyId {
        self.key_id
    }

    /// Who it seals as.
    pub const fn sender(&self) -> SenderId {
        self.sender
    }

    /// Seals a bundle into a `data` datagram. The bundle is empty afterwards, whatever happens.
    #[inline]
    pub fn seal_data<'b>(&mut self, bundle: &'b mut Bundle) -> Result<&'b [u8], CounterExhausted> {
        self.seal_bundle(Kind::Data, bundle)
    }

    /// Seals a bundle of frames without payload into a `gone` datagram.
    pub fn seal_gone<'b>(&mut self, bundle: &'b mut Bundle) -> Result<&'b [u8], CounterExhausted> {
        self.seal_bundle(Kind::Gone, bundle)
    }

    /// A `ping` with a token of the caller's choice, that says nothing of its sender.
    pub fn seal_ping(&mut self, token: u64) -> Result<[u8; ECHO_BYTES], CounterExhausted> {
        self.seal_ping_about(token, About::default())
    }

    /// A `ping` that says who asks.
    pub fn seal_ping_about(
        &mut self,
        token: u64,
        about: About,
    ) -> Result<[u8; ECHO_BYTES], CounterExhausted> {
        self.seal_echo(Kind::Ping, token, about)
    }

    /// The answer to a `ping`, with its token, that says nothing of its sender.
    pub fn seal_pong(&mut self, token: u64) -> Result<[u8; ECHO_BYTES], CounterExhausted> {
        self.seal_pong_about(token, About::default())
    }

    /// The answer to a `ping`, that says who answers.
    pub fn seal_pong_about(
        &mut self,
        token: u64,
        about: About,
    ) -> Result<[u8; ECHO_BYTES], CounterExhausted> {
        self.seal_echo(Kind::Pong, token, about)
    }

    fn seal_echo(
        &mut self,
        kind: Kind,
        token: u64,
        about: About,
    ) -> Result<[u8; ECHO_BYTES], CounterExhausted> {
        let mut datagram = [0; ECHO_BYTES];
        let content = &mut datagram[HEADER_BYTES..][..ECHO_CONTENT_BYTES];
        content[..8].copy_from_slice(&token.to_be_bytes());
        content[8..].copy_from_slice(&about.to_bytes());
        let end = HEADER_BYTES + ECHO_CONTENT_BYTES;
        self.seal_in_place(kind.first_byte(), &mut datagram, end)?;
        Ok(datagram)
    }

    fn seal_bundle<'b>(
        &mut self,
        kind: Kind,
        bundle: &'b mut Bundle,
    ) -> Result<&'b [u8], CounterExhausted> {
        let (datagram, content_end) = bundle.take();
        self.seal_in_place(kind.first_byte(), datagram, content_end)?;
        Ok(datagram)
    }

    #[inline]
    fn seal_in_place(
        &mut self,
        first_byte: u8,
        datagram: &mut [u8],
        content_end: usize,
    ) -> Result<(), CounterExhausted> {
        if self.counter > COUNTER_MAX {
            return Err(CounterExhausted);
        }
        let [_, _, counter @ ..] = self.counter.to_be_bytes();
        self.counter += 1;

        let (header, rest) = datagram.split_at_mut(HEADER_BYTES);
        header[0] = first_byte;
        header[1] = self.key_id.0;
        header[2..10].copy_from_slice(&self.sender.0);
        header[10..].copy_from_slice(&counter);
        let (content, tag_place) = rest.split_at_mut(content_end - HEADER_BYTES);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(&*header), content)
            .expect("AES-GCM refuses only contents of 64 GiB and more");
        tag_place.copy_from_slice(tag.as_ref());
        Ok(())
    }
}

/// What no honest sender makes, for tests.
#[cfg(any(test, feature = "fuzz"))]
impl Sealer {
    /// Goes near the end of the counter.
    #[cfg(test)]
    pub(super) const fn skip_to(&mut self, counter: u64) {
        self.counter = counter;
    }

    /// Seals any content under any kind's number.
    pub(crate) fn seal_raw(&mut self, kind: u8, datagram: &mut [u8], content_end: usize) {
        let first_byte = super::VERSION << 4 | (kind & 0x0f);
        self.seal_in_place(first_byte, datagram, content_end).expect("a new sealer's counter");
    }
}
