//! One AF_XDP socket that only sends: frames are written into memory shared with the kernel, and one
//! system call hands over all that were queued.
//!
//! ```text
//!   free ──► written, in the TX ring ──► (kernel copies it) ──► completion ring ──► free
//! ```
//!
//! In copy mode this needs no BPF program, no support by the driver, and only CAP_NET_RAW to open.
//! Each ring is read by one side and written by the other; an index is published by a release
//! store and seen by an acquire load.

use std::ffi::c_int;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::sys::resource::{Resource, getrlimit};

use super::frame::FRAME_BYTES_MAX;
use crate::memory::Mapping;
use crate::options;

/// Frames of a ring: some milliseconds of a worker at capacity. A power of two.
pub(crate) const FRAMES: u32 = 1_024;
/// The smallest that the kernel takes.
const FRAME_STRIDE: u32 = 2_048;
/// Queues of a device that are tried for a free one.
const QUEUES_MAX: u32 = 128;
/// System calls that hand over what was queued, at most: the kernel takes 32 frames in one.
const KICKS_MAX: u32 = FRAMES / 32 + 4;
/// What the kernel may have under way of this socket.
const SEND_BUFFER_BYTES: c_int = 4 << 20;

const _: () = assert!(FRAME_BYTES_MAX <= FRAME_STRIDE as usize);
const _: () = assert!(FRAMES.is_power_of_two());

/// Why there is no ring. Prints as the cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// EPERM.
    #[error(
        "AF_XDP sockets are not permitted: grant CAP_NET_RAW (in systemd: AmbientCapabilities= and \
         CapabilityBoundingSet=; in a container: add NET_RAW), and allow them in a seccomp filter"
    )]
    NotPermitted,
    /// EAFNOSUPPORT.
    #[error(
        "AF_XDP sockets are not to be had: this kernel has none (CONFIG_XDP_SOCKETS), or they are \
         forbidden (in systemd: RestrictAddressFamilies= must name AF_XDP and AF_NETLINK)"
    )]
    Unknown,
    /// ENOBUFS.
    #[error(
        "no memory may be locked for a ring: RLIMIT_MEMLOCK is {limit_bytes} bytes, and each worker \
         needs 2 MiB for each device (raise it: LimitMEMLOCK= in systemd, or grant CAP_IPC_LOCK)"
    )]
    Memory {
        /// The soft limit.
        limit_bytes: u64,
    },
    /// EBUSY for each queue.
    #[error("every queue of the device has an AF_XDP socket already ({queues} of them)")]
    NoQueue {
        /// How many there are.
        queues: u32,
    },
    /// Anything else.
    #[error("{what}: {error}")]
    Other {
        /// What failed.
        what: &'static str,
        /// How.
        error: Errno,
    },
}

impl RingError {
    /// Trying again later may help: another process still has the queue, or the device comes and
    /// goes.
    pub fn is_passing(&self) -> bool {
        matches!(self, RingError::NoQueue { .. } | RingError::Other { .. })
    }
}

/// A ring to a device.
#[derive(Debug)]
pub struct Ring {
    // The kernel lets go of everything when this is closed, so it goes first.
    socket: OwnedFd,
    transmit: Queue,
    complete: Queue,
    frames: Mapping,
    free: Vec<u32>,
    /// Frames in the TX ring that the kernel has not been told of.
    unkicked: bool,
    device: u32,
    queue: u32,
}

