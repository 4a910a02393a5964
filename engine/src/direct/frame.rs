//! An Ethernet frame with a UDP datagram in it, as the kernel's UDP socket would have sent it.
//!
//! ```text
//!   │ to MAC 6 │ from MAC 6 │ type 2 │ IPv4 20, or IPv6 40 │ UDP 8 │ payload │
//! ```
//!
//! Don't-fragment is set on IPv4, with identification 0 (RFC 6864: an atomic datagram needs none);
//! hence only datagrams that fit every usual path are sent so, see [`IP_BYTES_MAX`].

use std::net::{IpAddr, SocketAddr};

/// A device's hardware address.
pub(crate) type Mac = [u8; 6];

/// The longest IP packet that is built here: what IPv6 promises of every path (RFC 8200 section 5),
/// and what hardly any IPv4 path is short of. What is longer may have to be fragmented somewhere.
pub(crate) const IP_BYTES_MAX: usize = 1_280;

/// The longest frame.
pub(crate) const FRAME_BYTES_MAX: usize = ETHERNET_BYTES + IP_BYTES_MAX;

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const PROTOCOL_UDP: u8 = 17;
/// The kernel's default for both families.
const HOPS: u8 = 64;

/// The IP packet around a payload has so many bytes.
pub(crate) fn ip_bytes(to: IpAddr, payload_bytes: usize) -> usize {
    let header = if to.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES };
    header + UDP_BYTES + payload_bytes
}

/// Writes the frame and returns its length. Both addresses are of one family, the packet is at most
/// [`IP_BYTES_MAX`] long and `buffer` at least [`FRAME_BYTES_MAX`].
pub(crate) fn write(
    buffer: &mut [u8],
    macs: (Mac, Mac),
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
) -> usize {
    let ip_bytes = ip_bytes(to.ip(), payload.len());
    assert!(ip_bytes <= IP_BYTES_MAX, "too long for a frame");
    #[allow(clippy::cast_possible_truncation)] // At most IP_BYTES_MAX.
    let udp_bytes = (UDP_BYTES + payload.len()) as u16;
    let (from_mac, to_mac) = macs;
    buffer[..6].copy_from_slice(&to_mac);
    buffer[6..12].copy_from_slice(&from_mac);
    let ip = &mut buffer[ETHERNET_BYTES - 2..ETHERNET_BYTES + ip_bytes];
    let (ethertype, ip) = ip.split_at_mut(2);
    // The pseudo header (RFC 768, RFC 8200 section 8.1): addresses, protocol and length.
    let mut pseudo = Sum::default();
    pseudo.word(u16::from(PROTOCOL_UDP));
    pseudo.word(udp_bytes);
    let header_bytes = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethertype.copy_from_slice(&[0x08, 0x00]);
            #[allow(clippy::cast_possible_truncation)] // At most IP_BYTES_MAX.
            let length = (ip_bytes as u16).to_be_bytes();
            let dont_fragment = 0x40;
            ip[..IPV4_BYTES].copy_from_slice(&[
                0x45,
                0,
                length[0],
                length[1],
                0,
                0,
                dont_fragment,
                0,
                HOPS,
                PROTOCOL_UDP,
                0,
                0, //
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ]);
            ip[12..16].copy_from_slice(&from.octets());
            ip[16..20].copy_from_slice(&to.octets());
            pseudo.bytes(&ip[12..20]);
            let mut header = Sum::default();
            header.bytes(&ip[..IPV4_BYTES]);
            ip[10..12].copy_from_slice(&header.checksum().to_be_bytes());
            IPV4_BYTES
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethertype.copy_from_slice(&[0x86, 0xdd]);
            let length = udp_bytes.to_be_bytes();
            ip[..8].copy_from_slice(&[0x60, 0, 0, 0, length[0], length[1], PROTOCOL_UDP, HOPS]);
            ip[8..24].copy_from_slice(&from.octets());
            ip[24..40].copy_from_slice(&to.octets());
            pseudo.bytes(&ip[8..40]);
            IPV6_BYTES
        }
        _ => unreachable!("two families in one packet"),
    };
    let udp = &mut ip[header_bytes..];
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
    udp[6..8].fill(0);
    udp[UDP_BYTES..].copy_from_slice(payload);
    pseudo.bytes(udp);
    // Zero would mean "no checksum" (RFC 768): its other form stands for it.
    let checksum = match pseudo.checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ETHERNET_BYTES + ip_bytes
}

