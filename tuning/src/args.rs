//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Parser, Subcommand};
use tuning::change::journal::JOURNAL;
use tuning::items::ITEMS;
use tuning::profile::Profile;

/// Checks a Linux host against what the relay needs, and tunes it: shown before it is done, and
/// undone exactly.
#[derive(Debug, Parser)]
#[command(name = "ringway-tuning", version = service::build::VERSION, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringway-tuning check                        How is this host? Changes nothing
  ringway-tuning plan                         The shell lines that apply would run
  ringway-tuning apply                        Run them (root); --allow ITEM for risky ones
  ringway-tuning revert                       Put everything back as it was
  ringway-tuning persist                      Keep what apply did over a restart of the host
  ringway-tuning explain irq-affinity         What is this, and when does it hurt?

Exit codes: 0 fine; 1 advice, or something was refused; 2 something breaks the relay, or the
configuration or usage is wrong; 3 failed.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at this host, and say what could be better and what breaks the relay.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Print the shell lines that apply would run, each with its reason.
    Plan(Plan),
    /// Change what should be changed: journalled first, verified afterwards (root).
    Apply(Apply),
    /// Put back what apply changed, last change first (root).
    Revert(Revert),
    /// Write what apply changed into files for the next start of the host (root).
    Persist(Persist),
    /// Remove those files (root).
    Unpersist(Unpersist),
    /// Say what an item does, when it hurts, and how to see it working. Without one, list all.
    Explain(Explain),
    /// Write all that check reads into one file: for a bug report, or to check it elsewhere.
    #[command(after_help = CAPTURE_EXAMPLES)]
    Capture(Capture),
    #[command(flatten)]
    Extra(service::cli::Extra),
}

const CHECK_EXAMPLES: &str = "\
Examples:
  ringway-tuning check --config /etc/ringway/relay.toml
  ringway-tuning check --profile throughput --interface eth1
  ringway-tuning check --json | jq '.items[] | select(.state == \"advice\") | .item'

Exit codes: 0 fine, 1 advice, 2 something breaks the relay or its configuration is wrong, 3 failed.";

const CAPTURE_EXAMPLES: &str = "\
Examples:
  ringway-tuning capture > host.txt
  ringway-tuning check --host host.txt        On any machine

The file has the host's addresses and firewall rules in it. It has no keys.";

/// What the host is for.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Subject {
    /// What is wanted of the host: by default latency on a machine of your own, vm below a
    /// hypervisor, container in one.
    #[arg(long, value_enum)]
    pub(crate) profile: Option<Profile>,
    /// The relay's configuration: its ports, workers, cores, buffers. Without one, the file in
    /// /etc/ringway if it is there, else the relay's defaults.
    #[arg(long, short, value_name = "FILE", env = "RINGWAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Interfaces that the relay's packets go by, separated by commas, if they are not those with
    /// its addresses.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) interface: Vec<String>,
    /// Stand in for / with this tree: its files are read and written, its usr/sbin is run.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<PathBuf>,
}

/// Which items.
#[derive(Debug, ClapArgs)]
pub(crate) struct Items {
    /// Only these items, separated by commas.
    #[arg(long, value_name = "ITEM", value_delimiter = ',', value_parser = item_names())]
    #[arg(hide_possible_values = true)]
    pub(crate) only: Vec<String>,
}

/// Where the journal is.
#[derive(Debug, ClapArgs)]
pub(crate) struct Place {
    /// Where what was there before is written down.
    #[arg(long, value_name = "FILE", default_value = JOURNAL)]
    pub(crate) journal: PathBuf,
}

/// `check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) items: Items,
    /// Check a host that was captured, instead of this one.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub(crate) host: Option<PathBuf>,
    /// Show also what this host does not have, and why.
    #[arg(long)]
    pub(crate) all: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Plan for a host that was captured, instead of this one.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub(crate) host: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which items to change.
#[derive(Debug, ClapArgs)]
pub(crate) struct Choice {
    #[command(flatten)]
    pub(crate) items: Items,
    /// Risky items to change as well, separated by commas. `explain` tells what each may cost.
    #[arg(long, value_name = "ITEM", value_delimiter = ',', value_parser = item_names())]
    #[arg(hide_possible_values = true)]
    pub(crate) allow: Vec<String>,
}

/// `apply`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) place: Place,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `revert`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Revert {
    #[command(flatten)]
    pub(crate) items: Items,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Put back also what somebody else has set since.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only print the shell lines.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Stand in for / with this tree.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `persist`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Persist {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only print the files.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `unpersist`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Unpersist {
    /// Stand in for / with this tree.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<PathBuf>,
}

/// `explain`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// The item.
    #[arg(value_name = "ITEM", value_parser = item_names(), hide_possible_values = true)]
    pub(crate) item: Option<String>,
}

/// `capture`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Capture {
    #[command(flatten)]
    pub(crate) subject: Subject,
}

fn item_names() -> PossibleValuesParser {
    PossibleValuesParser::new(ITEMS.iter().map(|item| item.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("ringway-tuning").chain(words.split_whitespace());
        Args::try_parse_from(words)
    }

    #[test]
    fn the_definition_is_sound_and_every_flag_is_explained() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        assert_eq!(service::cli::unexplained(&command), [""; 0]);
    }

    #[test]
    fn items_are_named_as_they_are() {
        let Command::Apply(apply) =
            parse("apply --only rps,xps --allow conntrack").unwrap().command
        else {
            panic!("that is apply")
        };
        assert_eq!(apply.choice.items.only, ["rps", "xps"]);
        assert_eq!(apply.choice.allow, ["conntrack"]);
        let error = parse("apply --only irq-afinity").unwrap_err().to_string();
        assert!(error.contains("irq-affinity"), "{error}");
        for words in ["", "check --host a --root b", "explain nothing", "persist --json"] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }
}
