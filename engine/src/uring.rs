//! The io_uring engine.
//!
//! One turn is one system call: `wait` submits the sends of the flush before it, gives read
//! buffers back, and sleeps, in one io_uring_enter.
//!
//! What is done this way for a reason, each measured or met before:
//! - Multishot RECVMSG on a ring of provided buffers per link. It ends on every completion
//!   without MORE: an empty datagram, which any stranger can send; an ICMP error; no buffer left.
//!   Refilling the ring does not resume it. So it is armed again after every such completion.
//!   RECV instead of RECVMSG would not say that it cut a datagram off; neither does a ring of
//!   incrementally consumed buffers.
//! - The kernel puts a multishot receive off after every 32 datagrams. It counts them across system
//!   calls, so a wait may come back with any number of datagrams, even one, while a hundred are
//!   queued: a turn asks for more as long as the kernel says that it has work left.
//! - No SQPOLL (worse on a shared core), no SEND_ZC (14 % slower for small datagrams).

mod buffers;
mod completions;
mod message;
mod sends;
mod setup;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode, squeue, types};

use crate::arrivals::Arrivals;
use crate::clock;
use crate::control::RECEIVE_CONTROL_BYTES;
use crate::interface::{Engine, LinkSocket, Settings, Wait};
use crate::kernel;
use crate::link::{LINKS_MAX, Link, LinkSettings};
use crate::mmsg::prepare;
use crate::outbox::Outbox;
use crate::probe::{Failure, UringFeatures};
use crate::shedding;
use crate::statistics::Statistics;
use crate::waker::Waker;
use buffers::BufferRing;
use completions::{RECEIVE, Receive, SEND, State, WAKE};
use message::{NAME_BYTES, PAYLOAD_START};
use sends::Sends;
pub use setup::TaskRun;

/// Submission queue entries. More sends than this in a flush take more than one system call; a
/// larger queue would be colder memory on every turn.
const SUBMISSIONS: u32 = 512;
/// System calls a turn makes at most to get the queue submitted or an overflow fetched.
const ENTERS_MAX: u32 = 64;

/// Settings of the io_uring engine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UringSettings {
    /// Entries of the completion queue; by default enough for every buffer and every send.
    pub completions: Option<u32>,
    /// How completions are run; by default the best way the kernel offers.
    pub task_run: Option<TaskRun>,
    /// Lets the kernel coalesce wake-ups where it can; otherwise they are coalesced by a second
    /// wait.
    pub coalesce_in_kernel: bool,
}

impl Default for UringSettings {
    fn default() -> Self {
        UringSettings { completions: None, task_run: None, coalesce_in_kernel: true }
    }
}

/// The engine on io_uring.
pub struct Uring {
    /// First, so that it is closed before the memory it refers to goes.
    ring: IoUring,
    task_run: TaskRun,
    state: State,
    batch: usize,
    /// A request to receive is armed with this; the kernel reads only the two lengths in it.
    receive_header: Box<libc::msghdr>,
    wait_flags: EnterFlags,
    coalesce_in_kernel: bool,
    /// The last batch was full.
    saturated: bool,
    /// Of the memory that the kernel was told of.
    identity: (usize, usize),
    enabled: bool,
}

// SAFETY: `receive_header` has no pointer in it but null, and the ring is `Send`; the rule that one
// thread uses it once it is enabled is checked by the kernel, not assumed here.
unsafe impl Send for Uring {}