/// The Internet checksum (RFC 1071), eight bytes at a time: a sum of 16-bit words may be taken of
/// wider ones, and folded at the end.
#[derive(Default)]
struct Sum(u128);

impl Sum {
    fn word(&mut self, word: u16) {
        self.0 += u128::from(word);
    }

    /// Only the last call may be with an odd number of bytes.
    fn bytes(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            self.0 += u128::from(u64::from_be_bytes(*eight));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.0 += u128::from(u64::from_be_bytes(last));
    }

    fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        #[allow(clippy::cast_possible_truncation)] // Folded to 16 bits.
        let sum = sum as u16;
        !sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FROM_MAC: Mac = [2, 0, 0, 0, 0, 1];
    const TO_MAC: Mac = [2, 0, 0, 0, 0, 2];

    fn frame(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut buffer = [0xaa; FRAME_BYTES_MAX];
        let macs = (FROM_MAC, TO_MAC);
        let length = write(&mut buffer, macs, from.parse().unwrap(), to.parse().unwrap(), payload);
        assert!(buffer[length..].iter().all(|byte| *byte == 0xaa));
        buffer[..length].to_vec()
    }

    /// RFC 1071 as it is written: 16 bits at a time.
    fn plain_sum(parts: &[&[u8]]) -> u16 {
        let mut sum = 0u32;
        for part in parts {
            for pair in part.chunks(2) {
                sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
                sum = (sum >> 16) + (sum & 0xffff);
            }
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn an_ipv4_frame_byte_by_byte() {
        let bytes = frame("192.0.2.1:3478", "198.51.100.7:50000", b"abc");
        // The checksums by hand: 0x4500+0x1f+0x4000+0x4011+0xc000+0x201+0xc633+0x6407 folds to
        // 0xb16d; the UDP one in the same way.
        let expected = [
            &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..],
            &[0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x4e, 0x92],
            &[192, 0, 2, 1, 198, 51, 100, 7],
            &[0x0d, 0x96, 0xc3, 0x50, 0, 11],
        ]
        .concat();
        assert_eq!(&bytes[..40], &expected[..], "{:02x?}", &bytes[..40]);
        assert_eq!(&bytes[42..], b"abc");
    }

    #[test]
    fn an_ipv6_frame_byte_by_byte() {
        let bytes = frame("[2001:db8::1]:3478", "[2001:db8::2]:50000", b"abcd");
        assert_eq!(&bytes[12..22], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
        assert_eq!(&bytes[54..60], &[0x0d, 0x96, 0xc3, 0x50, 0, 12]);
        assert_eq!(&bytes[62..], b"abcd");
    }

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_its_other_form() {
        // A payload that is the checksum of the rest makes the whole sum up to all ones.
        let rest = frame("192.0.2.1:1", "192.0.2.2:2", &[0, 0]);
        let bytes = frame("192.0.2.1:1", "192.0.2.2:2", &rest[40..42]);
        assert_eq!(&bytes[40..42], &[0xff, 0xff]);
    }

    #[test]
    #[should_panic(expected = "too long for a frame")]
    fn what_is_too_long_is_our_mistake() {
        frame("192.0.2.1:1", "192.0.2.2:2", &[0; IP_BYTES_MAX - 27]);
    }

    proptest! {
        #[test]
        fn a_receiver_finds_every_checksum_right(
            v6: bool, from: [u8; 16], to: [u8; 16], ports: (u16, u16),
            payload in proptest::collection::vec(any::<u8>(), 0..=IP_BYTES_MAX - 48),
        ) {
            let address = |octets: [u8; 16]| if v6 {
                IpAddr::from(octets)
            } else {
                IpAddr::from([octets[0], octets[1], octets[2], octets[3]])
            };
            let (from, to) = (address(from), address(to));
            let mut buffer = [0; FRAME_BYTES_MAX];
            let length = write(
                &mut buffer, (FROM_MAC, TO_MAC), (from, ports.0).into(), (to, ports.1).into(),
                &payload,
            );
            let ip = &buffer[14..length];
            let (addresses, udp) = if v6 { (&ip[8..40], &ip[40..]) } else { (&ip[12..20], &ip[20..]) };
            if !v6 {
                prop_assert_eq!(plain_sum(&[&ip[..20]]), 0xffff);
            }
            let pseudo = [&[0, 17][..], &udp[4..6]].concat();
            prop_assert_eq!(plain_sum(&[addresses, &pseudo, udp]), 0xffff);
            prop_assert_ne!(&udp[6..8], &[0, 0]);
            prop_assert_eq!(&udp[8..], &payload[..]);
        }
    }
}
