//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use kit::command_line::{self, Internal};

/// What a packet costs the relay, beside forwarders that do nothing but forward, in the same run.
///
/// Builds a network of three namespaces (clients, relay, shards) that nothing else can see, injects
/// packets at one end and counts them at the other. The process under test has core 0, generator
/// and sink have core 1. Needs root, iproute2 and util-linux; removes everything it made, also
/// after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "bench-forwarding", after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo build --release -p ringway-relay -p ringway-benches
  sudo target/release/bench-forwarding run --quick              A look, three minutes
  sudo target/release/bench-forwarding run                      The figures to quote, about 17 minutes
  sudo target/release/bench-forwarding run --cases naive,relay-uring,fwd,saturation --reps 3
  sudo target/release/bench-forwarding spoof                    A flood of forged first packets

On a laptop: mains power, nothing else running. On a shared machine: more --reps. Compare figures of
one run only.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare the relay with the forwarders; write a table, Markdown and JSON.
    Run(Run),
    /// Flood the relay with forged STUN requests while established flows go on.
    Spoof(Spoof),
    /// A part of the rig.
    #[command(flatten)]
    Internal(Internal),
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// One repetition of a third of a second: enough to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Repetitions, 1 to 50. They are interleaved: every candidate once, then all of them again.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    reps: Option<u32>,
    /// Seconds of each measurement, 0.1 to 10.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Only these: engines (naive, mmsg, relay-uring, relay-mmsg, relay), budgets (coalesce-0, -50,
    /// -100, -200), directions (fwd, rev), loads (saturation, 50, 150), numbers of flows (flows-1,
    /// flows-1000, flows-100000). Without a word of a kind, all of that kind; but 1 and 100,000 flows
    /// only at the default budget, unless asked for.
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    pub(crate) cases: Vec<String>,
    /// The relay's program; without it, `ringway-relay` beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay: Option<PathBuf>,
    /// Where the results go; "-" for nowhere.
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    pub(crate) results: PathBuf,
}

impl Run {
    /// How often.
    pub(crate) fn reps(&self) -> u32 {
        self.reps.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long.
    pub(crate) fn window(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_millis(if self.quick { 300 } else { 1000 }))
    }
}

/// `spoof`.
#[derive(Debug, Args)]
pub(crate) struct Spoof {
    /// Forged packets of each kind, 10,000 to 10,000,000.
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(10_000..=10_000_000))]
    pub(crate) packets: u64,
    /// Forged packets a second, in thousands, 1 to 500.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) kpps: u32,
    /// Packets of established flows a second, in thousands, 1 to 100.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) media_kpps: u32,
    /// The relay's engine.
    #[arg(long, default_value = "relay-uring", value_parser = ["relay-uring", "relay-mmsg"])]
    pub(crate) engine: String,
    /// The relay's program; without it, `ringway-relay` beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay: Option<PathBuf>,
    /// Where the results go; "-" for nowhere.
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    pub(crate) results: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    command_line::seconds(text, 0.1..=10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &str) -> Result<Run, clap::Error> {
        let line = ["bench-forwarding", "run"].into_iter().chain(arguments.split_whitespace());
        match CommandLine::try_parse_from(line)?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn quick_is_a_default_that_yields() {
        let quick = run("--quick").unwrap();
        assert_eq!((quick.reps(), quick.window()), (1, Duration::from_millis(300)));
        let both = run("--quick --reps 7 --seconds 0.2").unwrap();
        assert_eq!((both.reps(), both.window()), (7, Duration::from_millis(200)));
        assert_eq!(run("").unwrap().reps(), 3);
    }

    #[test]
    fn bounds_hold() {
        for refused in ["--reps 0", "--reps 51", "--seconds 0.05", "--seconds 11", "--seconds x"] {
            assert!(run(refused).is_err(), "{refused}");
        }
        assert_eq!(run("--cases naive,fwd").unwrap().cases, ["naive", "fwd"]);
    }
}
