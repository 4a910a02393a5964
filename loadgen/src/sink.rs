//! The far end for synthetic flows: proves consent, and sends every packet back with what it knows
//! of it. Behind a relay it is a shard; without one it is what the relay is compared with.

mod echo;
mod shard;
mod worker;

pub use echo::{Echo, EchoCounts};
pub use shard::{Shard, ShardCounts};
pub use worker::{Progress, Worker, WorkerSettings};
