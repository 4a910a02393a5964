//! What control may ask of a worker, and the bounded queue it is asked by.

use crate::core::{Command, FlowRecord, Recalled, Reply};
use crossbeam::queue::ArrayQueue;
use engine::Waker;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;

/// Orders that may wait for one worker. Operators and reloads ask some of them a second.
pub const QUEUE_ORDERS_MAX: usize = 64;

/// A command to the router, and where its reply is awaited.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub command: Command,
    /// Who waits for it.
    pub answer: oneshot::Sender<Reply>,
}

/// What control may ask of a worker.
#[derive(Debug)]
pub enum Order {
    /// Ask the router.
    Ask(Question),
    /// Make this flow, which somebody else knows. Nobody waits for an answer.
    Recall(Recalled),
    /// Wait no longer than this for a fuller batch.
    CoalesceUsMax(u32),
    /// Stop receiving, forward what was received, give all flows, and wait for one of the next two:
    /// another process is about to take the sockets over.
    StandBy(oneshot::Sender<Vec<FlowRecord>>),
    /// Go on: no other process does.
    Resume,
    /// Finish this turn and end.
    Stop,
}

/// There are too many orders in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a worker has {QUEUE_ORDERS_MAX} unanswered orders and takes no more")]
pub struct TooManyOrders;

/// The worker's end of the queue.
#[derive(Debug, Clone)]
pub struct Orders(Arc<ArrayQueue<Order>>);

/// Control's end of the queue.
#[derive(Debug, Clone)]
pub struct Desk {
    queue: Arc<ArrayQueue<Order>>,
    waker: Waker,
}

impl Orders {
    /// An empty queue.
    pub fn new() -> Self {
        Self(Arc::new(ArrayQueue::new(QUEUE_ORDERS_MAX)))
    }

    /// The other end, which wakes the worker that owns this one.
    pub fn desk(&self, waker: Waker) -> Desk {
        Desk { queue: Arc::clone(&self.0), waker }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&self) -> Option<Order> {
        self.0.pop()
    }
}

impl Default for Orders {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// Gives an order and wakes the worker.
    pub fn give(&self, order: Order) -> Result<(), TooManyOrders> {
        self.queue.push(order).map_err(|_| TooManyOrders)?;
        self.waker.wake();
        Ok(())
    }
}
