//! `calls` and `ping` with the real program, against a stand-in for a deployment on loopback.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::sync::atomic::Ordering;

use serde_json::Value;
use support::{Deployment, TOKEN, program};

/// Runs a test of calls and reads its report.
fn calls(deployment: &Deployment, words: &[&str]) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.json");
    let mut all = vec!["calls", "--url", &deployment.url, "--json", path.to_str().unwrap()];
    all.extend(words);
    let output = program(&all).env("RINGWAY_TOKEN", TOKEN).output().unwrap();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn calls_are_set_up_and_heard_and_ended() {
    let deployment = Deployment::start();
    let words = ["--calls", "4", "--duration", "4s", "--slo", "loss=20%,p99=1500ms,setup_max=9s"];
    let (code, report) = calls(&deployment, &words);
    let counts = &report["result"]["counts"];
    assert_eq!(number(&counts["connected"]), 4, "{counts:#}");
    assert_eq!((number(&counts["started"]), number(&counts["ended"])), (4, 4));
    assert!((500..=900).contains(&number(&counts["sent"])), "50 a second each: {counts:#}");
    assert_eq!(number(&counts["sent"]), number(&counts["back"]) + number(&counts["lost"]));
    for phase in ["1 connect to signaling", "2 offer to answer", "3 ICE", "4 DTLS", "total"] {
        assert_eq!(number(&report["result"]["phases"][phase]["count"]), 4, "{phase}");
    }
    assert_eq!(deployment.behaviour.calls.load(Ordering::Relaxed), 4);
    // A busy machine may make the generator late; it must not make it fail otherwise.
    assert!(code == 0 || code == 3, "{code}: {:#}", report["objectives"]);
}

#[test]
fn injected_loss_is_reported_and_misses_an_objective() {
    let deployment = Deployment::start();
    deployment.behaviour.drop_every.store(10, Ordering::Relaxed);
    let (code, report) =
        calls(&deployment, &["--calls", "2", "--duration", "4s", "--slo", "loss=2%"]);
    let loss = report["result"]["loss"].as_f64().unwrap();
    assert!((0.09..=0.12).contains(&loss), "{loss}");
    assert_eq!(report["objectives"][0]["met"], false);
    assert!(code == 2 || code == 3, "{code}");
}

#[test]
fn failures_have_their_causes() {
    let deployment = Deployment::start();
    deployment.behaviour.deaf.store(true, Ordering::Relaxed);
    let (code, report) = calls(&deployment, &["--calls", "1", "--duration", "11s"]);
    assert_eq!(code, 1, "nothing connected");
    assert_eq!(report["result"]["failures"]["ICE: no check was answered"], 1, "{report:#}");
    assert_eq!(deployment.behaviour.hung_up.load(Ordering::Relaxed), 1);

    let output = program(&["calls", "--url", &deployment.url, "--calls", "1", "--duration", "1s"])
        .env("RINGWAY_TOKEN", "wrong")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("signaling: not authorized"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn calls_come_and_go() {
    let deployment = Deployment::start();
    let (_, report) = calls(&deployment, &["--calls", "3", "--churn", "2", "--duration", "5s"]);
    let counts = &report["result"]["counts"];
    assert!(number(&counts["started"]) >= 9, "{counts:#}");
    assert_eq!(number(&counts["started"]), number(&counts["ended"]), "{:#}", report["result"]);
}

#[test]
fn an_answers_candidates_are_pinged_and_the_call_is_hung_up() {
    let deployment = Deployment::start();
    let output = program(&["ping", "--url", &deployment.url, "--count", "3", "--interval", "10ms"])
        .env("RINGWAY_TOKEN", TOKEN)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("127.0.0.1:") && text.contains("3/3"), "{text}");
    assert_eq!(deployment.behaviour.hung_up.load(Ordering::Relaxed), 1);
}

#[test]
fn nobody_is_loaded_by_accident() {
    for words in [
        &["calls", "--url", "http://203.0.113.1:8080"][..],
        &["flows", "--relay", "203.0.113.1:3478"],
        &["ping", "--url", "http://203.0.113.1:8080"],
        &["calls", "--url", "http://203.0.113.1", "--target-authorized", "203.0.113.2"],
    ] {
        let output = program(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains("--target-authorized"), "{words:?}: {text}");
    }
}
