//! The packets of a flow: checks, and media that carry what is needed to account for them.
//!
//! ```text
//!    0  RTP header (12): version 2, payload type 111, slot, time, stream
//!   12  mark (4) · run (4) · flow (4) · generation (4)
//!   28  slot (8) · ordinal (8) · due (8) · sent (8)
//!   60  written by the far end: arrived (8) · reordered (4) · doubled (4) · seen at (8) · host (8)
//!   92  filling
//! ```
//!
//! The far end numbers nothing itself: it says how many different packets of the flow have arrived,
//! so that the sender can tell loss on the way there from loss on the way back.

use std::ops::Range;

use wire::stun::{Encoder, Kind};

use super::sessions::Session;
use crate::measure::Nanoseconds;

/// The least bytes of a media packet.
pub const MEDIA_BYTES_MIN: usize = 92;
/// The most bytes of a packet.
pub const PACKET_BYTES_MAX: usize = 1200;
/// The longest check.
pub(super) const CHECK_BYTES_MAX: usize = 256;

const RTP_VERSION_2: u8 = 0x80;
const PAYLOAD_TYPE: u8 = 111;
const MARK: [u8; 4] = *b"RWlg";
const MARK_AT: Range<usize> = 12..16;
const SENDER_AT: Range<usize> = 16..60;
const SINK_AT: Range<usize> = 60..92;

/// What a media packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Media {
    /// Which generator of which run sent it.
    pub run: u32,
    /// Which flow of that.
    pub flow: u32,
    /// Which user of that flow's place.
    pub generation: u32,
    /// Its slot in the flow.
    pub slot: u64,
    /// How many packets of the flow were sent up to this one, itself included.
    pub ordinal: u64,
    /// When it was due, by the sender's clock.
    pub due: Nanoseconds,
    /// When it was sent, by the same.
    pub sent: Nanoseconds,
    /// What the far end wrote.
    pub sink: Sink,
}

/// What the far end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sink {
    /// Different packets of the flow that have arrived.
    pub arrived: u64,
    /// Those of them that were overtaken.
    pub reordered: u32,
    /// Packets that came more than once.
    pub doubled: u32,
    /// When this one was seen, by the far end's clock.
    pub seen_at: Nanoseconds,
    /// Which host's clock that is; zero if the far end wrote nothing.
    pub host: u64,
}

impl Media {
    /// Writes the packet into all of `out`, which has at least [`MEDIA_BYTES_MIN`] bytes.
    pub fn write(&self, out: &mut [u8]) {
        out.fill(0x5a);
        out[0] = RTP_VERSION_2;
        out[1] = PAYLOAD_TYPE;
        let [.., high, low] = self.slot.to_be_bytes();
        out[2..4].copy_from_slice(&[high, low]);
        #[expect(clippy::cast_possible_truncation, reason = "RTP time is a number modulo 2^32")]
        let time = (self.slot as u32).wrapping_mul(960);
        out[4..8].copy_from_slice(&time.to_be_bytes());
        out[8..12].copy_from_slice(&(self.run ^ self.flow).to_be_bytes());
        out[MARK_AT].copy_from_slice(&MARK);
        let mut at = &mut out[SENDER_AT];
        for word in [self.run, self.flow, self.generation] {
            put(&mut at, &word.to_be_bytes());
        }
        for word in [self.slot, self.ordinal, self.due, self.sent] {
            put(&mut at, &word.to_be_bytes());
        }
        self.sink.write(out);
    }

    /// Reads a packet; `None` if it is none of these.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        (packet.len() >= MEDIA_BYTES_MIN && packet[MARK_AT] == MARK).then_some(())?;
        let mut at = &packet[SENDER_AT.start..SINK_AT.end];
        Some(Self {
            run: take32(&mut at)?,
            flow: take32(&mut at)?,
            generation: take32(&mut at)?,
            slot: take64(&mut at)?,
            ordinal: take64(&mut at)?,
            due: take64(&mut at)?,
            sent: take64(&mut at)?,
            sink: Sink {
                arrived: take64(&mut at)?,
                reordered: take32(&mut at)?,
                doubled: take32(&mut at)?,
                seen_at: take64(&mut at)?,
                host: take64(&mut at)?,
            },
        })
    }
}

