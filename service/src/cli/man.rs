//! The manual page of a program: one page with all its commands, from the definition that `--help`
//! shows. `man` of a page for each command would be dozens of pages, and no reader finds an option
//! whose page must be guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use crate::build;

/// The programs that have a page, and the section each is in: 8 is for administrators.
const PROGRAMS: [(&str, u8); 4] = [
    ("ringway-loadgen", 1),
    ("ringway-relay", 8),
    ("ringway-transceiver", 8),
    ("ringway-tuning", 8),
];

/// The page in roff, with the macros of `man(7)`.
pub(super) fn page(mut command: Command) -> String {
    // Fills in what clap adds itself: usage, --help, --version.
    command.build();
    let mut page = Page::default();
    page.head(&command);
    page.root(&command);
    page.section("COMMANDS");
    for below in shown(&command) {
        page.command(below, below.get_name());
    }
    page.environment(&command);
    page.exit_status(&command);
    page.see_also(command.get_name());
    page.text
}

/// The commands below one that a person is to know.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

/// What a text after the help is: one paragraph of it.
enum After<'a> {
    Examples(&'a str),
    ExitCodes(&'a str),
    Note(&'a str),
}

fn after(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

fn paragraphs(after: &str) -> impl Iterator<Item = After<'_>> {
    let paragraphs = after.split("\n\n").filter(|text| !text.trim().is_empty());
    paragraphs.flat_map(|text| {
        if let Some(examples) = text.strip_prefix("Examples:\n") {
            return vec![After::Examples(examples)];
        }
        // A paragraph of its own, though it follows directly.
        match text.split_once("Exit codes: ") {
            None => vec![After::Note(text)],
            Some((before, codes)) => {
                let before = Some(before).filter(|before| !before.is_empty()).map(After::Note);
                before.into_iter().chain([After::ExitCodes(codes)]).collect()
            }
        }
    })
}

#[derive(Default)]
struct Page {
    text: String,
    /// Options of the program itself, with what they do: commands that have them as well do not
    /// repeat them.
    told: BTreeSet<(String, String)>,
}

impl Page {
    fn head(&mut self, command: &Command) {
        let name = command.get_name();
        let section = section_of(name);
        let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
        let date = build::DATE;
        self.line(&format!(".TH {title} {section} \"{date}\" \"Ringway {version}\" \"Ringway\""));
        // Examples are not to be hyphenated or stretched.
        self.line(".nh");
        self.line(".ad l");
        self.section("NAME");
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        self.line(&format!("{} \\- {}", escaped(name), escaped(about.trim_end_matches('.'))));
    }

    fn root(&mut self, command: &Command) {
        self.section("SYNOPSIS");
        self.usage(command);
        self.section("DESCRIPTION");
        if let Some(about) = command.get_about() {
            self.paragraph(&about.to_string());
        }
        let after = after(command);
        for part in paragraphs(&after) {
            if let After::Note(note) = part {
                self.line(".PP");
                self.paragraph(note);
            }
        }
        self.section("OPTIONS");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            self.told.insert(identity(argument));
            self.option(argument);
        }
        self.section("EXAMPLES");
        for part in paragraphs(&after) {
            if let After::Examples(examples) = part {
                self.literal(examples);
            }
        }
    }

    /// One command, and those below it. Options that a command above has for all are there alone.
    fn command(&mut self, command: &Command, name: &str) {
        self.line(&format!(".SS {}", escaped(name)));
        self.usage(command);
        if let Some(about) = command.get_about() {
            self.line(".PP");
            self.paragraph(&about.to_string());
        }
        self.options(command);
        for part in paragraphs(&after(command)) {
            match part {
                After::Examples(examples) => self.literal(examples),
                After::ExitCodes(codes) => {
                    self.line(".PP");
                    self.paragraph(&format!("Exit codes: {codes}"));
                }
                After::Note(note) => {
                    self.line(".PP");
                    self.paragraph(note);
                }
            }
        }
        for below in shown(command) {
            self.command(below, &format!("{name} {}", below.get_name()));
        }
    }

    fn usage(&mut self, command: &Command) {
        let usage = command.clone().render_usage().to_string();
        let lines = usage.trim().trim_start_matches("Usage:").lines().map(str::trim);
        self.literal(&lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
    }

    fn options(&mut self, command: &Command) {
        let is_lowest = command.get_subcommands().next().is_none();
        let mut repeated = false;
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let is_help = matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort);
            if is_help || (argument.is_global_set() && is_lowest) {
                continue;
            }
            if self.told.contains(&identity(argument)) {
                repeated = true;
                continue;
            }
            self.option(argument);
        }
        if repeated {
            self.line(".PP");
            self.paragraph("What is under OPTIONS goes with it as well.");
        }
    }

    fn option(&mut self, argument: &Arg) {
        self.line(".TP");
        let names = [
            argument.get_short().map(|short| format!("-{short}")),
            argument.get_long().map(|long| format!("--{long}")),
        ];
        let names = names.into_iter().flatten().map(|name| format!("\\fB{}\\fR", escaped(&name)));
        let mut head = names.collect::<Vec<_>>().join(", ");
        if argument.get_action().takes_values() || argument.is_positional() {
            let named = argument.get_value_names().unwrap_or_default();
            let values = match named {
                [] => vec![argument.get_id().as_str()],
                named => named.iter().map(clap::builder::Str::as_str).collect(),
            };
            for value in values {
                let _ = write!(head, " \\fI{}\\fR", escaped(value));
            }
        }
        self.line(head.trim_start());
        let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        if !argument.is_hide_possible_values_set() && argument.get_action().takes_values() {
            let values = argument.get_possible_values();
            let values = values.iter().filter(|value| !value.is_hide_set());
            let values: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
            if !values.is_empty() {
                let _ = write!(help, " [possible values: {}]", values.join(", "));
            }
        }
        let defaults = argument.get_default_values();
        if !defaults.is_empty() && argument.get_action().takes_values() {
            let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
            let _ = write!(help, " [default: {}]", defaults.join(", "));
        }
        if let Some(variable) = argument.get_env() {
            let _ = write!(help, " [env: {}]", variable.to_string_lossy());
        }
        self.paragraph(&help);
    }

    fn environment(&mut self, command: &Command) {
        let mut variables = BTreeMap::new();
        gather(command, &mut variables);
        if variables.is_empty() {
            return;
        }
        self.section("ENVIRONMENT");
        for (variable, option) in variables {
            self.line(".TP");
            self.line(&format!("\\fB{}\\fR", escaped(&variable)));
            self.paragraph(&format!("What {option} is, where it is not given."));
        }
    }

    fn exit_status(&mut self, command: &Command) {
        for part in paragraphs(&after(command)) {
            if let After::ExitCodes(codes) = part {
                self.section("EXIT STATUS");
                self.paragraph(codes);
            }
        }
    }

    fn see_also(&mut self, name: &str) {
        self.section("SEE ALSO");
        let others = PROGRAMS.iter().filter(|(other, _)| *other != name);
        let others =
            others.map(|(other, section)| format!("\\fB{}\\fR({section})", escaped(other)));
        self.line(&others.collect::<Vec<_>>().join(",\n"));
    }

    fn section(&mut self, title: &str) {
        self.line(&format!(".SH {title}"));
    }

    /// Text that is filled.
    fn paragraph(&mut self, text: &str) {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.line(&started(&escaped(&words)));
    }

    /// Lines that stay as they are.
    fn literal(&mut self, text: &str) {
        let begins = self.text.lines().next_back().is_some_and(|line| line.starts_with(".S"));
        if !begins {
            self.line(".PP");
        }
        self.line(".nf");
        for line in text.lines() {
            self.line(&started(&escaped(line)));
        }
        self.line(".fi");
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// What makes an option the same as another.
fn identity(argument: &Arg) -> (String, String) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    (argument.get_id().to_string(), help)
}

fn section_of(name: &str) -> u8 {
    PROGRAMS.iter().find(|(program, _)| *program == name).map_or(1, |(_, section)| *section)
}

/// Every variable that stands for an option, with the first option it stands for.
fn gather(command: &Command, into: &mut BTreeMap<String, String>) {
    for argument in command.get_arguments() {
        if let Some(variable) = argument.get_env() {
            let option = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => argument.get_id().to_string().to_uppercase(),
            };
            into.entry(variable.to_string_lossy().into_owned()).or_insert(option);
        }
    }
    shown(command).for_each(|below| gather(below, into));
}

