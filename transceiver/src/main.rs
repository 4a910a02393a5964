//! `ringway-transceiver`: not built yet. It says so and fails, so that nothing can mistake it for the real thing.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the whole program is this message")]
fn main() -> ExitCode {
    eprintln!("ringway-transceiver is not built yet: CHANGELOG.md lists what is.");
    ExitCode::FAILURE
}
