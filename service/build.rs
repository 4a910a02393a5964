//! Tells the crate which revision and compiler it is built from. Everything here may be missing
//! (a source archive has no git), and then says "unknown" rather than failing the build.
//! A packager sets `RINGWAY_REVISION`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RINGWAY_REVISION");
    // The log grows with every commit and checkout. Without it there is nothing to watch, and
    // naming a file that does not exist would rebuild every time.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }

    let revision = std::env::var("RINGWAY_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=RINGWAY_BUILD_REVISION={revision}");

    let date = output("git", &["log", "-1", "--format=%cs"]).unwrap_or_default();
    println!("cargo::rustc-env=RINGWAY_BUILD_DATE={date}");

    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = output(&rustc, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=RINGWAY_BUILD_COMPILER={compiler}");
}

/// What a command prints on one line; none if it cannot be run, fails, or prints nothing.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
