//! `ringway-loadgen`: the command line. What the commands do is the library's.

mod args;
mod attend;
mod commands;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use service::exit;

use args::{Args, Command};

fn main() -> ExitCode {
    let command = Args::parse().command;
    let mut code = ExitCode::SUCCESS;
    let failed = exit::run(|| {
        code = match command {
            Command::Calls(calls) => commands::calls::run(&calls)?,
            Command::Flows(flows) => commands::flows::run(&flows)?,
            Command::Sink(sink) => commands::sink::run(&sink)?,
            Command::Compare(compare) => commands::compare::run(&compare)?,
            Command::Ping(ping) => commands::ping::run(&ping)?,
            Command::Extra(extra) => {
                extra.run(Args::command())?;
                ExitCode::SUCCESS
            }
        };
        Ok(())
    });
    // An error has its own code; a verdict has the command's.
    if failed == ExitCode::SUCCESS { code } else { failed }
}

/// Advice for the person at the terminal; stdout may be a file.
fn advise(text: &str) {
    // If stderr is closed there is nobody to advise.
    let _ = writeln!(std::io::stderr(), "{text}");
}
