//! `ringway-transceiver`: the command line. What the commands do is the library's.

mod args;
mod ctl;
mod keys;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use service::exit;
use transceiver::control::config::Config;

use args::{Args, Command};

fn main() -> ExitCode {
    let command = Args::parse().into_command();
    exit::run(|| match command {
        Command::Run(run) => transceiver::control::run(run.sources()),
        Command::CheckConfig(check) => check.run::<Config>(),
        Command::PrintConfig(print) => print.run::<Config>(),
        Command::Ctl(question) => ctl::run(&question),
        Command::ApiKey(wanted) => keys::api_key(&wanted),
        Command::Extra(extra) => extra.run(Args::command()),
    })
}
