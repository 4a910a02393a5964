//! What a multishot receive writes into a buffer.
//!
//! ```text
//!   0    name length (4) · control length (4) · payload length (4) · flags (4)
//!   16   sender's address, room for 32
//!   48   control messages, room for 56
//!   104  payload
//! ```
//!
//! The room of a field is what we asked for; the length in the header may be less, or more if the
//! kernel had more than fits.

use std::net::SocketAddr;

use crate::address;
use crate::control::{self, Control, RECEIVE_CONTROL_BYTES};

/// Room for `sockaddr_in6` (28), rounded so that the payload is aligned to 8.
pub(super) const NAME_BYTES: usize = 32;
const HEADER_BYTES: usize = 16;
const CONTROL_START: usize = HEADER_BYTES + NAME_BYTES;
/// Where the payload starts.
pub(super) const PAYLOAD_START: usize = CONTROL_START + RECEIVE_CONTROL_BYTES;

const _: () = assert!(PAYLOAD_START.is_multiple_of(8));

/// One received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// `None`: there was no datagram; the socket was shut down.
    pub(super) source: Option<SocketAddr>,
    pub(super) control: Control,
    /// Bytes from [`PAYLOAD_START`] on.
    pub(super) length: u32,
    pub(super) truncated: bool,
}

/// Reads what the kernel wrote: `written` is as long as the completion says. `None` if that is too
/// short to hold a message.
pub(super) fn parse(written: &[u8]) -> Option<Message> {
    let payload_bytes = written.len().checked_sub(PAYLOAD_START)?;
    let field = |index: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(*written.get(index * 4..)?.first_chunk()?))
    };
    let length_of = |field: u32, room: usize| usize::try_from(field).unwrap_or(room).min(room);
    let name = length_of(field(0)?, NAME_BYTES);
    let control = length_of(field(1)?, RECEIVE_CONTROL_BYTES);
    let payload = length_of(field(2)?, payload_bytes);
    let flags = field(3)?;
    Some(Message {
        source: address::parse(written.get(HEADER_BYTES..)?.get(..name)?),
        control: control::parse(written.get(CONTROL_START..)?.get(..control)?),
        length: u32::try_from(payload).ok()?,
        truncated: flags & libc::MSG_TRUNC.unsigned_abs() != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A buffer laid out by hand: header, name, control, payload.
    fn buffer(header: [u32; 4], name: &[u8], control: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_ne_bytes()).collect();
        bytes.extend(name);
        bytes.resize(48, 0xee);
        bytes.extend(control);
        bytes.resize(104, 0xee);
        bytes.extend(payload);
        bytes
    }

    const V4: &[u8] = &[2, 0, 0x0d, 0x96, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    const V6: &[u8] = &[
        10, 0, 0x01, 0xbb, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0,
        0, 0, 0,
    ];
    const TRUNC: u32 = 0x20;
    /// SOL_SOCKET (1), SCM_TIMESTAMPNS (35): 5 s and 7 ns.
    const STAMP: &[u8] = &[
        32, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 35, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0,
        0, 0,
    ];

    fn message(source: Option<&str>, length: u32) -> Message {
        let source = source.map(|text| text.parse().unwrap());
        Message { source, control: Control::default(), length, truncated: false }
    }

    #[test]
    fn buffers_by_hand() {
        let v4 = message(Some("192.0.2.1:3478"), 5);
        let v6 = message(Some("[2001:db8::5]:443"), 5);
        let stamped = Control { received_at_ns: Some(5_000_000_007), segment_bytes: 0 };
        let table: &[(&str, Vec<u8>, Option<Message>)] = &[
            ("v4", buffer([16, 0, 5, 0], V4, &[], b"hello"), Some(v4)),
            ("v6", buffer([28, 0, 5, 0], V6, &[], b"hello"), Some(v6)),
            (
                "with a timestamp",
                buffer([16, 32, 5, 0], V4, STAMP, b"hello"),
                Some(Message { control: stamped, ..v4 }),
            ),
            (
                "truncated: the header may tell the true length",
                buffer([16, 0, 9000, TRUNC], V4, &[], b"hello"),
                Some(Message { truncated: true, ..v4 }),
            ),
            ("zero length", buffer([16, 0, 0, 0], V4, &[], b""), Some(Message { length: 0, ..v4 })),
            (
                "lengths beyond the room",
                buffer([u32::MAX, u32::MAX, u32::MAX, 0], V4, &[], b"hello"),
                Some(v4),
            ),
            ("nobody sent it", buffer([0, 0, 0, 0], &[], &[], b""), Some(message(None, 0))),
            ("short name", buffer([15, 0, 5, 0], V4, &[], b"hello"), Some(message(None, 5))),
            ("header alone", buffer([16, 0, 0, 0], V4, &[], b"")[..103].to_vec(), None),
            ("nothing", vec![], None),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(parse(bytes), *expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_point_outside(
            bytes in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            if let Some(message) = parse(&bytes) {
                prop_assert!(PAYLOAD_START + message.length as usize <= bytes.len());
            }
        }
    }
}
