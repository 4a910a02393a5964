//! `ringway-relay`: the command line. What the commands do is the library's.

mod args;
mod ctl;
mod keys;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use relay::control::config::Config;
use service::exit;

use args::{Args, Command};

/// Counts allocations, so that a worker can show that it makes none.
#[global_allocator]
static HEAP: engine::heap::Counting = engine::heap::Counting;

fn main() -> ExitCode {
    let command = Args::parse().into_command();
    exit::run(|| match command {
        Command::Run(run) => relay::control::run(run.sources()),
        Command::CheckConfig(check) => check.run::<Config>(),
        Command::PrintConfig(print) => print.run::<Config>(),
        Command::Ctl(question) => ctl::run(&question),
        Command::Keygen(wanted) => keys::keygen(&wanted),
        Command::Decode(wanted) => keys::show_ufrag(&wanted),
        Command::Extra(extra) => extra.run(Args::command()),
    })
}
