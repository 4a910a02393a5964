//! An open bundle: the frames that will leave together in one datagram.

use super::{HEADER_BYTES, OVERHEAD_BYTES, TAG_BYTES};
use crate::frame::{self, Client};
use thiserror::Error;

/// Why a frame was not appended. The bundle is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The bundle holds frames already and this one would lift it over the tunnel's MTU. Seal it,
    /// send it, append again.
    #[error("the bundle is full")]
    Full,
    /// Not even an empty bundle has room for this frame.
    #[error("the packet is too long for the tunnel")]
    TooLong,
}

/// A datagram's buffer, with its header's and tag's places kept free, so that sealing moves nothing.
#[derive(Debug)]
pub struct Bundle {
    bytes: Box<[u8]>,
    mtu_bytes: usize,
    content_end: usize,
    frames: u16,
}

impl Bundle {
    /// A bundle that is closed at `mtu_bytes` of datagram, but takes a single packet of up to
    /// `payload_bytes_max` even if that makes the datagram longer: a packet that came must go on.
    pub fn new(mtu_bytes: usize, payload_bytes_max: usize) -> Self {
        let longest = OVERHEAD_BYTES + frame::OVERHEAD_BYTES_MAX + payload_bytes_max;
        let bytes = vec![0; longest.max(mtu_bytes)].into_boxed_slice();
        Self { bytes, mtu_bytes, content_end: HEADER_BYTES, frames: 0 }
    }

    /// Whether nothing has been appended since the last sealing.
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// How many frames are in it.
    pub const fn frames(&self) -> u16 {
        self.frames
    }

    /// How long the sealed datagram would be now.
    pub const fn datagram_bytes(&self) -> usize {
        self.content_end + TAG_BYTES
    }

    /// Whether it already exceeds the tunnel's MTU: one packet too long for a bundle, going alone.
    pub const fn exceeds_mtu(&self) -> bool {
        self.datagram_bytes() > self.mtu_bytes
    }

    /// Appends one client packet.
    #[inline]
    pub fn append(&mut self, client: &Client, payload: &[u8]) -> Result<(), AppendError> {
        let end = self.content_end + frame::bytes(client, payload);
        let limit = if self.is_empty() { self.bytes.len() } else { self.mtu_bytes };
        if end + TAG_BYTES > limit {
            return Err(if self.is_empty() { AppendError::TooLong } else { AppendError::Full });
        }
        let room = &mut self.bytes[self.content_end..end];
        frame::write(room, client, payload).ok_or(AppendError::TooLong)?;
        self.content_end = end;
        self.frames += 1;
        Ok(())
    }

    /// Drops all frames.
    pub const fn clear(&mut self) {
        self.content_end = HEADER_BYTES;
        self.frames = 0;
    }

    /// The datagram with room for header and tag, and where the content ends; the bundle is empty
    /// afterwards.
    pub(super) fn take(&mut self) -> (&mut [u8], usize) {
        let content_end = self.content_end;
        self.clear();
        (&mut self.bytes[..content_end + TAG_BYTES], content_end)
    }
}
