//! Puts finished frames onto a device, many in one call (AF_PACKET, sendmmsg).
//!
//! A UDP socket would spend more on each packet than the process under test does; here the route,
//! the neighbour and the checksums are settled beforehand.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use crate::ethernet::FRAME_BYTES_MAX;

/// Frames of one call.
pub const BATCH: usize = 64;

/// Frames that will be injected together.
#[derive(Debug)]
pub struct Batch {
    frames: Vec<[u8; FRAME_BYTES_MAX]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { frames: vec![[0; FRAME_BYTES_MAX]; BATCH], lengths: [0; BATCH], count: 0 }
    }
}

impl Batch {
    /// An empty one, with all its memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts over.
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether there is no frame in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many frames are in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Adds a frame that `write` puts into the slot it is given, returning its length. There must
    /// be room: at most [`BATCH`].
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        self.lengths[self.count] = write(&mut self.frames[self.count]);
        self.count += 1;
    }
}

/// A packet socket on one device, for sending only.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    headers: MultiHeaders<LinkAddr>,
}

impl Injector {
    /// For a device of the namespace this thread is in.
    pub fn new(device: &str) -> Result<Self> {
        // No protocol: the socket receives nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .context("Failed to open a packet socket")?;
        // The list of interfaces has the device's address in the very form that bind wants.
        let address = nix::ifaddrs::getifaddrs()
            .context("Failed to list the interfaces")?
            .filter(|interface| interface.interface_name == device)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .with_context(|| format!("There is no device {device}"))?;
        bind(socket.as_raw_fd(), &address)
            .with_context(|| format!("Failed to bind to {device}"))?;
        Ok(Self { socket, headers: MultiHeaders::preallocate(BATCH, None) })
    }

    /// Injects all frames of a batch.
    pub fn inject(&mut self, batch: &Batch) -> Result<()> {
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
            [IoSlice::new(&batch.frames[index][..batch.lengths[index]])]
        });
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            &slices[..batch.count],
            [None::<LinkAddr>; BATCH],
            [],
            MsgFlags::empty(),
        );
        match sent {
            // A frame that did not leave shows as one that did not arrive.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("Failed to inject"),
        }
    }
}
