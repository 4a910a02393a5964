//! The relay as operators run it: the real program on a host of its own, clients and a shard on
//! others, and everything an operator does to it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/stage.rs"]
mod stage;
mod support;

use nix::sys::signal::Signal;
use stage::{PUBLIC, PUBLIC_V6, Stage};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{SILENCE, check};

#[test]
fn calls_go_through_with_either_engine_and_family() {
    for engine in ["mmsg", "auto"] {
        let Some(mut stage) = Stage::start(engine) else { return };
        let mut calls = Vec::new();
        for tag in 0..20 {
            let relay = if tag % 2 == 0 { PUBLIC } else { PUBLIC_V6 };
            calls.push(stage.call(relay, tag));
        }
        for (caller, arrived) in &calls {
            stage.goes_on(caller, arrived);
        }
        let relays: std::collections::BTreeSet<_> =
            calls.iter().map(|(_, arrived)| arrived.relay).collect();
        assert_eq!(relays.len(), 2, "twenty calls are spread over both workers");
        stage.wait_for_metric("relay_flows_assured", "worker", |flows| flows == 20.0);
        let received = "relay_client_received_packets_total";
        stage.wait_for_metric(received, "class=\"rtp\"", |packets| packets == 20.0);
        assert_eq!(stage.metric("relay_worker_allocations_after_ready_total", "worker"), 0.0);
        stage.stop();
    }
}

#[test]
fn a_draining_relay_keeps_its_calls_and_takes_no_others() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    stage.signal(Signal::SIGTERM);
    stage.wait_for_metric("relay_draining", "", |draining| draining >= 1.0);
    assert!(stage.page("/ready").unwrap().starts_with("HTTP/1.1 503"));
    assert!(stage.page("/live").unwrap().starts_with("HTTP/1.1 200"));

    let late = stage.caller(PUBLIC);
    late.send(&stage.shard.session(2).1);
    assert_eq!(stage.shard.receive(SILENCE), []);
    stage.goes_on(&caller, &arrived);
    assert!(stage.relay.try_wait().unwrap().is_none(), "a call is still going on");
    assert!(stage.folder.path().join("relay.sock").exists());

    stage.shard.gone(arrived.relay, &arrived.client);
    assert!(stage.wait_for_end(Duration::from_secs(10)).success());
    assert!(!stage.folder.path().join("relay.sock").exists());
}

#[test]
fn a_reload_takes_what_is_good_and_refuses_the_rest() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    let good = fs::read_to_string(&stage.config).unwrap();
    let generation = "relay_config_generation";
    assert_eq!(stage.metric(generation, ""), 1.0);

    fs::write(&stage.config, good.replace("deadline = \"30s\"", "deadline = \"soon\"")).unwrap();
    stage.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.metric(generation, ""), 1.0, "a bad file changes nothing");
    stage.goes_on(&caller, &arrived);

    fs::write(&stage.config, good.replace("id = 1, address", "id = 2, address")).unwrap();
    stage.signal(Signal::SIGHUP);
    stage.wait_for_metric(generation, "", |generation| generation == 2.0);
    stage.goes_on(&caller, &arrived);
    let late = stage.caller(PUBLIC);
    late.send(&stage.shard.session(2).1);
    assert_eq!(stage.shard.receive(SILENCE), [], "transceiver 1 is called 2 now");
    let unknown = "reason=\"transceiver_unknown\"";
    stage.wait_for_metric("relay_drops_total", unknown, |drops| drops == 1.0);

    // A keyring that others could read is as bad as a bad one.
    let keys = stage.folder.path().join("keys.toml");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    stage.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.metric(generation, ""), 2.0);
    stage.stop();
}

/// Twenty thousand packets that prove nothing, while calls go on: no flow is made, nothing reaches
/// the shard, and every one of them is accounted for.
#[test]
fn a_flood_of_unproven_checks_makes_no_flow_and_harms_no_call() {
    let Some(mut stage) = Stage::start("auto") else { return };
    let (caller, arrived) = stage.call(PUBLIC, 1);
    let (ufrag, _) = stage.shard.session(2);
    let foreign = check(b"somebodyelsesufragentir", b"pwd");
    let unproven = check(ufrag.as_bytes(), b"not the password");
    let attacker = stage.caller(PUBLIC);
    for round in 0..100 {
        for _ in 0..100 {
            attacker.send(&foreign);
            attacker.send(&unproven);
        }
        if round % 10 == 0 {
            stage.goes_on(&caller, &arrived);
        }
    }
    assert_eq!(stage.shard.receive(SILENCE), []);
    let deadline = Instant::now() + Duration::from_secs(10);
    let accounted = || {
        let reasons = ["hint_unknown_key", "hint_forged", "hint_text", "integrity_wrong"];
        let of = |reason| stage.metric("relay_drops_total", &format!("reason=\"{reason}\""));
        let dropped: f64 = reasons.into_iter().map(of).sum();
        dropped + stage.metric("relay_kernel_drops_total", "socket=\"public\"")
    };
    while accounted() < 20_000.0 {
        assert!(Instant::now() < deadline, "only {} are accounted for", accounted());
    }
    assert_eq!(accounted(), 20_000.0);
    assert_eq!(stage.metric("relay_flows_new", "worker"), 0.0);
    assert_eq!(stage.metric("relay_flows_assured", "worker"), 1.0);
    stage.stop();
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("relay.toml");
    for (text, wants) in [
        ("workers = 0\n", ["relay.toml:1: workers", "must be"]),
        ("\n\nworker = 2\n", ["relay.toml:3: worker", "workers"]),
        ("listen = [\"nowhere\"]\n", ["relay.toml:1: listen[0]", "invalid socket address"]),
        ("keys = \"/nowhere/keys.toml\"\n", ["/nowhere/keys.toml", "ringway-relay keygen"]),
    ] {
        fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringway-relay"))
            .args(["run", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {message}");
        for want in wants {
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}
