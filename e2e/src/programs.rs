//! Where Ringway's own programs and the clients' tools are.

use std::ffi::OsStr;
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
/// date. `cargo test --workspace` has just built them, so that then nothing is built: not even by
/// asking Cargo, which for some packages alone builds half of their dependencies anew, with fewer
/// features.
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

/// Whether a program is newer than everything of this repository that it is made of.
fn is_fresh(program: &Path) -> bool {
    let Ok(built) = fs::metadata(program).and_then(|file| file.modified()) else { return false };
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut crates = vec![name.trim_start_matches("ringway-").to_owned()];
    let mut next = 0;
    while let Some(name) = crates.get(next) {
        let below = dependencies(&repository().join(name).join("Cargo.toml"));
        let new: Vec<_> = below.into_iter().filter(|name| !crates.contains(name)).collect();
        crates.extend(new);
        next += 1;
    }
    let lock = repository().join("Cargo.lock");
    let folders = crates.iter().map(|name| repository().join(name));
    folders.chain([lock]).all(|path| changed(&path) <= Some(built))
}

/// The crates of this repository that a crate is made of; by our own way to write manifests.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let (_, text) = text.split_once("\n[dependencies]\n").expect("a crate with dependencies");
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ']).next());
    let ours = |name: &&str| repository().join(name).join("Cargo.toml").is_file();
    names.filter(ours).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// When something in a folder, or a file, was last changed. Tests are in no program.
fn changed(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = fs::read_dir(path) else { return fs::metadata(path).ok()?.modified().ok() };
    let entries = entries.flatten().filter(|entry| entry.file_name() != "tests");
    entries.map(|entry| changed(&entry.path())).max().flatten()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_made_of_its_crate_and_of_those_below() {
        let below = |name: &str| dependencies(&repository().join(name).join("Cargo.toml"));
        assert!(below("tuning").contains(&"relay".to_owned()));
        assert!(below("relay").contains(&"wire".to_owned()));
        assert!(!below("relay").contains(&"testbed".to_owned()), "tests are in no program");
    }

    #[test]
    fn a_folder_is_as_young_as_the_youngest_file_in_it_but_for_tests() {
        let folder = tempfile::tempdir().unwrap();
        for (place, hour) in [("src/deep", 2), ("tests", 3), ("src", 1)] {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).unwrap();
            let file = fs::File::create(place.join("file")).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(hour);
            file.set_modified(at).unwrap();
        }
        let at = changed(folder.path()).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(at.as_secs(), 7_200);
        assert_eq!(changed(&folder.path().join("nothing")), None);
    }
}
