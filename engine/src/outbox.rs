//! What is to be sent: datagrams copied one behind the other into an arena, described by runs.
//!
//! ```text
//!   arena  │ 160 │ 160 │ 160 │ 90 │ 1400        │ 160 │ …
//!   runs   └─ client A, 4 × ≤160 ─┘└─ shard ────┘└─ A ─┘
//! ```
//!
//! Datagrams that follow each other to one destination with one size (the last may be shorter)
//! lie contiguously anyway, so they become one run: one UDP GSO send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use crate::link::{LINKS_MAX, Link, LinkSettings};
use crate::memory::Mapping;

/// Linux takes 64 segments per send since 4.18 (128 since 6.10).
pub const SEGMENTS_MAX: u16 = 64;
/// A GSO send is one UDP datagram to the IP layer until it is cut: 65,535 less the larger header.
const RUN_BYTES_MAX: u32 = 65_000;

/// The outbox has no room: flush it, or drop the datagram and count that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is full")]
pub struct Full;

/// How much an outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxSettings {
    /// Datagrams between two flushes, up to 16,384.
    pub datagrams_max: u16,
    /// Their payload bytes.
    pub bytes_max: u32,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        // 64 tunnel datagrams of 1,400 bytes hold at most some 1,900 frames of voice.
        OutboxSettings { datagrams_max: 2048, bytes_max: 1 << 20 }
    }
}

/// Datagrams that leave as one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) link: Link,
    pub(crate) destination: SocketAddr,
    /// Where it is to come from; the kernel's choice if `None`.
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) start: u32,
    pub(crate) length: u32,
    /// Size of each datagram but the last, which may be shorter.
    pub(crate) segment_bytes: u32,
    pub(crate) segments: u16,
}

impl Run {
    /// The size of its datagrams, if there are several.
    pub(crate) fn segment(&self) -> Option<u16> {
        (self.segments > 1).then(|| u16::try_from(self.segment_bytes).unwrap_or(0))
    }
}

/// Whether and up to which size a link may merge datagrams; see `segmentation`.
#[derive(Debug, Clone, Copy)]
struct MergeRule {
    enabled: bool,
    segment_bytes_max: u32,
}

/// Datagrams queued for sending. Capacity is fixed when the engine is made.
#[derive(Debug)]
pub struct Outbox {
    arena: Mapping,
    bytes_max: u32,
    used: u32,
    runs: Vec<Run>,
    datagrams: usize,
    datagrams_max: usize,
    /// Runs before this index have been given to the engine and must not grow any more.
    sealed: usize,
    /// Somebody met [`Full`] since the last clear.
    overflowed: bool,
    rules: Box<[MergeRule]>,
}

impl Outbox {
    pub(crate) fn new(settings: OutboxSettings, links: &[LinkSettings]) -> io::Result<Outbox> {
        assert!(links.len() <= LINKS_MAX, "at most {LINKS_MAX} links");
        let datagrams_max = usize::from(settings.datagrams_max.clamp(1, 16_384));
        let rule = |link: &LinkSettings| MergeRule {
            enabled: link.gso,
            segment_bytes_max: link.gso_segment_bytes_max,
        };
        Ok(Outbox {
            arena: Mapping::new(settings.bytes_max as usize, false)?,
            bytes_max: settings.bytes_max,
            used: 0,
            runs: Vec::with_capacity(datagrams_max),
            datagrams: 0,
            datagrams_max,
            sealed: 0,
            overflowed: false,
            rules: links.iter().map(rule).collect(),
        })
    }

    /// Queues a copy of `bytes`.
    pub fn push(&mut self, link: Link, destination: SocketAddr, bytes: &[u8]) -> Result<(), Full> {
        let length = u32::try_from(bytes.len()).map_err(|_| Full)?;
        let mut slot = self.reserve(link, destination, length)?;
        slot.bytes().copy_from_slice(bytes);
        slot.commit(bytes.len());
        Ok(())
    }

