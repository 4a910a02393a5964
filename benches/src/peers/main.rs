//! `bench-peers`: what a round trip costs Ringway, and what it costs what a user would take instead.
//!
//! ```text
//! command_line ── run ─┬─ candidate   who is compared, how each is started and spoken to
//!                      ├─ bench       the network, and the loop that sends, echoes and listens
//!                      ├─ trips       round trips at one rate
//!                      ├─ speech      flows, and packets as each candidate wants them
//!                      ├─ subject     a running candidate: set up, measured, weighed
//!                      └─ results ─── report, verdicts
//!              └─ latency            the relay alone: what it adds, at shares of its capacity
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

mod bench;
mod candidate;
mod command_line;
mod footprint;
mod latency;
mod report;
mod results;
mod run;
mod speech;
mod subject;
mod trips;
mod turn;
mod verdicts;

use std::process::ExitCode;

use clap::Parser;

use command_line::{Command, CommandLine};

#[expect(clippy::print_stderr, reason = "this is the program's output")]
fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Latency(options) => latency::run(&options),
        Command::Internal(part) => part.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}