impl Uring {
    /// Makes an engine that owns these sockets.
    pub fn new(links: Vec<LinkSocket>, settings: &Settings) -> io::Result<Uring> {
        assert!(links.len() <= LINKS_MAX, "at most {LINKS_MAX} links");
        let link_settings: Vec<LinkSettings> =
            links.iter().map(prepare).collect::<io::Result<_>>()?;
        let buffers: u32 = link_settings.iter().map(|link| u32::from(link.buffers)).sum();
        let completions = settings.uring.completions.unwrap_or(buffers + 2 * SUBMISSIONS);
        let submissions = SUBMISSIONS.min(completions);
        let (ring, task_run) =
            setup::ring(submissions, completions.next_power_of_two(), settings.uring.task_run)?;
        if let Some(missing) = setup::missing(&ring) {
            let message = format!("this kernel's io_uring lacks {missing}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }

        #[allow(clippy::cast_possible_truncation)] // 104.
        let mut arrivals = Arrivals::new(&link_settings, PAYLOAD_START as u32)?;
        let outbox = Outbox::new(settings.outbox, &link_settings)?;
        let sends = Sends::new(outbox.room_datagrams(), links.len());
        let waker = Waker::new()?;
        let mut receives = Vec::with_capacity(links.len());
        for (index, link) in (0u8..).zip(&link_settings) {
            let mut buffers = BufferRing::new(link.buffers)?;
            let pool = arrivals.pool(Link(index));
            for frame in 0..link.buffers {
                buffers.put(pool.pointer(frame), pool.frame_bytes(), frame);
            }
            // SAFETY: the ring of entries is page aligned, as long as its count says, and outlives
            // the instance: `state` is dropped after `ring`.
            let registered = unsafe {
                ring.submitter().register_buf_ring_with_flags(
                    buffers.address(),
                    buffers.count(),
                    u16::from(index),
                    0,
                )
            };
            registered.map_err(|error| explain_registration(&error))?;
            buffers.publish();
            receives.push(Receive {
                buffers,
                armed: false,
                failures_in_a_row: 0,
                errors_queued: false,
            });
        }
        let mut files: Vec<_> = links.iter().map(|link| link.socket.as_raw_fd()).collect();
        files.push(waker.as_raw_fd());
        ring.submitter().register_files(&files).map_err(|error| explain_registration(&error))?;

        // SAFETY: all fields are integers and raw pointers, for which zero is a valid value.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        #[allow(clippy::cast_possible_truncation)] // 32.
        let name_bytes = NAME_BYTES as libc::socklen_t;
        receive_header.msg_namelen = name_bytes;
        receive_header.msg_controllen = RECEIVE_CONTROL_BYTES as _;

        let coalesce_in_kernel =
            settings.uring.coalesce_in_kernel && ring.params().is_feature_min_timeout();
        let mut wait_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            // A worker that waits for datagrams is idle, not stuck on a disk.
            wait_flags |= EnterFlags::NO_IOWAIT;
        }
        let sockets = links
            .into_iter()
            .map(|link| {
                let connected = kernel::peer(link.socket.as_fd()).is_some();
                (link.socket, connected)
            })
            .collect();
        arrivals.recycle(|_, _, _| {});
        let identity = (arrivals.identity(), outbox.identity());
        Ok(Uring {
            ring,
            identity,
            task_run,
            state: State {
                sockets,
                receives: receives.into(),
                waker,
                waker_armed: false,
                arrivals,
                outbox,
                sends,
                statistics: Statistics::default(),
                woken: false,
                gone: None,
            },
            batch: usize::from(settings.batch.max(1)),
            receive_header,
            wait_flags,
            coalesce_in_kernel,
            saturated: false,
            enabled: false,
        })
    }

    /// How the kernel runs completions.
    pub fn task_run(&self) -> TaskRun {
        self.task_run
    }

    /// Whether the kernel coalesces wake-ups itself (`min_wait`, Linux 6.12).
    pub fn coalesces_in_kernel(&self) -> bool {
        self.coalesce_in_kernel
    }

    /// Whether arrivals and outbox are those of this engine. Safe code can swap them with another
    /// engine's, by the references that `halves` hands out; then buffers which this kernel
    /// instance writes to would live as long as the other engine.
    fn is_whole(&self) -> bool {
        self.identity == (self.state.arrivals.identity(), self.state.outbox.identity())
    }

    /// Lets requests in; the thread that calls this is the one that uses the ring.
    fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }

