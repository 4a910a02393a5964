//! `bench-loadgen`: how many packets a second `ringway-loadgen flows` drives out and back from one core.
//!
//! The generator has core 1; what sends every packet back (`sink --direct`) has core 0; between them is a
//! pair of devices. Packets leave by sockets, and by direct egress. The rate that counts is the highest at
//! which the generator itself says that it was not the bottleneck.
#![forbid(unsafe_code)]

mod report;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How many packets a second ringway-loadgen flows drives out and back from one core.
///
/// Searches for the highest rate at which no more than 0.1 % is lost and the generator, on core 1, says
/// of itself that it was not the bottleneck: with packets that leave by sockets, and by direct egress.
/// What sends the packets back has core 0, and leaves by the same. Both have a network namespace of
/// their own, which needs root.
#[derive(Debug, Parser)]
#[command(name = "bench-loadgen", after_help = EXAMPLES)]
struct Options {
    /// One short repetition: enough to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Repetitions, 1 to 20.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    reps: Option<u32>,
    /// Seconds of each step of the search, 2 to 30.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=30))]
    seconds: Option<u64>,
    /// What each flow sends, 50 times a second, in bytes.
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(92..=1200))]
    bytes: u16,
    /// Packets a second that the search begins with.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    start: u32,
    /// How the generator moves datagrams.
    #[arg(long, default_value = "auto", value_parser = ["auto", "uring", "mmsg"])]
    engine: String,
    /// The generator's program; without it, `ringway-loadgen` beside this program.
    #[arg(long, value_name = "PATH")]
    loadgen: Option<PathBuf>,
    /// Where the results go; "-" for nowhere.
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    results: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  make bench-loadgen                             The figure to quote, six minutes
  target/release/bench-loadgen --quick           A look, two minutes
  target/release/bench-loadgen --engine mmsg --results -";

impl Options {
    fn reps(&self) -> u32 {
        self.reps.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 2 } else { 4 }))
    }
}

#[expect(clippy::print_stderr, reason = "this is the program's output")]
fn main() -> ExitCode {
    match run::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
        let options = Options::parse_from(["bench-loadgen", "--quick", "--reps", "2"]);
        assert_eq!((options.reps(), options.window().as_secs()), (2, 2));
    }
}
