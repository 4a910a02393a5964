//! What arrived: a batch of datagrams in receive buffers, and the ledger of those buffers.
//!
//! A buffer has one of three owners:
//!
//! ```text
//!   kernel or free list ──take──► waiting to be read ──pop──► read ──recycle──► kernel or free list
//!                                        outstanding: +1         -1
//! ```
//!
//! [`Arrivals::pop`] lends a datagram; its buffer counts as returned at that moment, because the
//! borrow checker ends the loan before anything else can happen to `Arrivals`. So there is nothing
//! to forget: an early `return`, a panic or `mem::forget` cannot leak a buffer, and what was not
//! read stays for the next turn.

use std::io;
use std::net::SocketAddr;

use crate::link::{Link, LinkSettings};
use crate::memory::Frames;

/// One received datagram, on loan until the next is taken.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Where it came in.
    pub link: Link,
    /// Who sent it.
    pub source: SocketAddr,
    /// Its payload; may be changed in place, and may be empty.
    pub bytes: &'a mut [u8],
    /// When the kernel received it, in nanoseconds of the real-time clock; only while timestamps
    /// are switched on for the link.
    pub received_at_ns: Option<u64>,
}

/// A datagram, or a run of them glued together by the kernel, in a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) link: Link,
    pub(crate) frame: u16,
    /// Where the payload starts in the buffer.
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// Length of each datagram of a run, the last may be shorter; 0 if it is a single one.
    pub(crate) segment_bytes: u32,
    pub(crate) source: SocketAddr,
    pub(crate) received_at_ns: Option<u64>,
}

/// Datagrams that arrived and were not read yet, in the order of arrival of each link.
#[derive(Debug)]
pub struct Arrivals {
    pools: Box<[Frames]>,
    /// As many as there are buffers, so that pushing never allocates.
    waiting: Vec<Taken>,
    next: usize,
    /// Buffers that were read or refused and which the engine has not taken back yet.
    spent: Vec<(Link, u16)>,
    taken: u64,
    returned: u64,
}

impl Arrivals {
    pub(crate) fn new(links: &[LinkSettings], header_bytes: u32) -> io::Result<Arrivals> {
        let pools: Box<[Frames]> = links
            .iter()
            .map(|link| {
                let payload = link.payload_bytes_max();
                Frames::new(link.buffers, header_bytes, payload, link.huge_pages)
            })
            .collect::<io::Result<_>>()?;
        let buffers = pools.iter().map(|pool| usize::from(pool.count())).sum();
        Ok(Arrivals {
            pools,
            waiting: Vec::with_capacity(buffers),
            next: 0,
            spent: Vec::with_capacity(buffers),
            taken: 0,
            returned: 0,
        })
    }

