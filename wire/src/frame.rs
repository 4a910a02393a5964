//! A frame: one client packet in a tunnel datagram.
//!
//! ```text
//!      1        1        2          4 or 16      2
//! +--------+--------+----------+- - - - - - -+------+- - - - - -+
//! |  meta  |listener|  length  | client's ip | port |  payload  |
//! +--------+--------+----------+- - - - - - -+------+- - - - - -+
//!      └ bit 0: 1 = IPv6, bit 1: 1 = TCP, others zero
//! ```
//!
//! Numbers are big-endian; `length` is the payload's. In a `gone` datagram the payloads are empty:
//! a frame there only names a client.

use crate::address::Address;
use thiserror::Error;

const META_IPV6: u8 = 1 << 0;
const META_TCP: u8 = 1 << 1;
const FIXED_BYTES: usize = 4;

/// The most bytes that a frame adds to its payload.
pub const OVERHEAD_BYTES_MAX: usize = FIXED_BYTES + Address::BYTES_MAX;
/// The fewest bytes of any frame: an IPv4 client and no payload.
const BYTES_MIN: usize = FIXED_BYTES + 4 + 2;

/// Which of a relay's public sockets; all workers of a relay number them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u8);

/// How the client reaches the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// ICE-TCP, RFC 6544.
    Tcp,
}

/// Where a client is: its address, and by which of the relay's sockets it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// The client's own address as the relay sees it.
    pub address: Address,
    /// The public socket it talks to.
    pub listener: ListenerId,
    /// How it talks to it.
    pub transport: Transport,
}

/// One client packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whose packet.
    pub client: Client,
    /// The packet, as the client sent it or is to get it.
    pub payload: &'a [u8],
}

/// Why the content of an authentic datagram is no list of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum FrameError {
    /// A frame's header reaches beyond the datagram.
    #[error("frame header cut short")]
    HeaderCut,
    /// A bit of `meta` is set that has no meaning.
    #[error("unknown bits in frame meta")]
    UnknownMeta,
    /// A frame's payload reaches beyond the datagram.
    #[error("frame payload cut short")]
    PayloadCut,
    /// A payload is empty in `data`, or there is one in `gone`.
    #[error("payload where none belongs, or none where one does")]
    PayloadPresence,
    /// There are no frames at all.
    #[error("no frames")]
    None,
}

/// How many bytes a frame takes.
pub(crate) fn bytes(client: &Client, payload: &[u8]) -> usize {
    FIXED_BYTES + client.address.ip_bytes().len() + 2 + payload.len()
}

/// Writes a frame at the start of `out`, which has room for it. `None` if the payload is longer
/// than a length field can say.
#[inline]
pub(crate) fn write(out: &mut [u8], client: &Client, payload: &[u8]) -> Option<()> {
    let length = u16::try_from(payload.len()).ok()?;
    let ip = client.address.ip_bytes();
    let ipv6 = if ip.len() == 4 { 0 } else { META_IPV6 };
    let tcp = match client.transport {
        Transport::Udp => 0,
        Transport::Tcp => META_TCP,
    };
    let (head, out) = out.split_at_mut(FIXED_BYTES);
    head[0] = ipv6 | tcp;
    head[1] = client.listener.0;
    head[2..].copy_from_slice(&length.to_be_bytes());
    let (ip_out, out) = out.split_at_mut(ip.len());
    ip_out.copy_from_slice(ip);
    let (port_out, out) = out.split_at_mut(2);
    port_out.copy_from_slice(&client.address.port().to_be_bytes());
    out[..payload.len()].copy_from_slice(payload);
    Some(())
}

