//! The audio frame a client sends: an Opus packet to everybody on the way, to us a numbered probe.
//!
//! ```text
//!   0     TOC: configuration 15 (hybrid, full band, 20 ms), mono, one frame (RFC 6716 section 3.1)
//!   1     mark (4)
//!   5     number (8)
//!   13    sent, ns since the call began (8)
//!   21    filling up to the size of a voice frame
//! ```

use std::ops::Range;

/// Payload bytes of a frame: 32 kbit/s, what browsers send for speech.
pub const FRAME_BYTES: usize = 80;
/// Samples of a frame, at Opus's clock of 48 kHz.
pub(super) const FRAME_SAMPLES: u32 = 960;

const TOC: u8 = 0x78;
const MARK: [u8; 4] = [0xb5, 0x52, 0x57, 0x4c];
const MARK_AT: Range<usize> = 1..5;
const NUMBER_AT: Range<usize> = 5..13;
const SENT_AT: Range<usize> = 13..21;

/// Makes the payload of a frame.
pub(super) fn encode(number: u64, sent_ns: u64) -> [u8; FRAME_BYTES] {
    let mut payload = [0; FRAME_BYTES];
    payload[0] = TOC;
    payload[MARK_AT].copy_from_slice(&MARK);
    payload[NUMBER_AT].copy_from_slice(&number.to_be_bytes());
    payload[SENT_AT].copy_from_slice(&sent_ns.to_be_bytes());
    payload
}

/// Number and send time, if the payload is a frame of ours.
pub(super) fn decode(payload: &[u8]) -> Option<(u64, u64)> {
    let field = |at: Range<usize>| payload.get(at);
    (*payload.first()? == TOC && field(MARK_AT)? == MARK).then_some(())?;
    let number = field(NUMBER_AT)?.try_into().ok()?;
    let sent = field(SENT_AT)?.try_into().ok()?;
    Some((u64::from_be_bytes(number), u64::from_be_bytes(sent)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_of_others_are_not_ours() {
        let ours = encode(7, 9);
        assert_eq!(decode(&ours), Some((7, 9)));
        assert_eq!(decode(&ours[..21]), Some((7, 9)), "an encoder may cut the filling");
        assert_eq!(decode(&ours[..20]), None);
        assert_eq!(decode(&[]), None);
        let mut other = ours;
        other[2] ^= 1;
        assert_eq!(decode(&other), None);
    }

    proptest! {
        #[test]
        fn every_number_and_time_survives(number: u64, sent: u64) {
            prop_assert_eq!(decode(&encode(number, sent)), Some((number, sent)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
