//! What may be asked of a shard, and the bounded queue it is asked by.

use crate::backend::{Backend, Board};
use crate::call::{CallId, CallReport};
use crate::ingress::Ingress;
use crate::negotiation::{Credentials, Fragment, Negotiated, Offer, OfferError, Renegotiated};
use crossbeam::queue::ArrayQueue;
use engine::Waker;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use tokio::sync::oneshot;
use wire::hint::SessionTag;
use wire::keyring::Keyring;

/// Orders that may wait for one shard. It takes all of them every time it wakes, so this is what
/// may come within one turn.
pub const QUEUE_ORDERS_MAX: usize = 1_024;

/// A call that is to begin.
pub struct Opening {
    /// Its name.
    pub id: CallId,
    /// Its session's number.
    pub tag: SessionTag,
    /// How it is routed.
    pub credentials: Credentials,
    /// When its ufrag stops making new flows, in seconds since 1970.
    pub expires_at: u64,
    /// The offer, for restarts that do not repeat it.
    pub offer: Offer,
    /// The connection, and the answer that the client will get.
    pub negotiated: Negotiated,
    /// Whom the client will talk to.
    pub backend: Box<dyn Backend>,
    /// What that is called.
    pub backend_name: &'static str,
    /// When the offer came.
    pub received: Instant,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a shard takes no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It has as many as it may have.
    #[error("every shard has as many calls as it may have")]
    Full,
    /// It takes none any more.
    #[error("this transceiver is draining and takes no new calls")]
    Draining,
}

/// What may be asked about a call.
pub enum Question {
    /// How it is.
    Report,
    /// End it.
    HangUp,
    /// Answer another offer; the credentials are for the case that it restarts ICE.
    Renegotiate(Offer, Credentials),
    /// Answer an ICE restart that comes without an offer.
    RestartIce(Fragment, Credentials),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Reply {
    /// How the call is.
    Report(Box<CallReport>),
    /// It has ended.
    HungUp,
    /// The answer to the offer.
    Renegotiated(Result<Renegotiated, OfferError>),
}

/// There is no call of that name (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no such call here")]
pub struct NoSuchCall;

/// What may be asked of a shard.
pub enum Order {
    /// Take a call. The reply comes when packets of its ufrag will find it.
    Open(Box<Opening>, oneshot::Sender<Result<(), Refusal>>),
    /// About one call.
    Ask(CallId, Question, oneshot::Sender<Result<Reply, NoSuchCall>>),
    /// Reports of all calls, as many as asked for at most.
    List(usize, oneshot::Sender<Vec<CallReport>>),
    /// Use other keys from now on.
    Keyring(Arc<Keyring>),
    /// Name these relays in answers to restarts.
    Ingress(Arc<[Ingress]>),
    /// Have at most so many calls, none longer than this.
    Limits(Limits),
    /// Take no new calls, or take them again.
    Drain(bool),
    /// End all calls and then yourself.
    Stop,
}

/// Bounds of a shard that can change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls at a time.
    pub calls_max: u32,
    /// The longest call.
    pub call_time_max: std::time::Duration,
    /// A call whose client is not heard for so long is over.
    pub lost_after: std::time::Duration,
}

/// There are too many orders in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a shard has {QUEUE_ORDERS_MAX} unanswered orders and takes no more")]
pub struct TooManyOrders;

/// The shard's end of the queue.
#[derive(Clone)]
pub struct Orders(Arc<ArrayQueue<Order>>);

impl Orders {
    /// An empty queue.
    pub fn new() -> Self {
        Self(Arc::new(ArrayQueue::new(QUEUE_ORDERS_MAX)))
    }

    /// The other end, which wakes the shard that owns this one.
    pub fn desk(&self, waker: Waker, board: Board) -> Desk {
        Desk { queue: Arc::clone(&self.0), waker, board }
    }

    pub(crate) fn take(&self) -> Option<Order> {
        self.0.pop()
    }
}

impl Default for Orders {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a shard is asked.
#[derive(Clone)]
pub struct Desk {
    queue: Arc<ArrayQueue<Order>>,
    waker: Waker,
    board: Board,
}

impl Desk {
    /// Gives an order and wakes the shard.
    pub fn give(&self, order: Order) -> Result<(), TooManyOrders> {
        self.queue.push(order).map_err(|_| TooManyOrders)?;
        self.waker.wake();
        Ok(())
    }

    /// Where bells of the shard's sessions are rung.
    pub const fn board(&self) -> &Board {
        &self.board
    }
}
