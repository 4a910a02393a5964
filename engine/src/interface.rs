//! The one interface of all engines.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::arrivals::Arrivals;
use crate::link::{Link, LinkSettings};
use crate::outbox::{Outbox, OutboxSettings};
use crate::statistics::Statistics;
use crate::uring::UringSettings;
use crate::waker::Waker;

/// How long an engine may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wait {
    /// Return after this long even if nothing happened. Zero looks once and does not sleep.
    pub timeout: Duration,
    /// Do not return before this long has passed since the call, so that more datagrams join the
    /// batch, unless the batch is full. No datagram waits longer than this; one that arrives later
    /// than this into the sleep is delivered at once. Zero turns it off.
    pub coalesce: Duration,
}

/// Settings of a whole engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A batch of this many datagrams is full: coalescing does not wait for more.
    pub batch: u16,
    /// How much can be queued between two flushes.
    pub outbox: OutboxSettings,
    /// Settings of the io_uring engine alone.
    pub uring: UringSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { batch: 64, outbox: OutboxSettings::default(), uring: UringSettings::default() }
    }
}

/// A socket and how to serve it. The engine owns the socket from then on.
///
/// The socket may be connected; then sends leave for its peer, whatever destination is given.
#[derive(Debug)]
pub struct LinkSocket {
    /// A bound UDP socket.
    pub socket: OwnedFd,
    /// How to serve it.
    pub settings: LinkSettings,
}

/// Moves datagrams in batches. One thread owns an engine; it may be made on another thread, but
/// all calls after the first `wait` or `flush` come from the same one.
///
/// ```
/// # use std::io;
/// # use std::time::Duration;
/// # use engine::{Engine, Wait};
/// fn echo(engine: &mut dyn Engine) -> io::Result<()> {
///     engine.wait(Wait { timeout: Duration::from_millis(100), coalesce: Duration::ZERO })?;
///     let (arrivals, outbox) = engine.halves();
///     while outbox.room_datagrams() > 0
///         && outbox.room_bytes() >= 65_535
///         && let Some(arrival) = arrivals.pop()
///     {
///         // There is room: just checked.
///         let _ = outbox.push(arrival.link, arrival.source, arrival.bytes);
///     }
///     engine.flush()
/// }
/// ```
pub trait Engine: Send {
    /// Flushes, then sleeps until a datagram arrives, the waker fires, or `timeout` passes (see
    /// [`Wait`]), and fills the arrivals. If some are unread, it returns with them at once.
    ///
    /// An error is one that no next call can get over: a link was closed or shut down, the kernel
    /// refuses io_uring. What strangers can cause is counted instead.
    fn wait(&mut self, wait: Wait) -> io::Result<()>;

    /// What arrived, and where replies are queued: two halves, so that a datagram can be read
    /// while sends are queued.
    fn halves(&mut self) -> (&mut Arrivals, &mut Outbox);

    /// Hands the outbox to the kernel and empties it. Never blocks; what the kernel refuses is
    /// counted. An engine may hold the sends back until the next `wait`, which in a loop follows
    /// at once, to spare a system call; it does not if there would be no room for more. Dropping
    /// the engine sends what was flushed.
    fn flush(&mut self) -> io::Result<()>;

    /// Flushes, and stops receiving: once this has returned, no datagram leaves a socket's queue for
    /// this engine any more, until the next `wait`. What had left it before is in the arrivals, to
    /// be read. So the sockets can be handed to another process with nothing lost on the way. Unlike
    /// `flush`, it holds no sends back.
    fn pause(&mut self) -> io::Result<()>;

    /// What was counted so far.
    fn statistics(&self) -> &Statistics;

    /// Datagrams that the kernel dropped on this link because its receive buffer was full, or by
    /// [`Engine::shed`], since the socket was made. Costs two system calls; nothing per datagram.
    /// Fails if the socket was closed or shut down, so asking every second or so finds that out.
    fn link_drops(&mut self, link: Link) -> io::Result<u64>;

    /// How full this link's receive buffer in the kernel is, in percent.
    fn fill_percent(&mut self, link: Link) -> io::Result<u64>;

    /// Has the kernel drop what comes by this link and is nothing that a WebRTC client sends, and all
    /// STUN but one message in `2^halvings`, before it takes room in the receive buffer. Zero ends
    /// that, and nothing else does: it stays with the socket.
    fn shed(&mut self, link: Link, halvings: u8) -> io::Result<()>;

    /// Switches the kernel's receive timestamps for this link.
    fn timestamps(&mut self, link: Link, on: bool) -> io::Result<()>;

    /// Wakes this engine from other threads.
    fn waker(&self) -> Waker;

    /// The clock of the engine, in nanoseconds: monotonic time, or virtual time in a simulation.
    fn now_ns(&self) -> u64;

    /// Which engine this is, for logs and metrics.
    fn name(&self) -> &'static str;
}
