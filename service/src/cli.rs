//! What the command lines of all programs have in common, so that who knows one knows the others.
//!
//! A program declares its commands with clap and takes from here those that every one has
//! ([`Run`], [`CheckConfig`], [`PrintConfig`]), how a running process is reached ([`Ctl`]), the
//! settings that each has a flag for ([`Common`]), and what it says of itself ([`Extra`]).

mod ask;
mod configuration;
mod extra;
mod man;
mod settings;
mod suggested;

pub use ask::{Ctl, Reach, json, watch};
pub use configuration::{CheckConfig, PrintConfig, Run};
pub use extra::{Completions, Extra};
pub use settings::{Common, Settings};
pub use suggested::Suggested;

/// Commands and options that nobody has explained, by their names: for a test that there are none.
#[must_use]
pub fn unexplained(command: &clap::Command) -> Vec<String> {
    let name = command.get_name();
    let mut found = Vec::new();
    if command.get_about().is_none() {
        found.push(name.to_owned());
    }
    let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
    found.extend(silent.map(|argument| format!("{name} {}", argument.get_id())));
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    found.extend(below.flat_map(unexplained));
    found
}
