//! What to run.

use std::path::PathBuf;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  chaos                          Every row, and the table in docs/reliability.md anew: make chaos
  chaos --list                   What there is, and what is promised
  chaos upgrade flood-replay     Two rows; the table on the terminal only
  chaos --short                  A few rows for some seconds each, as in CI

Needs root (network namespaces), iproute2, util-linux, and redis-server for the rows with Redis.
Exit codes: 0 every promise was kept, 1 a row could not be run, 2 usage, 3 a promise was broken.";

/// Breaks one thing at a time under a few hundred real calls, and says what they lost.
#[derive(Debug, Parser)]
#[command(name = "chaos", version = service::build::VERSION, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The rows to run, by their names; all if none is named.
    #[arg(value_name = "ROW")]
    pub(crate) rows: Vec<String>,
    /// List the rows with what they promise, and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// A few rows, with few calls and for a few seconds each.
    #[arg(long)]
    pub(crate) short: bool,
    /// Calls in each row. [default: 200; with --short 20]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) calls: Option<u16>,
    /// The folder with ringway-relay and ringway-transceiver. [default: this program's own]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) programs: Option<PathBuf>,
    /// Renew the table in this file, between its markers.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}
