//! One process of the relay after another: hot upgrades under traffic, upgrades that fail, and the
//! death of a process. With the real program, in namespaces.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/stage.rs"]
mod stage;
mod support;
#[path = "support/traffic.rs"]
mod traffic;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stage::{PUBLIC, RTP, RTP_BACK, Stage};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::Caller;
use traffic::Traffic;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-relay");

/// Upgrades once: the answer of the process that handed over. Its successor becomes the stage's
/// process in all but name: it ends with the stage's host.
fn upgrade(stage: &mut Stage) -> Value {
    let output = stage.ctl(&["upgrade"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(stage: &Stage) -> String {
    let output = stage.ctl(&["upgrade"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// Ends a process that is no child of ours, and waits until it has ended.
fn end(process: i32) {
    let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    let deadline = Instant::now() + Duration::from_secs(10);
    // One that nobody waits for stays as a zombie, whose command line is empty.
    let lives = || fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty());
    while lives() {
        assert!(Instant::now() < deadline, "process {process} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn upgrades_under_traffic(engine: &str, upgrades: usize) {
    let Some(mut stage) = Stage::start(engine) else { return };
    let traffic = Traffic::start(&mut stage, 40);
    let mut waited_us = Vec::new();
    let mut serves = 0;
    for round in 0..upgrades {
        let upgraded = upgrade(&mut stage);
        let process = upgraded["process"].as_i64().unwrap();
        assert_ne!(process, serves, "another process each time");
        serves = process;
        waited_us.push(upgraded["waited_us"].as_u64().unwrap());
        assert_eq!((&upgraded["flows"], &upgraded["flows_refused"]), (&40.into(), &0.into()));
        if round == 0 {
            assert!(stage.wait_for_end(Duration::from_secs(10)).success());
        }
        traffic.passes(1_000);
    }
    let serves = i32::try_from(serves).unwrap();
    let kernel_drops = stage.metric("relay_kernel_drops_total", "worker");
    let allocations = stage.metric("relay_worker_allocations_after_ready_total", "worker");
    assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 40.0);
    assert_eq!(stage.metric("relay_flows_created_total", "worker"), 0.0);
    let report = traffic.stop();
    waited_us.sort_unstable();
    println!(
        "{engine}: {upgrades} upgrades, {report}; packets waited {} us at the median, {} us at most",
        waited_us[waited_us.len() / 2],
        waited_us[waited_us.len() - 1],
    );
    assert_eq!((report.lost_up, report.lost_down), (0, 0), "kernel drops: {kernel_drops}");
    assert_eq!(allocations, 0.0);
    end(serves);
}

#[test]
fn upgrades_under_traffic_lose_no_packet() {
    upgrades_under_traffic("auto", 20);
}

#[test]
fn upgrades_of_the_other_engine_lose_no_packet_either() {
    upgrades_under_traffic("mmsg", 5);
}

/// The program in a folder where it can be replaced.
fn copy(folder: &Path) -> PathBuf {
    let program = folder.join("ringway-relay");
    fs::copy(PROGRAM, &program).unwrap();
    program
}

/// Puts another file where the program is.
fn replace(program: &Path, content: &[u8]) {
    let beside = program.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, program).unwrap();
}

#[test]
fn whatever_fails_in_the_next_process_leaves_the_present_one_serving() {
    let Some(mut stage) = Stage::start_as("auto", copy) else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    let traffic = Traffic::start(&mut stage, 10);
    let program = stage.folder.path().join("ringway-relay");
    let good = fs::read_to_string(&stage.config).unwrap();
    let configured = |stage: &Stage, from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        fs::write(&stage.config, good.replace(from, to)).unwrap();
        let reason = refused(stage);
        fs::write(&stage.config, &good).unwrap();
        reason
    };

    let reason = configured(&stage, "workers = 2", "workers = 1");
    assert!(reason.contains("the number of workers differs: 2 runs, 1 is configured"), "{reason}");
    let reason = configured(&stage, ", \"[fd77:1::1]:3478\"]", "]");
    assert!(reason.contains("listen differs"), "{reason}");
    let reason = configured(&stage, "workers = 2", "workers = 0");
    assert!(reason.contains("relay.toml:3: workers: must be"), "{reason}");
    let keys = stage.folder.path().join("keys.toml");
    let reason = configured(&stage, keys.to_str().unwrap(), "/nowhere/keys.toml");
    assert!(reason.contains("/nowhere/keys.toml"), "{reason}");
    // This one fails when the workers stand by already, and packets wait: they go on.
    let socket = stage.folder.path().join("relay.sock");
    let reason = configured(&stage, socket.to_str().unwrap(), "/nowhere/a/relay.sock");
    assert!(reason.contains("Failed to make the admin socket /nowhere/a/relay.sock"), "{reason}");

    replace(&program, b"#!/bin/sh\nexit 3\n");
    let reason = refused(&stage);
    assert!(reason.contains("ended without a word: exit status: 3"), "{reason}");
    replace(&program, b"no program at all");
    let reason = refused(&stage);
    assert!(reason.contains("Failed to start") && reason.contains("format"), "{reason}");
    fs::remove_file(&program).unwrap();
    let reason = refused(&stage);
    assert!(reason.contains("No such file"), "{reason}");

    // After all that, and with a good program again, it works.
    assert!(stage.relay.try_wait().unwrap().is_none(), "the first process has served all the time");
    let copied = stage.folder.path().join("copy");
    fs::copy(PROGRAM, &copied).unwrap();
    fs::rename(&copied, &program).unwrap();
    let upgraded = upgrade(&mut stage);
    assert_eq!(upgraded["flows"], 11);
    traffic.passes(1_000);
    let report = traffic.stop();
    println!("eight failed upgrades and a good one: {report}");
    assert_eq!((report.lost_up, report.lost_down), (0, 0));
    caller.send(RTP);
    assert_eq!(stage.shard.receive_one().packet, RTP);
    stage.shard.send(arrived.relay, &arrived.client, RTP_BACK);
    assert_eq!(caller.receive(), RTP_BACK);
    end(i32::try_from(upgraded["process"].as_i64().unwrap()).unwrap());
}

#[test]
fn a_draining_relay_is_upgraded_to_a_draining_one_and_a_stopping_one_is_not() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    assert!(stage.ctl(&["drain"]).status.success());
    // By signal this time.
    stage.signal(Signal::SIGUSR2);
    assert!(stage.wait_for_end(Duration::from_secs(30)).success());
    assert!(stage.page("/ready").unwrap().starts_with("HTTP/1.1 503"));
    stage.goes_on(&caller, &arrived);
    assert!(stage.ctl(&["undrain"]).status.success());
    assert!(stage.page("/ready").unwrap().starts_with("HTTP/1.1 200"));
    let upgraded = upgrade(&mut stage);
    let process = i32::try_from(upgraded["process"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
    stage.wait_for_metric("relay_draining", "", |draining| draining >= 1.0);
    assert!(refused(&stage).contains("this relay is stopping"));
    end(process);
}

#[test]
fn the_service_manager_is_told_which_process_is_the_service() {
    let Some(mut stage) = Stage::start("auto") else { return };
    assert_eq!(stage.told(), ["READY=1"]);
    let process = upgrade(&mut stage)["process"].as_i64().unwrap();
    // The old one names the new one, and the new one is ready, in whatever order.
    let mut told = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while told.len() < 2 {
        assert!(Instant::now() < deadline, "{told:?}");
        told.extend(stage.told());
        std::thread::sleep(Duration::from_millis(5));
    }
    told.sort();
    assert_eq!(told, [format!("MAINPID={process}"), "READY=1".to_owned()]);
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    end(i32::try_from(process).unwrap());
}

/// What the service manager hears until this many lines have come.
fn hears(stage: &Stage, lines: usize) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while told.len() < lines {
        assert!(Instant::now() < deadline, "{told:?}");
        // A reload says when it began.
        let first = |message: String| message.lines().next().unwrap_or_default().to_owned();
        told.extend(stage.told().into_iter().map(first));
        std::thread::sleep(Duration::from_millis(5));
    }
    told
}

#[test]
fn a_reload_after_the_program_was_replaced_is_an_upgrade() {
    let Some(mut stage) = Stage::start_as("auto", copy) else { return };
    let program = stage.folder.path().join("ringway-relay");
    assert_eq!(stage.told(), ["READY=1"]);
    let traffic = Traffic::start(&mut stage, 10);

    // The same program: nothing but the configuration is read.
    stage.signal(Signal::SIGHUP);
    assert_eq!(hears(&stage, 2), ["RELOADING=1", "READY=1"]);
    assert_eq!(stage.metric("relay_config_generation", ""), 2.0);

    // One that will not do: the manager hears the end of that, too, and this process goes on.
    replace(&program, b"#!/bin/sh\nexit 3\n");
    stage.signal(Signal::SIGHUP);
    assert_eq!(hears(&stage, 2), ["RELOADING=1", "READY=1"]);
    assert!(stage.relay.try_wait().unwrap().is_none());

    let copied = stage.folder.path().join("copy");
    fs::copy(PROGRAM, &copied).unwrap();
    fs::rename(&copied, &program).unwrap();
    stage.signal(Signal::SIGHUP);
    // The next process says that it is ready, too; to systemd it is not the main one yet.
    let told = hears(&stage, 4);
    assert_eq!(told[0], "RELOADING=1");
    let main = told.iter().position(|line| line.starts_with("MAINPID=")).unwrap();
    assert!(told[..main].contains(&"READY=1".to_owned()), "{told:?}");
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 10.0);
    traffic.passes(1_000);
    let report = traffic.stop();
    assert_eq!((report.lost_up, report.lost_down), (0, 0));
    end(told[main]["MAINPID=".len()..].parse().unwrap());
}

/// The gap in one call when the relay is killed and started again: from the last packet before to
/// the first after, in either direction.
fn gap_after_a_kill(stage: &mut Stage, model_speaks: bool) -> (Duration, Duration, Duration) {
    let (caller, arrived) = stage.call(PUBLIC, 7);
    let check = stage.shard.session(7).1;
    stage.goes_on(&caller, &arrived);
    let killed = Instant::now();
    stage.relay.kill().unwrap();
    stage.relay.wait().unwrap();
    stage.restart();
    let restarted = killed.elapsed();
    let (mut up, mut down) = (None, None);
    let mut checked = false;
    while up.is_none() || down.is_none() {
        assert!(killed.elapsed() < Duration::from_secs(20), "{up:?} {down:?}");
        if model_speaks {
            stage.shard.send(arrived.relay, &arrived.client, RTP_BACK);
        } else if !checked && killed.elapsed() > Duration::from_millis(2_500) {
            // The client's next check, 2.5 s after its last.
            caller.send(&check);
            checked = true;
        }
        caller.send(RTP);
        for got in stage.shard.receive(Duration::from_millis(20)) {
            if got.packet == check {
                stage.shard.send(got.relay, &got.client, RTP_BACK);
            } else {
                up.get_or_insert(killed.elapsed());
            }
        }
        if down.is_none() && got_something(&caller) {
            down = Some(killed.elapsed());
        }
    }
    (restarted, up.unwrap(), down.unwrap())
}

fn got_something(caller: &Caller) -> bool {
    caller.receive_within(Duration::from_millis(1)).is_some()
}

#[test]
fn a_killed_relay_learns_its_flows_again_from_the_shard_or_from_checks() {
    let Some(mut stage) = Stage::start("auto") else { return };
    for (name, model_speaks) in [("talking", true), ("silent", false)] {
        let (restarted, up, down) = gap_after_a_kill(&mut stage, model_speaks);
        println!(
            "kill -9, {name} model: ready after {restarted:?}, audio up {up:?}, down {down:?}"
        );
        // Packets come every 20 ms, and a busy machine may be slow; a check every 2.5 s.
        let patience = Duration::from_millis(if model_speaks { 1_500 } else { 4_500 });
        assert!(up < restarted + patience && down < restarted + patience, "{up:?} {down:?}");
    }
    // After the second restart: by a check, and nothing else.
    stage.wait_for_metric("relay_flows_created_total", "worker", |created| created == 1.0);
    assert_eq!(stage.metric("relay_flows_learned_total", "worker"), 0.0);
}
