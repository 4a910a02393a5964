//! Sockets and flows that the service manager keeps for a relay that was killed. The manager is played:
//! it does what systemd's does with what it is told.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/stage.rs"]
mod stage;
mod support;
#[path = "support/traffic.rs"]
mod traffic;

use engine::handover;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stage::{PUBLIC, PUBLIC_V6, Stage};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};
use support::{Arrived, Caller, SILENCE};
use traffic::Traffic;

/// Sent while no relay is there.
const PACKETS: u8 = 50;
/// How long one of them may take that must come.
const PATIENCE: Duration = Duration::from_secs(10);
const BOTH: [&str; 2] = ["flows-0-", "flows-1-"];
/// Of a worker that has any: those of one that has none are not put there again.
const ANY: [&str; 1] = ["flows-"];

fn packet(number: u8) -> [u8; 13] {
    [0x80, 111, 0, number, 0, 0, 0, 2, 0, 0, 0, 3, number]
}

impl Stage {
    fn kill(&mut self) {
        self.relay.kill().unwrap();
        self.relay.wait().unwrap();
    }

    /// So many of a client's packets, as they arrive at the shard, and what comes behind them.
    fn arrive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let patience = if all.len() < count { PATIENCE } else { SILENCE };
            let some = self.shard.receive(patience);
            if some.is_empty() {
                return all;
            }
            all.extend(some.into_iter().map(|arrived| arrived.packet));
        }
    }
}

fn received(caller: &Caller, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let patience = if all.len() < count { PATIENCE } else { SILENCE };
        let Some(packet) = caller.receive_within(patience) else { return all };
        all.push(packet);
    }
}

/// Packets each way while no relay is there.
fn talk_to_nobody(stage: &mut Stage, caller: &Caller, arrived: &Arrived) -> Vec<Vec<u8>> {
    let packets: Vec<_> = (0..PACKETS).map(|number| packet(number).to_vec()).collect();
    for packet in &packets {
        caller.try_send(packet);
        stage.shard.send(arrived.relay, &arrived.client, packet);
    }
    packets
}

fn nothing_sent_to_a_dead_relay_is_lost(engine: &str) {
    let Some(mut stage) = Stage::start_parking(engine) else { return };
    let calls = [(PUBLIC, 7), (PUBLIC_V6, 8)].map(|(relay, tag)| stage.call(relay, tag));
    stage.manager.wait_since_start(&BOTH);
    // With the calls, and of every worker that has one.
    (0..4).for_each(|_| stage.manager.wait_for(&ANY));
    let names = stage.manager.names();
    let sockets = ["worker-0"; 3].into_iter().chain(["worker-1"; 3]);
    assert!(names.iter().filter(|name| name.starts_with("worker")).eq(sockets), "{names:?}");
    assert_eq!(stage.metric("relay_parked_sockets", ""), 6.0);
    stage.wait_for_metric("relay_parked_flows", "", |flows| flows == 2.0);
    for _ in 0..2 {
        stage.kill();
        for (caller, arrived) in &calls {
            let sent = talk_to_nobody(&mut stage, caller, arrived);
            stage.restart();
            assert_eq!(stage.arrive(sent.len()), sent, "each of them, once, in order");
            assert_eq!(received(caller, sent.len()), sent);
            stage.kill();
        }
        stage.restart();
        assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 2.0);
        assert_eq!(stage.metric("relay_flows_created_total", "worker"), 0.0);
        assert_eq!(stage.metric("relay_flows_learned_total", "worker"), 0.0);
        stage.manager.wait_since_start(&BOTH);
    }
    stage.stop();
}

#[test]
fn what_is_sent_while_the_relay_is_dead_waits_for_the_next_one() {
    nothing_sent_to_a_dead_relay_is_lost("auto");
}

#[test]
fn it_waits_for_the_other_engine_too() {
    nothing_sent_to_a_dead_relay_is_lost("mmsg");
}

