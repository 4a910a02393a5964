//! The commands about the program itself: completions and the manual page.

use clap::{Args, Command, Subcommand, ValueEnum};

use super::man;
use crate::exit;

/// What every program can say about itself, from the definition that `--help` shows.
#[derive(Debug, Subcommand)]
pub enum Extra {
    /// Print a script with which a shell completes commands and options.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page, for man -l -.
    Man,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  ringway-relay completions bash > ~/.local/share/bash-completion/completions/ringway-relay
  ringway-relay completions zsh > ~/.zfunc/_ringway-relay
  ringway-relay completions fish > ~/.config/fish/completions/ringway-relay.fish

The same goes for each of Ringway's programs. zsh wants fpath+=(~/.zfunc) before compinit in
~/.zshrc. make install and the Debian package install the scripts for everybody.";

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The shells that there are scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Bash, with or without the package bash-completion.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

impl Extra {
    /// Prints what was asked for of this program.
    pub fn run(self, command: Command) -> anyhow::Result<()> {
        exit::print(&match self {
            Self::Completions(Completions { shell }) => shell.script(command),
            Self::Man => man::page(command),
        })
    }
}

impl Shell {
    fn script(self, mut command: Command) -> String {
        let name = command.get_name().to_owned();
        let shell = match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Zsh => clap_complete::Shell::Zsh,
            Self::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        // clap_complete 4.6 names the states of its bash script in two ways if the program's name has
        // a hyphen, and then completes nothing behind a command. In the other scripts there is none.
        let [named, meant] = ["__subcmd__", "__"].map(|hyphen| name.replace('-', hyphen));
        script.replace(&format!("{named}__subcmd__"), &format!("{meant}__subcmd__"))
    }
}
