//! Passes open files from one process to the next: a message, and with it descriptors (SCM_RIGHTS).
//!
//! The next process finds its end of the channel at standard input, the one descriptor that can be
//! given to a child without telling it a number. Messages keep their borders (SOCK_SEQPACKET), and
//! an end that is closed reads as such, so a process that died is noticed at once.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    getsockopt, recvmsg, sendmsg, socketpair, sockopt,
};

/// Descriptors that one message can carry. The kernel's own limit is 253.
pub const DESCRIPTORS_MAX: usize = 200;
/// Bytes of a message. What is longer goes as a file ([`file_of`]).
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a file that is taken over. Two million flows have about a tenth of this.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// Two ends: one to keep, one for the child's standard input.
pub fn pair() -> io::Result<(Channel, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Channel(ours), theirs))
}

impl From<OwnedFd> for Channel {
    /// Any socket whose messages have borders.
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl Channel {
    /// The end that the process before has left at standard input, which reads as empty from then
    /// on.
    pub fn from_stdin() -> io::Result<Self> {
        let stdin = io::stdin();
        let kind = getsockopt(&stdin.as_fd(), sockopt::SockType)?;
        if kind != SockType::SeqPacket {
            return Err(io::Error::other("standard input is no channel of ours"));
        }
        let ours = stdin.as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(ours))
    }

    /// Sends a message. Fails rather than waits if the other end does not read.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights: &[_] = if raw.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let bytes = [IoSlice::new(message)];
        let sent = sendmsg::<()>(self.0.as_raw_fd(), &bytes, rights, flags, None)?;
        if sent == message.len() { Ok(()) } else { Err(io::Error::other("a message was cut off")) }
    }

    /// The next message. An end that is closed is `UnexpectedEof`, a wait in vain `TimedOut`.
    pub fn receive(&self, patience: Duration) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        self.wait(patience)?;
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; DESCRIPTORS_MAX]);
        let mut descriptors = Vec::new();
        let length = {
            let mut bytes = [IoSliceMut::new(&mut message)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            let received =
                recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut bytes, Some(&mut space), flags)?;
            for control in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = control {
                    // SAFETY: the kernel has just made these descriptors for this process, and
                    // nothing else knows of them: each is owned here and closed once.
                    let owned = raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) });
                    descriptors.extend(owned);
                }
            }
            if received.flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC) {
                return Err(io::Error::other("a message was longer than any of ours"));
            }
            received.bytes
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.truncate(length);
        Ok((message, descriptors))
    }

    fn wait(&self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, left) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Puts bytes into a file in memory, to be passed on.
pub fn file_of(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// The bytes of a file that was passed on.
pub fn bytes_of(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(file);
    // The writer's place in the file came along with it.
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    fn channels() -> (Channel, Channel) {
        let (ours, theirs) = pair().unwrap();
        (ours, Channel(theirs))
    }

    #[test]
    fn sockets_keep_their_order_and_what_is_queued_in_them() {
        let sockets: Vec<_> =
            (0..DESCRIPTORS_MAX).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|it| it.local_addr().unwrap()).collect();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (index, address) in (0u8..).zip(&addresses) {
            sender.send_to(&[index], address).unwrap();
        }
        let (old, new) = channels();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        old.send(b"sockets", &descriptors).unwrap();
        drop((sockets, old));
        let (message, taken) = new.receive(SHORT).unwrap();
        assert_eq!(message, b"sockets");
        for (index, socket) in (0u8..).zip(taken) {
            let socket = UdpSocket::from(socket);
            assert_eq!(socket.local_addr().unwrap(), addresses[usize::from(index)]);
            let mut byte = [0];
            socket.recv(&mut byte).unwrap();
            assert_eq!(byte, [index]);
        }
        assert_eq!(new.receive(SHORT).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(new.send(b"is anybody there?", &[]).is_err());
    }

    #[test]
    fn who_waits_in_vain_is_told_so() {
        let (old, _new) = channels();
        assert_eq!(old.receive(SHORT).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_is_as_long_as_it_has_to_be() {
        for length in [0, 1, 3 * MESSAGE_BYTES_MAX] {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            assert_eq!(bytes_of(file_of("test", &bytes).unwrap()).unwrap(), bytes);
        }
    }
}
