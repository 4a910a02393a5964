//! Real calls: WebRTC clients through signaling, relay and transceiver of any deployment.
//!
//! One task per call on tokio-uring, some threads. A call sends a numbered frame every 20 ms from a
//! fixed beat, whether or not anything comes back, and keeps books of what does.

mod beat;
mod book;
mod failure;
mod kept;
pub mod signaling;
mod task;
mod worker;

pub use failure::Failure;
pub use worker::{Worker, WorkerSettings};
