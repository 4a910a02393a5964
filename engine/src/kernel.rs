//! Single system calls on a UDP socket: what engines share besides their batch calls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, getpeername, setsockopt, sockopt};

use crate::address::RawAddress;
use crate::control::SendControl;
use crate::link::Link;
use crate::outbox::{Outbox, Run};
use crate::segmentation::Segmentation;
use crate::statistics::Statistics;

/// Errors read from a socket's error queue in one go; the next turn reads on.
pub(crate) const ERROR_QUEUE_READS_MAX: u64 = 64;

/// Errors that belong to an earlier datagram: an ICMP message came back, and the kernel reports it
/// at the next call on the socket, whatever that call was about.
pub(crate) fn is_icmp(error: Errno) -> bool {
    matches!(
        error,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EMSGSIZE
    )
}

/// Errors of a receive after which no receive will work again: the descriptor is gone, or is none
/// of a UDP socket.
pub(crate) fn is_fatal(error: Errno) -> bool {
    matches!(error, Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EFAULT)
}

/// Receives that may fail one after the other, for no reason known here, before a link is given up:
/// trying forever would be a busy loop.
pub(crate) const FAILURES_IN_A_ROW_MAX: u32 = 1000;

/// Errors of a send that mean "not now": the send buffer or the queue behind it is full.
pub(crate) fn is_busy(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)
}

/// The error for a link that no datagram will come from any more.
pub(crate) fn link_gone(link: Link, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        format!("{link} can receive nothing any more ({why}): was its socket closed or shut down?"),
    )
}

/// Fails if a socket was closed or shut down. A multishot receive does not notice: the kernel wakes
/// it, finds nothing to receive, and goes on waiting.
pub(crate) fn check_alive(link: Link, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: "The caller should specify the number of items in the fds array in nfds": one, which
    // outlives the call. (nix has no name for POLLRDHUP and drops it from what it returns.)
    match Errno::result(unsafe { libc::poll(&raw mut polled, 1, 0) }) {
        // A signal, as when a debugger lets go of the process: this is asked again soon.
        Err(Errno::EINTR) => return Ok(()),
        result => result?,
    };
    if polled.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLNVAL) != 0 {
        return Err(link_gone(link, &"poll reports a hang-up"));
    }
    Ok(())
}

/// The peer of a connected socket.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    socket_address(&getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?)
}

/// An address in the standard library's form.
pub(crate) fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

/// Switches receive timestamps.
pub(crate) fn timestamps(socket: &impl AsFd, on: bool) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &on)?)
}

/// Asks the kernel to glue runs of datagrams from one source together.
pub(crate) fn enable_gro(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::UdpGroSegment, &true)?)
}

/// Whether the kernel knows UDP GSO (Linux 4.18).
pub(crate) fn knows_gso(socket: &impl AsFd) -> bool {
    nix::sys::socket::getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
}

/// Datagrams dropped because the receive buffer was full, or by a filter (`sk_drops`).
pub(crate) fn drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(u64::from(memory(socket)?[MEMORY_DROPS]))
}

/// How full the receive buffer is, in percent of what it takes.
pub(crate) fn fill_percent(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let memory = memory(socket)?;
    let [taken, most] = [MEMORY_RECEIVED, MEMORY_RECEIVED_MAX].map(|at| u64::from(memory[at]));
    Ok(taken * 100 / most.max(1))
}

/// Places in what SO_MEMINFO says (`SK_MEMINFO_…`, SK_MEMINFO_VARS of them; the last are the drops).
const MEMORY_RECEIVED: usize = 0;
const MEMORY_RECEIVED_MAX: usize = 1;
const MEMORY_DROPS: usize = 8;

fn memory(socket: BorrowedFd<'_>) -> io::Result<[u32; MEMORY_DROPS + 1]> {
    let mut values = [0u32; MEMORY_DROPS + 1];
    let mut length = libc::socklen_t::try_from(size_of_val(&values)).unwrap_or(0);
    // SAFETY: "The arguments optval and optlen identify a buffer in which the value is to be
    // returned": `values` is that long and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(values)
}

