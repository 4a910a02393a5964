//! What the core tells the worker beside its verdicts: flows that came and went, and packets of
//! clients that nobody here knows.
//!
//! These feed the directory of all workers' flows and the flow cache, neither of which the core
//! knows of. Queues are bounded; when the worker does not empty them, events are lost and counted.

use super::clusters::Route;
use std::collections::VecDeque;
use wire::frame::Client;
use wire::hint::SessionTag;

/// A flow came to be relied on, or ceased to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowChange {
    /// The flow is assured, or has been taken over by another shard.
    Assured {
        /// Whose flow.
        client: Client,
        /// Where it goes.
        route: Route,
        /// Whose session it is, unless it was learned from the shard.
        session: Option<SessionTag>,
    },
    /// An assured flow is no more.
    Freed {
        /// Whose flow it was.
        client: Client,
    },
}

/// A queue of fixed size.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    events: VecDeque<T>,
    max: usize,
}

impl<T> EventQueue<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { events: VecDeque::with_capacity(max), max }
    }

    /// Queues an event; counts it as lost if there is no room.
    pub(super) fn push(&mut self, event: T, lost: &mut u64) {
        if self.events.len() < self.max {
            self.events.push_back(event);
        } else {
            *lost += 1;
        }
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut queue = EventQueue::new(2);
        let mut lost = 0;
        for event in 0..5 {
            queue.push(event, &mut lost);
        }
        assert_eq!((queue.pop(), queue.pop(), queue.pop(), lost), (Some(0), Some(1), None, 3));
    }
}
