//! The command line: what it is called, what it does, and an example for each.

use clap::{Args as ClapArgs, Parser, Subcommand};
use service::cli::{self, CheckConfig, Common, PrintConfig, Run, Suggested};
use service::config::Flag;

use crate::ctl::args::{EXAMPLES as CTL_EXAMPLES, Question};
use crate::keys::{API_KEY_EXAMPLES, ApiKey};

/// Terminates WebRTC calls behind Ringway's relays, and connects them to AI backends.
#[derive(Debug, Parser)]
#[command(name = "ringway-transceiver", version = service::build::VERSION, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run<Settings>,
}

impl Args {
    /// The command; without one, `run`.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

const EXAMPLES: &str = "\
Examples:
  ringway-transceiver print-config > transceiver.toml   Write a file to start from, every key
                                                        explained; only `ingress` must be set
  ringway-transceiver check-config transceiver.toml     Check it before it goes anywhere
  ringway-relay keygen keys.toml                        Make the keys shared with the relays
  ringway-transceiver api-key web >> api-keys           Make a key for those who may call
  ringway-transceiver run --config transceiver.toml     Start
  ringway-transceiver ctl status                        See how it is

Settings come from the file, then RINGWAY_ variables (calls.time_max is RINGWAY_CALLS_TIME_MAX),
then flags; later ones win.
Exit codes: 0 stopped as asked, 1 failed, 2 configuration or usage is wrong.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the transceiver (what happens without a command, too).
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run<Settings>),
    /// Check a configuration file, with the environment and flags over it, and start nothing.
    #[command(after_help = CHECK_EXAMPLES)]
    CheckConfig(CheckConfig<Settings>),
    /// Print every key with its default and what it means; or with --config, what is in effect.
    #[command(after_help = PRINT_EXAMPLES)]
    PrintConfig(PrintConfig<Settings>),
    /// Ask a running transceiver: status, sessions; hang up, drain, reload.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(cli::Ctl<Question>),
    /// Print a new API key, as a line for the file of API keys.
    #[command(after_help = API_KEY_EXAMPLES)]
    ApiKey(ApiKey),
    #[command(flatten)]
    Extra(cli::Extra),
}

const RUN_EXAMPLES: &str = "\
Examples:
  ringway-transceiver run --config /etc/ringway/transceiver.toml
  ringway-transceiver run --config transceiver.toml --shards 2 --backend parrot --log-level debug
  RINGWAY_TRANSCEIVER=10.1.0.7 ringway-transceiver run --config transceiver.toml \\
      --ingress 203.0.113.7:3478 --set calls.time_max=1h";

const CHECK_EXAMPLES: &str = "\
Examples:
  ringway-transceiver check-config transceiver.toml && systemctl reload ringway-transceiver
  ringway-transceiver check-config transceiver.toml --set shards=8

Each mistake is a line such as:  transceiver.toml:17: shards: must be \"auto\" or 1..=256, is 0";

const PRINT_EXAMPLES: &str = "\
Examples:
  ringway-transceiver print-config > transceiver.toml
  ringway-transceiver print-config --config transceiver.toml --shards 4";

/// Settings that have a flag, beside those of every process.
#[derive(Debug, ClapArgs, Default)]
#[command(next_help_heading = "Settings (over the file and the environment)")]
pub(crate) struct Settings {
    /// The relays that clients are told, separated by commas: 203.0.113.7:3478,203.0.113.8:3478.
    #[arg(long, value_name = "ADDRESSES")]
    ingress: Option<String>,
    /// Where clients ask for calls, by HTTP.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Whom clients talk to that name nobody: echo or parrot.
    #[arg(long, value_parser = Suggested(&["echo", "parrot"]), hide_possible_values = true)]
    backend: Option<String>,
    /// How many threads carry calls: a number, or auto for one on each core.
    #[arg(long, value_name = "COUNT", value_parser = Suggested(&["auto"]))]
    #[arg(hide_possible_values = true)]
    shards: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl cli::Settings for Settings {
    fn flags(&self) -> Vec<Flag> {
        self.common.flags([
            ("--ingress", "ingress", &self.ingress),
            ("--listen", "signaling.listen", &self.listen),
            ("--backend", "backend", &self.backend),
            ("--shards", "shards", &self.shards),
        ])
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use service::cli::Settings as _;
    use service::config::Sources;
    use transceiver::control::admin::protocol::{Request, SESSIONS_DEFAULT};
    use transceiver::control::config::Config;

    use super::*;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("ringway-transceiver").chain(words.split_whitespace());
        Args::try_parse_from(words).map(Args::into_command)
    }

    #[test]
    fn the_definition_is_sound_and_every_flag_is_explained() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        assert_eq!(cli::unexplained(&command), [""; 0]);
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for words in ["--config a.toml --shards 2", "run --config a.toml --shards 2"] {
            let Command::Run(run) = parse(words).unwrap() else { panic!("{words} is to run") };
            assert_eq!(run.config, Some("a.toml".into()));
            assert_eq!(run.settings.flags(), [Flag::new("--shards", "shards", "2")]);
        }
        assert!(matches!(parse("check-config a.toml"), Ok(Command::CheckConfig(_))));
        assert!(matches!(parse("print-config"), Ok(Command::PrintConfig(_))));
        assert!(matches!(parse("api-key web"), Ok(Command::ApiKey(_))));
    }

    #[test]
    fn usage_errors() {
        for words in [
            "check-config",
            "print-config a.toml",
            "--set shards",
            "--set =1",
            "--shard 2",
            "api-key",
            "api-key a:b",
            "ctl",
            "ctl session",
            "ctl hangup",
            "ctl sessions --limit many",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn questions_become_requests() {
        let table = [
            ("ctl status", Request::Status),
            ("ctl status --line", Request::Status),
            ("ctl --json top", Request::Top),
            ("ctl sessions", Request::Sessions { limit: SESSIONS_DEFAULT }),
            ("ctl sessions --limit 5", Request::Sessions { limit: 5 }),
            ("ctl session rtc_a", Request::Session { id: "rtc_a".into() }),
            ("ctl hangup rtc_a --socket /x", Request::Hangup { id: "rtc_a".into() }),
            ("ctl drain", Request::Drain),
            ("ctl undrain", Request::Undrain),
            ("ctl reload", Request::Reload),
        ];
        for (words, expected) in table {
            let Command::Ctl(ctl) = parse(words).unwrap() else { panic!("{words} is ctl") };
            assert_eq!(ctl.question.request(), expected, "{words}");
        }
    }

    #[test]
    fn every_flag_sets_a_key_that_there_is() {
        let words = "--ingress 127.0.0.1:1,[::1]:1 --listen 127.0.0.1:2 --backend parrot \
                     --engine mmsg --shards 2 --cpus 2-3 --keys /k --log-level debug \
                     --log-format json --set calls.time_max=5m --set shards=9";
        let Command::Run(run) = parse(words).unwrap() else { panic!("{words} is to run") };
        let sources = Sources { flags: run.settings.flags(), ..Sources::default() };
        let config = sources.parse::<Config>("").unwrap().config;
        let printed = toml::to_string(&config).unwrap();
        for line in [
            "ingress = [\"127.0.0.1:1\", \"[::1]:1\"]",
            "listen = \"127.0.0.1:2\"",
            "backend = \"parrot\"",
            "engine = \"mmsg\"",
            "shards = 2",
            "cpus = [2, 3]",
            "keys = \"/k\"",
            "level = \"debug\"",
            "format = \"json\"",
            "time_max = \"5m\"",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in\n{printed}");
        }
    }
}