/// Takes the first frame off `bytes`.
#[inline]
fn take(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), FrameError> {
    if bytes.len() < BYTES_MIN {
        return Err(FrameError::HeaderCut);
    }
    let (&[meta, listener, length_high, length_low], rest) =
        bytes.split_first_chunk::<FIXED_BYTES>().ok_or(FrameError::HeaderCut)?;
    if meta & !(META_IPV6 | META_TCP) != 0 {
        return Err(FrameError::UnknownMeta);
    }
    let port_of = |[high, low]: [u8; 2]| u16::from_be_bytes([high, low]);
    let (address, rest) = if meta & META_IPV6 == 0 {
        let (&ip, rest) = rest.split_first_chunk::<4>().ok_or(FrameError::HeaderCut)?;
        let (&port, rest) = rest.split_first_chunk::<2>().ok_or(FrameError::HeaderCut)?;
        (Address::from_v4(ip, port_of(port)), rest)
    } else {
        let (&ip, rest) = rest.split_first_chunk::<16>().ok_or(FrameError::HeaderCut)?;
        let (&port, rest) = rest.split_first_chunk::<2>().ok_or(FrameError::HeaderCut)?;
        (Address::from_v6(ip, port_of(port)), rest)
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let (payload, rest) = rest.split_at_checked(length).ok_or(FrameError::PayloadCut)?;
    let transport = if meta & META_TCP == 0 { Transport::Udp } else { Transport::Tcp };
    let client = Client { address, listener: ListenerId(listener), transport };
    Ok((Frame { client, payload }, rest))
}

/// The frames of a datagram, all of which have been checked.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Checks the whole list before anything of it is delivered: a datagram is taken whole or not
    /// at all.
    pub(crate) fn check(bytes: &'a [u8], payloads: bool) -> Result<Self, FrameError> {
        if bytes.is_empty() {
            return Err(FrameError::None);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, behind) = take(rest)?;
            if frame.payload.is_empty() == payloads {
                return Err(FrameError::PayloadPresence);
            }
            rest = behind;
        }
        Ok(Self { rest: bytes })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (frame, rest) = take(self.rest).ok()?;
        self.rest = rest;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn client(ip: &str) -> Client {
        Client {
            address: Address::new(ip.parse().unwrap(), 0x1234),
            listener: ListenerId(5),
            transport: Transport::Udp,
        }
    }

    fn written(client: &Client, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; bytes(client, payload)];
        write(&mut out, client, payload).unwrap();
        out
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let v4 = written(&client("192.0.2.1"), b"xyz");
        assert_eq!(v4, [0, 5, 0, 3, 192, 0, 2, 1, 0x12, 0x34, b'x', b'y', b'z']);
        let tcp = Client { transport: Transport::Tcp, ..client("2001:db8::1") };
        let v6 = written(&tcp, b"x");
        assert_eq!(v6[..4], [3, 5, 0, 1]);
        assert_eq!(v6[4..8], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(v6[20..], [0x12, 0x34, b'x']);
    }

    #[test]
    fn an_ipv4_mapped_address_on_the_wire_is_the_ipv4_address() {
        let mut frame = vec![1, 5, 0, 1];
        frame.extend("::ffff:192.0.2.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend([0x12, 0x34, b'x']);
        let first = Frames::check(&frame, true).unwrap().next().unwrap();
        assert_eq!(first.client, client("192.0.2.1"));
    }

    #[test]
    fn malformed_lists_deliver_nothing() {
        let good = written(&client("192.0.2.1"), b"xyz");
        let v6 = written(&client("2001:db8::1"), b"x");
        let behind_good = |tail: &[u8]| [&good[..], tail].concat();
        for (name, list, want) in [
            ("nothing", vec![], FrameError::None),
            ("one byte", vec![0], FrameError::HeaderCut),
            ("half a header", good[..9].to_vec(), FrameError::HeaderCut),
            ("an IPv6 header cut", v6[..21].to_vec(), FrameError::HeaderCut),
            ("one payload byte short", good[..12].to_vec(), FrameError::PayloadCut),
            ("one byte long", behind_good(&[0]), FrameError::HeaderCut),
            ("a second frame cut", behind_good(&good[..12]), FrameError::PayloadCut),
            (
                "a meta bit unknown",
                behind_good(&[4, 5, 0, 1, 1, 2, 3, 4, 0, 1, 9]),
                FrameError::UnknownMeta,
            ),
            (
                "no payload",
                behind_good(&[0, 5, 0, 0, 1, 2, 3, 4, 0, 1]),
                FrameError::PayloadPresence,
            ),
        ] {
            assert_eq!(Frames::check(&list, true).unwrap_err(), want, "{name}");
        }
        assert_eq!(Frames::check(&good, false).unwrap_err(), FrameError::PayloadPresence);
    }

    proptest! {
        #[test]
        fn round_trip(
            frames in prop::collection::vec(
                (any::<IpAddr>(), any::<u16>(), any::<u8>(), any::<bool>(),
                 prop::collection::vec(any::<u8>(), 1..60)),
                1..20,
            ),
        ) {
            let mut list = Vec::new();
            let mut want = Vec::new();
            for (ip, port, listener, tcp, payload) in &frames {
                let client = Client {
                    address: Address::new(*ip, *port),
                    listener: ListenerId(*listener),
                    transport: if *tcp { Transport::Tcp } else { Transport::Udp },
                };
                list.extend(written(&client, payload));
                want.push(Frame { client, payload });
            }
            let got: Vec<_> = Frames::check(&list, true).unwrap().collect();
            prop_assert_eq!(got, want);
        }
    }
}