impl Ring {
    /// Opens a ring on a device, on the first queue from `first_queue` on that is free.
    pub fn open(device: u32, first_queue: u32) -> Result<Ring, RingError> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: makes a descriptor; there are no pointers.
        let descriptor = Errno::result(unsafe { libc::socket(libc::AF_XDP, kind, 0) });
        let descriptor = descriptor.map_err(|error| match error {
            Errno::EPERM | Errno::EACCES => RingError::NotPermitted,
            Errno::EAFNOSUPPORT => RingError::Unknown,
            error => RingError::Other { what: "no AF_XDP socket", error },
        })?;
        // SAFETY: the kernel has just made it, for us.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // The default lets some 250 frames wait for the card. The ring works with less, too.
        let buffer =
            options::set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
        if buffer.is_err() {
            let _ = options::set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER_BYTES);
        }

        let fail = |what| move |error: io::Error| RingError::Other { what, error: errno(&error) };
        let bytes = FRAMES as usize * FRAME_STRIDE as usize;
        let frames = Mapping::new(bytes, false).map_err(fail("no memory for frames"))?;
        register(&socket, &frames, bytes)?;
        for (name, entries) in [
            // Nothing is received, but the kernel wants a ring for it.
            (libc::XDP_UMEM_FILL_RING, 2),
            (libc::XDP_UMEM_COMPLETION_RING, FRAMES),
            (libc::XDP_TX_RING, FRAMES),
        ] {
            let entries = c_int::try_from(entries).unwrap_or(0);
            options::set(&socket, libc::SOL_XDP, name, entries).map_err(fail("no rings"))?;
        }
        let offsets = offsets(&socket).map_err(fail("no layout of rings"))?;
        let complete_at = i64::try_from(libc::XDP_UMEM_PGOFF_COMPLETION_RING).unwrap_or(0);
        let queue = |offsets, at, bytes| Queue::map(&socket, offsets, at, bytes);
        let transmit = queue(&offsets.tx, libc::XDP_PGOFF_TX_RING, size_of::<libc::xdp_desc>())
            .map_err(fail("no TX ring"))?;
        let complete = queue(&offsets.cr, complete_at, size_of::<u64>())
            .map_err(fail("no completion ring"))?;
        let queue = bind(&socket, device, first_queue)?;
        let free = (0..FRAMES).rev().collect();
        Ok(Ring { socket, transmit, complete, frames, free, unkicked: false, device, queue })
    }

    /// The device that it leads to.
    pub fn device(&self) -> u32 {
        self.device
    }

    /// Which of the device's queues it has.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Has a frame written and queues it; `write` returns its length. False if no frame is free,
    /// which only [`Ring::kick`] and time change.
    #[inline]
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.free.is_empty() {
            self.reap();
        }
        let Some(frame) = self.free.pop() else { return false };
        let start = frame as usize * FRAME_STRIDE as usize;
        // SAFETY: a frame in `free` is neither in the TX ring nor with the kernel, and it has been
        // taken out of there just now.
        let buffer = unsafe { self.frames.bytes_mut(start, FRAME_BYTES_MAX) };
        let length = write(buffer);
        let descriptor = libc::xdp_desc {
            addr: start as u64,
            len: u32::try_from(length).unwrap_or(0),
            options: 0,
        };
        // There is room: the ring has an entry for every frame.
        // SAFETY: the TX ring was mapped with entries of this type.
        unsafe { self.transmit.produce(descriptor) };
        self.unkicked = true;
        true
    }

    /// Hands what was queued to the device, and takes back what has been sent. An error means that
    /// something is still queued.
    pub(crate) fn kick(&mut self) -> Result<(), Errno> {
        if !self.unkicked {
            return Ok(());
        }
        self.transmit.publish();
        let mut result = Ok(());
        for _ in 0..KICKS_MAX {
            let before = self.transmit.consumed();
            // SAFETY: "to trigger sending, sendto with no data": there are no pointers.
            let sent = unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            result = Errno::result(sent).map(drop);
            // EAGAIN is either the end of what one call may send, or of memory: then nothing moved.
            // No other error gets better at once.
            let moved = self.transmit.consumed() != before;
            if self.transmit.is_drained() || !(moved && result == Err(Errno::EAGAIN)) {
                break;
            }
        }
        self.reap();
        if self.transmit.is_drained() {
            self.unkicked = false;
            return Ok(());
        }
        result.and(Err(Errno::EAGAIN))
    }

    /// Takes back the frames that the kernel has done with.
    fn reap(&mut self) {
        while let Some(start) = {
            // SAFETY: the completion ring was mapped with entries of this type.
            unsafe { self.complete.consume::<u64>() }
        } {
            let frame = u32::try_from(start / u64::from(FRAME_STRIDE)).unwrap_or(FRAMES);
            debug_assert!(frame < FRAMES && self.free.len() < FRAMES as usize);
            if frame < FRAMES && self.free.len() < FRAMES as usize {
                self.free.push(frame);
            }
        }
        self.complete.release();
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn register(socket: &OwnedFd, frames: &Mapping, bytes: usize) -> Result<(), RingError> {
    let registration = libc::xdp_umem_reg {
        addr: frames.pointer(0, bytes).addr() as u64,
        len: bytes as u64,
        chunk_size: FRAME_STRIDE,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&registration)).unwrap_or(0);
    // SAFETY: the structure outlives the call. The memory that it names stays mapped until after
    // the socket is closed, by the order of `Ring`'s fields.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_UMEM_REG,
            (&raw const registration).cast(),
            length,
        )
    };
    Errno::result(result).map(drop).map_err(|error| match error {
        Errno::ENOBUFS | Errno::ENOMEM => {
            let limit_bytes = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
            RingError::Memory { limit_bytes }
        }
        error => RingError::Other { what: "no shared memory", error },
    })
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: a structure of integers, for which zero is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
    // SAFETY: "optval and optlen identify a buffer in which the value is to be returned": the
    // structure is that long and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(offsets)
}

