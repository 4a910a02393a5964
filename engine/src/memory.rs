//! Memory that the kernel reads and writes: anonymous mappings that never move, and the receive
//! buffers laid out in one.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{self, MapFlags, MmapAdvise, ProtFlags};

const HUGE_PAGE_BYTES: usize = 2 << 20;
const CACHE_LINE_BYTES: usize = 64;

/// An anonymous mapping, zeroed and populated at once so that no page fault comes later. It stays
/// at its address until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Mapping` is its only owner.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(crate) fn new(bytes: usize, huge_pages: bool) -> io::Result<Mapping> {
        let bytes = bytes.max(1);
        if huge_pages {
            let rounded = bytes.next_multiple_of(HUGE_PAGE_BYTES);
            if let Ok(mapping) = Self::map(rounded, MapFlags::MAP_HUGETLB) {
                return Ok(mapping);
            }
            // None are reserved. Ask for transparent ones; without them, ordinary pages do.
            let mapping = Self::map(rounded, MapFlags::empty())?;
            // SAFETY: the range is exactly the mapping just made, and the advice changes no
            // content.
            let _ =
                unsafe { mman::madvise(mapping.start.cast(), rounded, MmapAdvise::MADV_HUGEPAGE) };
            return Ok(mapping);
        }
        Self::map(bytes, MapFlags::empty())
    }

    fn map(bytes: usize, extra: MapFlags) -> io::Result<Mapping> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE | extra;
        // SAFETY: a new anonymous mapping at an address the kernel chooses touches nothing that
        // exists.
        let start = unsafe { mman::mmap_anonymous(None, length, protection, flags) }?;
        Ok(Mapping { start: start.cast(), length })
    }

    /// Address of the byte at `offset`, for the kernel. Panics if a range of `length` bytes from
    /// there is not inside.
    pub(crate) fn pointer(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length.get()), "range outside of the mapping");
        // SAFETY: the assertion keeps the result inside the mapping, or one past its end.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// The bytes from `offset` on.
    ///
    /// # Safety
    /// For as long as the slice lives, nobody else writes this range: no other slice and no
    /// system call or io_uring request in flight.
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let start = self.pointer(offset, length);
        // SAFETY: `pointer` checked the range; mmap zeroed it, so it is initialised; the caller
        // promises that nobody writes it meanwhile.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// The bytes from `offset` on, to be written.
    ///
    /// # Safety
    /// For as long as the slice lives, nobody else reads or writes this range: no other slice and
    /// no system call or io_uring request in flight.
    #[allow(clippy::mut_from_ref)] // Ranges are disjoint by the caller's promise, as in a slab.
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        let start = self.pointer(offset, length);
        // SAFETY: as in `bytes`, and the caller promises that nobody reads it either.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, made by `map` and unmapped only here. Whoever gave its
        // address to the kernel has ended those requests first (see the engines' drop order).
        let _ = unsafe { mman::munmap(self.start.cast(), self.length.get()) };
    }
}

/// The receive buffers of one link: equally sized, in one mapping.
#[derive(Debug)]
pub(crate) struct Frames {
    mapping: Mapping,
    count: u16,
    stride: usize,
    frame_bytes: u32,
}

impl Frames {
    /// `header_bytes` come before the payload in each buffer, for the engine's own use.
    pub(crate) fn new(
        count: u16,
        header_bytes: u32,
        payload_bytes_max: u32,
        huge_pages: bool,
    ) -> io::Result<Frames> {
        let frame_bytes = header_bytes + payload_bytes_max;
        let stride = (frame_bytes as usize).next_multiple_of(CACHE_LINE_BYTES);
        let mapping = Mapping::new(stride * usize::from(count), huge_pages)?;
        Ok(Frames { mapping, count, stride, frame_bytes })
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn frame_bytes(&self) -> u32 {
        self.frame_bytes
    }

    /// Address of a buffer, for the kernel.
    pub(crate) fn pointer(&self, frame: u16) -> *mut u8 {
        assert!(frame < self.count, "no such buffer");
        self.mapping.pointer(usize::from(frame) * self.stride, self.frame_bytes as usize)
    }

    /// A part of a buffer.
    ///
    /// # Safety
    /// The kernel has handed the buffer over and has not been given it back, and no other slice
    /// of this part exists, for as long as the result lives.
    #[allow(clippy::mut_from_ref)] // As in `Mapping::bytes_mut`.
    pub(crate) unsafe fn part(&self, frame: u16, offset: u32, length: u32) -> &mut [u8] {
        assert!(frame < self.count, "no such buffer");
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.frame_bytes));
        let start = usize::from(frame) * self.stride + offset as usize;
        // SAFETY: passes on the caller's promise.
        unsafe { self.mapping.bytes_mut(start, length as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_overlap_and_end_inside() {
        for huge_pages in [false, true] {
            let frames = Frames::new(8, 16, 100, huge_pages).unwrap();
            for frame in 0..8 {
                // SAFETY: no kernel involved, and one slice at a time.
                unsafe { frames.part(frame, 0, 116) }.fill(u8::try_from(frame).unwrap());
            }
            for frame in 0..8 {
                // SAFETY: as above.
                let bytes = unsafe { frames.part(frame, 0, 116) };
                assert!(bytes.iter().all(|byte| u16::from(*byte) == frame));
            }
        }
    }

    #[test]
    #[should_panic(expected = "no such buffer")]
    fn a_buffer_that_does_not_exist_is_our_mistake() {
        Frames::new(8, 0, 100, false).unwrap().pointer(8);
    }
}