    /// Lends the next datagram.
    pub fn pop(&mut self) -> Option<Arrival<'_>> {
        let item = self.waiting.get_mut(self.next)?;
        let part = *item;
        let length = if part.segment_bytes != 0 && part.length > part.segment_bytes {
            item.offset += part.segment_bytes;
            item.length -= part.segment_bytes;
            part.segment_bytes
        } else {
            self.next += 1;
            self.returned += 1;
            self.spent.push((part.link, part.frame));
            part.length
        };
        // SAFETY: the kernel gave this buffer away when the engine put it into `waiting`, and gets
        // it back only in `recycle`, which needs `&mut self`, as does the making of another slice:
        // neither can happen while the loan of `self` in the result lasts.
        let bytes = unsafe { self.pools[part.link.index()].part(part.frame, part.offset, length) };
        Some(Arrival {
            link: part.link,
            source: part.source,
            bytes,
            received_at_ns: part.received_at_ns,
        })
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.next == self.waiting.len()
    }

    /// Buffers not read yet. A run that was glued together by the kernel counts once.
    pub fn len(&self) -> usize {
        self.waiting.len() - self.next
    }

    /// The ledger: buffers that the engine has taken from the kernel and nobody has read. Zero
    /// whenever a batch has been read to its end.
    pub fn outstanding(&self) -> u64 {
        self.taken - self.returned
    }

    /// Tells apart the arrivals of two engines: where the buffers are.
    pub(crate) fn identity(&self) -> usize {
        self.pools.as_ptr().addr()
    }

    pub(crate) fn pool(&self, link: Link) -> &Frames {
        &self.pools[link.index()]
    }

    /// Adds a datagram whose buffer the kernel has just handed over.
    pub(crate) fn push(&mut self, taken: Taken) {
        debug_assert!(self.waiting.len() < self.waiting.capacity(), "a buffer was taken twice");
        self.taken += 1;
        self.waiting.push(taken);
    }

    /// Puts aside a buffer that holds nothing to deliver.
    pub(crate) fn refuse(&mut self, link: Link, frame: u16) {
        debug_assert!(self.spent.len() < self.spent.capacity(), "a buffer was returned twice");
        self.taken += 1;
        self.returned += 1;
        self.spent.push((link, frame));
    }

    /// Gives all spent buffers back to the engine, which may hand them to the kernel from then on.
    pub(crate) fn recycle(&mut self, mut give: impl FnMut(&Frames, Link, u16)) {
        for (link, frame) in self.spent.drain(..) {
            give(&self.pools[link.index()], link, frame);
        }
        // What was read makes room: buffers given back may arrive again before the rest is read.
        self.waiting.drain(..self.next);
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(buffers: u16) -> Arrivals {
        let link = LinkSettings { buffers, datagram_bytes_max: 100, ..Default::default() };
        Arrivals::new(&[link, link], 0).unwrap()
    }

    fn taken(link: u8, frame: u16, length: u32, segment_bytes: u32) -> Taken {
        let source = "192.0.2.1:5".parse().unwrap();
        Taken {
            link: Link(link),
            frame,
            offset: 0,
            length,
            segment_bytes,
            source,
            received_at_ns: None,
        }
    }

    fn recycled(arrivals: &mut Arrivals) -> Vec<(u8, u16)> {
        let mut list = Vec::new();
        arrivals.recycle(|_, link, frame| list.push((link.0, frame)));
        list
    }

    #[test]
    fn a_batch_is_lent_in_order_and_comes_back() {
        let mut arrivals = arrivals(4);
        arrivals.push(taken(0, 2, 10, 0));
        arrivals.push(taken(1, 3, 0, 0));
        arrivals.refuse(Link(0), 1);
        assert_eq!((arrivals.len(), arrivals.outstanding()), (2, 2));
        let first = arrivals.pop().unwrap();
        assert_eq!((first.link, first.bytes.len()), (Link(0), 10));
        assert_eq!(arrivals.outstanding(), 1);
        assert_eq!(arrivals.pop().unwrap().bytes.len(), 0, "a datagram may be empty");
        assert!(arrivals.pop().is_none());
        assert_eq!(arrivals.outstanding(), 0);
        assert_eq!(recycled(&mut arrivals), [(0, 1), (0, 2), (1, 3)]);
        assert_eq!(recycled(&mut arrivals), []);
    }

    #[test]
    fn what_is_not_read_stays_and_keeps_its_buffer() {
        let mut arrivals = arrivals(4);
        for frame in 0..3 {
            arrivals.push(taken(0, frame, 10, 0));
        }
        assert!(arrivals.pop().is_some());
        assert_eq!(recycled(&mut arrivals), [(0, 0)]);
        assert_eq!(arrivals.len(), 2);
        while arrivals.pop().is_some() {}
        assert_eq!(recycled(&mut arrivals), [(0, 1), (0, 2)]);
        assert_eq!(arrivals.outstanding(), 0);
    }

    #[test]
    fn a_glued_run_is_split_and_its_buffer_returns_with_the_last_piece() {
        for (length, segment, pieces) in
            [(25, 10, vec![10, 10, 5]), (20, 10, vec![10, 10]), (7, 10, vec![7])]
        {
            let mut arrivals = arrivals(4);
            arrivals.push(taken(0, 0, length, segment));
            for (index, piece) in pieces.iter().enumerate() {
                assert_eq!(arrivals.outstanding(), 1);
                let arrival = arrivals.pop().unwrap();
                assert_eq!(arrival.bytes.len(), *piece);
                arrival.bytes.fill(u8::try_from(index).unwrap());
            }
            assert!(arrivals.pop().is_none());
            assert_eq!(recycled(&mut arrivals), [(0, 0)]);
        }
    }
}
