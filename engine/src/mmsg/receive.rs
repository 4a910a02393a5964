//! recvmmsg into buffers from a free list.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

use crate::address::{self, ADDRESS_BYTES_MAX};
use crate::arrivals::{Arrivals, Taken};
use crate::control::{self, RECEIVE_CONTROL_BYTES};
use crate::kernel;
use crate::link::Link;
use crate::statistics::Statistics;

/// Times one turn asks again after the kernel reported an ICMP error instead of datagrams.
const ICMP_RETRIES_MAX: u32 = 16;

/// Where the kernel describes one received datagram.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Description {
    control: [u8; RECEIVE_CONTROL_BYTES],
    name: [u8; ADDRESS_BYTES_MAX],
}

/// The arrays that one recvmmsg call fills, kept between calls so that none is allocated.
#[derive(Debug)]
pub(super) struct Receive {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    descriptions: Box<[Description]>,
}

// SAFETY: the raw pointers in `headers` and `vectors` are written anew before each system call
// and never read in between.
unsafe impl Send for Receive {}

pub(super) const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

pub(super) fn empty_header() -> libc::mmsghdr {
    // SAFETY: all fields are integers and raw pointers (and padding, in some C libraries), for
    // which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

impl Receive {
    pub(super) fn new(batch: usize) -> Receive {
        let description =
            Description { control: [0; RECEIVE_CONTROL_BYTES], name: [0; ADDRESS_BYTES_MAX] };
        Receive {
            headers: vec![empty_header(); batch].into(),
            vectors: vec![EMPTY_VECTOR; batch].into(),
            descriptions: vec![description; batch].into(),
        }
    }

    /// Receives up to one batch; says whether it was a full one.
    pub(super) fn fill(
        &mut self,
        link: Link,
        socket: BorrowedFd<'_>,
        free: &mut Vec<u16>,
        arrivals: &mut Arrivals,
        statistics: &mut Statistics,
    ) -> io::Result<bool> {
        let wanted = self.headers.len().min(free.len());
        if wanted == 0 {
            return Ok(false);
        }
        let first = free.len() - wanted;
        self.prepare(link, &free[first..], arrivals);
        for _ in 0..ICMP_RETRIES_MAX {
            statistics.syscalls += 1;
            match self.call(socket, wanted) {
                Ok(count) => {
                    for index in 0..count {
                        self.deliver(index, link, free[first + index], arrivals, statistics);
                    }
                    free.drain(first..first + count);
                    return Ok(count == wanted);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(error) if kernel::is_icmp(error) => statistics.icmp_errors += 1,
                Err(error) if kernel::is_fatal(error) => {
                    return Err(kernel::link_gone(link, &error));
                }
                Err(_) => {
                    statistics.receive_errors += 1;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    fn prepare(&mut self, link: Link, frames: &[u16], arrivals: &Arrivals) {
        let pool = arrivals.pool(link);
        for (index, frame) in frames.iter().enumerate() {
            let vector = &mut self.vectors[index];
            vector.iov_base = pool.pointer(*frame).cast();
            vector.iov_len = pool.frame_bytes() as usize;
            let description = &mut self.descriptions[index];
            let header = &mut self.headers[index].msg_hdr;
            header.msg_iov = ptr::from_mut(vector);
            header.msg_iovlen = 1;
            header.msg_name = description.name.as_mut_ptr().cast();
            #[allow(clippy::cast_possible_truncation)] // 28.
            let name_bytes = ADDRESS_BYTES_MAX as libc::socklen_t;
            header.msg_namelen = name_bytes;
            header.msg_control = description.control.as_mut_ptr().cast();
            header.msg_controllen = RECEIVE_CONTROL_BYTES as _;
            header.msg_flags = 0;
        }
    }

    fn call(&mut self, socket: BorrowedFd<'_>, wanted: usize) -> Result<usize, Errno> {
        let count = libc::c_uint::try_from(wanted).unwrap_or(0);
        // SAFETY: "msgvec is a pointer to an array of mmsghdr structures, the size of this array
        // is specified in vlen": `prepare` has filled the first `wanted` of `headers` with
        // pointers into `vectors` and `descriptions`, which do not move while `self` is borrowed,
        // and into buffers from the free list, to which no slice exists. The call does not block
        // and leaves nothing behind that would write later.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        Errno::result(result).map(|count| usize::try_from(count).unwrap_or(0))
    }

    fn deliver(
        &mut self,
        index: usize,
        link: Link,
        frame: u16,
        arrivals: &mut Arrivals,
        statistics: &mut Statistics,
    ) {
        let length = self.headers[index].msg_len;
        let header = &self.headers[index].msg_hdr;
        let description = &self.descriptions[index];
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            statistics.truncated += 1;
            return arrivals.refuse(link, frame);
        }
        let name = &description.name[..(header.msg_namelen as usize).min(ADDRESS_BYTES_MAX)];
        let Some(source) = address::parse(name) else {
            statistics.receive_errors += 1;
            return arrivals.refuse(link, frame);
        };
        #[allow(clippy::unnecessary_cast)] // Another width in other C libraries.
        let written = (header.msg_controllen as usize).min(RECEIVE_CONTROL_BYTES);
        let control = control::parse(&description.control[..written]);
        let segment_bytes = control.segment_bytes;
        count_arrival(length, segment_bytes, statistics);
        arrivals.push(Taken {
            link,
            frame,
            offset: 0,
            length,
            segment_bytes,
            source,
            received_at_ns: control.received_at_ns,
        });
    }
}

/// Counts what one buffer brought.
pub(crate) fn count_arrival(length: u32, segment_bytes: u32, statistics: &mut Statistics) {
    let datagrams = if segment_bytes == 0 { 1 } else { length.div_ceil(segment_bytes).max(1) };
    statistics.datagrams_in += u64::from(datagrams);
    statistics.bytes_in += u64::from(length);
    statistics.gro_runs += u64::from(datagrams > 1);
    statistics.zero_length += u64::from(length == 0);
}
