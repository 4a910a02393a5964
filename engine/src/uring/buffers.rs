//! A ring through which the kernel is given receive buffers (`IORING_REGISTER_PBUF_RING`).
//!
//! ```text
//!   entry   address (8) · length (4) · buffer id (2) · reserved (2)
//!   tail    lies in the reserved field of entry 0
//! ```
//!
//! Entries are written first and become the kernel's with one store of the tail, however many
//! they are.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::memory::Mapping;

const ENTRY_BYTES: usize = 16;
const TAIL_OFFSET: usize = 14;

#[derive(Debug)]
pub(super) struct BufferRing {
    entries: Mapping,
    mask: u16,
    tail: u16,
    published: u16,
}

impl BufferRing {
    /// `count` is a power of two.
    pub(super) fn new(count: u16) -> io::Result<BufferRing> {
        assert!(count.is_power_of_two(), "the kernel masks the index");
        let entries = Mapping::new(usize::from(count) * ENTRY_BYTES, false)?;
        Ok(BufferRing { entries, mask: count - 1, tail: 0, published: 0 })
    }

    /// What to register with the kernel: page aligned, as it demands.
    pub(super) fn address(&self) -> u64 {
        self.entries.pointer(0, 0) as u64
    }

    pub(super) fn count(&self) -> u16 {
        self.mask + 1
    }

    /// Writes an entry; the kernel does not see it before [`BufferRing::publish`].
    pub(super) fn put(&mut self, buffer: *mut u8, length: u32, id: u16) {
        debug_assert!(self.tail.wrapping_sub(self.published) <= self.mask, "more than there are");
        let entry = usize::from(self.tail & self.mask) * ENTRY_BYTES;
        let address_field = self.entries.pointer(entry, 8).cast::<u64>();
        let length_field = self.entries.pointer(entry + 8, 4).cast::<u32>();
        let id_field = self.entries.pointer(entry + 12, 2).cast::<u16>();
        // SAFETY: inside the mapping (`pointer` checks), aligned because an entry is 16 bytes, and
        // the kernel reads only entries before the published tail, which this one is not: there
        // are as many entries as buffers, and this buffer is ours.
        unsafe { address_field.write(buffer as u64) };
        // SAFETY: as above.
        unsafe { length_field.write(length) };
        // SAFETY: as above.
        unsafe { id_field.write(id) };
        self.tail = self.tail.wrapping_add(1);
    }

    /// Hands all entries written so far to the kernel.
    pub(super) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        let tail = self.entries.pointer(TAIL_OFFSET, 2).cast::<u16>();
        // SAFETY: inside the mapping, aligned (14 is even), and accessed by this process only
        // here; the kernel reads it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // Release: the kernel must see the entries before it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(ring: &BufferRing) -> &[u8] {
        // SAFETY: no kernel involved, and `ring` is borrowed.
        unsafe { ring.entries.bytes(0, usize::from(ring.count()) * ENTRY_BYTES) }
    }

    #[test]
    fn entries_and_tail_lie_where_the_kernel_looks() {
        let mut ring = BufferRing::new(2).unwrap();
        ring.put(std::ptr::without_provenance_mut(0x1122), 0x33, 5);
        assert_eq!(bytes(&ring)[14..16], [0, 0], "not published yet");
        ring.put(std::ptr::without_provenance_mut(0x4455), 0x66, 6);
        ring.publish();
        let expected = [
            0x22, 0x11, 0, 0, 0, 0, 0, 0, 0x33, 0, 0, 0, 5, 0, 2, 0, //
            0x55, 0x44, 0, 0, 0, 0, 0, 0, 0x66, 0, 0, 0, 6, 0, 0, 0,
        ];
        assert_eq!(bytes(&ring), expected);
    }

    #[test]
    fn the_tail_wraps() {
        let mut ring = BufferRing::new(1).unwrap();
        for _ in 0..=u16::MAX {
            ring.put(std::ptr::null_mut(), 1, 0);
            ring.publish();
        }
        assert_eq!(ring.tail, 0);
        ring.put(std::ptr::null_mut(), 1, 0);
        ring.publish();
        assert_eq!(bytes(&ring)[14..16], [1, 0]);
    }
}
