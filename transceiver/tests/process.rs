//! The life of the program: how it starts, refuses to, reloads, drains and stops.

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use support::{OFFER, Running, ask, private_file, program, text};

const CALLS: &str = "/v1/realtime/calls";

#[test]
fn it_starts_serves_and_stops() {
    for engine in ["mmsg", "auto"] {
        let mut running = Running::start(&format!("engine = \"{engine}\""));
        assert_eq!(running.page("/live").status, 200);
        assert_eq!(running.ask("GET", "/", "").status, 200, "the page");
        assert!(running.ask("GET", "/v1/models", "").body.contains("parrot"));
        let id = running.call();
        running.wait_for_metric("transceiver_sessions", "state=\"new\"", 1.0);
        assert_eq!(running.metric("transceiver_calls", "shard"), 1.0);
        let requests = running.metric("transceiver_http_requests_total", "status=\"2xx\"");
        assert_eq!(requests, 3.0);
        assert_eq!(running.metric("transceiver_identity_info", "transceiver=\"7\""), 1.0);
        let answer = running.ask("POST", &format!("{CALLS}/{id}/hangup"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        running.wait_for_metric("transceiver_sessions_ended_total", "reason=\"hung_up\"", 1.0);
        assert!(running.socket.exists());
        running.signal(Signal::SIGTERM);
        assert!(running.wait_for_end().success());
        assert!(!running.socket.exists());
    }
}

#[test]
fn a_draining_transceiver_keeps_its_calls_and_takes_no_others() {
    let mut running = Running::start("");
    let id = running.call();
    running.signal(Signal::SIGTERM);
    running.wait_for_metric("transceiver_draining", "", 1.0);
    assert_eq!(running.page("/ready").status, 503);
    assert_eq!(running.page("/live").status, 200);
    let refused = running.ask("POST", CALLS, OFFER);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.body.contains("draining"));
    assert_eq!(running.ask("GET", &format!("{CALLS}/{id}"), "").status, 200);
    assert!(running.child.try_wait().unwrap().is_none(), "a call is still going on");
    assert_eq!(running.ask("DELETE", &format!("{CALLS}/{id}"), "").status, 200);
    assert!(running.wait_for_end().success());
}

#[test]
fn a_second_signal_or_the_deadline_ends_what_is_left() {
    let mut running = Running::start("");
    running.call();
    running.signal(Signal::SIGTERM);
    running.wait_for_metric("transceiver_draining", "", 1.0);
    running.signal(Signal::SIGINT);
    assert!(running.wait_for_end().success());

    let mut running = Running::start("drain.deadline = \"1s\"");
    running.call();
    running.signal(Signal::SIGTERM);
    assert!(running.wait_for_end().success());
}

#[test]
fn a_reload_takes_what_is_good_and_refuses_the_rest() {
    let mut running = Running::start("calls.per_shard_max = 2");
    let generation = "transceiver_config_generation";
    running.rewrite("per_shard_max = 2", "per_shard_max = 0");
    running.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running.metric(generation, ""), 1.0, "a bad file changes nothing");

    running.rewrite("per_shard_max = 0", "per_shard_max = 1");
    running.rewrite("192.0.2.1:3478", "198.51.100.9:3479");
    running.signal(Signal::SIGHUP);
    running.wait_for_metric(generation, "", 2.0);
    let answer = running.ask("POST", CALLS, OFFER);
    assert_eq!(answer.status, 201);
    assert!(answer.body.contains("198.51.100.9 3479 typ host"), "{}", answer.body);
    assert!(!answer.body.contains("192.0.2.1"), "{}", answer.body);
    running.call();
    let full = running.ask("POST", CALLS, OFFER);
    assert_eq!(full.status, 503, "two shards of one call each: {full:?}");

    // A keyring that others could read is as bad as a bad one.
    fs::set_permissions(&running.keys, fs::Permissions::from_mode(0o644)).unwrap();
    running.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running.metric(generation, ""), 2.0);
    running.signal(Signal::SIGTERM);
    running.wait_for_metric("transceiver_draining", "", 1.0);
    running.signal(Signal::SIGTERM);
    assert!(running.wait_for_end().success());
}

#[test]
fn keys_are_asked_for_and_change_with_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api-keys");
    let key = || text(&program(&["api-key", "web"]).output().unwrap().stdout);
    let (first, second) = (key(), key());
    assert_ne!(first, second);
    private_file(&file, &first);
    let running = Running::start(&format!("signaling.open = false\nsignaling.api_keys = {file:?}"));
    let call = |key: &str| {
        let bearer = format!("Bearer {}", key.trim().split_once(':').unwrap().1);
        let headers = [("Content-Type", "application/sdp"), ("Authorization", bearer.as_str())];
        ask(running.signaling, "POST", CALLS, &headers, OFFER).unwrap().status
    };
    assert_eq!(running.ask("POST", CALLS, OFFER).status, 401);
    assert_eq!((call(&first), call(&second)), (201, 401));
    private_file(&file, &second);
    assert!(running.shows(&["reload"]).contains("configuration 2 is in effect"));
    assert_eq!((call(&first), call(&second)), (401, 201));
    assert_eq!(running.metric("transceiver_http_auth_failures_total", "unknown_key"), 2.0);
}

#[test]
fn the_service_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        text(&buffer[..length])
    };
    // The configuration of a transceiver that has stopped, for one with a manager.
    let mut first = Running::start("");
    first.signal(Signal::SIGTERM);
    assert!(first.wait_for_end().success());
    let mut child = program(&["run", "--config", first.config.to_str().unwrap()])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .spawn()
        .unwrap();
    assert_eq!(told(), "READY=1");
    assert_eq!(told(), "WATCHDOG=1");
    assert_eq!(told(), "WATCHDOG=1");
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(process, Signal::SIGTERM).unwrap();
    while told() != "STOPPING=1" {}
    assert!(support::wait_for_end(&mut child).success());
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("transceiver.toml");
    let ingress = "ingress = [\"192.0.2.1:3478\"]\n";
    for (text, wants) in [
        ("".to_owned(), ["transceiver.toml: ingress", "must name the relays"]),
        (
            "\ningress = [\"0.0.0.0:3478\"]\n".to_owned(),
            ["transceiver.toml:2: ingress[0]", "where a relay listens"],
        ),
        (format!("{ingress}shards = 0\n"), ["transceiver.toml:2: shards", "must be"]),
        (format!("{ingress}\nshard = 2\n"), ["transceiver.toml:3: shard", "shards"]),
        (
            format!("{ingress}keys = \"/nowhere/keys.toml\"\n"),
            ["/nowhere/keys.toml", "ringway-relay keygen"],
        ),
    ] {
        fs::write(&config, &text).unwrap();
        let file = config.to_str().unwrap();
        let output = program(&["run", "--config", file]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {message}");
        for want in wants {
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}

#[test]
fn a_missing_file_of_api_keys_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    service::keyfile::create(&keys).unwrap();
    let output = program(&["run", "--ingress", "192.0.2.1:3478", "--keys"])
        .arg(&keys)
        .args(["--set", "signaling.api_keys=/nowhere/api-keys"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("/nowhere/api-keys") && message.contains("name:key"), "{message}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let running = Running::start("");
    let other = running.folder.path().join("other.sock");
    let output = program(&["run", "--config", running.config.to_str().unwrap()])
        .args(["--set", &format!("admin.socket={}", other.display())])
        .args(["--set", &format!("http.listen={}", support::free_tcp())])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("tunnel of shard 0"), "{message}");
    assert!(!other.exists());
}
