//! What a datagram on a shared port is, by its first byte.
//!
//! ```text
//!                 +----------------+
//!                 |        [0..3] -+--> STUN
//!                 |      [16..19] -+--> ZRTP           not ours
//!     packet -->  |      [20..63] -+--> DTLS
//!                 |      [64..79] -+--> TURN channel   not ours
//!                 |     [80..127] -+--> QUIC           not ours
//!                 |    [128..191] -+--> RTP or RTCP
//!                 |    [192..255] -+--> QUIC           not ours
//!                 +----------------+
//! ```
//!
//! RFC 7983 section 7, as updated by RFC 9443 section 3 (<https://www.rfc-editor.org/rfc/rfc9443>).

use std::ops::RangeInclusive;

/// First bytes of STUN.
pub const STUN: RangeInclusive<u8> = 0..=3;
/// First bytes of DTLS records.
pub const DTLS: RangeInclusive<u8> = 20..=63;
/// First bytes of RTP and RTCP: version 2 in the two high bits.
pub const RTP: RangeInclusive<u8> = 128..=191;
/// Second bytes of RTCP inside [`RTP`]: packet types 192 to 223, which RTP payload types keep
/// clear of (RFC 5761 section 4).
pub const RTCP_TYPES: RangeInclusive<u8> = 192..=223;

/// What kind of packet a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketClass {
    /// A STUN message, to be parsed.
    Stun,
    /// A DTLS record: the handshake, or the data channel.
    Dtls,
    /// A media packet.
    Rtp,
    /// A media report.
    Rtcp,
    /// Nothing that Ringway carries; to be dropped.
    Other,
}

impl PacketClass {
    /// Every class, in the order of their metric labels.
    pub const ALL: [Self; 5] = [Self::Stun, Self::Dtls, Self::Rtp, Self::Rtcp, Self::Other];

    /// Classifies by the first byte, and RTP from RTCP by the second. An empty datagram, which any
    /// stranger can send, is [`PacketClass::Other`].
    #[inline]
    pub fn of(datagram: &[u8]) -> Self {
        let Some(&first) = datagram.first() else {
            return Self::Other;
        };
        if RTP.contains(&first) {
            match datagram.get(1) {
                Some(second) if RTCP_TYPES.contains(second) => Self::Rtcp,
                _ => Self::Rtp,
            }
        } else if STUN.contains(&first) {
            Self::Stun
        } else if DTLS.contains(&first) {
            Self::Dtls
        } else {
            Self::Other
        }
    }

    /// The value of the `class` label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_class_of_its_range() {
        for first in 0..=u8::MAX {
            let want = match first {
                0..=3 => PacketClass::Stun,
                20..=63 => PacketClass::Dtls,
                128..=191 => PacketClass::Rtp,
                _ => PacketClass::Other,
            };
            assert_eq!(PacketClass::of(&[first]), want, "first byte {first}");
            assert_eq!(PacketClass::of(&[first, 0]), want, "first byte {first}");
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_the_second_byte() {
        for (second, want) in [
            (0x6f, PacketClass::Rtp), // Opus as payload type 111
            (0xef, PacketClass::Rtp), // the same with the marker bit
            (191, PacketClass::Rtp),  // one below
            (192, PacketClass::Rtcp), // first
            (200, PacketClass::Rtcp), // sender report
            (223, PacketClass::Rtcp), // last
            (224, PacketClass::Rtp),  // one above
        ] {
            assert_eq!(PacketClass::of(&[0x80, second]), want, "second byte {second}");
        }
    }

    #[test]
    fn an_empty_datagram_is_nothing() {
        assert_eq!(PacketClass::of(&[]), PacketClass::Other);
    }

    #[test]
    fn labels_are_distinct() {
        for (index, class) in PacketClass::ALL.iter().enumerate() {
            for other in &PacketClass::ALL[index + 1..] {
                assert_ne!(class.as_str(), other.as_str());
            }
        }
    }
}