    /// Opens room for a datagram of up to `bytes_max`, to be written in place. Nothing is queued
    /// until [`Slot::commit`].
    pub fn reserve(
        &mut self,
        link: Link,
        destination: SocketAddr,
        bytes_max: u32,
    ) -> Result<Slot<'_>, Full> {
        if self.datagrams == self.datagrams_max || bytes_max > self.bytes_max - self.used {
            self.overflowed = true;
            return Err(Full);
        }
        Ok(Slot { outbox: self, link, destination, source: None, bytes_max })
    }

    /// Datagrams that still fit. A caller that stops reading arrivals before this is too low for
    /// what one arrival can cause never meets [`Full`].
    pub fn room_datagrams(&self) -> usize {
        self.datagrams_max - self.datagrams
    }

    /// Payload bytes that still fit.
    pub fn room_bytes(&self) -> usize {
        (self.bytes_max - self.used) as usize
    }

    /// Datagrams queued.
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    fn append(
        &mut self,
        link: Link,
        destination: SocketAddr,
        source: Option<Ipv4Addr>,
        length: u32,
    ) {
        let start = self.used;
        self.used += length;
        self.datagrams += 1;
        let rule = self.rules[link.index()];
        if let Some(run) = self.runs[self.sealed..].last_mut()
            && rule.enabled
            && length != 0
            && length <= run.segment_bytes
            && run.segment_bytes <= rule.segment_bytes_max
            // A shorter datagram ended the run: the kernel cuts at equal distances.
            && run.length == run.segment_bytes * u32::from(run.segments)
            && run.segments < SEGMENTS_MAX
            && run.length + length <= RUN_BYTES_MAX
            && run.link == link
            && run.destination == destination
            && run.source == source
        {
            run.length += length;
            run.segments += 1;
            return;
        }
        let segments = 1;
        let run = Run { link, destination, source, start, length, segment_bytes: length, segments };
        self.runs.push(run);
    }

    /// Tells apart the outboxes of two engines: where the arena is.
    pub(crate) fn identity(&self) -> usize {
        self.arena.pointer(0, 0).addr()
    }

    /// All runs since the last [`Outbox::clear`].
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Index of the first run not given to the engine yet; seals all there are now.
    pub(crate) fn seal(&mut self) -> usize {
        std::mem::replace(&mut self.sealed, self.runs.len())
    }

    /// Address of a run's bytes, for the kernel: valid until [`Outbox::clear`] and not written
    /// before that, since `reserve` only hands out what lies behind it.
    pub(crate) fn pointer(&self, run: &Run) -> *mut u8 {
        self.arena.pointer(run.start as usize, run.length as usize)
    }

    /// A run's bytes.
    pub(crate) fn bytes(&self, run: &Run) -> &[u8] {
        // SAFETY: writing needs a `Slot`, which borrows `self` mutably, and lies behind all runs.
        // The kernel only reads.
        unsafe { self.arena.bytes(run.start as usize, run.length as usize) }
    }

    /// Forgets everything that was queued. The engine calls this when the kernel has no reference
    /// to the arena any more.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
        self.datagrams = 0;
        self.sealed = 0;
        self.overflowed = false;
    }

    /// Whether sends must not be held back: somebody met [`Full`], or room is getting scarce.
    pub(crate) fn is_pressed(&self) -> bool {
        self.overflowed
            || self.room_datagrams() < self.datagrams_max / 2
            || self.room_bytes() < self.bytes_max as usize / 2
    }

    /// Switches merging off or on for a link.
    pub(crate) fn merge(&mut self, link: Link, enabled: bool) {
        self.rules[link.index()].enabled = enabled;
    }
}

/// Room for one datagram in the outbox. Dropping it without [`Slot::commit`] queues nothing.
#[derive(Debug)]
pub struct Slot<'a> {
    outbox: &'a mut Outbox,
    link: Link,
    destination: SocketAddr,
    source: Option<Ipv4Addr>,
    bytes_max: u32,
}

