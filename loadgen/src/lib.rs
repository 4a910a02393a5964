//! Measures a Ringway deployment from the outside, with an open loop: every packet has a time at
//! which it is due, and every latency counts from that time. A target that stalls is therefore seen
//! to stall, instead of quietly slowing its own load down (coordinated omission).
//!
//! ```text
//! conduct ── a plan's steps as orders (control) to the threads, their measurements as a story
//!    ├ flows ── synthetic calls: generator (sans-IO) ── origins, engine      far end: sink
//!    └ calls ── call (one WebRTC client, sans-IO) ── tokio-uring, signaling
//! measure ── ledger, closed loop, histograms: what became of every packet
//! report ─── one value ── table, JSON, HTML, HdrHistogram files, Prometheus, compare
//! slo, verdict, target ── what is demanded, how it came out, who may be loaded
//! ```
//!
//! The protocol parts hold no socket and read no clock, so that tests put known delay and loss into
//! them and ask whether the report says the same.
#![forbid(unsafe_code)]

pub mod call;
pub mod calls;
pub mod conduct;
pub mod control;
mod direct;
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