impl Stage {
    fn parking(&self) -> serde_json::Value {
        let output = self.ctl(&["status"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["parking"].clone()
    }
}

#[test]
fn a_manager_that_takes_nothing_any_more_is_told_of_until_it_does_again() {
    let Some(mut stage) = Stage::start_parking("auto") else { return };
    stage.call(PUBLIC, 1);
    stage.wait_for_metric("relay_parked_flows", "", |flows| flows == 1.0);
    assert_eq!(stage.metric("relay_parking_failures_total", ""), 0.0);
    assert_eq!(stage.parking()["state"], "on");
    let path = stage.manager.path().to_owned();
    let hidden = path.with_extension("hidden");
    fs::rename(&path, &hidden).unwrap();
    stage.wait_for_metric("relay_parking_failures_total", "", |failures| failures >= 2.0);
    let parking = stage.parking();
    assert_eq!((&parking["state"], &parking["flows"]), (&"failing".into(), &1.into()));
    let reason = parking["reason"].as_str().unwrap();
    assert!(reason.starts_with("the flows of worker "), "{reason}");
    assert!(parking["flows_age_ms"].as_u64() > Some(3_000), "{parking}");
    fs::rename(&hidden, &path).unwrap();
    stage.wait_for_metric("relay_parked_flows_age_seconds", "", |age| age < 3.0);
    assert_eq!(stage.parking()["state"], "on");
    stage.stop();
}

#[test]
fn a_manager_that_keeps_too_few_is_told_how_many_are_needed() {
    let Some(mut stage) = Stage::start("auto") else { return };
    assert_eq!(stage.parking()["state"], "off");
    stage.manager.keep_at_most(9);
    stage.kill();
    stage.parks();
    stage.restart();
    stage.wait_for_metric("relay_parking_failures_total", "", |failures| failures >= 1.0);
    let parking = stage.parking();
    assert_eq!((&parking["state"], &parking["sockets"]), (&"failing".into(), &0.into()));
    let reason = parking["reason"].as_str().unwrap();
    assert!(reason.contains("keeps 9 descriptors, and 10 are needed"), "{reason}");
    assert!(reason.contains("FileDescriptorStoreMax"), "{reason}");
    assert_eq!(stage.manager.names(), Vec::<String>::new());
    stage.stop();
}

/// What parking is held against.
#[test]
fn without_a_manager_that_keeps_sockets_it_is_lost() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, _) = stage.call(PUBLIC, 7);
    stage.kill();
    for number in 0..PACKETS {
        caller.try_send(&packet(number));
    }
    stage.restart();
    assert_eq!(stage.arrive(0), Vec::<Vec<u8>>::new());
    assert_eq!(stage.manager.names(), Vec::<String>::new());
}

#[test]
fn a_killed_relay_loses_under_traffic_what_it_had_in_its_hands() {
    for engine in ["auto", "mmsg"] {
        let Some(mut stage) = Stage::start_parking(engine) else { return };
        let traffic = Traffic::start(&mut stage, 40);
        stage.manager.wait_for(&BOTH);
        stage.manager.wait_for(&BOTH);
        traffic.passes(2_000);
        let killed = Instant::now();
        stage.kill();
        // Two thousand packets may be under way at once, and soon are.
        std::thread::sleep(Duration::from_millis(200));
        stage.restart();
        let away = killed.elapsed();
        traffic.passes(1_000);
        let kernel_drops = stage.metric("relay_kernel_drops_total", "worker");
        assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 40.0);
        assert_eq!(stage.metric("relay_flows_created_total", "worker"), 0.0);
        let misses = |outcome| stage.metric("relay_flow_misses_total", outcome);
        assert_eq!(misses("directory"), 0.0, "every client comes to the worker it came to");
        let report = traffic.stop();
        println!(
            "{engine}: kill -9, sockets parked, away for {away:?}: {report}; kernel drops {kernel_drops}"
        );
        assert_eq!(kernel_drops, 0.0);
        // Hundreds were sent to nobody.
        assert!(report.lost_up + report.lost_down < 1_000, "{report}");
        stage.stop();
    }
}

