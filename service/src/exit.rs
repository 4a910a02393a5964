//! The shape of `main`: one error, printed once, and an exit code a supervisor can act on.
//!
//! | code | meaning | what a supervisor should do |
//! |---|---|---|
//! | 0 | stopped as asked | nothing |
//! | 1 | failed | start it again |
//! | 2 | configuration or usage is wrong | not start it again: only a human can fix that |
//!
//! clap exits with 2 on bad flags too, and systemd can be told: `RestartPreventExitStatus=2`.

mod abort;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

pub use abort::AbortOnPanic;

use crate::config::ConfigError;

/// Failed at run time.
const FAILED: u8 = 1;
/// Will fail again however often it is started.
const MISUSED: u8 = 2;

/// An error that is the caller's to fix: makes the exit code 2. For what clap cannot see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl std::error::Error for Usage {}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs a program's work and turns what it returns into an exit code, printing an error with its
/// causes on stderr. `fn main() -> ExitCode { exit::run(work) }`.
pub fn run(work: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    report(work(), &mut std::io::stderr().lock())
}

fn report(result: anyhow::Result<()>, mut to: impl Write) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if error.is::<StdoutClosed>() {
        // `print-config | head`: the reader has what it wanted.
        return ExitCode::SUCCESS;
    }
    // If stderr is closed there is nobody left to tell; the code still says it.
    let _ = writeln!(to, "{error:#}");
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    let misused = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<Usage>());
    if misused { MISUSED } else { FAILED }
}

/// The reader of stdout went away.
#[derive(Debug)]
struct StdoutClosed;

impl std::error::Error for StdoutClosed {}

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output")
    }
}

/// Prints on stdout what a command was asked for. `println!` would panic when the reader leaves.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_to(text, std::io::stdout().lock())
}

fn print_to(text: &str, mut to: impl Write) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("Failed to write to stdout")),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    fn shown(result: anyhow::Result<()>) -> (String, String) {
        let mut text = Vec::new();
        let code = report(result, &mut text);
        (format!("{code:?}"), String::from_utf8(text).unwrap())
    }

    fn code_of(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[test]
    fn codes_and_messages() {
        assert_eq!(shown(Ok(())), (code_of(0), String::new()));
        let failed = anyhow!("no such device").context("Failed to bind");
        assert_eq!(shown(Err(failed)), (code_of(1), "Failed to bind: no such device\n".into()));
        let misused = Err(Usage("--count wants a number".into())).context("Cannot start");
        assert_eq!(shown(misused), (code_of(2), "Cannot start: --count wants a number\n".into()));
    }

    #[test]
    fn a_refused_configuration_is_the_users_to_fix() {
        let sources = crate::config::Sources {
            file: Some("/nonexistent/relay.toml".into()),
            ..Default::default()
        };
        #[derive(Default, serde::Serialize, serde::Deserialize)]
        struct Empty {}
        impl crate::config::Schema for Empty {
            const KEYS: &'static [crate::config::Key] = &[];
            fn check(&self, _: &mut crate::config::Problems<'_>) {}
        }
        let error = sources.load::<Empty>().map(|_| ()).unwrap_err();
        let (code, text) = shown(Err(anyhow::Error::new(error).context("Refused")));
        assert_eq!(code, code_of(2));
        assert!(
            text.starts_with("Refused: /nonexistent/relay.toml: there is no such file"),
            "{text}"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(shown(print_to("text", Gone)), (code_of(0), String::new()));
        print_to("text", Vec::new()).unwrap();
    }
}
