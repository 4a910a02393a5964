//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use kit::command_line::{self, Internal};

use crate::candidate::{ALL, Candidate};

/// What a round trip costs Ringway's relay, beside what one would take instead, in the same run.
///
/// Clients send packets through one worker on core 0; an echo sends them back. Builds a network of
/// three namespaces that nothing else can see; generator and echo have core 1. Who is not installed
/// is left out, with a line: see benches/peers/install.sh. Needs root and iproute2; removes everything
/// it made, also after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "bench-peers", after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  benches/peers/install.sh && make bench-peers                  The figures to quote, about 17 minutes
  sudo target/release/bench-peers run --quick                   A look, three minutes
  sudo target/release/bench-peers run --only ringway,nginx      Two of them
  sudo target/release/bench-peers latency                       What the relay adds, five minutes

Compare figures of one run only. docs/benchmarking.md says how to read them.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare all that are installed; write a table, Markdown, JSON and a picture.
    Run(Run),
    /// Measure what the relay adds to a round trip at 10, 50 and 90 % of what one worker carries.
    Latency(Latency),
    /// A part of the rig.
    #[command(flatten)]
    Internal(Internal),
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// One repetition of half a second a step: enough to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Repetitions, 1 to 20. They are interleaved: every candidate once, then all of them again.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    reps: Option<u32>,
    /// Seconds of each measurement at a fixed rate, 0.2 to 30.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Seconds of each step of the search for the limit, 0.2 to 30.
    #[arg(long, value_parser = seconds)]
    search_seconds: Option<Duration>,
    /// Fixed rates, round trips a second.
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 60_000],
          value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) rates: Vec<u32>,
    /// Flows.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub(crate) flows: u32,
    /// Flows to look at memory with, beside those; 0 for none.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(0..=15_000))]
    pub(crate) flows_for_memory: u32,
    /// Only these candidates; `--only list` lists them.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Leave the search for the limit out.
    #[arg(long)]
    pub(crate) no_limit: bool,
    /// The relay's program; without it, `ringway-relay` beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay: Option<PathBuf>,
    /// Where install.sh has put programs.
    #[arg(long, value_name = "FOLDER", default_value = "target/peers/bin")]
    pub(crate) tools: PathBuf,
    /// Where the results go; "-" for nowhere.
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    pub(crate) results: PathBuf,
}

impl Run {
    /// How often.
    pub(crate) fn reps(&self) -> u32 {
        self.reps.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long at a fixed rate.
    pub(crate) fn window(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_millis(if self.quick { 500 } else { 3000 }))
    }

    /// How long at each step of the search.
    pub(crate) fn search_window(&self) -> Duration {
        self.search_seconds.unwrap_or(Duration::from_millis(if self.quick { 300 } else { 1000 }))
    }

    /// Who is wanted, in the order of the tables.
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>> {
        let names: Vec<_> = ALL.iter().map(|candidate| candidate.name).collect();
        for name in &self.only {
            if !names.contains(&name.as_str()) {
                bail!("--only takes names of: {}", names.join(", "));
            }
        }
        let wanted = |candidate: &&Candidate| {
            self.only.is_empty() || self.only.iter().any(|name| name == candidate.name)
        };
        Ok(ALL.iter().filter(wanted).copied().collect())
    }
}

/// `latency`.
#[derive(Debug, Args)]
pub(crate) struct Latency {
    /// One repetition of half a second: enough to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Repetitions, 1 to 20.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    reps: Option<u32>,
    /// Seconds of each measurement, 0.2 to 30.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Seconds of each step of the search for the capacity, 0.2 to 30.
    #[arg(long, value_parser = seconds)]
    search_seconds: Option<Duration>,
    /// Flows.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub(crate) flows: u32,
    /// The relay's program; without it, `ringway-relay` beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) relay: Option<PathBuf>,
    /// Where the results go; "-" for nowhere.
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    pub(crate) results: PathBuf,
}

impl Latency {
    /// How often.
    pub(crate) fn reps(&self) -> u32 {
        self.reps.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long at each share.
    pub(crate) fn window(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_millis(if self.quick { 500 } else { 3000 }))
    }

    /// How long at each step of the search.
    pub(crate) fn search_window(&self) -> Duration {
        self.search_seconds.unwrap_or(Duration::from_millis(if self.quick { 300 } else { 1000 }))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    command_line::seconds(text, 0.2..=30.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &str) -> Result<Run, clap::Error> {
        let line = ["bench-peers", "run"].into_iter().chain(arguments.split_whitespace());
        match CommandLine::try_parse_from(line)?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn latency_has_usual_times() {
        let line = ["bench-peers", "latency", "--quick", "--reps", "2"];
        let Command::Latency(quick) = CommandLine::try_parse_from(line).unwrap().command else {
            panic!("latency")
        };
        assert_eq!((quick.reps(), quick.window()), (2, Duration::from_millis(500)));
    }

    #[test]
    fn the_definition_is_sound_and_its_bounds_hold() {
        CommandLine::command().debug_assert();
        for refused in ["--reps 0", "--seconds 0.1", "--rates 5", "--flows 3", "--flows 20000"] {
            assert!(run(refused).is_err(), "{refused}");
        }
        let usual = run("").unwrap();
        assert_eq!((usual.reps(), usual.rates.as_slice()), (3, &[20_000, 60_000][..]));
    }

    #[test]
    fn candidates_are_picked_by_name_in_the_order_of_the_tables() {
        let only = |names| {
            let picked = run(&format!("--only {names}")).unwrap().candidates();
            picked.map(|all| all.iter().map(|candidate| candidate.name).collect::<Vec<_>>())
        };
        assert_eq!(only("nginx,ringway").unwrap(), ["ringway", "nginx"]);
        assert!(only("list").unwrap_err().to_string().contains("nginx"));
        assert_eq!(run("").unwrap().candidates().unwrap().len(), ALL.len());
    }
}
