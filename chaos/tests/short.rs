//! The short form of the suite, as CI runs it: the real programs, a few rows for a few seconds.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;

#[test]
fn the_short_suite_keeps_every_promise_that_needs_no_quiet_machine() {
    // The same conditions as for end-to-end tests: root, namespaces, and a line if they are missing.
    if e2e::hosts::Hosts::direct().is_none() {
        return;
    }
    let relay = e2e::programs::relay();
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--short", "--programs"])
        .arg(relay.parent().unwrap())
        .output()
        .unwrap();
    let (table, progress) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{progress}\n{table}");
    // 3 is a promise broken: on a machine that is busy with other tests, a gap may be longer than
    // promised, and that is not what this test is for. Nothing may be dropped, though, and every
    // row must run.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}\n{progress}", output.status);
    assert!(!progress.contains("could not be run"), "{progress}");
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.len() >= 4, "{table}");
    for row in rows {
        let [name, calls, dropped, frames, ..] = row[..] else { panic!("{table}") };
        assert!(calls.parse::<u32>().unwrap() > 0, "{name}: no calls");
        assert!(frames.parse::<u32>().unwrap() > 0, "{name}: no audio");
        assert_eq!(dropped, "0", "{name}: {progress}");
    }
}

#[test]
fn a_row_that_does_not_exist_is_refused_with_a_hint() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos")).arg("no-such-row").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-row") && said.contains("--list"), "{said}");
}

#[test]
fn the_list_names_every_row_with_its_promise() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos")).arg("--list").output().unwrap();
    assert!(output.status.success());
    let list = String::from_utf8_lossy(&output.stdout);
    assert_eq!(list.matches("promised: ").count(), list.lines().count() / 3, "{list}");
    assert!(list.contains("upgrade (also in --short)"), "{list}");
}