/// What roff would read as its own is escaped; every hyphen is one that can be copied into a shell.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga")
}

/// A line that begins as a request would is none.
fn started(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_a_request() {
        let command = Command::new("ringway-relay")
            .about("It's -- a \\thing.")
            .after_help("Examples:\n  .SH not-a-section\n\nThe rest.\nExit codes: 0 fine.")
            .arg(Arg::new("file").long("file").help(".TP is text").env("RINGWAY_FILE"))
            .subcommand(Command::new("ask").about("Ask.").arg(Arg::new("id").required(true)))
            .subcommand(Command::new("hidden").hide(true));
        let page = page(command);
        for line in [
            ".TH RINGWAY-RELAY 8",
            "ringway\\-relay \\- It\\(aqs \\-\\- a \\ething",
            "  .SH not\\-a\\-section",
            "\\&.TP is text [env: RINGWAY_FILE]",
            "\\fB\\-\\-file\\fR \\fIfile\\fR",
            ".SS ask",
            ".SH EXIT STATUS",
            "0 fine.",
            "\\fBRINGWAY_FILE\\fR",
        ] {
            assert!(page.lines().any(|found| found.starts_with(line)), "{line} in\n{page}");
        }
        assert!(!page.contains("hidden") && !page.contains("\n.SH not"), "{page}");
    }
}
