//! `bench-forwarding`: what a packet costs the relay's worker, against naive forwarders.
//!
//! ```text
//! command_line ── run ─┬─ cases      what is compared
//!                      ├─ rig        namespaces, injectors, counters, inboxes, soaker
//!                      ├─ subject    the process under test, its flows
//!                      ├─ measure    one measurement, from quiet to quiet
//!                      └─ results ── targets, report, host
//!              └─ spoof             the same rig, under a flood of forged first packets
//! ```
//!
//! `plan` has the addresses and a picture of the network.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

mod arrivals;
mod cases;
mod command_line;
mod forged;
mod measure;
mod plots;
mod report;
mod results;
mod rig;
mod run;
mod spoof;
mod subject;
mod targets;
mod traffic;

use std::process::ExitCode;

use clap::Parser;

use command_line::{Command, CommandLine};

#[expect(clippy::print_stderr, reason = "this is the program's output")]
fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Run(run) => run::run(&run),
        Command::Spoof(spoof) => spoof::run(&spoof),
        Command::Internal(part) => part.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-forwarding: {error:#}");
            ExitCode::FAILURE
        }
    }
}