impl Slot<'_> {
    /// Has it leave from one of this host's addresses rather than the one the kernel picks: for
    /// IPv4 links that are bound to no address. What comes back is received by the link all the same.
    #[must_use]
    pub fn leaving_from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// Where to write. What is in there before is not defined, and never anything but what was
    /// queued here earlier.
    pub fn bytes(&mut self) -> &mut [u8] {
        let start = self.outbox.used as usize;
        // SAFETY: behind `used` there is no run, so the kernel has no reference to it; the slot
        // holds the outbox mutably, so this is the only slice.
        unsafe { self.outbox.arena.bytes_mut(start, self.bytes_max as usize) }
    }

    /// Queues the first `length` bytes.
    pub fn commit(self, length: usize) {
        assert!(length <= self.bytes_max as usize, "more bytes than were reserved");
        #[allow(clippy::cast_possible_truncation)] // At most `bytes_max`, which is a u32.
        self.outbox.append(self.link, self.destination, self.source, length as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:5";
    const B: &str = "[2001:db8::1]:5";

    fn outbox(datagrams_max: u16, bytes_max: u32) -> Outbox {
        let off = LinkSettings { gso: false, ..Default::default() };
        let links = [LinkSettings::default(), LinkSettings::default(), off];
        Outbox::new(OutboxSettings { datagrams_max, bytes_max }, &links).unwrap()
    }

    /// Segments and total length of each run.
    fn shape(outbox: &Outbox) -> Vec<(u16, u32)> {
        outbox.runs().iter().map(|run| (run.segments, run.length)).collect()
    }

    #[test]
    fn which_datagrams_merge() {
        type Push = (u8, &'static str, usize);
        type Case = (&'static str, &'static [Push], &'static [(u16, u32)]);
        let many: &[Push] = &[(0, A, 10); 65];
        let long: &[Push] = &[(0, A, 1400); 47];
        let table: &[Case] = &[
            ("equal", &[(0, A, 10), (0, A, 10)], &[(2, 20)]),
            ("last shorter", &[(0, A, 10), (0, A, 10), (0, A, 4)], &[(3, 24)]),
            ("shorter ends it", &[(0, A, 10), (0, A, 4), (0, A, 4)], &[(2, 14), (1, 4)]),
            ("longer starts anew", &[(0, A, 10), (0, A, 11)], &[(1, 10), (1, 11)]),
            ("other destination", &[(0, A, 10), (0, B, 10), (0, A, 10)], &[(1, 10); 3]),
            ("other link", &[(0, A, 10), (1, A, 10)], &[(1, 10), (1, 10)]),
            ("link without GSO", &[(2, A, 10), (2, A, 10)], &[(1, 10), (1, 10)]),
            ("empty ones", &[(0, A, 0), (0, A, 0)], &[(1, 0), (1, 0)]),
            ("empty after some", &[(0, A, 10), (0, A, 0)], &[(1, 10), (1, 0)]),
            ("too long for a segment", &[(0, A, 1453), (0, A, 1453)], &[(1, 1453), (1, 1453)]),
            ("64 segments", many, &[(64, 640), (1, 10)]),
            ("65,000 bytes", long, &[(46, 64_400), (1, 1400)]),
        ];
        for (name, pushes, expected) in table {
            let mut outbox = outbox(100, 1 << 20);
            for (link, destination, length) in *pushes {
                let bytes = vec![7; *length];
                outbox.push(Link(*link), destination.parse().unwrap(), &bytes).unwrap();
            }
            assert_eq!(shape(&outbox), *expected, "{name}");
            assert_eq!(outbox.len(), pushes.len(), "{name}");
        }
    }

    proptest::proptest! {
        /// Whatever is merged, the kernel cuts it into what was pushed, in the order of each link.
        #[test]
        fn cutting_the_runs_gives_what_was_pushed(
            pushes in proptest::collection::vec(
                (0u8..3, 0u8..2, proptest::sample::select(vec![0usize, 1, 10, 10, 10, 11, 1452, 1453])),
                0..200,
            )
        ) {
            let mut outbox = outbox(300, 1 << 20);
            let mut expected = Vec::new();
            for (number, (link, host, length)) in pushes.iter().enumerate() {
                let destination: SocketAddr = if *host == 0 { A } else { B }.parse().unwrap();
                let bytes = vec![u8::try_from(number % 256).unwrap(); *length];
                outbox.push(Link(*link), destination, &bytes).unwrap();
                expected.push((Link(*link), destination, bytes));
            }
            let mut cut = Vec::new();
            for run in outbox.runs() {
                let bytes = outbox.bytes(run);
                let pieces = (0..run.segments).map(|index| {
                    let start = usize::from(index) * run.segment_bytes as usize;
                    &bytes[start..bytes.len().min(start + run.segment_bytes as usize)]
                });
                cut.extend(pieces.map(|piece| (run.link, run.destination, piece.to_vec())));
                proptest::prop_assert!(run.segments <= SEGMENTS_MAX && run.length <= RUN_BYTES_MAX);
            }
            proptest::prop_assert_eq!(cut, expected);
        }
    }

    #[test]
    fn one_source_merges_and_another_starts_anew() {
        let mut outbox = outbox(100, 1000);
        for source in [None, Some(1), Some(1), Some(2), None] {
            let mut slot = outbox.reserve(Link(0), A.parse().unwrap(), 10).unwrap();
            if let Some(last) = source {
                slot = slot.leaving_from(Ipv4Addr::new(127, 64, 0, last));
            }
            slot.commit(10);
        }
        assert_eq!(shape(&outbox), [(1, 10), (2, 20), (1, 10), (1, 10)]);
    }

    #[test]
    fn a_sealed_run_does_not_grow() {
        let mut outbox = outbox(100, 1000);
        let destination = A.parse().unwrap();
        outbox.push(Link(0), destination, &[1; 10]).unwrap();
        assert_eq!(outbox.seal(), 0);
        outbox.push(Link(0), destination, &[2; 10]).unwrap();
        assert_eq!(shape(&outbox), [(1, 10), (1, 10)]);
        assert_eq!(outbox.seal(), 1);
        assert_eq!(outbox.bytes(&outbox.runs()[1]), [2; 10]);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(outbox.seal(), 0);
    }

    #[test]
    fn full_by_datagrams_and_by_bytes() {
        let destination = A.parse().unwrap();
        let mut outbox = outbox(2, 100);
        outbox.push(Link(0), destination, &[0; 60]).unwrap();
        assert_eq!(outbox.push(Link(0), destination, &[0; 41]), Err(Full));
        assert_eq!(outbox.room_bytes(), 40);
        outbox.push(Link(0), destination, &[0; 40]).unwrap();
        assert_eq!(outbox.push(Link(0), destination, &[]), Err(Full));
        assert_eq!(outbox.room_datagrams(), 0);
        outbox.clear();
        outbox.push(Link(0), destination, &[0; 100]).unwrap();
    }

    #[test]
    fn a_slot_is_queued_by_commit_alone() {
        let destination = A.parse().unwrap();
        let mut outbox = outbox(10, 100);
        outbox.reserve(Link(0), destination, 50).unwrap().bytes().fill(1);
        assert!(outbox.is_empty());
        let mut slot = outbox.reserve(Link(0), destination, 50).unwrap();
        slot.bytes()[..3].copy_from_slice(b"abc");
        slot.commit(3);
        assert_eq!(outbox.bytes(&outbox.runs()[0]), b"abc");
        assert_eq!(outbox.room_bytes(), 97);
    }
}
