//! Real clients, one after the other: what they say comes back, on both channels, and either side
//! can end the call.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use e2e::peer::{Kind, Peer};
use e2e::stage::{PUBLIC, Program, Stage};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// Three rounds of all tones.
const TONES: usize = 15;

#[test]
fn chromium_hears_what_it_says_and_either_side_hangs_up() {
    everything_works_with(Kind::Chromium);
}

#[test]
fn aiortc_hears_what_it_says_and_either_side_hangs_up() {
    everything_works_with(Kind::Aiortc);
}

/// Firefox wants DTLS and checks in ways of its own. `make test-browsers` runs it.
#[test]
#[ignore = "needs Firefox: make test-browsers"]
fn firefox_hears_what_it_says_and_either_side_hangs_up() {
    everything_works_with(Kind::Firefox);
}

fn everything_works_with(kind: Kind) {
    let Some(stage) = Stage::start() else { return };
    let Some(mut client) = stage.client(kind, "echo") else { return };

    let first = a_call_works(kind, &stage, &mut client);
    client.ask(&json!({ "do": "hang_up" }));
    stage.wait_for_end_of(&first);
    let by_client = "reason=\"client_closed\"";
    stage.wait_for_metric(Program::Transceiver, ENDED, by_client, |ended| ended == 1.0);

    let second = a_call_works(kind, &stage, &mut client);
    assert_ne!(first, second);
    let path = format!("/v1/realtime/calls/{second}/hangup");
    assert_eq!(stage.signal("POST", &path, &[], b"").status, 200);
    client.wait_for("end of the channel", |line| {
        line["event"] == "channel" && line["state"] == "closed"
    });
    stage.wait_for_end_of(&second);

    // Nothing of either call is left.
    stage.wait_for_metric(Program::Relay, "relay_flows_assured", "", |flows| flows == 0.0);
    stage.wait_for_metric(Program::Transceiver, "transceiver_panics_total", "", |all| all == 0.0);
    drop(client);
    stage.stop();
}

const ENDED: &str = "transceiver_sessions_ended_total";

/// Makes a call, and tries everything that a call is for. Returns its name.
fn a_call_works(kind: Kind, stage: &Stage, client: &mut Peer) -> String {
    let call = client.call();
    println!("connected after {} ms, of which HTTP {}", call["connected_ms"], call["http_ms"]);
    answer_is_right(call["answer"].as_str().unwrap());
    let id = call["id"].as_str().unwrap().to_owned();

    let heard = match kind {
        // It has a fake microphone with a tone of its own, and no ear for others.
        Kind::Firefox => client.hears_something(200, PATIENCE),
        Kind::Chromium | Kind::Aiortc => client.hears_tones(TONES, PATIENCE),
    };
    assert_eq!(heard.lost, 0, "{heard:?}");

    client.wait_for("open channel", |line| line["event"] == "channel" && line["state"] == "open");
    for text in ["{\"type\":\"response.create\"}", "no JSON, and \u{e9}\u{4e2d}\u{1f514}"] {
        client.say(text);
        assert_eq!(client.wait_for_message(|message| message == text), text);
    }
    let long = "0123456789".repeat(3_000);
    client.say(&long);
    client.wait_for_message(|message| message == long);

    let report = stage.report(&id).unwrap();
    assert_eq!(report["state"], "connected", "{report}");
    assert_eq!(report["backend"], "echo");
    let client_address = report["path"]["client"].as_str().unwrap();
    let ours = ["10.78.1.2:", "[fd78:1::2]:"].map(|address| client_address.starts_with(address));
    assert!(ours.contains(&true), "{report}");
    for step in ["offer", "first_check", "ice", "dtls", "first_audio_in", "first_audio_out"] {
        assert!(report["setup_ms"][step].is_number(), "{step} in {report}");
    }
    assert_eq!(report["media"]["lost_in"], 0, "{report}");
    println!("set-up as the transceiver saw it: {}", report["setup_ms"]);
    id
}

/// ICE-lite, everything in the answer, and no address but the relay's.
fn answer_is_right(answer: &str) {
    for line in ["a=ice-lite", "a=end-of-candidates", "a=rtcp-mux-only"] {
        assert!(answer.lines().any(|has| has.trim() == line), "no {line} in\n{answer}");
    }
    let candidates: Vec<_> = answer.lines().filter(|line| line.contains("a=candidate:")).collect();
    assert!(!candidates.is_empty(), "{answer}");
    for line in &candidates {
        let words: Vec<_> = line.split_whitespace().collect();
        let address = match words[4].contains(':') {
            true => format!("[{}]:{}", words[4], words[5]),
            false => format!("{}:{}", words[4], words[5]),
        };
        assert!(PUBLIC.contains(&address.as_str()), "{line}");
    }
}
