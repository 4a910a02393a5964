//! The fault suite: a few hundred real calls, and one thing that breaks at a time.
//!
//! ```text
//!   command_line ─ what to run          rows ── one file for each kind of fault
//!   run ────────── runs it                │
//!   report ─────── tells of it          stage ─ relays, transceivers, Redis, calls
//!                                         │
//!                     fleet ── member ── ledger        strangers
//!                     all calls  one call  its books   who floods and spoofs
//! ```
//!
//! Everything is real but the network: the programs as they are installed, on hosts that are network
//! namespaces, and str0m as the clients.

mod command_line;
mod findings;
mod fleet;
mod ledger;
mod member;
mod namespaces;
mod page;
mod process;
mod redis;
mod report;
mod rows;
mod run;
mod stage;
mod strangers;

use std::process::ExitCode;

use clap::Parser as _;

use crate::command_line::Options;

/// All promises were kept.
const KEPT: u8 = 0;
/// A row could not be run.
const FAILED: u8 = 1;
/// A promise was broken.
const BROKEN: u8 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if options.list { report::list() } else { run::run(&options) };
    match result {
        Ok(true) => ExitCode::from(KEPT),
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            report::say(&format!("chaos: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// A float as a count, without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and no rate here is negative"
)]
pub(crate) fn count(value: f64) -> u64 {
    value as u64
}
