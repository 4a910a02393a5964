//! The transceiver: terminates WebRTC calls behind the relays and connects them to AI backends.
//!
//! ```text
//!   signaling ── HTTP: offers, hang-ups, reports ──► calls ── orders ──┐
//!   control ──── config, metrics, admin, signals ────┘                 ▼
//!                relays ◄── tunnel ──► shard (thread: engine, tunnel keys, maps, deadlines)
//!                                        └─ session (one call: str0m, path, playout)
//!                                             └─ backend (echo, parrot, …)
//! ```
//!
//! `session` and `shard::core` do no I/O and have no clock: time and packets are arguments.
//! `negotiation` turns an offer into an answer, on whichever thread has the time for it.
#![forbid(unsafe_code)]

pub mod backend;
pub mod call;
pub mod calls;
pub mod control;
pub mod ingress;
pub mod negotiation;
pub mod session;
pub mod shard;
pub mod signaling;
