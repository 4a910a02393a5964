//! Socket addresses between the kernel's layout and the standard library's.
//!
//! Both directions go through bytes, so no `unsafe` is needed: the kernel's structs have a fixed
//! layout that these few lines state.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// `sockaddr_in6`, the longer of the two.
pub(crate) const ADDRESS_BYTES_MAX: usize = size_of::<libc::sockaddr_in6>();
const V4_BYTES: usize = size_of::<libc::sockaddr_in>();
#[allow(clippy::cast_possible_truncation)] // 2.
const V4_FAMILY: [u8; 2] = (libc::AF_INET as libc::sa_family_t).to_ne_bytes();
#[allow(clippy::cast_possible_truncation)] // 10.
const V6_FAMILY: [u8; 2] = (libc::AF_INET6 as libc::sa_family_t).to_ne_bytes();

/// A `sockaddr_in` or `sockaddr_in6` in the kernel's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_BYTES_MAX],
    length: u32,
}

impl RawAddress {
    pub(crate) const EMPTY: RawAddress = RawAddress { bytes: [0; ADDRESS_BYTES_MAX], length: 0 };

    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn length(&self) -> libc::socklen_t {
        self.length
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> RawAddress {
        let mut bytes = [0; ADDRESS_BYTES_MAX];
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[0..2].copy_from_slice(&V4_FAMILY);
                bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                V4_BYTES
            }
            SocketAddr::V6(v6) => {
                bytes[0..2].copy_from_slice(&V6_FAMILY);
                bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                // Bytes 4..8, the flow label, stay zero: it names no destination.
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                ADDRESS_BYTES_MAX
            }
        };
        RawAddress { bytes, length: u32::try_from(length).unwrap_or(0) }
    }
}

/// Reads the address the kernel wrote. `None` if it wrote none (a socket that was shut down says
/// so by a message without a sender) or one of another family.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family: [u8; 2] = *name.first_chunk()?;
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    if family == V4_FAMILY && name.len() >= V4_BYTES {
        let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
        return Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)));
    }
    if family == V6_FAMILY && name.len() >= ADDRESS_BYTES_MAX {
        let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
        let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
        return Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(address: &RawAddress) -> &[u8] {
        &address.bytes[..address.length as usize]
    }

    #[test]
    fn the_kernels_layout_byte_by_byte() {
        let v4 = RawAddress::from("192.0.2.1:3478".parse::<SocketAddr>().unwrap());
        assert_eq!(bytes(&v4), [2, 0, 0x0d, 0x96, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let v6 = RawAddress::from("[2001:db8::5%7]:443".parse::<SocketAddr>().unwrap());
        let expected = [
            10, 0, 0x01, 0xbb, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            5, 7, 0, 0, 0,
        ];
        assert_eq!(bytes(&v6), expected);
    }

    #[test]
    fn there_and_back() {
        for text in ["0.0.0.0:0", "255.255.255.255:65535", "[::]:1", "[fe80::1%3]:9", "[::1]:80"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(bytes(&RawAddress::from(address))), Some(address), "{text}");
        }
    }

    #[test]
    fn short_and_foreign_names_are_none() {
        let v4 = RawAddress::from("192.0.2.1:3478".parse::<SocketAddr>().unwrap());
        for length in 0..V4_BYTES {
            assert_eq!(parse(&v4.bytes[..length]), None, "{length} bytes");
        }
        let v6 = RawAddress::from("[::1]:3478".parse::<SocketAddr>().unwrap());
        for length in 0..ADDRESS_BYTES_MAX {
            assert_eq!(parse(&v6.bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(parse(&[1, 0, b'/', b't', b'm', b'p', 0, 0]), None, "a Unix socket");
    }
}