    /// Queues a request, submitting earlier ones if there is no room.
    fn queue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..ENTERS_MAX {
            // SAFETY: whatever the request points to outlives its submission. Receives: the header
            // lives as long as the ring, the buffers longer. Sends: see `sends`; the outbox is
            // cleared in `Sends::settle` alone, after the queue was submitted. The poll of the
            // waker points to nothing.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0, EnterFlags::empty(), None)?;
            self.drain();
        }
        Err(io::Error::other("io_uring takes no requests (out of memory?)"))
    }

    /// The system call: submits what is queued, and waits for `want` completions if the flags say
    /// so.
    fn enter(
        &mut self,
        want: usize,
        flags: EnterFlags,
        arguments: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<()> {
        let statistics = &mut self.state.statistics;
        let (submitter, mut submissions, _) = self.ring.split();
        submissions.sync();
        if submissions.cq_overflow() {
            statistics.completion_overflows += 1;
        }
        let queued = u32::try_from(submissions.len()).unwrap_or(u32::MAX);
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        statistics.syscalls += 1;
        // SAFETY: the arguments are what the flags announce (EXT_ARG: `io_uring_getevents_arg`,
        // of which `SubmitArgs` is a transparent wrapper; the crate passes its size), and outlive
        // the call, as does the timespec in them by its lifetime. For the requests see `queue`.
        let result = unsafe { submitter.enter(queued, want, flags.bits(), arguments) };
        let Err(error) = result else { return Ok(()) };
        match error.raw_os_error() {
            // ETIME: the timeout. EAGAIN, EBUSY: out of memory, or completions must be fetched
            // first; the requests stay queued, and the callers come again.
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            Some(libc::EEXIST) => Err(io::Error::other(
                "io_uring: this engine is used by another thread than the one that started it",
            )),
            _ => Err(error),
        }
    }

    /// Takes all completions that are there; says how many were of receives.
    fn drain(&mut self) -> u64 {
        let before = self.state.statistics.completions;
        let mut others = 0;
        for completion in self.ring.completion() {
            self.state.statistics.completions += 1;
            others += u64::from(!self.state.complete(&completion));
        }
        self.state.statistics.completions - before - others
    }

    /// Fetches what the kernel holds back: completions that found the queue full, and receives it
    /// has put off, up to `wanted` unread ones. Then everything that was sent can be settled.
    fn finish(&mut self, wanted: usize) -> io::Result<()> {
        // The kernel may go on saying that it has work when there is none left.
        let mut fruitful = true;
        for _ in 0..ENTERS_MAX {
            let submissions = self.ring.submission();
            let held_back = submissions.cq_overflow() || !submissions.is_empty();
            let more = fruitful && submissions.taskrun() && self.state.arrivals.len() < wanted;
            drop(submissions);
            if !(held_back || more) {
                break;
            }
            self.enter(0, EnterFlags::GETEVENTS, None)?;
            fruitful = self.drain() != 0;
        }
        let State { sends, outbox, statistics, .. } = &mut self.state;
        if sends.is_pending() && self.ring.submission().is_empty() {
            sends.settle(outbox, statistics);
        }
        Ok(())
    }

    /// Arms what has ended.
    fn arm(&mut self) -> io::Result<()> {
        for index in 0..self.state.receives.len() {
            if self.state.receives[index].armed {
                continue;
            }
            self.state.receives[index].armed = true;
            #[allow(clippy::cast_possible_truncation)] // At most LINKS_MAX.
            let (socket, group) = (types::Fixed(index as u32), index as u16);
            let header = ptr::from_ref(&*self.receive_header);
            let receive = opcode::RecvMsgMulti::new(socket, header, group).build();
            self.queue(&receive.user_data(RECEIVE | index as u64))?;
        }
        if !self.state.waker_armed {
            self.state.waker_armed = true;
            let slot = u32::try_from(self.state.receives.len()).unwrap_or(u32::MAX);
            let events = libc::POLLIN.unsigned_abs();
            let poll = opcode::PollAdd::new(types::Fixed(slot), u32::from(events)).build();
            self.queue(&poll.user_data(WAKE))?;
        }
        Ok(())
    }

    /// Sleeps; says how many receives completed.
    fn sleep(&mut self, wait: Wait) -> io::Result<u64> {
        let coalesce = wait.coalesce.min(wait.timeout);
        if wait.timeout.is_zero() || !self.ring.completion().is_empty() {
            self.enter(0, EnterFlags::GETEVENTS, None)?;
            return Ok(self.drain());
        }
        // The kernel counts runs of work here, of 32 datagrams each: told to gather 64 completions, it
        // hands out 2,048 datagrams if there are so many. So a batch that was full by itself is
        // not followed by one that is waited for.
        if coalesce.is_zero() || self.saturated {
            return self.sleep_until(1, wait.timeout, Duration::ZERO);
        }
        if self.coalesce_in_kernel {
            return self.sleep_until(self.batch, wait.timeout, coalesce);
        }
        // Two sleeps do the same: one that only a full batch ends, one that anything ends.
        let fetched = self.sleep_until(self.batch, coalesce, Duration::ZERO)?;
        if fetched != 0 || self.state.woken || wait.timeout == coalesce {
            return Ok(fetched);
        }
        self.sleep_until(1, wait.timeout - coalesce, Duration::ZERO)
    }

    fn sleep_until(&mut self, want: usize, timeout: Duration, least: Duration) -> io::Result<u64> {
        let timeout = Timespec::from(timeout);
        let least_us = u32::try_from(least.as_micros()).unwrap_or(u32::MAX);
        let arguments = SubmitArgs::new().min_wait_usec(least_us).timespec(&timeout);
        self.enter(want, self.wait_flags, Some(&arguments))?;
        Ok(self.drain())
    }
}

/// Tries io_uring out, without any sockets.
pub(crate) fn try_out() -> Result<UringFeatures, Failure> {
    let (ring, task_run) = setup::ring(8, 16, None).map_err(Failure::Io)?;
    if let Some(missing) = setup::missing(&ring) {
        return Err(Failure::Missing(missing));
    }
    Ok(UringFeatures { task_run, coalesces_in_kernel: ring.params().is_feature_min_timeout() })
}

fn explain_registration(error: &io::Error) -> io::Error {
    let hint = if error.raw_os_error() == Some(libc::ENOMEM) {
        "; raise RLIMIT_MEMLOCK (LimitMEMLOCK= in systemd) or use fewer buffers"
    } else {
        ""
    };
    io::Error::new(error.kind(), format!("io_uring refuses buffers or sockets: {error}{hint}"))
}

