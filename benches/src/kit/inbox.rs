//! The sink: a UDP socket read in batches, with the kernel's own time of arrival.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

const BATCH: usize = 32;
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Holds everything that comes while the generator is busy elsewhere.
const BUFFER_BYTES: usize = 16 << 20;

const UNKNOWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// A socket whose datagrams are looked at and thrown away.
#[derive(Debug)]
pub struct Inbox {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; DATAGRAM_BYTES_MAX]>,
}

impl Inbox {
    /// Bound in the namespace this thread is in.
    pub fn bind(address: SocketAddrV4) -> Result<Self> {
        let socket =
            UdpSocket::bind(address).with_context(|| format!("Failed to bind to {address}"))?;
        socket.set_nonblocking(true).context("Failed to make a socket non-blocking")?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .context("Failed to enlarge a receive buffer")?;
        let buffers = vec![[0; DATAGRAM_BYTES_MAX]; BATCH];
        Ok(Self { socket, headers: headers(), buffers })
    }

    /// The socket, to answer with.
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Turns the kernel's time stamps on or off. While any socket of the machine has them on, each
    /// packet costs its sender a look at the clock.
    pub fn stamp(&mut self, on: bool) -> Result<()> {
        setsockopt(&self.socket, sockopt::ReceiveTimestampns, &on)
            .context("Failed to set time stamps")?;
        // The lengths that the kernel left in the old ones belong to the old setting.
        self.headers = headers();
        Ok(())
    }

    /// Shows `each` what has come, with its time of arrival; returns how many datagrams that were.
    pub fn poll(&mut self, mut each: impl FnMut(&mut [u8], u64)) -> Result<usize> {
        self.poll_from(|datagram, _, at_ns| each(datagram, at_ns))
    }

    /// The same, with the sender's address too.
    pub fn poll_from(
        &mut self,
        mut each: impl FnMut(&mut [u8], SocketAddrV4, u64),
    ) -> Result<usize> {
        let mut arrived = [(0, UNKNOWN, 0); BATCH];
        let mut count = 0;
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let messages = match recvmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            ) {
                Ok(messages) => messages,
                // A refused connection is the answer to something sent while nobody listened.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
                Err(error) => return Err(error).context("Failed to receive"),
            };
            for message in messages {
                let stamped = message.cmsgs().ok().and_then(|mut all| {
                    all.find_map(|one| match one {
                        ControlMessageOwned::ScmTimestampns(time) => Some(nanoseconds(time)),
                        _ => None,
                    })
                });
                let from =
                    message.address.map_or(UNKNOWN, |it| SocketAddrV4::new(it.ip(), it.port()));
                arrived[count] = (message.bytes, from, stamped.unwrap_or_else(now_ns));
                count += 1;
            }
        }
        for (buffer, &(length, from, at_ns)) in self.buffers.iter_mut().zip(&arrived[..count]) {
            each(&mut buffer[..length], from, at_ns);
        }
        Ok(count)
    }

    /// Throws away what has come.
    pub fn empty(&mut self) -> Result<()> {
        while self.poll(|_, _| ())? > 0 {}
        Ok(())
    }
}

fn headers() -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec)))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}

/// The wall clock, which is also the kernel's for arrivals.
pub fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
