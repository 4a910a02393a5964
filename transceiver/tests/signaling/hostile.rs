//! What attackers send: it is refused with a reason or cut off, and nobody else notices.

use crate::world::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transceiver::signaling::{Access, Settings};

const CALLS: &str = "/v1/realtime/calls";
const SDP: (&str, &str) = ("content-type", "application/sdp");
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn bad_offers_are_refused_with_what_to_change() {
    let world = World::open().await;
    let many = format!("{OFFER}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(100));
    let no_audio = OFFER.replace("m=audio", "m=video");
    let no_opus = OFFER.replace("opus/", "other/").replace("Opus/", "other/");
    let not_text = [b"v=0\r\n\xff\xfe".as_slice(), OFFER.as_bytes()].concat();
    let no_key = OFFER.replace("a=fingerprint", "a=x");
    for (name, body, status, code) in [
        ("nothing", b"".as_slice(), 400, "offer_unreadable"),
        ("garbage", b"\x16\x03\x01garbage", 400, "offer_unreadable"),
        ("not text", &not_text, 400, "offer_unreadable"),
        ("json", br#"{"type": "offer", "sdp": "v=0"}"#, 400, "offer_unreadable"),
        ("no audio", no_audio.as_bytes(), 422, "offer_without_audio"),
        ("no opus", no_opus.as_bytes(), 422, "offer_without_opus"),
        ("100 m-lines", many.as_bytes(), 422, "offer_too_many_sections"),
        ("1 MB", &vec![b'x'; 1 << 20], 413, "body_too_large"),
        ("a byte too many", &vec![b'x'; (64 << 10) + 1], 413, "body_too_large"),
    ] {
        let answer = world.ask("POST", CALLS, &[SDP], body).await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{name}: {answer:?}");
    }
    let answer = world.ask("POST", CALLS, &[SDP], no_key).await;
    assert!([400, 422].contains(&answer.status), "{answer:?}");
    for content_type in
        ["", "text/plain", "application/json", "application/sdp2", "multipart/mixed"]
    {
        let answer = world.ask("POST", CALLS, &[("content-type", content_type)], OFFER).await;
        assert_eq!((answer.status, &*answer.code()), (415, "unsupported_media_type"));
        assert!(answer.message().contains("application/sdp"), "{}", answer.message());
    }
    assert_eq!(world.calls.count(), 0);
    assert_eq!(world.call(&[]).await.status, 201, "everybody else is served");
    let refused = world.counted("transceiver_calls_refused_total{code=\"offer_unreadable\"}");
    assert!(refused >= 4.0, "{refused}");
}

#[tokio::test]
async fn a_live_call_survives_bad_offers_for_it() {
    let world = World::open().await;
    let path = world.call(&[]).await.location();
    let before = world.ask("GET", &path, &[], "").await.json();
    for body in ["garbage", "v=0\r\n", &OFFER.replace("opus/", "other/"), &OFFER[..200]] {
        let answer = world.ask("PATCH", &path, &[SDP], body).await;
        assert!((400..500).contains(&answer.status), "{body:.30}: {answer:?}");
        answer.code();
    }
    let answer = world.ask("PATCH", &path, &[("content-type", "text/plain")], OFFER).await;
    assert_eq!(answer.status, 415);
    let after = world.ask("GET", &path, &[], "").await.json();
    assert_eq!((&after["ufrag"], &after["state"]), (&before["ufrag"], &before["state"]));
    assert_eq!(world.ask("PATCH", &path, &[SDP], restarted(OFFER)).await.status, 200);
}

#[tokio::test]
async fn guessed_names_of_calls_are_no_calls() {
    let world = World::open().await;
    let real = world.call(&[]).await.location();
    let last = if real.ends_with('a') { "b" } else { "a" };
    let near = format!("{}{last}", &real[..real.len() - 1]);
    let long = format!("{CALLS}/{}", "a".repeat(4_000));
    for path in [&*near, "/v1/realtime/calls/rtc_", "/v1/realtime/calls/%00%ff", &long] {
        for method in ["GET", "DELETE"] {
            let answer = world.ask(method, path, &[], "").await;
            assert_eq!((answer.status, &*answer.code()), (404, "call_not_found"), "{path}");
        }
    }
    assert_eq!(world.ask("GET", &real, &[], "").await.status, 200);
}

#[tokio::test]
async fn floods_of_headers_are_cut_off() {
    let world = World::open().await;
    let many = "x: y\r\n".repeat(1_000);
    let long = format!("x: {}\r\n", "y".repeat(64 << 10));
    for headers in [many, long] {
        let request = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        // It may hang up before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![];
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("is cut off");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(world.ask("GET", "/v1/models", &[], "").await.status, 200);
}

#[tokio::test]
async fn who_dawdles_is_cut_off() {
    let mut settings = Settings::new(Access::open());
    settings.body_time = Duration::from_millis(200);
    let bound = |bounds: &mut service::http::Bounds| {
        bounds.header_time = Duration::from_secs(2);
    };
    let world = World::bounded(settings, bound, 10).await;
    let read_all = async |mut stream: TcpStream| {
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("is cut off").unwrap();
        answer
    };
    let silent = TcpStream::connect(world.address).await.unwrap();
    let mut in_head = TcpStream::connect(world.address).await.unwrap();
    in_head.write_all(b"POST /v1/realtime/calls HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_all(silent).await, "");
    read_all(in_head).await;
    assert!(read_all(idle).await.starts_with("HTTP/1.1 200"), "answered, and then idle too long");

    let head = "POST /v1/realtime/calls HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/sdp\r\ncontent-length: 5000\r\n\r\nv=0";
    let answer = world.send(head.as_bytes()).await;
    assert_eq!((answer.status, &*answer.code()), (408, "body_too_slow"));
    assert_eq!(world.ask("GET", "/v1/models", &[], "").await.status, 200);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let bound = |bounds: &mut service::http::Bounds| bounds.connections_per_address_max = 3;
    let world = World::bounded(Settings::new(Access::open()), bound, 10).await;
    let mut held = vec![];
    for _ in 0..3 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        held.push(stream);
    }
    let mut refused = TcpStream::connect(world.address).await.unwrap();
    let mut nothing = vec![];
    let read = timeout(PATIENCE, refused.read_to_end(&mut nothing)).await.expect("closed at once");
    assert!(read.is_err() || nothing.is_empty());
    assert_eq!(world.counted("transceiver_http_connections_refused_total"), 1.0);
    assert_eq!(world.counted("transceiver_http_connections"), 3.0);
    held.pop();
    let mut status = 0;
    for _ in 0..300 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(request).await;
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200") {
            status = 200;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200, "a place that is left is another's");
}

#[tokio::test]
async fn smuggled_and_broken_requests_are_refused() {
    let world = World::open().await;
    for request in [
        "POST /v1/realtime/calls HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nv=0\r\n",
        "POST /v1/realtime/calls HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        "\u{16}\u{3}\u{1} hello\r\n\r\n",
        "GET\r\n\r\n",
    ] {
        let answer = world.send(request.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{request:?}: {answer:?}");
    }
    assert_eq!(world.ask("GET", "/v1/models", &[], "").await.status, 200);
}

#[tokio::test]
async fn forwarded_addresses_are_believed_of_proxies_alone() {
    let mut settings = Settings::new(Access::open());
    settings.rates.address = transceiver::signaling::Rate { per_second: 1, burst: 1 };
    let world = World::new(settings.clone()).await;
    let as_if = async |address: &str| {
        world.ask("GET", "/v1/models", &[("x-forwarded-for", address)], "").await.status
    };
    assert_eq!(as_if("198.51.100.1").await, 200);
    assert_eq!(as_if("198.51.100.2").await, 429, "anybody can write that");
    settings.proxies = vec!["127.0.0.1/32".parse().unwrap()];
    world.signaling.set(settings);
    assert_eq!(as_if("198.51.100.3").await, 200);
    assert_eq!(as_if("198.51.100.4").await, 200);
    assert_eq!(as_if("198.51.100.4").await, 429);
}
