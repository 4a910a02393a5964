//! Measures a Ringway deployment from the outside, with an open loop: every packet has a time at
//! which it is due, and every latency counts from that time. A target that stalls is therefore seen
//! to stall, instead of quietly slowing its own load down (coordinated omission).
//!
//! ```text
//! call ───── one WebRTC client, sans-IO (str0m)
//! ```
//!
//! The protocol parts hold no socket and read no clock, so that tests put known delay and loss into
//! them and ask whether the report says the same.
#![forbid(unsafe_code)]

pub mod call;
pub mod calls;
pub mod conduct;
pub mod control;
pub mod flows;
pub mod host;
pub mod measure;
pub mod ping;
pub mod plan;
pub mod population;
pub mod report;
pub mod sink;
pub mod slo;
pub mod target;
#[cfg(test)]
#[path = "../tests/support/answerer.rs"]
mod testing;
pub mod verdict;
