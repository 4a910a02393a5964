//! The command line: what it is called, what it does, and an example for each.

use clap::{Args as ClapArgs, Parser, Subcommand};
use service::cli::{self, CheckConfig, Common, PrintConfig, Run, Suggested};
use service::config::Flag;

use crate::ctl::args::{EXAMPLES as CTL_EXAMPLES, Question};
use crate::keys::{DECODE_EXAMPLES, Decode, KEYGEN_EXAMPLES, Keygen};

/// The public edge of Ringway: routes clients' WebRTC packets to transceivers by the ICE username
/// fragment of their first packet.
#[derive(Debug, Parser)]
#[command(name = "ringway-relay", version = service::build::VERSION, after_help = EXAMPLES)]
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
  ringway-relay print-config > relay.toml    Write a file to start from, every key explained
  ringway-relay check-config relay.toml      Check it before it goes anywhere
  ringway-relay keygen keys.toml             Make the keys that relays and transceivers share
  ringway-relay run --config relay.toml      Start
  ringway-relay ctl status                   See how it is

Settings come from the file, then RINGWAY_ variables (flows.idle_new is RINGWAY_FLOWS_IDLE_NEW),
then flags; later ones win.
Exit codes: 0 stopped as asked, 1 failed, 2 configuration or usage is wrong.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the relay (what happens without a command, too).
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run<Settings>),
    /// Check a configuration file, with the environment and flags over it, and start nothing.
    #[command(after_help = CHECK_EXAMPLES)]
    CheckConfig(CheckConfig<Settings>),
    /// Print every key with its default and what it means; or with --config, what is in effect.
    #[command(after_help = PRINT_EXAMPLES)]
    PrintConfig(PrintConfig<Settings>),
    /// Ask a running relay: status, flows, shards; drain, reload, trace.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(cli::Ctl<Question>),
    /// Make a keyring, or print an entry for one.
    #[command(after_help = KEYGEN_EXAMPLES)]
    Keygen(Keygen),
    /// Say what a ufrag means, with a key file and no running relay.
    #[command(after_help = DECODE_EXAMPLES)]
    Decode(Decode),
    #[command(flatten)]
    Extra(cli::Extra),
}

const RUN_EXAMPLES: &str = "\
Examples:
  ringway-relay run --config /etc/ringway/relay.toml
  ringway-relay run --config relay.toml --engine mmsg --workers 2 --log-level debug
  RINGWAY_TUNNEL_ADDRESS=10.0.0.5 ringway-relay run --config relay.toml --set drain.deadline=1m";

const CHECK_EXAMPLES: &str = "\
Examples:
  ringway-relay check-config relay.toml && systemctl reload ringway-relay
  ringway-relay check-config relay.toml --set workers=8

Each mistake is a line such as:  relay.toml:17: workers: must be \"auto\" or 1..=64, is 0";

const PRINT_EXAMPLES: &str = "\
Examples:
  ringway-relay print-config > relay.toml
  ringway-relay print-config --config relay.toml --workers 4";

