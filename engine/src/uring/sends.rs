//! Sends through io_uring: SEND with an address for one datagram, SENDMSG for a GSO run or one with
//! a source address.
//!
//! Everything a request points to (payload, address, message header) stays where it is until the
//! kernel has taken the request. All sends carry MSG_DONTWAIT, so that is when it is over: the
//! kernel does not keep one for later. A send that works leaves no completion behind.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use io_uring::{opcode, squeue, types};
use nix::errno::Errno;

use crate::address::RawAddress;
use crate::control::SendControl;
use crate::kernel::{self, Refused};
use crate::outbox::{Outbox, Run};
use crate::segmentation::Segmentation;
use crate::statistics::Statistics;

/// A SENDMSG request's view of a run. The pointers in it are set by `Sends::entry`.
#[derive(Clone, Copy)]
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    control: SendControl,
}

/// Storage for the sends of one outbox, one place per run.
pub(super) struct Sends {
    addresses: Box<[RawAddress]>,
    messages: Box<[Message]>,
    /// Runs in the order of the outbox that were refused, and are settled.
    refused: Box<[bool]>,
    /// Runs queued for the kernel and not settled: `settled..queued`.
    settled: usize,
    queued: usize,
    segmentation: Segmentation,
}

// SAFETY: the raw pointers in `messages` point into `self.messages` and the outbox beside it, or
// are left over from before, and only the kernel follows them, while a send is being submitted.
unsafe impl Send for Sends {}

impl Sends {
    pub(super) fn new(datagrams_max: usize, links: usize) -> Sends {
        let message = Message {
            // SAFETY: all fields are integers and raw pointers, for which zero is a valid value.
            header: unsafe { std::mem::zeroed() },
            vector: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            control: SendControl::EMPTY,
        };
        Sends {
            addresses: vec![RawAddress::EMPTY; datagrams_max].into(),
            messages: vec![message; datagrams_max].into(),
            refused: vec![false; datagrams_max].into(),
            settled: 0,
            queued: 0,
            segmentation: Segmentation::new(links),
        }
    }

    /// The request for the run of this index, without user data. It refers to `self` and `outbox`,
    /// which must not move or change for this run until the kernel has taken the request.
    pub(super) fn entry(
        &mut self,
        index: usize,
        run: &Run,
        outbox: &Outbox,
        connected: bool,
    ) -> squeue::Entry {
        let socket = types::Fixed(u32::from(run.link.0));
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let address = &mut self.addresses[index];
        if !connected {
            *address = RawAddress::from(run.destination);
        }
        self.queued = index + 1;
        let entry = if run.segments > 1 || run.source.is_some() {
            let message = &mut self.messages[index];
            let control_bytes = message.control.write(run.segment(), run.source);
            message.vector.iov_base = outbox.pointer(run).cast();
            message.vector.iov_len = run.length as usize;
            let header = &mut message.header;
            header.msg_iov = &raw mut message.vector;
            header.msg_iovlen = 1;
            header.msg_control = message.control.pointer();
            header.msg_controllen = control_bytes as _;
            if connected {
                header.msg_name = ptr::null_mut();
                header.msg_namelen = 0;
            } else {
                header.msg_name = address.pointer().cast_mut().cast();
                header.msg_namelen = address.length();
            }
            opcode::SendMsg::new(socket, ptr::from_ref(header)).flags(flags.unsigned_abs()).build()
        } else {
            let send = opcode::Send::new(socket, outbox.pointer(run), run.length).flags(flags);
            if connected {
                send.build()
            } else {
                send.dest_addr(address.pointer()).dest_addr_len(address.length()).build()
            }
        };
        entry.flags(squeue::Flags::SKIP_SUCCESS)
    }

    /// A send was refused.
    pub(super) fn refuse(
        &mut self,
        index: usize,
        error: Errno,
        sockets: &[(OwnedFd, bool)],
        outbox: &Outbox,
        statistics: &mut Statistics,
    ) {
        // Out of range would mean that the kernel invents completions.
        let Some(run) = outbox.runs().get(index) else { return };
        self.refused[index] = true;
        let (socket, connected) = &sockets[run.link.index()];
        let refused = Refused { socket: socket.as_fd(), connected: *connected, error };
        refused.settle(run, outbox, &mut self.segmentation, statistics);
    }

    /// Counts what left, once the kernel has taken everything that is queued and every refusal has
    /// been seen; the outbox is free again afterwards.
    pub(super) fn settle(&mut self, outbox: &mut Outbox, statistics: &mut Statistics) {
        for index in self.settled..self.queued {
            if !std::mem::take(&mut self.refused[index]) {
                kernel::count_sent(&outbox.runs()[index], &mut self.segmentation, statistics);
            }
        }
        self.segmentation.settle(outbox);
        self.settled = self.queued;
        // Runs that were pushed since stay; then the arena is freed another time.
        if outbox.runs().len() == self.queued {
            outbox.clear();
            self.settled = 0;
            self.queued = 0;
        }
    }

    /// Whether anything is queued and not settled.
    pub(super) fn is_pending(&self) -> bool {
        self.settled != self.queued
    }
}

impl std::fmt::Debug for Sends {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pending = self.settled..self.queued;
        formatter.debug_struct("Sends").field("pending", &pending).finish_non_exhaustive()
    }
}
