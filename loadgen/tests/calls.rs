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
    // How long a set-up takes is the machine's affair; after it, 50 a second each.
    assert!((1..=900).contains(&number(&counts["sent"])), "{counts:#}");
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

#[test]
fn calls_are_signaled_over_https_to_whom_the_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, tls) = support::tls::authority(folder.path(), "127.0.0.1");
    let deployment = Deployment::start_with_tls(tls);
    let trusting = ["--calls", "3", "--duration", "8s", "--ca-file", ca.to_str().unwrap()];
    let (code, report) = calls(&deployment, &trusting);
    let counts = &report["result"]["counts"];
    assert_eq!((number(&counts["connected"]), number(&counts["ended"])), (3, 3), "{counts:#}");
    assert!(code == 0 || code == 3, "{code}");

    let output = program(&["ping", "--url", &deployment.url, "--count", "2", "--interval", "10ms"])
        .args(["--ca-file", ca.to_str().unwrap()])
        .env("RINGWAY_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("2/2"), "{output:?}");

    // Another authority knows nothing of the server, and ours does not vouch for another name.
    let [stranger, misnaming] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (strangers, _) = support::tls::authority(stranger.path(), "127.0.0.1");
    let (misnamers, tls) = support::tls::authority(misnaming.path(), "elsewhere.example");
    let misnamed = Deployment::start_with_tls(tls);
    for (deployment, ca) in [(&deployment, &strangers), (&misnamed, &misnamers)] {
        let words = ["--calls", "1", "--duration", "1s", "--ca-file", ca.to_str().unwrap()];
        let (code, report) = calls(deployment, &words);
        assert_eq!(code, 1, "nothing connected");
        let failures = report["result"]["failures"].as_object().unwrap();
        assert!(failures.keys().all(|cause| cause.contains("TLS failed")), "{failures:?}");
        assert!(!failures.is_empty());
    }
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "nothing of the kind").unwrap();
    for path in [path.to_str().unwrap(), "/nonexistent/ca.pem"] {
        let words = ["calls", "--url", "https://127.0.0.1:1", "--ca-file", path];
        let output = program(&words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("--ca-file {path}")), "{text}");
    }
}

/// Nobody takes what a thread measures any more: it ends its calls and gives up, rather than going on
/// for ever or leaving the kernel with memory that is not there any more.
#[test]
fn a_thread_that_ends_out_of_turn_ends_its_calls() {
    use loadgen::calls::signaling::{Signaling, SignalingSettings};
    use loadgen::calls::{Worker, WorkerSettings};
    use loadgen::control::{Control, Order, Share};
    use loadgen::target::Permission;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    let deployment = Deployment::start();
    let permission = Permission::new(None);
    let settings = SignalingSettings {
        url: deployment.url.clone(),
        token: Some(TOKEN.to_owned()),
        model: None,
        ca_file: None,
    };
    let signaling = Arc::new(Signaling::new(&settings, &permission).unwrap());
    let worker =
        Worker::new(WorkerSettings { signaling, permission }, Share { index: 0, count: 1 });
    let control = Arc::new(Control::default());
    control.order(Order { wanted: 3, ..Order::default() });
    let (windows, receiver) = crossbeam::channel::bounded(100);
    let thread = std::thread::spawn({
        let control = Arc::clone(&control);
        move || worker.run(&control, &windows)
    });
    let mut connected = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while connected < 3 {
        assert!(Instant::now() < deadline, "{connected} connected");
        let window = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        connected += window.measurement.counts.connected;
    }
    drop(receiver);
    let error = thread.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("nobody takes measurements"), "{error}");
}
