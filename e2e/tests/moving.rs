//! Calls whose path changes under them: a NAT that forgets its client, ICE restarts, and a relay that
//! dies and comes back with no memory.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use e2e::peer::Kind;
use e2e::stage::{Program, Stage};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// Audio is back within this after a client's address changed: Chromium checks its path every
/// 2.5 s at most, and says by that where it is now.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// For a machine with two cores that has other things to do.
const SLACK: Duration = Duration::from_millis(1_500);
/// Two rounds of all tones.
const TONES: usize = 10;
const ADDRESS_CHANGES: &str = "transceiver_address_changes_total";

#[test]
fn audio_is_back_within_three_seconds_after_the_nat_has_forgotten_chromium() {
    let Some(stage) = Stage::behind_nat() else { return };
    let Some(mut client) = stage.client(Kind::Chromium, "echo") else { return };
    let call = client.call();
    let id = call["id"].as_str().unwrap();
    client.hears_tones(TONES, PATIENCE);

    let mut gaps = Vec::new();
    for _ in 0..3 {
        let before = path_of(&stage, id);
        client.heard();
        stage.nat().rebind();
        // In a row and in order, so after the gap, whatever was heard until then.
        let heard = client.hears_tones(TONES, PATIENCE);
        assert!(heard.gap < BACK_WITHIN + SLACK, "{heard:?}");
        let after = path_of(&stage, id);
        assert_ne!(before, after, "the transceiver knows the new address");
        gaps.push(heard.gap);
    }
    println!("after each rebinding no audio for {gaps:?}");
    assert_eq!(stage.metric(Program::Transceiver, ADDRESS_CHANGES, ""), 3.0);
    assert_eq!(stage.report(id).unwrap()["address_changes"], 3);

    // The call was never another one, and its channel has lost nothing.
    client.say("still there");
    client.wait_for_message(|text| text == "still there");
    drop(client);
    stage.stop();
}

fn path_of(stage: &Stage, call: &str) -> String {
    stage.report(call).unwrap()["path"]["client"].as_str().unwrap().to_owned()
}

#[test]
fn chromium_restarts_ice_by_another_offer_without_losing_the_call() {
    let Some(stage) = Stage::start() else { return };
    let Some(mut client) = stage.client(Kind::Chromium, "echo") else { return };
    let call = client.call();
    let id = call["id"].as_str().unwrap();
    client.hears_tones(TONES, PATIENCE);

    for restarts in 1..=2 {
        client.heard();
        let ufrags = client.ask(&json!({ "do": "restart" }));
        assert_ne!(ufrags["before"], ufrags["after"], "a restart has credentials of its own");
        let heard = client.hears_tones(TONES, PATIENCE);
        assert!(heard.gap < BACK_WITHIN + SLACK, "{heard:?}");
        println!("restart {restarts}: no audio for {:?}, {} packets lost", heard.gap, heard.lost);
        let report = stage.report(id).unwrap();
        assert_eq!(report["ice_restarts"], restarts, "{report}");
        assert_eq!(report["ufrag"], ufrags["after"], "{report}");
    }
    // Checks go on under the new name: the call is still there when the old one is long forgotten.
    std::thread::sleep(Duration::from_secs(8));
    client.hears_tones(TONES, PATIENCE);
    assert_eq!(stage.report(id).unwrap()["state"], "connected");
    client.say("still there");
    client.wait_for_message(|text| text == "still there");
    drop(client);
    stage.stop();
}

#[test]
fn a_relay_that_is_killed_and_started_again_has_the_call_back_with_the_next_check() {
    let Some(mut stage) = Stage::start() else { return };
    let Some(mut client) = stage.client(Kind::Chromium, "echo") else { return };
    let call = client.call();
    client.hears_tones(TONES, PATIENCE);
    client.heard();
    stage.restart_relay();
    let heard = client.hears_tones(TONES, PATIENCE);
    println!("no audio for {:?}, {} packets lost", heard.gap, heard.lost);
    // The echo has nothing to say unless it hears something, so that no return traffic teaches the
    // relay: the check does. Starting it takes a moment too.
    assert!(heard.gap < BACK_WITHIN + SLACK, "{heard:?}");
    let report = stage.report(call["id"].as_str().unwrap()).unwrap();
    assert_eq!(report["state"], "connected", "{report}");
    assert_eq!(report["ice_restarts"], 0, "{report}");
    client.say("still there");
    client.wait_for_message(|text| text == "still there");
    drop(client);
    stage.stop();
}

#[test]
fn aiortc_is_heard_again_after_the_nat_has_forgotten_it() {
    let Some(stage) = Stage::behind_nat() else { return };
    let Some(mut client) = stage.client(Kind::Aiortc, "echo") else { return };
    let call = client.call();
    client.hears_tones(TONES, PATIENCE);
    client.heard();
    stage.nat().rebind();
    // It checks its path every five seconds, give or take one.
    let heard = client.hears_tones(TONES, PATIENCE);
    println!("no audio for {:?}", heard.gap);
    assert_eq!(stage.report(call["id"].as_str().unwrap()).unwrap()["address_changes"], 1);
    drop(client);
    stage.stop();
}
