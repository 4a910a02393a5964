//! 128 bits as 22 characters of `[0-9A-Za-z]`, the letters that no application strips from an SDP.
//!
//! 62^22 is a little more than 2^128, so every value fits, and some texts name no value at all:
//! those are refused. Digits are handled ten at a time in 64 bits, because 62^10 < 2^64: a division
//! of 128 bits per digit would cost ten times as much.

/// How many characters 128 bits take.
pub(crate) const CHARS: usize = 22;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NOT_A_DIGIT: u8 = 0xff;
const DIGITS: [u8; 256] = digits();
const TEN_DIGITS: u64 = 62u64.pow(10);

const fn digits() -> [u8; 256] {
    let mut digits = [NOT_A_DIGIT; 256];
    let mut value = 0u8;
    while value < 62 {
        digits[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    digits
}

/// The value of one digit.
#[inline]
pub(crate) fn digit(character: u8) -> Option<u8> {
    match DIGITS[usize::from(character)] {
        NOT_A_DIGIT => None,
        value => Some(value),
    }
}

/// The character of a digit below 62.
#[inline]
pub(crate) const fn character(digit: u8) -> u8 {
    ALPHABET[digit as usize]
}

/// Writes `value` with its most significant digit first.
#[inline]
pub(crate) fn encode(value: u128) -> [u8; CHARS] {
    let ten = u128::from(TEN_DIGITS);
    let mut text = [0; CHARS];
    // 2 + 10 + 10 digits. The remainders are below 62^10, the quotient below 62^2.
    put(&mut text[12..], low_64_bits(value % ten));
    put(&mut text[2..12], low_64_bits(value / ten % ten));
    put(&mut text[..2], low_64_bits(value / ten / ten));
    text
}

#[expect(clippy::cast_possible_truncation, reason = "callers pass values below 62^10")]
const fn low_64_bits(value: u128) -> u64 {
    value as u64
}

fn put(text: &mut [u8], mut value: u64) {
    for character in text.iter_mut().rev() {
        *character = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
}

/// Reads what [`encode`] wrote; `None` for any other character and for values of 2^128 and above.
#[inline]
pub(crate) fn decode(text: &[u8; CHARS]) -> Option<u128> {
    let ten = u128::from(TEN_DIGITS);
    let (head, middle, tail) = (take(&text[..2])?, take(&text[2..12])?, take(&text[12..])?);
    u128::from(head)
        .checked_mul(ten * ten)?
        .checked_add(u128::from(middle) * ten + u128::from(tail))
}

fn take(text: &[u8]) -> Option<u64> {
    let mut value = 0;
    // Looking at all characters before judging keeps the loop free of branches.
    let mut seen = 0;
    for &character in text {
        let digit = DIGITS[usize::from(character)];
        seen |= digit;
        value = value * 62 + u64::from(digit & 0x3f);
    }
    (seen & 0x80 == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extremes() {
        assert_eq!(&encode(0), b"0000000000000000000000");
        assert_eq!(&encode(61), b"000000000000000000000z");
        assert_eq!(&encode(u128::MAX), b"7n42DGM5Tflk9n8mt7Fhc7");
        assert_eq!(decode(b"7n42DGM5Tflk9n8mt7Fhc7"), Some(u128::MAX));
    }

    #[test]
    fn values_beyond_128_bits_are_refused() {
        assert_eq!(decode(b"7n42DGM5Tflk9n8mt7Fhc8"), None, "2^128");
        assert_eq!(decode(b"zzzzzzzzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn only_the_62_characters_are_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(digit(byte).is_some(), byte.is_ascii_alphanumeric(), "byte {byte}");
            for position in 0..CHARS {
                let mut text = *b"0000000000000000000000";
                text[position] = byte;
                let small_enough = position > 0 || byte <= b'7';
                let want = byte.is_ascii_alphanumeric() && small_enough;
                assert_eq!(decode(&text).is_some(), want, "byte {byte} at {position}");
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(value: u128) {
            prop_assert_eq!(decode(&encode(value)), Some(value));
        }

        #[test]
        fn order_is_kept(a: u128, b: u128) {
            prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
        }
    }
}
