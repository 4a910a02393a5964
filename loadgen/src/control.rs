//! Between the one that decides how much load there is and the threads that make it: orders one
//! way, measurements the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam::channel::Sender;

use crate::flows::Load;
use crate::measure::{Measurement, Nanoseconds};

/// What all threads together are to do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Order {
    /// Counts up with every order; measurements say under which they were made.
    pub epoch: u64,
    /// Calls or flows at a time.
    pub wanted: u32,
    /// When it begins, by the monotonic clock.
    pub from: Nanoseconds,
    /// Over how long missing ones arrive.
    pub spread: Nanoseconds,
    /// Leaving and arriving per second.
    pub churn_per_second: f64,
    /// End everything, then yourself.
    pub stop: bool,
}

/// The latest order. Reading that there is none costs one load.
#[derive(Debug, Default)]
pub struct Control {
    epoch: AtomicU64,
    order: Mutex<Order>,
}

/// Which of how many threads one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// From zero.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

/// What a thread hands in, about once a second and at every order.
#[derive(Debug)]
pub struct Window {
    /// Of which thread.
    pub worker: u32,
    /// Under which order.
    pub epoch: u64,
    /// Its calls or flows at this moment.
    pub active: u32,
    /// What it measured since the last.
    pub measurement: Measurement,
}

/// Where windows go.
pub type Windows = Sender<Window>;

/// How often a thread hands in a window.
pub const WINDOW_INTERVAL: Nanoseconds = crate::measure::SECOND;

impl Control {
    /// Gives an order; its epoch is counted here.
    pub fn order(&self, order: Order) -> u64 {
        let mut current = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = current.epoch + 1;
        *current = Order { epoch, ..order };
        self.epoch.store(epoch, Ordering::Release);
        epoch
    }

    /// The order, if there is a newer one than that of this epoch.
    pub fn newer_than(&self, epoch: u64) -> Option<Order> {
        (self.epoch.load(Ordering::Acquire) != epoch)
            .then(|| *self.order.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Share {
    /// This thread's part of an order.
    #[must_use]
    pub fn of(self, order: &Order) -> Load {
        let (index, count) = (u64::from(self.index), u64::from(self.count.max(1)));
        let part = u64::from(order.wanted) / count;
        let extra = u64::from(index < u64::from(order.wanted) % count);
        let flows = u32::try_from(part + extra).unwrap_or(u32::MAX);
        // Threads do not act all at the same moment, but in turns.
        let arrival_interval = order.spread / u64::from(order.wanted.max(1));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "rates are positive, and an interval needs no 53 bits"
        )]
        let churn_interval = if order.churn_per_second > 0.0 {
            (1e9 / order.churn_per_second * count as f64) as u64
        } else {
            0
        };
        Load {
            flows,
            from: order.from + arrival_interval * index,
            spread: order.spread,
            churn_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        for (wanted, count) in [(0, 1), (1, 2), (7, 3), (1000, 4)] {
            let order = Order { wanted, churn_per_second: 10.0, ..Order::default() };
            let shares: Vec<_> =
                (0..count).map(|index| Share { index, count }.of(&order)).collect();
            assert_eq!(shares.iter().map(|share| share.flows).sum::<u32>(), wanted);
            let rate: f64 = shares.iter().map(|share| 1e9 / share.churn_interval as f64).sum();
            assert!((rate - 10.0).abs() < 1e-6);
        }
    }

    #[test]
    fn an_order_is_seen_once() {
        let control = Control::default();
        assert_eq!(control.newer_than(0), None);
        let epoch = control.order(Order { wanted: 5, ..Order::default() });
        assert_eq!(control.newer_than(0).unwrap().wanted, 5);
        assert_eq!(control.newer_than(epoch), None);
    }
}
