//! Settings from the command line. No secret is among them: every user of a host can read command
//! lines.
//!
//! They are not repeated one by one: those that people reach for have a flag, and `--set KEY=VALUE`
//! reaches all of them. Every one is a layer over the file, so a flag's mistake is reported by the
//! same check, with the flag's name.

use clap::Args;

use super::Suggested;
use crate::config::Flag;

/// The flags of a process that set keys of its configuration.
pub trait Settings: Args {
    /// As layers over the file, the later ones above.
    fn flags(&self) -> Vec<Flag>;
}

/// Those that every process has.
#[derive(Debug, Args, Default)]
pub struct Common {
    /// How datagrams are moved: auto, uring or mmsg.
    #[arg(long, value_parser = Suggested(&["auto", "uring", "mmsg"]), hide_possible_values = true)]
    engine: Option<String>,
    /// Which cores its threads are pinned to: 2,3 or 2-3,8.
    #[arg(long)]
    cpus: Option<String>,
    /// The file with the keys that relays and transceivers share.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    keys: Option<String>,
    /// Which log lines are written: info, debug, or by module: info,service=debug.
    #[arg(long, value_name = "LEVEL")]
    #[arg(value_parser = Suggested(&["error", "warn", "info", "debug", "trace"]))]
    #[arg(hide_possible_values = true)]
    log_level: Option<String>,
    /// What log lines look like: text or json.
    #[arg(long, value_name = "FORMAT")]
    #[arg(value_parser = Suggested(&["text", "json"]), hide_possible_values = true)]
    log_format: Option<String>,
    /// Any key, as print-config shows it: --set drain.deadline=1m (as often as needed).
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Common {
    /// With those of the process itself, each with the key it sets. `--set` first, so that the flag
    /// with a name of its own wins.
    pub fn flags<const N: usize>(&self, own: [(&str, &str, &Option<String>); N]) -> Vec<Flag> {
        let set = self.set.iter().map(|(key, value)| Flag::new("--set", key, value));
        let common = [
            ("--engine", "engine", &self.engine),
            ("--cpus", "cpus", &self.cpus),
            ("--keys", "keys", &self.keys),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        let named = own
            .into_iter()
            .chain(common)
            .filter_map(|(flag, key, value)| Some(Flag::new(flag, key, value.as_deref()?)));
        set.chain(named).collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("must be KEY=VALUE, such as drain.deadline=1m".to_owned()),
    }
}