impl Sink {
    /// Writes what the far end says into a packet that [`Media::read`] has read.
    pub fn write(&self, packet: &mut [u8]) {
        let mut at = &mut packet[SINK_AT];
        put(&mut at, &self.arrived.to_be_bytes());
        put(&mut at, &self.reordered.to_be_bytes());
        put(&mut at, &self.doubled.to_be_bytes());
        put(&mut at, &self.seen_at.to_be_bytes());
        put(&mut at, &self.host.to_be_bytes());
    }
}

fn put(at: &mut &mut [u8], bytes: &[u8]) {
    let (here, rest) = std::mem::take(at).split_at_mut(bytes.len());
    here.copy_from_slice(bytes);
    *at = rest;
}

fn take32(at: &mut &[u8]) -> Option<u32> {
    let (word, rest) = at.split_first_chunk()?;
    *at = rest;
    Some(u32::from_be_bytes(*word))
}

fn take64(at: &mut &[u8]) -> Option<u64> {
    let (word, rest) = at.split_first_chunk()?;
    *at = rest;
    Some(u64::from_be_bytes(*word))
}

/// Which check a transaction is: run, flow, and a counter of the flow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) run: u32,
    pub(crate) flow: u32,
    pub(crate) number: u32,
}

impl Transaction {
    pub(crate) fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.flow.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            run: u32::from_be_bytes([a, b, c, d]),
            flow: u32::from_be_bytes([e, f, g, h]),
            number: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// Writes a connectivity check as a browser sends it; returns its length.
pub(crate) fn check(session: &Session, transaction: Transaction, out: &mut [u8]) -> usize {
    Encoder::new(out, Kind::BindingRequest, transaction.bytes())
        .and_then(|check| check.username(session.ufrag.as_bytes(), b"load"))
        .and_then(|check| check.ice_controlling(1))
        .and_then(Encoder::use_candidate)
        .and_then(|check| check.priority(0x6e7f_1eff))
        .and_then(|check| check.integrity(session.password.as_bytes()))
        .and_then(Encoder::fingerprint)
        .map_or(0, |check| check.finish().len())
}

const _: () = assert!(PACKET_BYTES_MAX >= CHECK_BYTES_MAX && MEDIA_BYTES_MIN == SINK_AT.end);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::demux::PacketClass;

    use super::*;

    proptest! {
        #[test]
        fn media_survive_the_way_there_and_back(
            run: u32, flow: u32, generation: u32, slot: u64, ordinal: u64, due: u64, sent: u64,
            arrived: u64, reordered: u32, doubled: u32, seen_at: u64, host: u64,
            bytes in MEDIA_BYTES_MIN..=PACKET_BYTES_MAX,
        ) {
            let sink = Sink { arrived, reordered, doubled, seen_at, host };
            let bare = Media { run, flow, generation, slot, ordinal, due, sent, sink: Sink::default() };
            let mut packet = vec![0; bytes];
            bare.write(&mut packet);
            prop_assert_eq!(PacketClass::of(&packet), PacketClass::Rtp);
            prop_assert_eq!(Media::read(&packet), Some(bare));
            sink.write(&mut packet);
            prop_assert_eq!(Media::read(&packet), Some(Media { sink, ..bare }));
            let transaction = Transaction { run, flow, number: generation };
            prop_assert_eq!(Transaction::read(transaction.bytes()), transaction);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Media::read(&bytes);
        }
    }

    #[test]
    fn short_and_foreign_packets_are_none_of_ours() {
        let mut packet = [0; MEDIA_BYTES_MIN];
        Media::default().write(&mut packet);
        assert!(Media::read(&packet).is_some());
        assert_eq!(Media::read(&packet[..MEDIA_BYTES_MIN - 1]), None);
        packet[12] ^= 1;
        assert_eq!(Media::read(&packet), None);
    }
}