#[test]
fn sockets_that_do_not_fit_the_configuration_are_given_back_and_swallow_nothing() {
    let Some(mut stage) = Stage::start_parking("auto") else { return };
    let (caller, _) = stage.call(PUBLIC, 1);
    stage.manager.wait_since_start(&BOTH);
    let good = fs::read_to_string(&stage.config).unwrap();
    let changes = [
        ("workers = 2", "workers = 1"),
        (", \"[fd77:1::1]:3478\"]", "]"),
        ("address = \"10.77.2.1\"", "address = \"10.77.2.1\"\nport_base = 3510"),
    ];
    for (from, to) in changes {
        assert!(good.contains(from));
        fs::write(&stage.config, good.replace(from, to)).unwrap();
        stage.kill();
        stage.restart();
        // Every client of many reaches a worker: no socket is left that nobody reads.
        for tag in 100..120 {
            stage.call(PUBLIC, tag);
        }
        assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 0.0, "{to}");
        fs::write(&stage.config, &good).unwrap();
        stage.manager.wait_since_start(&BOTH[..1]);
        stage.kill();
        stage.restart();
        stage.manager.wait_since_start(&BOTH);
        let names: BTreeSet<_> = stage.manager.names().into_iter().collect();
        let expected = ["flows-0-0", "flows-1-0", "worker-0", "worker-1"];
        assert!(expected.iter().all(|name| names.contains(*name)), "{names:?}");
    }
    caller.send(&stage.shard.session(1).1);
    stage.shard.receive_one();
    stage.stop();
}

#[test]
fn poisoned_flows_and_foreign_things_are_given_back_and_harm_nobody() {
    let Some(mut stage) = Stage::start_parking("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.manager.wait_since_start(&BOTH);
    let poison: [&dyn Fn() -> std::os::fd::OwnedFd; 4] = [
        &|| handover::file_of("flows", b"no flows at all").unwrap(),
        &|| handover::file_of("flows", &[&b"RWPARK1\n"[..], &[0xff; 100]].concat()).unwrap(),
        &|| handover::file_of("flows", &[]).unwrap(),
        // Who reads this waits for ever.
        &|| std::io::pipe().unwrap().0.into(),
    ];
    for poison in poison {
        stage.kill();
        assert!(stage.manager.replace("flows-", poison) >= 2);
        stage.manager.keep("something-else", poison());
        stage.restart();
        assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 0.0);
        assert!(!stage.manager.names().contains(&"something-else".to_owned()));
        // What its shard says teaches the relay again.
        stage.shard.send(arrived.relay, &arrived.client, stage::RTP_BACK);
        assert_eq!(caller.receive(), stage::RTP_BACK);
        stage.goes_on(&caller, &arrived);
        stage.manager.wait_since_start(&BOTH);
    }
    stage.stop();
}

#[test]
fn what_is_parked_is_good_for_the_successor_of_a_hot_upgrade() {
    let Some(mut stage) = Stage::start_parking("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.manager.wait_since_start(&BOTH);
    let output = stage.ctl(&["upgrade"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let upgraded: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let process = i32::try_from(upgraded["process"].as_i64().unwrap()).unwrap();
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    (0..3).for_each(|_| stage.manager.wait_for(&ANY));
    assert!(stage.manager.names().len() <= 6 + 4, "{:?}", stage.manager.names());
    kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
    // As a zombie whose other threads have ended it has closed everything, and whoever adopts it may
    // leave it at that.
    let state = || fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let threads = || fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    let lives = || {
        threads() > 1 || state().rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives() {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = talk_to_nobody(&mut stage, &caller, &arrived);
    stage.restart();
    assert_eq!(stage.arrive(sent.len()), sent);
    assert_eq!(received(&caller, sent.len()), sent);
    assert_eq!(stage.metric("relay_flows_restored_total", "worker"), 1.0);
    stage.stop();
}
