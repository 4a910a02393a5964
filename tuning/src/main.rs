//! `ringway-tuning`: the command line. What the commands do is the library's.

mod args;
mod commands;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use service::exit;

use args::{Args, Command};

/// Failed: told apart from advice, which is 1.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let command = Args::parse().command;
    let mut verdict = 0;
    let code = exit::run(|| {
        verdict = match command {
            Command::Check(check) => commands::check(check)?,
            Command::Plan(plan) => commands::plan(plan)?,
            Command::Apply(apply) => commands::apply(apply)?,
            Command::Revert(revert) => commands::revert(revert)?,
            Command::Persist(persist) => commands::persist(persist)?,
            Command::Unpersist(unpersist) => commands::unpersist(&unpersist)?,
            Command::Explain(explain) => commands::explain(&explain)?,
            Command::Capture(capture) => commands::capture(capture)?,
            Command::Extra(extra) => {
                extra.run(Args::command())?;
                0
            }
        };
        Ok(())
    });
    if code == ExitCode::SUCCESS {
        ExitCode::from(verdict)
    } else if code == ExitCode::FAILURE {
        ExitCode::from(FAILED)
    } else {
        code
    }
}