/// Empties the queue of ICMP errors of a socket with IP_RECVERR, up to [`ERROR_QUEUE_READS_MAX`],
/// and says how many there were. While something is in there, epoll reports an error and would not
/// sleep; and what is in there takes room from the datagrams in the receive buffer.
pub(crate) fn drain_errors(socket: BorrowedFd<'_>) -> u64 {
    let mut count = 0;
    for _ in 0..ERROR_QUEUE_READS_MAX {
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let mut nothing = [0; 1];
        match nix::sys::socket::recv(socket.as_raw_fd(), &mut nothing, flags) {
            Ok(_) => count += 1,
            Err(_) => break,
        }
    }
    count
}

/// Sends one datagram without waiting; without a destination, to the peer of a connected socket.
fn send(
    socket: BorrowedFd<'_>,
    destination: Option<&RawAddress>,
    source: Option<Ipv4Addr>,
    bytes: &[u8],
) -> Result<(), Errno> {
    let mut control = SendControl::EMPTY;
    let mut vector =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all fields are integers and raw pointers, for which zero is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if let Some(address) = destination {
        header.msg_name = address.pointer().cast_mut().cast();
        header.msg_namelen = address.length();
    }
    header.msg_controllen = control.write(None, source) as _;
    if header.msg_controllen > 0 {
        header.msg_control = control.pointer();
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything that the header points to outlives the call; the lengths are their own; the
    // kernel only reads.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    Errno::result(result).map(drop)
}

/// What became of a refused send.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) connected: bool,
    pub(crate) error: Errno,
}

impl Refused<'_> {
    /// Counts a refused send, and repeats what deserves it: a GSO send datagram by datagram, and
    /// one which only carried the news of an earlier ICMP error.
    pub(crate) fn settle(
        &self,
        run: &Run,
        outbox: &Outbox,
        segmentation: &mut Segmentation,
        statistics: &mut Statistics,
    ) {
        let merged = run.segments > 1;
        if merged && Segmentation::is_refusal(self.error) {
            statistics.gso_fallbacks += 1;
            segmentation.refused(run.link, self.error);
        } else if is_icmp(self.error) && self.error != Errno::EMSGSIZE {
            statistics.icmp_errors += 1;
        } else {
            count_failure(self.error, u64::from(run.segments), statistics);
            return;
        }
        let address = RawAddress::from(run.destination);
        let destination = (!self.connected).then_some(&address);
        let bytes = outbox.bytes(run);
        // `chunks` of an empty slice would send nothing, but an empty datagram is one.
        let first = bytes.len().min(run.segment_bytes as usize);
        let pieces = std::iter::once(&bytes[..first])
            .chain(bytes[first..].chunks(run.segment_bytes.max(1) as usize));
        for piece in pieces {
            statistics.syscalls += 1;
            match send(self.socket, destination, run.source, piece) {
                Ok(()) => {
                    statistics.sends += 1;
                    statistics.datagrams_out += 1;
                    statistics.bytes_out += piece.len() as u64;
                }
                Err(error) => count_failure(error, 1, statistics),
            }
        }
    }
}

fn count_failure(error: Errno, datagrams: u64, statistics: &mut Statistics) {
    if is_busy(error) {
        statistics.send_refused += datagrams;
    } else {
        statistics.send_errors += datagrams;
    }
}

/// Counts a send that left.
pub(crate) fn count_sent(run: &Run, segmentation: &mut Segmentation, statistics: &mut Statistics) {
    statistics.sends += 1;
    statistics.datagrams_out += u64::from(run.segments);
    statistics.bytes_out += u64::from(run.length);
    if run.segments > 1 {
        statistics.gso_sends += 1;
        segmentation.sent(run.link);
    }
}
