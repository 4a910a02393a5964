//! Where a shard's numbers can be read by others: a padded row of atomics with one writer.

use super::counters::Counters;
use crossbeam::utils::CachePadded;
use engine::Statistics;
use engine::histogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

const ENGINE_LEN: usize = Statistics::ROWS.len();

/// Numbers of the thread itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// CPU time of the thread.
    pub cpu_ns: u64,
    /// Wall time since the thread was ready.
    pub wall_ns: u64,
    /// How often it woke.
    pub wakes: u64,
    /// Datagrams the kernel dropped at the full tunnel socket.
    pub kernel_drops: u64,
    /// Monotonic time of the last look at everything: a shard that is stuck stops moving it.
    pub ticked_at_us: u64,
}

impl Own {
    const LEN: usize = 5;

    const fn to_array(self) -> [u64; Self::LEN] {
        [self.cpu_ns, self.wall_ns, self.wakes, self.kernel_drops, self.ticked_at_us]
    }

    const fn from_array(array: [u64; Self::LEN]) -> Self {
        let [cpu_ns, wall_ns, wakes, kernel_drops, ticked_at_us] = array;
        Self { cpu_ns, wall_ns, wakes, kernel_drops, ticked_at_us }
    }
}

/// Everything a shard publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// In the order of [`Counters::series`].
    pub counters: [u64; Counters::LEN],
    /// In the order of [`Counters::histograms`].
    pub histograms: [[u64; Histogram::LEN]; Counters::HISTOGRAMS],
    /// In the order of [`Statistics::ROWS`].
    pub engine: [u64; ENGINE_LEN],
    /// The thread's own.
    pub own: Own,
}

impl Numbers {
    const LEN: usize =
        Counters::LEN + Counters::HISTOGRAMS * Histogram::LEN + ENGINE_LEN + Own::LEN;

    /// All zero.
    pub const fn new() -> Self {
        Self {
            counters: [0; Counters::LEN],
            histograms: [[0; Histogram::LEN]; Counters::HISTOGRAMS],
            engine: [0; ENGINE_LEN],
            own: Own::from_array([0; Own::LEN]),
        }
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

/// One shard's row.
#[derive(Debug)]
pub struct Slot(CachePadded<[AtomicU64; Numbers::LEN]>);

impl Slot {
    /// A row of zeros.
    pub fn new() -> Self {
        Self(CachePadded::new([const { AtomicU64::new(0) }; Numbers::LEN]))
    }

    /// Publishes. Only the shard that owns the numbers calls this.
    pub fn store(&self, numbers: &Numbers) {
        let own = numbers.own.to_array();
        let histograms = numbers.histograms.as_flattened();
        let all = [].iter().chain(&numbers.counters).chain(histograms);
        for (slot, number) in self.0.iter().zip(all.chain(&numbers.engine).chain(&own)) {
            slot.store(*number, Ordering::Relaxed);
        }
    }

    /// Reads what was published last.
    pub fn load(&self) -> Numbers {
        let mut numbers = Numbers::new();
        let mut own = [0; Own::LEN];
        let histograms = numbers.histograms.as_flattened_mut();
        let all = [].iter_mut().chain(&mut numbers.counters).chain(histograms);
        for (number, slot) in all.chain(&mut numbers.engine).chain(&mut own).zip(self.0.iter()) {
            *number = slot.load(Ordering::Relaxed);
        }
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
        fill(numbers.histograms.as_flattened_mut());
        fill(&mut numbers.engine);
        fill(&mut own);
        numbers.own = Own::from_array(own);
        let slot = Slot::new();
        assert_eq!(slot.load(), Numbers::new());
        slot.store(&numbers);
        assert_eq!(slot.load(), numbers);
        assert_eq!(usize::try_from(next).unwrap(), Numbers::LEN);
    }
}
