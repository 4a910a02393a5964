//! As much of TURN (RFC 8656) as a client needs to send through a channel.

use std::net::SocketAddrV4;

const COOKIE: [u8; 4] = 0x2112_a442u32.to_be_bytes();
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const UDP: u8 = 17;
/// Every client has one channel, and so all may have the same.
const CHANNEL: [u8; 2] = [0x40, 0x00];
const HEADER_BYTES: usize = 20;
const NAME: &[u8; 8] = b"turn\0\0\0\0";

/// What goes ahead of a packet in a channel.
pub(crate) const CHANNEL_HEADER_BYTES: usize = 4;

/// What a server has done for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// It has an address.
    Allocated,
    /// It has a channel.
    Bound,
}

/// A request for an address to be relayed from.
pub(crate) fn allocate(out: &mut [u8], client: u32) -> usize {
    request(out, ALLOCATE, client, &[(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0])])
}

/// A request for the channel to a peer.
pub(crate) fn bind(out: &mut [u8], client: u32, peer: SocketAddrV4) -> usize {
    let channel = [CHANNEL[0], CHANNEL[1], 0, 0];
    let [port_high, port_low] = peer.port().to_be_bytes();
    let ip = peer.ip().octets();
    // RFC 8489 section 14.2: the port by the cookie's upper half, the address by all of it.
    let peer = [
        0,
        1,
        port_high ^ COOKIE[0],
        port_low ^ COOKIE[1],
        ip[0] ^ COOKIE[0],
        ip[1] ^ COOKIE[1],
        ip[2] ^ COOKIE[2],
        ip[3] ^ COOKIE[3],
    ];
    request(out, CHANNEL_BIND, client, &[(CHANNEL_NUMBER, &channel), (XOR_PEER_ADDRESS, &peer)])
}

/// Puts the header of the channel ahead of the packet that lies behind it already; returns the whole
/// length.
pub(crate) fn wrap(out: &mut [u8], packet_bytes: usize) -> usize {
    let length = u16::try_from(packet_bytes).unwrap_or(u16::MAX).to_be_bytes();
    out[..2].copy_from_slice(&CHANNEL);
    out[2..CHANNEL_HEADER_BYTES].copy_from_slice(&length);
    CHANNEL_HEADER_BYTES + packet_bytes
}

/// What came through the channel.
pub(crate) fn unwrap(datagram: &[u8]) -> Option<&[u8]> {
    let (header, rest) = datagram.split_first_chunk::<CHANNEL_HEADER_BYTES>()?;
    (header[..2] == CHANNEL).then_some(())?;
    rest.get(..usize::from(u16::from_be_bytes([header[2], header[3]])))
}

/// Whose request was granted.
pub(crate) fn granted(datagram: &[u8]) -> Option<(u32, Done)> {
    let header = datagram.first_chunk::<HEADER_BYTES>()?;
    (header[4..8] == COOKIE && header[8..16] == *NAME).then_some(())?;
    let done = match u16::from_be_bytes([header[0], header[1]]) {
        kind if kind == ALLOCATE | SUCCESS => Done::Allocated,
        kind if kind == CHANNEL_BIND | SUCCESS => Done::Bound,
        _ => return None,
    };
    Some((u32::from_be_bytes([header[16], header[17], header[18], header[19]]), done))
}

fn request(out: &mut [u8], kind: u16, client: u32, attributes: &[(u16, &[u8])]) -> usize {
    let mut end = HEADER_BYTES;
    for (kind, value) in attributes {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        out[end..end + 2].copy_from_slice(&kind.to_be_bytes());
        out[end + 2..end + 4].copy_from_slice(&length.to_be_bytes());
        out[end + 4..end + 4 + value.len()].copy_from_slice(value);
        end += 4 + value.len();
    }
    let length = u16::try_from(end - HEADER_BYTES).unwrap_or(u16::MAX);
    out[..2].copy_from_slice(&kind.to_be_bytes());
    out[2..4].copy_from_slice(&length.to_be_bytes());
    out[4..8].copy_from_slice(&COOKIE);
    out[8..16].copy_from_slice(NAME);
    out[16..HEADER_BYTES].copy_from_slice(&client.to_be_bytes());
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_packet_in_a_channel_comes_out_as_it_was() {
        let mut datagram = [7; 164];
        assert_eq!(wrap(&mut datagram, 160), 164);
        assert_eq!(unwrap(&datagram), Some(&[7; 160][..]));
        assert_eq!(unwrap(&datagram[..100]), None, "cut off");
        assert_eq!(unwrap(&[0x80; 164]), None, "no channel of ours");
    }

    #[test]
    fn requests_have_their_attributes_and_grants_name_their_client() {
        let mut out = [0; 64];
        assert_eq!(allocate(&mut out, 5), 28);
        assert_eq!(out[..4], [0, 3, 0, 8]);
        assert_eq!(out[20..28], [0, 0x19, 0, 4, 17, 0, 0, 0]);
        let peer = SocketAddrV4::new(Ipv4Addr::new(10, 76, 2, 2), 3600);
        let length = bind(&mut out, 70_000, peer);
        assert_eq!(length, 40);
        // 3600 ^ 0x2112 = 0x2f02; 10.76.2.2 ^ 2112a442.
        assert_eq!(out[28..40], [0, 0x12, 0, 8, 0, 1, 0x2f, 0x02, 0x2b, 0x5e, 0xa6, 0x40]);
        assert_eq!(granted(&out[..length]), None, "a request is no grant");
        out[0] |= 1;
        assert_eq!(granted(&out[..length]), Some((70_000, Done::Bound)));
        assert_eq!(granted(&out[..19]), None);
    }
}
