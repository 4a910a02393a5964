//! What completions mean, and everything that they change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use io_uring::cqueue;
use nix::errno::Errno;

use super::buffers::BufferRing;
use super::message::{self, PAYLOAD_START};
use super::sends::Sends;
use crate::arrivals::{Arrivals, Taken};
use crate::kernel;
use crate::link::Link;
use crate::mmsg::count_arrival;
use crate::outbox::Outbox;
use crate::statistics::Statistics;
use crate::waker::Waker;

/// What a completion is about: the upper half of its user data. The lower half is an index.
pub(super) const RECEIVE: u64 = 1 << 32;
pub(super) const SEND: u64 = 2 << 32;
pub(super) const WAKE: u64 = 3 << 32;

/// Everything that completions change.
#[derive(Debug)]
pub(super) struct State {
    /// Each with whether it is connected.
    pub(super) sockets: Box<[(OwnedFd, bool)]>,
    pub(super) receives: Box<[Receive]>,
    pub(super) waker: Waker,
    pub(super) waker_armed: bool,
    pub(super) arrivals: Arrivals,
    pub(super) outbox: Outbox,
    pub(super) sends: Sends,
    pub(super) statistics: Statistics,
    pub(super) woken: bool,
    /// A link that no datagram will come from any more, and why.
    pub(super) gone: Option<(Link, Errno)>,
}

#[derive(Debug)]
pub(super) struct Receive {
    pub(super) buffers: BufferRing,
    pub(super) armed: bool,
    pub(super) failures_in_a_row: u32,
    /// An ICMP error came up, so there may be a queue of them.
    pub(super) errors_queued: bool,
}

impl State {
    /// Handles one completion; says whether it was of a receive.
    pub(super) fn complete(&mut self, completion: &cqueue::Entry) -> bool {
        let user_data = completion.user_data();
        let index = usize::try_from(user_data & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        match user_data & !u64::from(u32::MAX) {
            RECEIVE => {
                self.received(index, completion.result(), completion.flags());
                return true;
            }
            SEND if completion.result() < 0 => {
                let error = Errno::from_raw(-completion.result());
                let State { sends, sockets, outbox, statistics, receives, .. } = self;
                if let Some(run) = outbox.runs().get(index) {
                    receives[run.link.index()].errors_queued |= kernel::is_icmp(error);
                }
                sends.refuse(index, error, sockets, outbox, statistics);
            }
            WAKE => {
                self.waker_armed = false;
                if self.waker.take() {
                    self.woken = true;
                    self.statistics.waker_wakes += 1;
                }
            }
            _ => {}
        }
        false
    }

    /// Empties the queues of ICMP errors where there may be some.
    pub(super) fn drain_errors(&mut self) {
        for (receive, (socket, _)) in self.receives.iter_mut().zip(&self.sockets) {
            if receive.errors_queued {
                let count = kernel::drain_errors(socket.as_fd());
                self.statistics.icmp_errors += count;
                receive.errors_queued = count == kernel::ERROR_QUEUE_READS_MAX;
            }
        }
    }

    /// Looks for links that were shut down; called when nothing happens, and so free of cost.
    pub(super) fn check_alive(&self) -> io::Result<()> {
        for (index, (socket, _)) in (0u8..).zip(&self.sockets) {
            kernel::check_alive(Link(index), socket.as_fd())?;
        }
        Ok(())
    }

    fn received(&mut self, index: usize, result: i32, flags: u32) {
        let receive = &mut self.receives[index];
        if !cqueue::more(flags) {
            receive.armed = false;
            self.statistics.rearms += 1;
        }
        #[allow(clippy::cast_possible_truncation)] // At most LINKS_MAX.
        let link = Link(index as u8);
        let buffer = cqueue::buffer_select(flags);
        match (u32::try_from(result), buffer) {
            (Ok(written), Some(frame)) => {
                receive.failures_in_a_row = 0;
                self.deliver(link, frame, written);
                return;
            }
            // The kernel takes no buffer for an error; if it ever does, it comes back.
            (Err(_), Some(frame)) => self.arrivals.refuse(link, frame),
            (_, None) => {}
        }
        match Errno::from_raw(result.wrapping_neg()) {
            // By `pause`; the next `wait` arms it again.
            Errno::ECANCELED => {}
            Errno::ENOBUFS => self.statistics.buffers_exhausted += 1,
            error if kernel::is_icmp(error) => {
                receive.errors_queued = true;
                self.statistics.icmp_errors += 1;
            }
            error => {
                receive.failures_in_a_row += 1;
                self.statistics.receive_errors += 1;
                if kernel::is_fatal(error)
                    || receive.failures_in_a_row > kernel::FAILURES_IN_A_ROW_MAX
                {
                    self.gone = Some((link, error));
                }
            }
        }
    }

    fn deliver(&mut self, link: Link, frame: u16, written: u32) {
        let pool = self.arrivals.pool(link);
        // SAFETY: the completion handed the buffer over; it is given back by `recycle` alone, after
        // it was pushed or refused below. This slice ends before that.
        let bytes = unsafe { pool.part(frame, 0, written.min(pool.frame_bytes())) };
        let message = message::parse(bytes);
        let Some(message) = message else {
            self.statistics.receive_errors += 1;
            return self.arrivals.refuse(link, frame);
        };
        if message.truncated {
            self.statistics.truncated += 1;
            return self.arrivals.refuse(link, frame);
        }
        let Some(source) = message.source else {
            // A message from nobody is how the end of a socket looks like.
            self.gone = Some((link, Errno::ESHUTDOWN));
            return self.arrivals.refuse(link, frame);
        };
        let segment_bytes = message.control.segment_bytes;
        count_arrival(message.length, segment_bytes, &mut self.statistics);
        #[allow(clippy::cast_possible_truncation)] // 104.
        let offset = PAYLOAD_START as u32;
        self.arrivals.push(Taken {
            link,
            frame,
            offset,
            length: message.length,
            segment_bytes,
            source,
            received_at_ns: message.control.received_at_ns,
        });
    }
}
