//! Steers datagrams to the worker on the CPU that received them.
//!
//! Without this, a `SO_REUSEPORT` group distributes by a hash of the four-tuple, and most datagrams
//! wake a worker on another CPU than the one whose network queue brought them. A classic BPF
//! program, run by the kernel for each datagram, returns the index of the socket instead. It needs
//! no privilege.
//!
//! It applies to the whole group, so attach it to any one of the sockets, after the last was bound.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use crate::options;

const LOAD_WORD: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
const JUMP_IF_EQUAL: u16 = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
const MODULO: u16 = code(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K);
const RETURN_CONSTANT: u16 = code(libc::BPF_RET | libc::BPF_K);
/// `BPF_A`, which libc does not have.
const RETURN_ACCUMULATOR: u16 = code(libc::BPF_RET | 0x10);
/// Where a classic BPF program finds the number of the CPU it runs on.
const CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
/// `SO_DETACH_REUSEPORT_BPF`, which libc does not have.
const DETACH_REUSEPORT_BPF: libc::c_int = 68;
/// `BPF_MAXINSNS`.
const INSTRUCTIONS_MAX: usize = 4096;

#[allow(clippy::cast_possible_truncation)] // Instruction codes are 16 bits wide.
const fn code(bits: u32) -> u16 {
    bits as u16
}

/// Steers a group: what arrives on `cpus[i]` goes to the i-th socket. What arrives on a CPU that is
/// not listed is spread over all sockets by the CPU's number.
pub fn by_cpu(socket: &impl AsFd, cpus: &[usize]) -> io::Result<()> {
    let mut program = program(cpus)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no CPUs, or too many"))?;
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
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Steers a group no more: datagrams are distributed by the hash again.
pub fn by_hash(socket: &impl AsFd) -> io::Result<()> {
    match options::set(socket, libc::SOL_SOCKET, DETACH_REUSEPORT_BPF, 0) {
        // It was not steered.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn program(cpus: &[usize]) -> Option<Vec<libc::sock_filter>> {
    let instruction =
        |code, jump_if_false, k| libc::sock_filter { code, jt: 0, jf: jump_if_false, k };
    let count = u32::try_from(cpus.len()).ok().filter(|count| *count > 0)?;
    let mut program = vec![instruction(LOAD_WORD, 0, CPU)];
    for (index, cpu) in (0u32..).zip(cpus) {
        program.push(instruction(JUMP_IF_EQUAL, 1, u32::try_from(*cpu).ok()?));
        program.push(instruction(RETURN_CONSTANT, 0, index));
    }
    program.push(instruction(MODULO, 0, count));
    program.push(instruction(RETURN_ACCUMULATOR, 0, 0));
    (program.len() <= INSTRUCTIONS_MAX).then_some(program)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::affinity;
    use crate::sockets::{self, SocketSettings};

    /// Runs the program as the kernel would on this CPU.
    fn run(program: &[libc::sock_filter], cpu: u32) -> u32 {
        let mut accumulator = 0;
        let mut next = 0;
        loop {
            let instruction = &program[next];
            next += 1;
            match instruction.code {
                LOAD_WORD if instruction.k == CPU => accumulator = cpu,
                JUMP_IF_EQUAL if accumulator == instruction.k => {}
                JUMP_IF_EQUAL => next += usize::from(instruction.jf),
                MODULO => accumulator %= instruction.k,
                RETURN_CONSTANT => return instruction.k,
                RETURN_ACCUMULATOR => return accumulator,
                code => panic!("instruction {code}"),
            }
        }
    }

    #[test]
    fn listed_cpus_get_their_socket_and_others_some() {
        let program = program(&[4, 2, 9]).unwrap();
        for (cpu, expected) in [(4, 0), (2, 1), (9, 2), (0, 0), (1, 1), (5, 2), (100, 1)] {
            assert_eq!(run(&program, cpu), expected, "CPU {cpu}");
        }
        assert!(super::program(&[]).is_none());
        assert!(super::program(&vec![0; 3000]).is_none());
    }

    #[test]
    fn loopback_arrives_at_the_socket_of_the_senders_cpu() {
        let cpus = affinity::allowed_cpus().unwrap();
        if cpus.len() < 2 {
            return eprintln!("skipped: one CPU");
        }
        let settings = SocketSettings::public("127.0.0.1:0".parse().unwrap());
        let group = sockets::bind_group(&settings, cpus.len()).unwrap();
        by_cpu(&group[0].socket, &cpus).unwrap();
        by_hash(&group[0].socket).unwrap();
        by_hash(&group[0].socket).unwrap();
        by_cpu(&group[0].socket, &cpus).unwrap();
        let address = group[0].address;
        let sockets: Vec<UdpSocket> =
            group.into_iter().map(|bound| UdpSocket::from(bound.socket)).collect();
        for (index, cpu) in cpus.into_iter().enumerate() {
            std::thread::spawn(move || {
                affinity::pin(cpu).unwrap();
                for _ in 0..10 {
                    // A socket each: the hash would spread them.
                    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", address).unwrap();
                }
            })
            .join()
            .unwrap();
            sockets[index].set_nonblocking(false).unwrap();
            sockets[index].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for _ in 0..10 {
                assert_eq!(sockets[index].recv(&mut [0; 2]).unwrap(), 1);
            }
        }
    }
}
