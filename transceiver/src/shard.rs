//! One shard: a pinned thread with a tunnel socket and the sessions behind it.
//!
//! ```text
//!   ┌─► wait ──► datagrams ──► bells ──► deadlines ──► orders ──► seal and flush ──► publish ─┐
//!   └─────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`core`] decides and does no I/O; [`thread`] moves datagrams. Signaling and control speak to it by
//! [`Order`]s and hear from it by their replies and by its row of [`Numbers`].

pub mod core;
mod counters;
mod deadlines;
mod ended;
#[cfg(feature = "fuzz")]
pub mod fuzz;

mod numbers;
mod order;
mod relays;
mod sessions;
#[cfg(test)]
mod tests;
pub mod thread;

pub use counters::{Counters, HistogramSeries, Series, SeriesKind};

pub use numbers::{Numbers, Own, Slot};
pub use order::{
    Desk, Limits, NoSuchCall, Opening, Order, Orders, QUEUE_ORDERS_MAX, Question, Refusal, Reply,
    TooManyOrders,
};
pub use relays::Random;
