//! Answers keys before the client has nominated a path.
//!
//! Chromium says hello to DTLS as soon as its first check is answered, and nominates with its second
//! check, 50 ms later. str0m answers DTLS only by a nominated path. RFC 8445 section 12.1.1 lets an
//! agent send by any valid pair before one is selected, and ours is an authentic client's: so
//! str0m is shown the first check as one that nominates. Which path media takes is not
//! str0m's to decide, so the client's real choice counts all the same.

use wire::stun::{Encoder, HEADER_BYTES, Kind, TransactionId};

const MESSAGE_INTEGRITY: u16 = 0x0008;
/// The longest check that is taken: browsers' have 100 to 160 bytes.
const CHECK_BYTES_MAX: usize = 600;

/// An authentic check, with USE-CANDIDATE in it and signed anew; nothing if it is too long.
pub(super) fn nominating(
    check: &[u8],
    transaction: TransactionId,
    password: &[u8],
    buffer: &mut [u8; CHECK_BYTES_MAX],
) -> Option<usize> {
    let mut copy = Encoder::new(buffer, Kind::BindingRequest, transaction).ok()?;
    let mut rest = check.get(HEADER_BYTES..)?;
    // It has been parsed before: attributes end where the message ends.
    while let Some((&[kind_high, kind_low, length_high, length_low], behind)) =
        rest.split_first_chunk::<4>()
    {
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        if kind == MESSAGE_INTEGRITY {
            break;
        }
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        copy = copy.other(kind, behind.get(..length)?).ok()?;
        rest = behind.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let copy = copy.use_candidate().and_then(|copy| copy.integrity(password));
    Some(copy.and_then(Encoder::fingerprint).ok()?.finish().len())
}

/// Room for the copy.
pub(super) const fn buffer() -> [u8; CHECK_BYTES_MAX] {
    [0; CHECK_BYTES_MAX]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::stun::Message;

    #[test]
    fn the_copy_is_the_check_and_nominates() {
        let mut original = [0; 256];
        let check = Encoder::new(&mut original, Kind::BindingRequest, [3; 12])
            .and_then(|check| check.username(b"ours", b"its"))
            .and_then(|check| check.other(0xc057, &[0, 1, 2, 3, 4]))
            .and_then(|check| check.ice_controlling(7))
            .and_then(|check| check.priority(9))
            .and_then(|check| check.integrity(b"password"))
            .and_then(Encoder::fingerprint)
            .unwrap()
            .finish();
        let mut buffer = buffer();
        let length = nominating(check, [3; 12], b"password", &mut buffer).unwrap();
        let copy = Message::parse(&buffer[..length]).unwrap();
        assert!(copy.use_candidate() && !Message::parse(check).unwrap().use_candidate());
        assert_eq!(copy.verify_integrity(b"password"), Ok(()));
        assert_eq!(copy.fingerprint(), Some(true));
        assert_eq!((copy.transaction(), copy.username()), ([3; 12], Some(&b"ours:its"[..])));
        let attributes = check.len() - HEADER_BYTES - 24 - 8;
        assert_eq!(buffer[HEADER_BYTES..][..attributes], check[HEADER_BYTES..][..attributes]);
    }

    #[test]
    fn a_monster_is_left_as_it_is() {
        let mut original = [0; 1200];
        let check = Encoder::new(&mut original, Kind::BindingRequest, [3; 12])
            .and_then(|check| check.other(0xc057, &[0; 800]))
            .and_then(|check| check.integrity(b"password"))
            .unwrap()
            .finish();
        assert_eq!(nominating(check, [3; 12], b"password", &mut buffer()), None);
    }
}