/// Settings that have a flag, beside those of every process.
#[derive(Debug, ClapArgs, Default)]
#[command(next_help_heading = "Settings (over the file and the environment)")]
pub(crate) struct Settings {
    /// Public addresses, separated by commas: 0.0.0.0:3478,[::]:3478.
    #[arg(long, value_name = "ADDRESSES")]
    listen: Option<String>,
    /// How many worker threads: a number, or auto for one on each core.
    #[arg(long, value_name = "COUNT", value_parser = Suggested(&["auto"]))]
    #[arg(hide_possible_values = true)]
    workers: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl cli::Settings for Settings {
    fn flags(&self) -> Vec<Flag> {
        self.common
            .flags([("--listen", "listen", &self.listen), ("--workers", "workers", &self.workers)])
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use relay::control::admin::protocol::{ClientAddress, Cursor, Request, TracedPacket};
    use relay::control::config::Config;
    use service::cli::Settings as _;
    use service::config::Sources;

    use super::*;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("ringway-relay").chain(words.split_whitespace());
        Args::try_parse_from(words).map(Args::into_command)
    }

    fn settings(words: &str) -> Settings {
        let Command::Run(run) = parse(words).unwrap() else { panic!("{words} is to run") };
        run.settings
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
        for words in ["--config a.toml --workers 2", "run --config a.toml --workers 2"] {
            let Command::Run(run) = parse(words).unwrap() else { panic!("{words} is to run") };
            assert_eq!(run.config, Some("a.toml".into()));
            assert_eq!(run.settings.flags(), [Flag::new("--workers", "workers", "2")]);
        }
        assert!(matches!(parse("check-config a.toml"), Ok(Command::CheckConfig(_))));
        assert!(matches!(parse("print-config"), Ok(Command::PrintConfig(_))));
    }

    #[test]
    fn usage_errors() {
        for words in [
            "check-config",
            "print-config a.toml",
            "--set workers",
            "--set =1",
            "--worker 2",
            "keygen",
            "keygen a.toml --routing B",
            "keygen --routing B --tunnel 2",
            "keygen --routing BB",
            "keygen --tunnel 256",
            "decode",
            "ctl flow",
            "ctl flow 192.0.2.7",
            "ctl flows --from 7",
            "ctl trace 192.0.2.7:1",
            "ctl trace 192.0.2.7:1 --hex 00 --ufrag A",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn questions_become_requests() {
        let client: std::net::SocketAddr = "192.0.2.7:5000".parse().unwrap();
        let address = ClientAddress { client, listener: Some(1) };
        let trace = |packet| Request::Trace { client, listener: None, packet };
        let cursor = Some(Cursor { worker: 1, slot: 20 });
        let table = [
            ("ctl status", Request::Status),
            ("ctl --json top", Request::Top),
            ("ctl flows", Request::Flows { worker: None, from: None, limit: 100 }),
            (
                "ctl flows --worker 1 --from 1:20 --limit 5",
                Request::Flows { worker: Some(1), from: cursor, limit: 5 },
            ),
            ("ctl flow 192.0.2.7:5000 --listener 1", Request::Flow(address)),
            ("ctl forget 192.0.2.7:5000 --listener 1", Request::Forget(address)),
            ("ctl trace 192.0.2.7:5000 --hex 80", trace(TracedPacket::Hex("80".into()))),
            ("ctl trace 192.0.2.7:5000 --ufrag A", trace(TracedPacket::Ufrag("A".into()))),
            ("ctl decode A", Request::Decode { ufrag: "A".into() }),
            ("ctl peers --socket /x", Request::Peers),
            ("ctl drain", Request::Drain),
            ("ctl undrain", Request::Undrain),
            ("ctl reload", Request::Reload),
            ("ctl upgrade", Request::Upgrade),
        ];
        for (words, expected) in table {
            let Command::Ctl(ctl) = parse(words).unwrap() else { panic!("{words} is ctl") };
            assert_eq!(ctl.question.request(), expected, "{words}");
        }
    }

    #[test]
    fn keys_are_where_the_relay_expects_them() {
        let keys = Config::default().keys;
        let mut command = Args::command();
        let decode = command.find_subcommand_mut("decode").unwrap();
        let argument = decode.get_arguments().find(|argument| argument.get_id() == "keys");
        assert_eq!(argument.unwrap().get_default_values(), [keys.as_os_str()]);
    }

    #[test]
    fn every_flag_sets_a_key_that_there_is() {
        let settings = settings(
            "--listen 127.0.0.1:1,[::1]:1 --engine mmsg --workers 2 --cpus 2-3 --keys /k \
             --log-level debug --log-format json --set flows.idle_new=5s --set workers=9",
        );
        let sources = Sources { flags: settings.flags(), ..Sources::default() };
        let config = sources.parse::<Config>("").unwrap().config;
        let printed = toml::to_string(&config).unwrap();
        for line in [
            "listen = [\"127.0.0.1:1\", \"[::1]:1\"]",
            "engine = \"mmsg\"",
            "workers = 2",
            "cpus = [2, 3]",
            "keys = \"/k\"",
            "level = \"debug\"",
            "format = \"json\"",
            "idle_new = \"5s\"",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in\n{printed}");
        }
    }
}
