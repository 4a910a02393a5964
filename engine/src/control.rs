//! Control messages: what the kernel says beside a datagram, and the two things we may say beside
//! a send.
//!
//! ```text
//!   cmsghdr:  length (8, header included) · level (4) · type (4) · data, padded to 8
//! ```

use std::net::Ipv4Addr;

/// Header of a control message on 64-bit Linux.
const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
const ALIGNMENT: usize = size_of::<usize>();

/// Room for a receive timestamp (16 bytes of data) and a GRO segment size (4, padded).
pub(crate) const RECEIVE_CONTROL_BYTES: usize = (HEADER_BYTES + 16) + (HEADER_BYTES + 8);
/// Room for the GSO segment size (2, padded) and a source address (12, padded).
const SEND_CONTROL_BYTES: usize = (HEADER_BYTES + 8) + (HEADER_BYTES + 16);
/// Where the source address is in an `in_pktinfo`: behind the index of an interface.
const PKTINFO_SOURCE: usize = 4;

/// What the kernel said beside a datagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// SCM_TIMESTAMPNS, nanoseconds of the real-time clock.
    pub(crate) received_at_ns: Option<u64>,
    /// UDP_GRO: the datagrams in the buffer are this long each; 0 if it is a single one.
    pub(crate) segment_bytes: u32,
}

/// Reads the control messages. Unknown ones are skipped; a malformed rest is ignored.
pub(crate) fn parse(mut rest: &[u8]) -> Control {
    let mut control = Control::default();
    while let Some((length, level, kind)) = header(rest) {
        let Some(data) = rest.get(HEADER_BYTES..length) else { break };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => control.received_at_ns = timestamp(data),
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                control.segment_bytes = segment.and_then(|s| u32::try_from(s).ok()).unwrap_or(0);
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    }
    control
}

fn header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    let length = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(ALIGNMENT..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(ALIGNMENT + 4..)?.first_chunk()?);
    (length >= HEADER_BYTES).then_some((length, level, kind))
}

/// `struct timespec`: seconds and nanoseconds, 8 bytes each.
fn timestamp(data: &[u8]) -> Option<u64> {
    let seconds = u64::try_from(i64::from_ne_bytes(*data.first_chunk()?)).ok()?;
    let rest = u64::try_from(i64::from_ne_bytes(*data.get(8..)?.first_chunk()?)).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(rest)
}

/// The control messages of one send, where the kernel reads them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct SendControl([u8; SEND_CONTROL_BYTES]);

impl SendControl {
    pub(crate) const EMPTY: SendControl = SendControl([0; SEND_CONTROL_BYTES]);

    pub(crate) fn pointer(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Writes what a send asks for: UDP GSO with segments of some size, a source address. Returns
    /// how long it is; zero if it asks for nothing.
    pub(crate) fn write(&mut self, segment: Option<u16>, source: Option<Ipv4Addr>) -> usize {
        let mut used = 0;
        if let Some(bytes) = segment {
            used += self.append(used, libc::SOL_UDP, libc::UDP_SEGMENT, bytes.to_ne_bytes());
        }
        if let Some(source) = source {
            let mut information = [0; size_of::<libc::in_pktinfo>()];
            information[PKTINFO_SOURCE..][..4].copy_from_slice(&source.octets());
            used += self.append(used, libc::SOL_IP, libc::IP_PKTINFO, information);
        }
        used
    }

    fn append<const N: usize>(&mut self, at: usize, level: i32, kind: i32, data: [u8; N]) -> usize {
        let bytes = &mut self.0[at..];
        bytes[..ALIGNMENT].copy_from_slice(&(HEADER_BYTES + N).to_ne_bytes());
        bytes[ALIGNMENT..][..4].copy_from_slice(&level.to_ne_bytes());
        bytes[ALIGNMENT + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER_BYTES..][..N].copy_from_slice(&data);
        (HEADER_BYTES + N).next_multiple_of(ALIGNMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = HEADER_BYTES + data.len();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(length.next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    fn stamp(seconds: i64, nanoseconds: i64) -> Vec<u8> {
        let data = [seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat();
        message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &data)
    }

    fn gro(bytes: i32) -> Vec<u8> {
        message(libc::SOL_UDP, libc::UDP_GRO, &bytes.to_ne_bytes())
    }

    #[test]
    fn both_messages_in_any_order_and_strangers_between() {
        let stranger = message(libc::SOL_IP, libc::IP_TTL, &64i32.to_ne_bytes());
        let expected = Control { received_at_ns: Some(5_000_000_007), segment_bytes: 160 };
        let orders = [
            [stamp(5, 7), stranger.clone(), gro(160)].concat(),
            [gro(160), stamp(5, 7), stranger].concat(),
        ];
        for bytes in orders {
            assert_eq!(parse(&bytes), expected);
        }
        assert_eq!(stamp(1, 1).len() + gro(1).len(), RECEIVE_CONTROL_BYTES);
    }

    #[test]
    fn malformed_messages_end_the_list() {
        let good = stamp(5, 7);
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), Control::default(), "{length} bytes");
        }
        let mut short = good.clone();
        short[0] = 3;
        assert_eq!(parse(&short), Control::default(), "a length below the header's");
        let mut long = good.clone();
        long[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(parse(&long), Control::default(), "a length beyond the end");
        assert_eq!(parse(&stamp(-1, 0)), Control::default(), "before 1970");
        assert_eq!(parse(&gro(-1)), Control::default(), "a negative size");
    }

    #[test]
    fn what_is_said_beside_a_send_byte_by_byte() {
        let gso = [18, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 103, 0, 0, 0, 0x20, 1, 0, 0, 0, 0, 0, 0];
        let source = [
            28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 127, 64, 0, 9, 0, 0, 0, 0,
        ];
        let address = Some(Ipv4Addr::new(127, 64, 0, 9));
        for (segment, source, expected) in [
            (None, None, vec![]),
            (Some(0x0120), None, gso.to_vec()),
            (None, address, source.to_vec()),
            (Some(0x0120), address, [&gso[..], &source].concat()),
        ] {
            let mut control = SendControl::EMPTY;
            let length = control.write(segment, source);
            assert_eq!(length, expected.len().next_multiple_of(ALIGNMENT));
            assert_eq!(control.0[..expected.len()], expected);
        }
    }
}
