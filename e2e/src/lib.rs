//! Ringway as a whole, tried with real clients: a test kit, and the tests that use it.
//!
//! ```text
//!   client host ── (NAT) ── relay host ── transceiver host      `hosts`, `nat`: network namespaces
//!    Chromium                 ringway-      ringway-            `peer`: clients, told what to do
//!    aiortc                   relay         transceiver         `stage`: all of it, started
//!        └────── signaling, past the relay ──────┘              `front`
//! ```
//!
//! Clients are programs in `clients/`; what they say must come back is in `tones`. Tests whose
//! client or rights are missing skip with a line that says so; with `RINGWAY_E2E=require` in the
//! environment, as in CI, they fail instead.
// A test kit: what goes wrong here is a failed test, and says so by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

pub mod front;
pub mod hosts;
pub mod http;
pub mod nat;
pub mod peer;
pub mod process;
pub mod programs;
pub mod skip;
pub mod stage;
pub mod talker;
pub mod tones;
