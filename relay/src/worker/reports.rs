//! What a worker tells control without being asked: flows that came and went, and clients that no
//! flow knows. A bounded queue for each worker; what does not fit is counted and lost, never waited
//! for.

use crate::core::{FlowChange, Router};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use wire::frame::Client;

/// Reports that may wait for control. It looks as soon as there is one.
pub const QUEUE_REPORTS_MAX: usize = 16_384;

/// One thing that control may want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A flow came to be relied on, or ceased to be.
    Change(FlowChange),
    /// A packet of this client was dropped because no flow says where it goes.
    Miss(Client),
}

/// Both ends of the queue.
#[derive(Debug, Clone)]
pub struct Reports {
    queue: Arc<ArrayQueue<Report>>,
    /// Changes that did not fit: what control knows of this worker's flows is not all any more.
    lost: Arc<AtomicU64>,
    /// The same, in the router's own queue.
    lost_before: Arc<AtomicU64>,
    told: Arc<Notify>,
}

impl Reports {
    /// An empty queue, that tells of what comes into it.
    pub fn new(told: Arc<Notify>) -> Self {
        Self {
            queue: Arc::new(ArrayQueue::new(QUEUE_REPORTS_MAX)),
            lost: Arc::default(),
            lost_before: Arc::default(),
            told,
        }
    }

    /// Takes the oldest.
    pub fn take(&self) -> Option<Report> {
        self.queue.pop()
    }

    /// How many changes were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) + self.lost_before.load(Ordering::Relaxed)
    }

    /// Passes on what the router has to tell. Allocates nothing, and never waits.
    pub(super) fn pass_on(&self, router: &mut Router) {
        let mut any = false;
        while let Some(change) = router.next_change() {
            any = true;
            if self.queue.push(Report::Change(change)).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        while let Some(client) = router.next_miss() {
            any = true;
            // A client that is missed once is missed again, 20 ms later.
            let _ = self.queue.push(Report::Miss(client));
        }
        if any {
            self.lost_before.store(router.changes_lost(), Ordering::Relaxed);
            self.told.notify_one();
        }
    }
}
