//! `scripts/loadtest.sh`, which is `make loadtest`, run by the system's plain shell with the programs
//! of this build.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Deployment, PROGRAM, TOKEN};

/// One local deployment at a time: two that look for free ports at one moment find the same.
static ALONE: Mutex<()> = Mutex::new(());

/// The script with nothing set but what is wanted, and all it leaves in one folder.
fn script(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/loadtest.sh"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TMPDIR", folder)
        .env("LOADTEST_BIN", Path::new(PROGRAM).parent().unwrap())
        .env("LOADTEST_DIR", folder.join("reports"))
        // What belongs to another deployment is not this test's.
        .env("RINGWAY_SHARDS", "nonsense")
        .env("RINGWAY_TOKEN", "of another")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(folder: &Path, name: &str) -> Value {
    let path = folder.join("reports").join(name);
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

/// The last of the output's lines that begins so.
fn line(output: &Output, beginning: &str) -> String {
    let out = text(&output.stdout);
    let found = out.lines().rev().find(|line| line.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no {beginning} in\n{out}\n{}", text(&output.stderr))).to_owned()
}

/// Whether relay and transceiver have been built; if not, a line says so.
fn are_all_built() -> bool {
    let built = |name: &str| Path::new(PROGRAM).with_file_name(name).exists();
    let all = built("ringway-relay") && built("ringway-transceiver");
    if !all {
        println!("skipped: needs cargo build -p ringway-relay -p ringway-transceiver");
    }
    all
}

/// Processes that run a program of this build on behalf of this folder.
fn rest(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.to_str().unwrap();
    let of_ours = |process: PathBuf| {
        let words = fs::read(process.join("cmdline")).ok()?;
        text(&words).contains(folder).then_some(process)
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| of_ours(entry.unwrap().path())).collect()
}

/// Nothing runs any more, and only what was asked for is left.
fn assert_all_is_gone(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !rest(folder).is_empty() {
        assert!(Instant::now() < deadline, "{:?} still run", rest(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.eq(["reports"]));
}

#[test]
fn calls_and_flows_are_measured_on_this_machine() {
    if !are_all_built() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    // A busy machine may be slow and late. What is measured is not the subject here; that the
    // outcome is told as it was, is.
    let settings = [
        ("CALLS", "4"),
        ("DURATION", "7"),
        ("SLO", "p99=30s,loss=99%"),
        ("FLOWS", "20"),
        ("FLOWS_DURATION", "3"),
        ("FLOWS_SLO", "p50=0.000001ms"),
    ];
    let output = script(folder.path(), &settings).output().unwrap();
    let verdict = line(&output, "Verdict: ");
    let (calls, flows) = (report(folder.path(), "calls.json"), report(folder.path(), "flows.json"));
    for (report, load) in [(&calls, 4), (&flows, 20)] {
        assert_eq!(report["result"]["counts"]["connected"], load, "{:#}", report["result"]);
        for objective in report["objectives"].as_array().unwrap() {
            let word = |name: &str| objective[name].as_str().unwrap();
            let part = format!("{} {} of {}", word("metric"), word("value"), word("limit"));
            assert!(verdict.contains(&part), "{part} in {verdict}");
        }
    }
    // No round trip takes a picosecond: missed, unless the generator did not keep up.
    assert_eq!(calls["verdict"], "met");
    let missed = flows["verdict"] == "missed";
    assert_eq!(output.status.code(), Some(if missed { 2 } else { 3 }), "{verdict}");
    assert!(verdict.starts_with("Verdict: calls met (p99 "), "{verdict}");
    assert!(
        verdict.contains(if missed { "flows MISSED" } else { "flows no verdict" }),
        "{verdict}"
    );
    for page in ["calls.html", "flows.html"] {
        assert!(line(&output, "Reports:").contains(page));
        let page = fs::read_to_string(folder.path().join("reports").join(page)).unwrap();
        assert!(page.contains("<svg"));
    }
    assert_all_is_gone(folder.path());
}

#[test]
fn what_is_stopped_leaves_nothing_running() {
    if !are_all_built() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let mut script = script(folder.path(), &[("CALLS", "3")]).spawn().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap());
        let mut shown = String::new();
        while !shown.contains("First 3 calls") {
            assert!(lines.read_line(&mut shown).unwrap() > 0, "{shown}");
        }
        std::thread::sleep(Duration::from_secs(1));
        // A terminal tells the whole group.
        killpg(Pid::from_raw(i32::try_from(script.id()).unwrap()), signal).unwrap();
        lines.read_to_string(&mut shown).unwrap();
        assert_eq!(script.wait().unwrap().code(), Some(code), "{shown}");
        assert!(shown.contains("\nStopped."), "{shown}");
        assert_all_is_gone(folder.path());
    }
}

#[test]
fn a_program_that_ends_ends_the_test() {
    if !are_all_built() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    // The same programs, but for a relay that cannot stay.
    let programs = folder.path().join("reports/programs");
    fs::create_dir_all(&programs).unwrap();
    for name in ["ringway-transceiver", "ringway-loadgen"] {
        let program = Path::new(PROGRAM).with_file_name(name);
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
    }
    let relay = programs.join("ringway-relay");
    let real = Path::new(PROGRAM).with_file_name("ringway-relay");
    let fails = format!(
        "#!/bin/sh\n[ \"$1\" != run ] || {{ echo broken; exit 1; }}\nexec {real:?} \"$@\"\n"
    );
    fs::write(&relay, fails).unwrap();
    fs::set_permissions(&relay, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = script(folder.path(), &[("LOADTEST_BIN", programs.to_str().unwrap())]).output();
    let output = output.unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the relay has ended") && said.contains("    broken"), "{said}");
    assert_all_is_gone(folder.path());
}

#[test]
fn a_deployment_elsewhere_is_called_and_judged_and_its_token_kept() {
    let deployment = Deployment::start();
    let run = |more: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut settings =
            vec![("URL", deployment.url.as_str()), ("CALLS", "2"), ("DURATION", "7s")];
        settings.extend(more);
        let output = script(folder.path(), &settings).output().unwrap();
        assert_all_is_gone(folder.path());
        (folder, output)
    };
    let (folder, output) = run(&[("TOKEN", TOKEN), ("SLO", "loss=99%,p99=30s")]);
    let verdict = line(&output, "Verdict: ");
    assert_eq!(output.status.code(), Some(0), "{verdict}");
    assert!(verdict.starts_with("Verdict: calls met (loss "), "{verdict}");
    let page = fs::read_to_string(folder.path().join("reports/calls.html")).unwrap();
    let calls = report(folder.path(), "calls.json");
    assert_eq!(calls["result"]["counts"]["connected"], 2);
    assert!(!page.contains(TOKEN) && !calls.to_string().contains(TOKEN));

    deployment.behaviour.drop_every.store(4, Ordering::Relaxed);
    let (folder, output) = run(&[("TOKEN", TOKEN), ("SLO", "loss=2%")]);
    // A machine so busy that the generator is late says that instead.
    let of_report = if report(folder.path(), "calls.json")["verdict"] == "missed" { 2 } else { 3 };
    assert_eq!(output.status.code(), Some(of_report), "{}", line(&output, "Verdict: "));

    let file = folder.path().join("reports/token");
    fs::write(&file, TOKEN).unwrap();
    deployment.behaviour.drop_every.store(0, Ordering::Relaxed);
    let (_, output) = run(&[("TOKEN_FILE", file.to_str().unwrap())]);
    assert!(!line(&output, "Verdict: ").contains("FAILED"));

    // The token that the environment had before is of another deployment.
    let (_, output) = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("signaling: not authorized"));
    assert_eq!(line(&output, "Verdict: "), "Verdict: calls FAILED.");
}

#[test]
fn what_cannot_work_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let elsewhere = ("URL", "http://203.0.113.1:8080");
    let table: [(&[(&str, &str)], &str); 11] = [
        (&[elsewhere], "AUTHORIZED=HOST"),
        (&[elsewhere, ("AUTHORIZED", "203.0.113.2")], "repeat that name"),
        (&[elsewhere, ("TOKEN", "a"), ("TOKEN_FILE", "b")], "both set"),
        (&[elsewhere, ("FLOWS", "5")], "flows need the deployment's keyring"),
        (&[("URL", "nonsense")], "http://HOST"),
        (&[("TOKEN", "x")], "URL=https://"),
        (&[("AUTHORIZED", "x")], "URL=https://"),
        (&[("CALLS", "many")], "CALLS must be"),
        (&[("FLOWS", "0")], "FLOWS must be"),
        (&[("DURATION", "1 hour")], "30, 90s or 5m"),
        (&[("LOADTEST_BIN", empty)], "there is no program"),
    ];
    for (settings, expected) in table {
        let output = script(folder.path(), settings).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        assert!(said.contains(expected), "{settings:?}: {said}");
        assert!(!folder.path().join("reports/calls.json").exists());
    }
}
