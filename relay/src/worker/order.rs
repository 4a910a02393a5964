//! What control may ask of a worker, and the bounded queues it is asked by: one for orders, and one
//! for flows that somebody else knows, of which there are thousands when a relay has restarted.

use crate::core::{Command, FlowRecord, Recalled, Reply};
use crossbeam::queue::ArrayQueue;
use engine::Waker;
use engine::direct::Delivery;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;

/// Orders that may wait for one worker. Operators and reloads ask some of them a second.
pub const QUEUE_ORDERS_MAX: usize = 64;
/// Recalled flows that may wait for one worker: more than control looks for in a second, so only a
/// worker that has been stuck for longer finds its queue full.
pub const QUEUE_RECALLS_MAX: usize = 8_192;

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
    /// Wait no longer than this for a fuller batch.
    CoalesceUsMax(u32),
    /// Send to clients by these next hops and rings; see [`engine::direct`].
    Direct(Box<Delivery>),
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

/// The worker's end of the queues.
#[derive(Debug, Clone)]
pub struct Orders {
    orders: Arc<ArrayQueue<Order>>,
    recalls: Arc<ArrayQueue<Recalled>>,
}

/// Control's end of the queues.
#[derive(Debug, Clone)]
pub struct Desk {
    queues: Orders,
    waker: Waker,
}

impl Orders {
    /// Empty queues.
    pub fn new() -> Self {
        Self {
            orders: Arc::new(ArrayQueue::new(QUEUE_ORDERS_MAX)),
            recalls: Arc::new(ArrayQueue::new(QUEUE_RECALLS_MAX)),
        }
    }

    /// The other end, which wakes the worker that owns this one.
    pub fn desk(&self, waker: Waker) -> Desk {
        Desk { queues: self.clone(), waker }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    pub(super) fn take(&self) -> Option<Order> {
        self.orders.pop()
    }

    pub(super) fn take_recalled(&self) -> Option<Recalled> {
        self.recalls.pop()
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
        self.queues.orders.push(order).map_err(|_| TooManyOrders)?;
        self.waker.wake();
        Ok(())
    }

    /// Has the worker make this flow, which somebody else knows, and wakes it. Nobody waits for an
    /// answer. False if the queue is full.
    pub fn recall(&self, recalled: Recalled) -> bool {
        let taken = self.queues.recalls.push(recalled).is_ok();
        self.waker.wake();
        taken
    }
}
