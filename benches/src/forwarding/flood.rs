//! More than any candidate carries, towards the relay: the generator for saturation.
//!
//! Frame by frame one core injects half a million packets a second, which is less than a bundling
//! relay takes. Here one call sends sixteen packets of one client as one UDP GSO send, which stays
//! whole through the network's layers and is cut at the receiving socket: the receiver gets sixteen
//! ordinary datagrams and sees no difference (as long as it does not ask for UDP_GRO).

use std::io::IoSlice;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use crate::payload;
use crate::plan::{CLIENTS, PAYLOAD_BYTES, PUBLIC, client};

/// Packets of one client in a row.
pub(crate) const BURST: usize = 16;

/// Media of all clients in turn, a burst each.
#[derive(Debug)]
pub(crate) struct Flood {
    bursts: u64,
    bytes: [u8; BURST * PAYLOAD_BYTES],
}

impl Flood {
    /// From the first client on.
    pub(crate) const fn new() -> Self {
        Self { bursts: 0, bytes: [0; BURST * PAYLOAD_BYTES] }
    }

    /// Sends the next client's burst from a socket that has the clients' port; returns how many
    /// packets left.
    pub(crate) fn burst(&mut self, socket: &UdpSocket, now_ns: u64) -> Result<usize> {
        let clients = u64::from(CLIENTS);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of CLIENTS")]
        let index = (self.bursts % clients) as u32;
        let first = self.bursts / clients * BURST as u64;
        self.bursts += 1;
        for (number, packet) in (first..).zip(self.bytes.as_chunks_mut::<PAYLOAD_BYTES>().0) {
            payload::write(packet, index, number, now_ns);
        }
        let from = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: address(*client(index).ip()),
            ipi_addr: address(Ipv4Addr::UNSPECIFIED),
        };
        let segment = u16::try_from(PAYLOAD_BYTES).context("a packet beyond UDP's")?;
        let control =
            [ControlMessage::Ipv4PacketInfo(&from), ControlMessage::UdpGsoSegments(&segment)];
        let to = SockaddrIn::from(PUBLIC);
        let bytes = [IoSlice::new(&self.bytes)];
        match sendmsg(socket.as_raw_fd(), &bytes, &control, MsgFlags::empty(), Some(&to)) {
            Ok(_) => Ok(BURST),
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error).context("Failed to send a burst"),
        }
    }
}

/// In the kernel's form.
const fn address(ip: Ipv4Addr) -> in_addr {
    in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}
