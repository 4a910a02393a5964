//! Drops STUN before it reaches a socket's receive buffer, but for one in so many.
//!
//! When a worker cannot keep up with a flood, its receive buffer is full, and the kernel drops what
//! comes next, whatever it is: checks from addresses that nobody has take the places of media. A
//! classic BPF program, run for each datagram before it is queued, leaves these places to everything
//! else. It knows no flows: it admits some STUN at random, and thins out that of calls that stand too,
//! which repeat their checks for some fifteen seconds before they give up. It needs no privilege.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

const LOAD_BYTE: u16 = code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS);
const LOAD_WORD: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
const JUMP_IF_AT_LEAST: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
const JUMP_IF_SET: u16 = code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K);
const RETURN_CONSTANT: u16 = code(libc::BPF_RET | libc::BPF_K);
/// Where a classic BPF program finds a random number.
const RANDOM: u32 = (libc::SKF_AD_OFF + SKF_AD_RANDOM).cast_unsigned();
/// Of linux/filter.h; libc does not have it.
const SKF_AD_RANDOM: i32 = 56;
/// The program sees the datagram from its UDP header on.
const PAYLOAD: u32 = 8;
const DROP: u32 = 0;
const KEEP: u32 = u32::MAX;

#[allow(clippy::cast_possible_truncation)] // Instruction codes are 16 bits wide.
const fn code(bits: u32) -> u16 {
    bits as u16
}

/// Admits one STUN message in `2^halvings`, and nothing that is neither STUN, DTLS nor media. With zero,
/// everything is admitted again.
pub(crate) fn shed(socket: &impl AsFd, halvings: u8) -> io::Result<()> {
    if halvings == 0 {
        let detached = crate::options::set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
        return match detached {
            // There was none.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        };
    }
    let mut program = program(halvings);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).unwrap_or(0);
    // SAFETY: the value of this option is a `sock_fprog`; it and the program it points to outlive
    // the call, in which the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&filter).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// On the stack: workers allocate nothing.
fn program(halvings: u8) -> [libc::sock_filter; 10] {
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let others = (1u32 << halvings.min(31)) - 1;
    [
        // RFC 7983 section 7: what the first byte may be. Of an empty datagram there is none, which
        // drops it.
        step(LOAD_BYTE, PAYLOAD),
        jump(JUMP_IF_AT_LEAST, 192, 7, 0),
        jump(JUMP_IF_AT_LEAST, 128, 5, 0),
        jump(JUMP_IF_AT_LEAST, 64, 5, 0),
        jump(JUMP_IF_AT_LEAST, 20, 3, 0),
        jump(JUMP_IF_AT_LEAST, 4, 3, 0),
        step(LOAD_WORD, RANDOM),
        jump(JUMP_IF_SET, others, 1, 0),
        step(RETURN_CONSTANT, KEEP),
        step(RETURN_CONSTANT, DROP),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    const CHECK: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0];

    fn pair(loopback: &str) -> Option<(UdpSocket, UdpSocket)> {
        let receiver = UdpSocket::bind((loopback, 0)).ok()?;
        let sender = UdpSocket::bind((loopback, 0)).ok()?;
        sender.connect(receiver.local_addr().ok()?).ok()?;
        receiver.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        Some((receiver, sender))
    }

    fn received(receiver: &UdpSocket) -> usize {
        let mut bytes = [0; 100];
        std::iter::from_fn(|| receiver.recv(&mut bytes).ok()).count()
    }

    #[test]
    fn of_stun_some_passes_and_all_dtls_and_media() {
        for loopback in ["127.0.0.1", "::1"] {
            let Some((receiver, sender)) = pair(loopback) else { continue };
            let count = |packet: &[u8], times| {
                for _ in 0..times {
                    sender.send(packet).unwrap();
                }
                received(&receiver)
            };
            assert_eq!(count(CHECK, 50), 50, "no filter");
            shed(&receiver, 2).unwrap();
            let admitted = count(CHECK, 100) + count(CHECK, 100);
            // A quarter: the chance to be outside of this is below 10^-9.
            assert!((10..100).contains(&admitted), "{loopback}: {admitted} of 200");
            shed(&receiver, 31).unwrap();
            assert_eq!(count(CHECK, 100), 0);
            for calls in [&[20][..], &[63, 1], &[128, 111], &[191, 200]] {
                assert_eq!(count(calls, 20), 20, "{calls:?}");
            }
            for nobodys in [&[][..], &[4, 0], &[19, 9], &[64, 1], &[127, 0], &[192, 0], &[255, 255]]
            {
                assert_eq!(count(nobodys, 20), 0, "{nobodys:?}");
            }
            shed(&receiver, 0).unwrap();
            assert_eq!(count(CHECK, 50) + count(&[255, 0], 1), 51, "as before");
            shed(&receiver, 0).unwrap();
        }
    }
}
