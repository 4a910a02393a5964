//! What an operator sees and does, with the real program.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::{OFFER, Running, program, text};

#[test]
fn a_status_says_how_it_is() {
    let running = Running::start("backend = \"parrot\"");
    running.call();
    let shown = running.shows(&["status"]);
    for part in ["cluster 1, transceiver 7", "taking new calls", "1/2000", "nothing was dropped"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let line = running.shows(&["status", "--line"]);
    assert!(line.starts_with("calls 1, audio packets/s 0 in 0 out, cores 0."), "{line}");
    let status = running.json(&["status"]);
    assert_eq!(status["transceiver"], 7);
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    for shard in status["shards"].as_array().unwrap() {
        assert!(shard["tick_age_ms"].as_u64().unwrap() < 5_000, "{shard}");
    }
}

#[test]
fn sessions_are_listed_shown_and_ended() {
    let running = Running::start("");
    assert_eq!(running.shows(&["sessions"]), "no sessions\n");
    let (first, second) = (running.call(), running.call());
    let list = running.shows(&["sessions"]);
    assert!(list.contains(&first) && list.contains(&second) && list.contains("echo"), "{list}");
    let sessions = running.json(&["sessions", "--limit", "1"]);
    assert_eq!(sessions["total"], 2);
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "one of each shard");

    let shown = running.shows(&["session", &first]);
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} in\n{shown}")).to_owned()
    };
    assert!(line("id").ends_with(&first));
    assert!(line("state").ends_with("new"));
    assert!(line("hint.transceiver").ends_with('7'));
    assert!(line("setup_ms.ice").ends_with('-'));
    assert!(line("created_at").ends_with(" UTC"));
    let report = running.json(&["session", &first]);
    let by_signaling = running.ask("GET", &format!("/v1/realtime/calls/{first}"), "").body;
    let by_signaling: serde_json::Value = serde_json::from_str(&by_signaling).unwrap();
    assert_eq!(report["ufrag"], by_signaling["ufrag"], "one report for both");

    assert_eq!(running.shows(&["hangup", &first]), format!("{first} has ended\n"));
    let ended = running.json(&["session", &first]);
    assert_eq!((&ended["state"], &ended["end"]), (&"ended".into(), &"hung_up".into()));
    let unknown = running.ctl(&["session", &format!("rtc_{}", "a".repeat(24))]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no such call"), "{}", text(&unknown.stderr));
    let wrong = running.ctl(&["hangup", "rtc_x"]);
    assert!(text(&wrong.stderr).contains("24 characters"), "{}", text(&wrong.stderr));
    running.wait_for_metric("transceiver_calls", "shard", 1.0);
}

#[test]
fn draining_can_be_taken_back() {
    let running = Running::start("");
    assert!(running.shows(&["drain"]).starts_with("draining"));
    assert_eq!(running.page("/ready").status, 503);
    assert_eq!(running.ask("POST", "/v1/realtime/calls", OFFER).status, 503);
    assert!(running.shows(&["status"]).contains("DRAINING"));
    assert!(running.shows(&["undrain"]).starts_with("not draining"));
    assert_eq!(running.page("/ready").status, 200);
    running.call();
}

#[test]
fn a_reload_says_what_it_did_and_what_it_could_not() {
    let running = Running::start("");
    assert!(running.shows(&["reload"]).contains("nothing has changed"));
    running.rewrite("shards = 2", "shards = 1\ncalls.time_max = \"1h\"");
    let shown = running.shows(&["reload"]);
    for part in [
        "configuration 3 is in effect",
        "changed: calls.time_max: \"12h\" -> \"1h\"",
        "takes a restart: shards: 2 -> 1",
        "only loopback",
    ] {
        assert_eq!(shown.contains(part), part != "only loopback", "{part} in\n{shown}");
    }
    let report = running.json(&["reload"]);
    assert_eq!(report["generation"], 4);
    running.rewrite("shards = 1", "shards = 1\nshard = 1");
    let refused = running.ctl(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("did you mean `shards`"), "{}", text(&refused.stderr));
}

#[test]
fn the_admin_socket_is_its_owners() {
    let running = Running::start("");
    let mode = running.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let nobody = program(&["ctl", "--socket", "/nowhere/x.sock", "status"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("/nowhere/x.sock"), "{}", text(&nobody.stderr));
}

#[test]
fn configurations_are_checked_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transceiver.toml");
    let printed = text(&program(&["print-config"]).output().unwrap().stdout);
    std::fs::write(&file, &printed).unwrap();
    let file = file.to_str().unwrap();
    let refused = program(&["check-config", file]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "ingress is for the operator to say");
    assert!(text(&refused.stderr).contains("ingress: must name the relays"));
    let good = program(&["check-config", file, "--ingress", "127.0.0.1:3478"]).output().unwrap();
    let shown = text(&good.stdout);
    assert!(good.status.success() && shown.contains("good; cluster 1"), "{shown}");
    assert!(shown.contains("note: ingress has only loopback addresses"), "{shown}");
    let effective =
        program(&["print-config", "--config", file, "--ingress", "192.0.2.1:1", "--shards", "3"])
            .output()
            .unwrap();
    assert!(text(&effective.stdout).contains("shards = 3"));
}