/// Takes a queue that nobody has, beginning with one, and tells which.
fn bind(socket: &OwnedFd, device: u32, first_queue: u32) -> Result<u32, RingError> {
    let mut busy = 0;
    let mut refused = Errno::EINVAL;
    for queue in (first_queue..QUEUES_MAX).chain(0..first_queue.min(QUEUES_MAX)) {
        let address = libc::sockaddr_xdp {
            sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or(0),
            sxdp_flags: libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: device,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        // SAFETY: the address is of the socket's family, as long as said, and outlives the call.
        let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        match Errno::result(result) {
            Ok(_) => return Ok(queue),
            Err(Errno::EBUSY) => busy += 1,
            // There is no such queue.
            Err(Errno::EINVAL) => {}
            Err(error) => {
                refused = error;
                break;
            }
        }
    }
    match busy {
        0 => Err(RingError::Other { what: "the device refuses an AF_XDP socket", error: refused }),
        queues => Err(RingError::NoQueue { queues }),
    }
}

/// A ring in memory shared with the kernel, of which we are one side.
#[derive(Debug)]
struct Queue {
    start: NonNull<u8>,
    length: NonZeroUsize,
    producer: usize,
    consumer: usize,
    entries: usize,
    /// Our own index, ahead of what the other side was told.
    ours: u32,
    /// The other side's index, as it was last seen.
    theirs: u32,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Queue` is its only owner on this
// side.
unsafe impl Send for Queue {}

impl Queue {
    fn map(
        socket: &OwnedFd,
        offsets: &libc::xdp_ring_offset,
        at: i64,
        entry_bytes: usize,
    ) -> io::Result<Queue> {
        let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let (producer, consumer, entries) =
            (place(offsets.producer)?, place(offsets.consumer)?, place(offsets.desc)?);
        let bytes = entries + FRAMES as usize * entry_bytes;
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at an address the kernel chooses touches nothing that exists.
        let start = unsafe { mman::mmap(None, length, protection, flags, socket.as_fd(), at) }?;
        Ok(Queue { start: start.cast(), length, producer, consumer, entries, ours: 0, theirs: 0 })
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + size_of::<u32>() <= self.length.get(), "the index is outside of the ring");
        // SAFETY: inside of the mapping, as just checked.
        let index = unsafe { self.start.add(offset) };
        // SAFETY: the kernel lays an aligned u32 there, both sides access it atomically, and the
        // mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(index.as_ptr().cast()) }
    }

    fn entry<T>(&self, index: u32) -> *mut T {
        let offset = self.entries + (index & (FRAMES - 1)) as usize * size_of::<T>();
        assert!(offset + size_of::<T>() <= self.length.get(), "the entry is outside of the ring");
        // SAFETY: inside of the mapping, as just checked.
        let entry = unsafe { self.start.add(offset) };
        entry.as_ptr().cast()
    }

    /// Writes the next entry. The kernel sees it after [`Queue::publish`].
    ///
    /// # Safety
    /// This is a ring of such entries that we write to, and it is not full.
    unsafe fn produce<T>(&mut self, entry: T) {
        // SAFETY: aligned by the kernel's layout and inside; the kernel reads only up to the index
        // that was published, and this entry lies behind it.
        unsafe { self.entry::<T>(self.ours).write(entry) };
        self.ours = self.ours.wrapping_add(1);
    }

    /// Shows the kernel all entries that were written.
    fn publish(&self) {
        self.index(self.producer).store(self.ours, Ordering::Release);
    }

    /// How far the kernel has read.
    fn consumed(&self) -> u32 {
        self.index(self.consumer).load(Ordering::Acquire)
    }

    /// Whether the kernel has read everything.
    fn is_drained(&self) -> bool {
        self.consumed() == self.ours
    }

    /// Reads the next entry that the kernel has written. It gets the place back by
    /// [`Queue::release`].
    ///
    /// # Safety
    /// This is a ring of such entries that we read from, and every bit pattern is one.
    unsafe fn consume<T: Copy>(&mut self) -> Option<T> {
        if self.ours == self.theirs {
            self.theirs = self.index(self.producer).load(Ordering::Acquire);
            if self.ours == self.theirs {
                return None;
            }
        }
        // SAFETY: aligned by the kernel's layout and inside; the kernel has published it and writes
        // there again only after `release`.
        let entry = unsafe { self.entry::<T>(self.ours).read() };
        self.ours = self.ours.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of entries that were read back to the kernel.
    fn release(&self) {
        self.index(self.consumer).store(self.ours, Ordering::Release);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, made by `map` and unmapped only here.
        let _ = unsafe { mman::munmap(self.start.cast(), self.length.get()) };
    }
}
