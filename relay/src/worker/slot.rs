//! Where a worker's numbers can be read by others: a padded row of atomics with one writer.
//!
//! The worker counts in plain fields of its own and copies them here once a tick. Relaxed stores of
//! one writer are ordinary stores to the processor, and the padding keeps the reader's loads from
//! slowing down a neighbour. A reader may see some numbers of this tick and some of the one before;
//! each number by itself is right.

use crate::core::Counters;
use crossbeam::utils::CachePadded;
use engine::histogram::Histogram;
use engine::{Statistics, direct};
use std::sync::atomic::{AtomicU64, Ordering};

const DIRECT_LEN: usize = direct::Counters::ROWS.len();
const ENGINE_LEN: usize = Statistics::ROWS.len();

macro_rules! own {
    ($($(#[doc = $meaning:literal])+ $name:ident,)+) => {
        /// Numbers of the worker itself, beside those of its router and its engine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Own {
            $($(#[doc = $meaning])+ pub $name: u64,)+
        }

        impl Own {
            const LEN: usize = [$(stringify!($name)),+].len();

            const fn to_array(self) -> [u64; Self::LEN] {
                [$(self.$name),+]
            }

            const fn from_array(array: [u64; Self::LEN]) -> Self {
                let [$($name),+] = array;
                Self { $($name),+ }
            }
        }
    };
}

own! {
    /// CPU time of the thread.
    cpu_ns,
    /// Wall time since the thread was ready.
    wall_ns,
    /// Time that batches were allowed to fill, in sum.
    coalesce_us,
    /// How long the next batch may fill.
    coalesce_now_us,
    /// Heap allocations after the worker was ready. Zero is the promise.
    allocations,
    /// Datagrams the kernel dropped at full public sockets.
    kernel_drops_public,
    /// Datagrams the kernel dropped at a full tunnel socket.
    kernel_drops_tunnel,
    /// Datagrams that did not fit into the outbox even after a flush.
    outbox_full,
    /// Devices that it sends to directly.
    direct_rings,
    /// Monotonic time of the last tick: a worker that is stuck stops moving it.
    ticked_at_us,
}

/// Everything a worker publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// The router's, in the order of [`Counters::series`].
    pub counters: [u64; Counters::LEN],
    /// The engine's, in the order of [`Statistics::ROWS`].
    pub engine: [u64; ENGINE_LEN],
    /// Direct egress', in the order of [`direct::Counters::ROWS`].
    pub direct: [u64; DIRECT_LEN],
    /// The worker's own.
    pub own: Own,
    /// Datagrams for each wake-up that brought any.
    pub batch: [u64; Histogram::LEN],
    /// Microseconds from a wake-up to the flush behind it.
    pub turn_us: [u64; Histogram::LEN],
    /// Microseconds from the kernel's receive timestamp to the flush, for sampled datagrams.
    pub latency_us: [u64; Histogram::LEN],
}

impl Numbers {
    const LEN: usize = Counters::LEN + ENGINE_LEN + DIRECT_LEN + Own::LEN + 3 * Histogram::LEN;

    /// All zero.
    pub const fn new() -> Self {
        Self {
            counters: [0; Counters::LEN],
            engine: [0; ENGINE_LEN],
            direct: [0; DIRECT_LEN],
            own: Own::from_array([0; Own::LEN]),
            batch: [0; Histogram::LEN],
            turn_us: [0; Histogram::LEN],
            latency_us: [0; Histogram::LEN],
        }
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

/// One worker's row.
#[derive(Debug)]
pub struct Slot {
    numbers: CachePadded<[AtomicU64; Numbers::LEN]>,
}

impl Slot {
    /// A row of zeros, so that every series exists from the start.
    pub fn new() -> Self {
        Self { numbers: CachePadded::new([const { AtomicU64::new(0) }; Numbers::LEN]) }
    }

    /// Publishes. Only the worker that owns the numbers calls this.
    pub fn store(&self, numbers: &Numbers) {
        let own = numbers.own.to_array();
        let all = [].iter().chain(&numbers.counters).chain(&numbers.engine).chain(&numbers.direct);
        let all = all
            .chain(&own)
            .chain(&numbers.batch)
            .chain(&numbers.turn_us)
            .chain(&numbers.latency_us);
        for (slot, number) in self.numbers.iter().zip(all) {
            slot.store(*number, Ordering::Relaxed);
        }
    }

    /// Reads what was published last.
    pub fn load(&self) -> Numbers {
        let mut all = self.numbers.iter().map(|number| number.load(Ordering::Relaxed));
        let mut numbers = Numbers::new();
        let mut own = [0; Own::LEN];
        fn fill(out: &mut [u64], all: &mut impl Iterator<Item = u64>) {
            for (out, number) in out.iter_mut().zip(all) {
                *out = number;
            }
        }
        fill(&mut numbers.counters, &mut all);
        fill(&mut numbers.engine, &mut all);
        fill(&mut numbers.direct, &mut all);
        fill(&mut own, &mut all);
        fill(&mut numbers.batch, &mut all);
        fill(&mut numbers.turn_us, &mut all);
        fill(&mut numbers.latency_us, &mut all);
        numbers.own = Own::from_array(own);
        numbers
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_is_loaded() {
        let mut next = 0;
        let mut fill = |out: &mut [u64]| {
            for out in out {
                next += 1;
                *out = next;
            }
        };
        let mut numbers = Numbers::new();
        let mut own = [0; Own::LEN];
        fill(&mut numbers.counters);
        fill(&mut numbers.engine);
        fill(&mut numbers.direct);
        fill(&mut own);
        fill(&mut numbers.batch);
        fill(&mut numbers.turn_us);
        fill(&mut numbers.latency_us);
        numbers.own = Own::from_array(own);
        let slot = Slot::new();
        assert_eq!(slot.load(), Numbers::new());
        slot.store(&numbers);
        assert_eq!(slot.load(), numbers);
        assert_eq!(usize::try_from(next).unwrap(), Numbers::LEN);
    }
}
