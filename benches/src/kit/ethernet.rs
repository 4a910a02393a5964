//! Ethernet frames with a UDP datagram over IPv4, built here with their checksums, so that a packet
//! costs the generator one copy into the kernel and nothing else.
//!
//! ```text
//! 0          14                  34         42
//! +----------+-------------------+----------+- - - - - -+
//! | Ethernet | IPv4, no options  |   UDP    |  payload  |
//! +----------+-------------------+----------+- - - - - -+
//! ```

use std::net::SocketAddrV4;

use crate::plan::Mac;

/// Bytes ahead of the payload.
pub const HEADERS_BYTES: usize = 42;
/// The longest frame: Ethernet's header and 1,500 bytes.
pub const FRAME_BYTES_MAX: usize = 1514;

const ETHERNET_BYTES: usize = 14;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const UDP_PROTOCOL: u8 = 17;

/// From where to where a frame goes, on both layers.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// The sending device.
    pub source_mac: Mac,
    /// The receiving device.
    pub destination_mac: Mac,
    /// The sender.
    pub source: SocketAddrV4,
    /// The receiver.
    pub destination: SocketAddrV4,
}

/// Writes the headers in front of a payload that already lies at [`HEADERS_BYTES`]; returns the
/// frame's length.
pub fn wrap(frame: &mut [u8], path: &Path, payload_bytes: usize) -> usize {
    let end = HEADERS_BYTES + payload_bytes;
    assert!(end <= FRAME_BYTES_MAX, "the frame is longer than the device takes");
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let (ethernet, rest) = frame[..end].split_at_mut(ETHERNET_BYTES);
    ethernet[..6].copy_from_slice(&path.destination_mac);
    ethernet[6..12].copy_from_slice(&path.source_mac);
    ethernet[12..].copy_from_slice(&[0x08, 0x00]);

    let (ip, udp) = rest.split_at_mut(IP_BYTES);
    ip[..2].copy_from_slice(&[0x45, 0]);
    ip[2..4].copy_from_slice(&length(IP_BYTES + UDP_BYTES + payload_bytes));
    // No identification, don't fragment, 64 hops, and the checksum's place empty.
    ip[4..12].copy_from_slice(&[0, 0, 0x40, 0, 64, UDP_PROTOCOL, 0, 0]);
    ip[12..16].copy_from_slice(&path.source.ip().octets());
    ip[16..].copy_from_slice(&path.destination.ip().octets());
    let checksum = finish(sum(0, ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    let udp_length = length(UDP_BYTES + payload_bytes);
    udp[..2].copy_from_slice(&path.source.port().to_be_bytes());
    udp[2..4].copy_from_slice(&path.destination.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length);
    udp[6..8].fill(0);
    // RFC 768: the sum covers a pseudo header of addresses, protocol and length too.
    let pseudo =
        sum(u64::from(UDP_PROTOCOL) + u64::from(u16::from_be_bytes(udp_length)), &ip[12..]);
    // "If the computed checksum is zero, it is transmitted as all ones."
    let checksum = match finish(sum(pseudo, udp)) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    end
}

/// Adds up 16-bit words (RFC 1071); an odd last byte is the high one.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    // Words of 32 bits add up to the same sum once folded, in half the steps.
    let whole = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum::<u64>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    start + whole + u64::from(u32::from_be_bytes(last))
}

/// Folds the carries and takes the complement.
fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn path() -> Path {
        Path {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source: SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 1), 1234),
            destination: SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 199), 5678),
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xee; FRAME_BYTES_MAX];
        frame[HEADERS_BYTES..HEADERS_BYTES + payload.len()].copy_from_slice(payload);
        let length = wrap(&mut frame, &path(), payload.len());
        frame.truncate(length);
        frame
    }

    /// The slow and obvious way.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn a_known_header_has_the_known_checksum() {
        // The worked example of an IPv4 header that textbooks use: its checksum is b861.
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(finish(sum(0, &header)), 0xb861);
        assert_eq!(frame(&[0; 0x73 - 28])[24..26], [0xb8, 0x61]);
    }

    #[test]
    fn sums_agree_with_the_obvious_way_at_every_length() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 + 11) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(finish(sum(0, &bytes[..length])), reference(&bytes[..length]), "{length}");
        }
    }

    #[test]
    fn a_receiver_finds_both_checksums_right() {
        for length in [0, 1, 2, 3, 119, 120, 1332, 1472] {
            let frame = frame(&vec![0xa7; length]);
            assert_eq!(frame.len(), HEADERS_BYTES + length);
            assert_eq!(reference(&frame[14..34]), 0, "IPv4 with {length} bytes");
            let mut covered = frame[26..34].to_vec();
            covered.extend([0, UDP_PROTOCOL]);
            covered.extend(&frame[38..40]);
            covered.extend(&frame[34..]);
            assert_eq!(reference(&covered), 0, "UDP with {length} bytes");
        }
    }
}
