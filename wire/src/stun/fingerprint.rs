//! FINGERPRINT: CRC-32 of the message, masked. RFC 8489 section 14.7.

/// "XOR'ed with the 32-bit value 0x5354554e", so that it differs from a CRC that an enclosing
/// packet may have: the letters STUN.
const MASK: u32 = 0x5354_554e;

/// The reflected polynomial of ITU V.42.
const POLYNOMIAL: u32 = 0xEDB8_8320;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0u32;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
};

/// The fingerprint of a message up to, not including, the attribute itself. The header's length
/// field must already count the attribute.
pub(super) fn of(bytes: &[u8]) -> u32 {
    let crc = bytes
        .iter()
        .fold(u32::MAX, |crc, byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8));
    !crc ^ MASK
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc_32() {
        assert_eq!(super::of(b"123456789") ^ super::MASK, 0xCBF4_3926);
    }
}
