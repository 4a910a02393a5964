//! sendmmsg, GSO included.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

use super::receive::{EMPTY_VECTOR, empty_header};
use crate::address::RawAddress;
use crate::control::SendControl;
use crate::kernel::{self, Refused};
use crate::link::Link;
use crate::outbox::{Outbox, Run};
use crate::segmentation::Segmentation;
use crate::statistics::Statistics;

/// Sends per system call. More would spare next to nothing.
const CALL_SENDS_MAX: usize = 256;

/// The arrays that one sendmmsg call reads, kept between calls so that none is allocated.
#[derive(Debug)]
pub(super) struct Send {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[SendControl]>,
    /// Index of the run that each header stands for.
    runs: Vec<usize>,
}

// SAFETY: the raw pointers in `headers` and `vectors` are written anew before each system call
// and never read in between.
unsafe impl std::marker::Send for Send {}

impl Send {
    pub(super) fn new() -> Send {
        Send {
            headers: vec![empty_header(); CALL_SENDS_MAX].into(),
            vectors: vec![EMPTY_VECTOR; CALL_SENDS_MAX].into(),
            addresses: vec![RawAddress::EMPTY; CALL_SENDS_MAX].into(),
            controls: vec![SendControl::EMPTY; CALL_SENDS_MAX].into(),
            runs: Vec::with_capacity(CALL_SENDS_MAX),
        }
    }

    /// Sends all runs of one link, in order.
    pub(super) fn link(
        &mut self,
        link: Link,
        socket: BorrowedFd<'_>,
        connected: bool,
        outbox: &Outbox,
        segmentation: &mut Segmentation,
        statistics: &mut Statistics,
    ) {
        self.runs.clear();
        for (index, run) in outbox.runs().iter().enumerate() {
            if run.link != link {
                continue;
            }
            self.prepare(self.runs.len(), run, connected, outbox);
            self.runs.push(index);
            if self.runs.len() == CALL_SENDS_MAX {
                self.send(socket, connected, outbox, segmentation, statistics);
            }
        }
        if !self.runs.is_empty() {
            self.send(socket, connected, outbox, segmentation, statistics);
        }
    }

    fn prepare(&mut self, index: usize, run: &Run, connected: bool, outbox: &Outbox) {
        let vector = &mut self.vectors[index];
        vector.iov_base = outbox.pointer(run).cast();
        vector.iov_len = run.length as usize;
        let header = &mut self.headers[index].msg_hdr;
        header.msg_iov = ptr::from_mut(vector);
        header.msg_iovlen = 1;
        if connected {
            header.msg_name = ptr::null_mut();
            header.msg_namelen = 0;
        } else {
            let address = &mut self.addresses[index];
            *address = RawAddress::from(run.destination);
            header.msg_name = address.pointer().cast_mut().cast();
            header.msg_namelen = address.length();
        }
        let control = &mut self.controls[index];
        let length = control.write(run.segment(), run.source);
        header.msg_control = if length == 0 { ptr::null_mut() } else { control.pointer() };
        header.msg_controllen = length as _;
    }

    /// Sends what is prepared. sendmmsg stops at the first refusal and then says only how far it
    /// came; asking again from there says why.
    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        connected: bool,
        outbox: &Outbox,
        segmentation: &mut Segmentation,
        statistics: &mut Statistics,
    ) {
        let mut done = 0;
        while done < self.runs.len() {
            statistics.syscalls += 1;
            match self.call(socket, done) {
                Ok(count) => {
                    for index in &self.runs[done..done + count] {
                        kernel::count_sent(&outbox.runs()[*index], segmentation, statistics);
                    }
                    done += count;
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    let run = &outbox.runs()[self.runs[done]];
                    Refused { socket, connected, error }.settle(
                        run,
                        outbox,
                        segmentation,
                        statistics,
                    );
                    done += 1;
                }
            }
        }
        self.runs.clear();
    }

    fn call(&mut self, socket: BorrowedFd<'_>, from: usize) -> Result<usize, Errno> {
        let headers = &mut self.headers[from..self.runs.len()];
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
        // SAFETY: "The msgvec argument is a pointer to an array of mmsghdr structures. The size of
        // this array is specified in vlen": `prepare` has filled these with pointers into
        // `vectors`, `addresses` and `controls`, which do not move while `self` is borrowed, and
        // into the outbox, which is borrowed through the call. The kernel copies all of it before
        // it returns.
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        Errno::result(result).map(|count| usize::try_from(count).unwrap_or(0))
    }
}
