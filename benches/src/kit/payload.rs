//! The client packet: shaped like voice over SRTP, with what the benchmark needs inside.
//!
//! ```text
//! 0   1    2      4       8      12        20       28           120
//! +---+----+------+-------+------+---------+--------+- - - - - - -+
//! |80 | 6f |number| time  | SSRC |  label  | sent ns| opaque      |
//! +---+----+------+-------+------+---------+--------+- - - - - - -+
//! ```

/// Tells the benchmark's packets from anything else that may arrive.
const LABEL: u64 = 0x5249_4e47_5741_5931;
const LABEL_PLACE: std::ops::Range<usize> = 12..20;
const SENT_PLACE: std::ops::Range<usize> = 20..28;

/// The shortest packet that has room for what the benchmark needs.
pub const BYTES_MIN: usize = 28;

/// Writes the packet that a client sends or gets as its `number`th, all of `out`.
pub fn write(out: &mut [u8], client: u32, number: u64, sent_ns: u64) {
    out.fill(0xa5);
    // Version 2 and payload type 111, Opus by custom.
    out[..2].copy_from_slice(&[0x80, 111]);
    let [.., high, low] = number.to_be_bytes();
    out[2..4].copy_from_slice(&[high, low]);
    // 960 samples of 48 kHz are 20 ms.
    let [_, _, _, _, time @ ..] = number.wrapping_mul(960).to_be_bytes();
    out[4..8].copy_from_slice(&time);
    out[8..12].copy_from_slice(&client.to_be_bytes());
    out[LABEL_PLACE].copy_from_slice(&LABEL.to_be_bytes());
    out[SENT_PLACE].copy_from_slice(&sent_ns.to_be_bytes());
}

/// When a packet was sent, if it is one of ours.
pub fn sent_ns(payload: &[u8]) -> Option<u64> {
    let number = |place: std::ops::Range<usize>| {
        Some(u64::from_be_bytes(payload.get(place)?.try_into().ok()?))
    };
    (number(LABEL_PLACE)? == LABEL).then_some(())?;
    number(SENT_PLACE)
}

/// Whose packet it is, if it is one of ours.
pub fn client(payload: &[u8]) -> Option<u32> {
    sent_ns(payload)?;
    Some(u32::from_be_bytes(payload.get(8..12)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_comes_back_and_strangers_have_none() {
        let mut packet = [0; 120];
        write(&mut packet, 7, 70_000, 123_456_789);
        assert_eq!(wire::demux::PacketClass::of(&packet), wire::demux::PacketClass::Rtp);
        assert_eq!(sent_ns(&packet), Some(123_456_789));
        assert_eq!(client(&packet), Some(7));
        assert_eq!(sent_ns(&packet[..BYTES_MIN - 1]), None);
        packet[12] ^= 1;
        assert_eq!(sent_ns(&packet), None);
    }
}