impl Engine for Uring {
    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.state.statistics.waits += 1;
        self.flush()?;
        let State { arrivals, receives, .. } = &mut self.state;
        arrivals.recycle(|pool, link, frame| {
            let buffers = &mut receives[link.index()].buffers;
            buffers.put(pool.pointer(frame), pool.frame_bytes(), frame);
        });
        for receive in receives {
            receive.buffers.publish();
        }
        self.state.woken = false;
        self.state.drain_errors();
        self.arm()?;
        let fetched = if self.state.arrivals.is_empty() {
            self.sleep(wait)?
        } else {
            self.enter(0, EnterFlags::empty(), None)?;
            self.drain()
        };
        self.finish(self.batch)?;
        self.saturated = self.state.arrivals.len() >= self.batch;
        if self.state.arrivals.is_empty() {
            if let Some((link, why)) = self.state.gone {
                return Err(kernel::link_gone(link, &why));
            }
            if !self.state.woken && fetched == 0 {
                self.state.statistics.waits_timed_out += 1;
                self.state.check_alive()?;
            }
        }
        Ok(())
    }

    fn halves(&mut self) -> (&mut Arrivals, &mut Outbox) {
        (&mut self.state.arrivals, &mut self.state.outbox)
    }

    fn flush(&mut self) -> io::Result<()> {
        assert!(self.is_whole(), "the halves of two engines were swapped");
        self.enable()?;
        let first = self.state.outbox.seal();
        for index in first..self.state.outbox.runs().len() {
            let State { sends, outbox, sockets, .. } = &mut self.state;
            let run = outbox.runs()[index];
            let connected = sockets[run.link.index()].1;
            let entry = sends.entry(index, &run, outbox, connected);
            self.queue(&entry.user_data(SEND | index as u64))?;
        }
        if self.state.outbox.is_pressed() {
            self.enter(0, EnterFlags::empty(), None)?;
            self.drain();
            self.finish(0)?;
        }
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        self.flush()?;
        self.enter(0, EnterFlags::GETEVENTS, None)?;
        self.drain();
        for _ in 0..ENTERS_MAX {
            let armed = self.state.receives.iter().map(|receive| receive.armed);
            let armed: Vec<_> = (0u64..).zip(armed).filter(|(_, armed)| *armed).collect();
            if armed.is_empty() {
                return self.finish(usize::MAX);
            }
            for (index, _) in armed {
                // Not found: it has ended by itself, and its completion is on the way. Whatever
                // else goes wrong shows in that it stays armed.
                let _ = self.ring.submitter().register_sync_cancel(
                    Some(Timespec::new().sec(1)),
                    CancelBuilder::user_data(RECEIVE | index).all(),
                );
            }
            self.enter(0, EnterFlags::GETEVENTS, None)?;
            self.drain();
        }
        Err(io::Error::other("io_uring does not end receives that were cancelled"))
    }

    fn statistics(&self) -> &Statistics {
        &self.state.statistics
    }

    fn link_drops(&mut self, link: Link) -> io::Result<u64> {
        let socket = self.state.sockets[link.index()].0.as_fd();
        kernel::check_alive(link, socket)?;
        kernel::drops(socket)
    }

    fn fill_percent(&mut self, link: Link) -> io::Result<u64> {
        kernel::fill_percent(self.state.sockets[link.index()].0.as_fd())
    }

    fn shed(&mut self, link: Link, halvings: u8) -> io::Result<()> {
        shedding::shed(&self.state.sockets[link.index()].0, halvings)
    }

    fn timestamps(&mut self, link: Link, on: bool) -> io::Result<()> {
        kernel::timestamps(&self.state.sockets[link.index()].0, on)
    }

    fn waker(&self) -> Waker {
        self.state.waker.clone()
    }

    fn now_ns(&self) -> u64 {
        clock::monotonic_ns()
    }

    fn name(&self) -> &'static str {
        "uring"
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.is_whole() {
            // The buffers are the other engine's to free, and its are ours: no order is right.
            std::process::abort();
        }
        // The last flush may still be queued; what goes wrong now is nobody's concern any more.
        if self.enabled && self.state.sends.is_pending() {
            let _ = self.enter(0, EnterFlags::empty(), None);
        }
        // Receives are armed on buffers that are unmapped right after this. Closing the ring ends
        // them too, but not before the call returns. From another thread than the one that used a
        // deferred ring this fails, and is not needed: only that thread could complete receives.
        let _ = self
            .ring
            .submitter()
            .register_sync_cancel(Some(Timespec::new().sec(1)), CancelBuilder::any());
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Uring").field("state", &self.state).finish_non_exhaustive()
    }
}
