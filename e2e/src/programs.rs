//! Where Ringway's own programs and the clients' tools are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Names a folder to take Ringway's programs from, as they are.
const PROGRAMS_VARIABLE: &str = "RINGWAY_PROGRAMS";
/// Names the folder that `scripts/setup.sh clients` filled, if it is not `target/e2e`.
const TOOLS_VARIABLE: &str = "RINGWAY_E2E_TOOLS";

/// The relay's program.
pub fn relay() -> PathBuf {
    folder().join("ringway-relay")
}

/// The transceiver's program.
pub fn transceiver() -> PathBuf {
    folder().join("ringway-transceiver")
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The clients' tools, as set-up installed them.
pub fn tools() -> PathBuf {
    std::env::var_os(TOOLS_VARIABLE).map_or_else(|| repository().join("target/e2e"), PathBuf::from)
}

/// A program by one of these names.
pub fn installed(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names.iter().find_map(|name| {
        folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file())
    })
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| folder_with(&["ringway-relay", "ringway-transceiver"]))
}

/// The folder with these of Ringway's programs, which are built if they are not there or not up to
/// date. `cargo test --workspace` has just built them, so that then nothing is built.
pub fn folder_with(names: &[&str]) -> PathBuf {
    if let Some(folder) = std::env::var_os(PROGRAMS_VARIABLE) {
        return folder.into();
    }
    // target/PROFILE/deps/this-test
    let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
    if !names.iter().all(|name| is_fresh(&folder.join(name))) {
        build(names, &folder);
    }
    folder
}

/// Whether a program is newer than everything it was made of, as Cargo wrote it down beside it.
fn is_fresh(program: &Path) -> bool {
    let made = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Some(built) = made(program) else { return false };
    let Ok(sources) = fs::read_to_string(program.with_extension("d")) else { return false };
    let Some((_, sources)) = sources.split_once(": ") else { return false };
    let old_enough = |changed: SystemTime| changed <= built;
    sources.split_whitespace().all(|source| made(Path::new(source)).is_some_and(old_enough))
}

/// Cargo's own lock keeps two test programs from building at once.
fn build(packages: &[&str], folder: &Path) {
    let release = folder.ends_with("release");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--target-dir"]).arg(folder.parent().unwrap());
    cargo.args(release.then_some("--release")).current_dir(repository());
    for package in packages {
        cargo.args(["--package", package]);
    }
    assert!(cargo.status().unwrap().success(), "{} cannot be built", packages.join(" or "));
}
