//! Ends an engine's sleep from another thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Ends the current or the next `wait` of the engine it came from. Clone it freely; any thread may
/// call [`Waker::wake`], and a thousand calls while the engine is busy cost one system call.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: EventFd,
    /// Set from a wake until the engine has seen it, so that further wakes need no system call.
    pending: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Waker(Arc::new(Shared { event, pending: AtomicBool::new(false) })))
    }

    /// Makes the engine's current or next `wait` return. What was written before this call is
    /// visible to the engine's thread after that `wait`.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // The only failure of a non-blocking eventfd is a counter near 2^64, which already
            // wakes the reader.
            let _ = self.0.event.write(1);
        }
    }

    /// Whether a wake-up is waiting to be taken.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.pending.load(Ordering::Acquire)
    }

    /// Takes the wake-up, if there is one. The engine calls this after it woke and before its
    /// caller looks at what the wake was about, so that a wake in between is not lost.
    pub(crate) fn take(&self) -> bool {
        // Read first: a wake between the two lines finds `pending` still set and writes nothing,
        // which is right because the swap below then reports it.
        let _ = self.0.event.read();
        self.0.pending.swap(false, Ordering::AcqRel)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.event.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wakes_are_one_and_none_is_lost() {
        let waker = Waker::new().unwrap();
        assert!(!waker.take());
        for _ in 0..1000 {
            waker.wake();
        }
        assert!(waker.take());
        assert!(!waker.take());
        waker.wake();
        assert!(waker.take());
    }
}
