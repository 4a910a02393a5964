//! The page that comes with the transceiver, in a browser, with a microphone that speaks and
//! pauses: whoever opens it hears themselves.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use e2e::peer::{Kind, Peer, run_with_chromium};
use e2e::stage::{Program, Stage};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the pause that the parrot takes for the end of a turn, and than its answer.
const SILENCE_MS: u32 = 4_000;

#[test]
fn whoever_clicks_on_the_page_is_heard_and_hears_it_back() {
    let Some(stage) = Stage::start() else { return };
    let Some(mut browser) = stage.client_with_pauses(Kind::Chromium, "parrot", SILENCE_MS) else {
        return;
    };
    let opened = browser.ask(&json!({ "do": "open", "path": "/" }));
    assert_eq!(opened["status"], 200);
    wait_until(&mut browser, "ready", |page| page["state"] == "idle");
    browser.ask(&json!({ "do": "choose", "selector": "#backend", "value": "parrot" }));

    browser.ask(&json!({ "do": "click", "selector": "#talk" }));
    let page = wait_until(&mut browser, "connected", |page| page["state"] == "connected");
    println!("set-up as the page saw it: {}", page["timings"]);

    // While the microphone speaks the parrot listens; in the pause it speaks.
    wait_until(&mut browser, "heard", |page| loud(&page["levels"]["you"]));
    wait_until(&mut browser, "answered", |page| {
        loud(&page["levels"]["answer"]) && !loud(&page["levels"]["you"])
    });
    let page = wait_until(&mut browser, "told about it", |page| {
        page["events"]["in"].as_u64().is_some_and(|events| events >= 4)
    });
    assert_eq!(page["problem"], Value::Null, "{page}");
    let log = "document.querySelector('#events').innerText";
    let log = browser.ask(&json!({ "do": "evaluate", "expression": log }));
    let log = log["value"].as_str().unwrap();
    for event in ["session.created", "speech_started", "speech_stopped", "response.created"] {
        assert!(log.contains(event), "no {event} in the page's log:\n{log}");
    }
    assert_eq!(stage.metric(Program::Transceiver, "transceiver_sessions", "connected"), 1.0);

    browser.ask(&json!({ "do": "click", "selector": "#talk" }));
    wait_until(&mut browser, "over", |page| page["state"] != "connected");
    stage.wait_for_metric(Program::Transceiver, "transceiver_sessions", "connected", |all| {
        all == 0.0
    });
    drop(browser);
    stage.stop();
}

/// The page's own tests: every state and every trouble, against a stand-in for the transceiver.
#[test]
fn the_page_keeps_its_promises_whatever_the_transceiver_says() {
    let script = e2e::programs::repository().join("transceiver/page/test/page.test.mjs");
    let Some(output) = run_with_chromium(&script) else { return };
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    println!("{said}");
    assert!(output.status.success(), "{errors}");
    assert!(said.contains("ok ") && !said.contains("skipped"), "{said}");
}

fn loud(level: &Value) -> bool {
    level.as_f64().is_some_and(|level| level > 0.02)
}

/// Waits until what the page says of itself is right.
fn wait_until(browser: &mut Peer, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let order = json!({ "do": "evaluate", "expression": "window.ringway" });
        let page = browser.ask(&order)["value"].take();
        if right(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "the page is not {what}: {page}");
        std::thread::sleep(Duration::from_millis(30));
    }
}
