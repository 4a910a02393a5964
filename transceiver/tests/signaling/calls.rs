//! The calls API.

use crate::world::*;
use serde_json::{Value, json};
use transceiver::signaling::{Access, Settings};

const SDP: (&str, &str) = ("content-type", "application/sdp");

#[tokio::test]
async fn a_call_is_opened_shown_restarted_and_hung_up() {
    let world = World::open().await;
    let answer = world.call(&[]).await;
    let path = answer.location();
    assert!(path.starts_with("/v1/realtime/calls/rtc_"), "{path}");
    assert_eq!(answer.header("content-type"), Some("application/sdp"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let candidates: Vec<_> =
        answer.body.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert_eq!(candidates.len(), 2, "{}", answer.body);
    assert!(candidates[0].contains(" 192.0.2.1 3478 "), "the nearest first");
    assert!(candidates[1].contains(" 2001:db8::1 3478 "), "{candidates:?}");
    assert!(answer.body.contains("a=end-of-candidates") && answer.body.contains("a=ice-lite"));

    let report = world.ask("GET", &path, &[], "").await.json();
    assert_eq!(report["object"], "realtime.call");
    assert_eq!(report["state"], "new");
    assert_eq!(report["backend"], "echo");
    assert!(path.ends_with(report["id"].as_str().unwrap()));
    let ufrag = report["ufrag"].as_str().unwrap().to_owned();
    assert!(answer.body.contains(&format!("a=ice-ufrag:{ufrag}\r\n")));

    let again = world.ask("PATCH", &path, &[SDP], OFFER).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert!(again.body.contains(&format!("a=ice-ufrag:{ufrag}\r\n")), "no restart, no change");
    let restart = world.ask("PATCH", &path, &[SDP], restarted(OFFER)).await;
    assert_eq!(restart.status, 200, "{restart:?}");
    assert_eq!(restart.header("content-type"), Some("application/sdp"));
    assert!(!restart.body.contains(&ufrag), "a restart gets a new one");
    let report = world.ask("GET", &path, &[], "").await.json();
    assert!(restart.body.contains(report["ufrag"].as_str().unwrap()));
    assert_eq!(report["ice_restarts"], 1);

    let over = world.ask("POST", &format!("{path}/hangup"), &[], "").await;
    assert_eq!((over.status, &*over.body), (200, ""));
    let second = world.ask("DELETE", &path, &[], "").await;
    assert_eq!((second.status, &*second.code()), (404, "call_not_found"));
    let restart = world.ask("PATCH", &path, &[SDP], restarted(OFFER)).await;
    assert_eq!((restart.status, &*restart.code()), (404, "call_not_found"));
    assert_eq!(world.calls.count(), 0);
    assert_eq!(world.counted("transceiver_http_call_open_seconds_count"), 1.0);
}

#[tokio::test]
async fn a_form_chooses_the_backend() {
    let world = World::open().await;
    let open = async |parts: &[(&str, &str)]| {
        let (content_type, body) = form(parts);
        world.ask("POST", "/v1/realtime/calls", &[("content-type", content_type)], body).await
    };
    let parrot = r#"{"type": "realtime", "model": "parrot", "instructions": "be loud"}"#;
    let answer = open(&[("sdp", OFFER), ("session", parrot)]).await;
    let report = world.ask("GET", &answer.location(), &[], "").await.json();
    assert_eq!(report["backend"], "parrot");
    let answer = open(&[("sdp", OFFER)]).await;
    let report = world.ask("GET", &answer.location(), &[], "").await.json();
    assert_eq!(report["backend"], "echo", "the default");

    let no_such = open(&[("sdp", OFFER), ("session", r#"{"model": "gpt"}"#)]).await;
    assert_eq!((no_such.status, &*no_such.code()), (404, "model_not_found"));
    assert!(no_such.message().contains("echo, parrot"), "{}", no_such.message());
    for (name, parts, code) in [
        ("no sdp", &[("session", "{}")][..], "sdp_missing"),
        ("no json", &[("sdp", OFFER), ("session", "model=echo")], "session_unreadable"),
        ("no object", &[("sdp", OFFER), ("session", "[]")], "session_unreadable"),
        ("no name", &[("sdp", OFFER), ("session", r#"{"model": 1}"#)], "session_unreadable"),
        ("twice", &[("sdp", OFFER), ("sdp", OFFER)], "multipart_unreadable"),
    ] {
        let answer = open(parts).await;
        assert_eq!((answer.status, &*answer.code()), (400, code), "{name}");
    }
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let answer = open(&[("sdp", OFFER), ("session", &deep)]).await;
    assert_eq!((answer.status, &*answer.code()), (400, "session_unreadable"));
    let long = format!("{{\"instructions\": \"{}\"}}", "x".repeat(65_536));
    let answer = open(&[("sdp", OFFER), ("session", &long)]).await;
    assert_eq!((answer.status, &*answer.code()), (413, "body_too_large"));
}

#[tokio::test]
async fn models_are_listed() {
    let world = World::open().await;
    let list = world.ask("GET", "/v1/models", &[], "").await.json();
    assert_eq!(list["object"], "list");
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["echo", "parrot"]);
    let echo = &list["data"][0];
    assert_eq!((&echo["object"], &echo["default"]), (&json!("model"), &json!(true)));
    assert_eq!(echo["owned_by"], "ringway");
    assert!(echo["description"].is_string());
    assert_eq!(list["data"][1]["default"], false);
}

#[tokio::test]
async fn unknown_paths_and_methods_say_what_there_is() {
    let world = World::open().await;
    let absent = world.ask("GET", "/v1/realtime/call", &[], "").await;
    assert_eq!((absent.status, &*absent.code()), (404, "not_found"));
    assert!(absent.message().contains("/v1/realtime/calls/{id}/hangup"), "{}", absent.message());
    for (method, path, allow) in [
        ("GET", "/v1/realtime/calls", &["POST"][..]),
        ("PUT", "/v1/realtime/calls/rtc_x", &["GET", "PATCH", "DELETE"]),
        ("GET", "/v1/realtime/calls/rtc_x/hangup", &["POST"]),
        ("DELETE", "/v1/realtime/client_secrets", &["POST"]),
        ("PUT", "/whip/echo", &["POST"]),
        ("POST", "/whip/echo/rtc_x", &["PATCH", "DELETE"]),
        ("POST", "/", &["GET"]),
    ] {
        let answer = world.ask(method, path, &[], "").await;
        assert_eq!((answer.status, &*answer.code()), (405, "method_not_allowed"), "{path}");
        let allowed: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
        for method in allow {
            assert!(allowed.contains(method), "{path}: {allowed:?}");
        }
    }
    let options = world.ask("OPTIONS", "/nowhere", &[], "").await;
    assert_eq!(options.status, 404);
}

#[tokio::test]
async fn no_room_and_draining_say_when_to_come_back() {
    let settings = Settings::new(Access::open());
    let world = World::bounded(settings, |_| {}, 1).await;
    let first = world.call(&[]).await.location();
    let full = world.call(&[]).await;
    assert_eq!((full.status, &*full.code()), (503, "at_capacity"));
    assert!(full.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(full.json()["error"]["type"], "server_error");
    assert_eq!(world.ask("DELETE", &first, &[], "").await.status, 200);
    let second = world.call(&[]).await.location();

    world.calls.set_drain(true).unwrap();
    let draining = world.call(&[]).await;
    assert_eq!((draining.status, &*draining.code()), (503, "draining"));
    assert!(draining.header("retry-after").is_some());
    assert_eq!(world.ask("GET", &second, &[], "").await.status, 200, "live calls go on");
    assert_eq!(world.ask("DELETE", &second, &[], "").await.status, 200);
    assert_eq!(world.counted("transceiver_calls_refused_total{code=\"at_capacity\"}"), 1.0);
    assert_eq!(world.counted("transceiver_calls_refused_total{code=\"draining\"}"), 1.0);
}

#[tokio::test]
async fn shards_that_are_gone_are_said_to_be_overloaded() {
    let world = World::open().await;
    let path = world.call(&[]).await.location();
    world.calls.tell_all(|| transceiver::shard::Order::Stop).unwrap();
    // Until its last turn is over it still answers: that the call has ended.
    let answer = loop {
        let answer = world.ask("GET", &path, &[], "").await;
        if answer.status != 200 {
            break answer;
        }
        assert_eq!(answer.json()["end"], "stopped");
    };
    assert_eq!((answer.status, &*answer.code()), (503, "overloaded"));
    assert!(answer.header("retry-after").is_some());
    let answer = world.call(&[]).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn pages_of_other_origins_are_told_whether_they_may() {
    let origin = ("origin", "https://app.example");
    let mut settings = Settings::new(keys(KEY));
    let world = World::new(settings.clone()).await;
    let refused = world.ask("OPTIONS", "/v1/realtime/calls", &[origin], "").await;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.header("access-control-allow-origin"), None, "none by default");
    settings.origins =
        transceiver::signaling::Origins::parse(&["https://app.example".into()]).unwrap();
    world.signaling.set(settings);
    let preflight = world.ask("OPTIONS", "/v1/realtime/calls", &[origin], "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), Some(origin.1));
    for (name, words) in [
        ("access-control-allow-methods", &["POST", "PATCH", "DELETE"][..]),
        ("access-control-allow-headers", &["authorization", "content-type", "if-match"]),
        ("access-control-expose-headers", &["location", "etag", "link", "retry-after"]),
    ] {
        let value = preflight.header(name).unwrap_or_else(|| panic!("{name}"));
        for word in words {
            assert!(value.contains(word), "{name}: {value}");
        }
    }
    // A page can show only the errors that it may read.
    let error = world.ask("POST", "/v1/realtime/calls", &[origin], "").await;
    assert_eq!(error.status, 401);
    assert_eq!(error.header("access-control-allow-origin"), Some(origin.1));
    assert_eq!(error.header("vary"), Some("origin"));
    let other = ("origin", "https://app.example.evil");
    let refused = world.ask("GET", "/v1/models", &[other], "").await;
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let open = World::open().await;
    let answer = open.ask("GET", "/v1/models", &[other], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let world = World::open().await;
    let path = world.call(&[]).await.location();
    world.ask("GET", &path, &[], "").await;
    world.ask("GET", "/nowhere", &[], "").await;
    let count = |route: &str, status: &str| {
        world.counted(&format!(
            "transceiver_http_requests_total{{route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(count("/v1/realtime/calls", "2xx"), 1.0);
    assert_eq!(count("/v1/realtime/calls/{id}", "2xx"), 1.0);
    assert_eq!(count("other", "4xx"), 1.0);
    assert_eq!(world.counted("transceiver_http_connections_accepted_total"), 3.0);
    let _: Value = world.ask("GET", &path, &[], "").await.json();
}
