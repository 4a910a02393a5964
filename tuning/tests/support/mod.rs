//! The repository's files, and programs that may be missing.
#![allow(dead_code)] // Each test file uses its part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a program; none, with a line, where there is no such program.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).current_dir(top()).stdin(Stdio::null()).output() {
        Ok(Output { status, stdout, stderr }) => {
            let text = [stdout, stderr].concat();
            Some((status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(error) => {
            println!("skipped: {program}: {error}");
            None
        }
    }
}

/// A program of ours, if it has been built beside this test's.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_ringway-tuning")).with_file_name(name);
    if !path.exists() {
        println!("skipped: {} is not built", path.display());
        return None;
    }
    Some(path)
}
