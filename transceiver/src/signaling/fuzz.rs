//! The body of the fuzz target for the HTTP API: bytes become a request, which a real front desk and
//! a real shard answer. Whatever comes, the answer is a whole one, nothing is our fault, and no call
//! is left behind.

use super::router;
use super::{Access, Rate, Rates, Settings};
use crate::backend::{Board, echo::Echoes, parrot::Parrots};
use crate::calls::{Calls, Policy, ShardHandles};
use crate::ingress::Ingress;
use crate::shard::core::{Core, Settings as CoreSettings};
use crate::shard::{Limits, Orders, Slot, thread};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use engine::{Engine, LinkSettings, LinkSocket, Mmsg, sockets};
use http_body_util::BodyExt as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use wire::hint::{ClusterId, TransceiverId};
use wire::keyring::Keyring;

const KEYS: &str = include_str!("../../../wire/tests/keyrings/new.toml");
const OFFER: &str = include_str!("../../tests/offers/audio-and-data.sdp");
const CALLS_MAX: u32 = 8;

const METHODS: [&str; 6] = ["POST", "PATCH", "GET", "DELETE", "OPTIONS", "PUT"];
/// `{}` is the call that was opened before the request, at the paths that want one.
const PATHS: [&str; 8] = [
    "/v1/realtime/calls",
    "/v1/realtime/calls/{}",
    "/v1/realtime/calls/{}/hangup",
    "/v1/realtime/client_secrets",
    "/v1/models",
    "/whip/echo",
    "/whip/echo/{}",
    "/page/app.js",
];
const CONTENT_TYPES: [&str; 4] = [
    "application/sdp",
    "multipart/form-data; boundary=b",
    "application/json",
    "application/trickle-ice-sdpfrag",
];

struct World {
    runtime: Runtime,
    router: Router,
    calls: Arc<Calls>,
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| {
    let unlimited = Rate { per_second: 0, burst: 0 };
    let rates = Rates { address: unlimited, key: unlimited, secret: unlimited };
    let settings = Settings { rates, ..Settings::new(Access::open()) };
    let calls = Arc::new(desk(CALLS_MAX));
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    Mutex::new(World { runtime, router: router(Arc::clone(&calls), settings), calls })
});

/// A front desk with both backends and one shard, whose thread runs until it is told to stop.
pub fn desk(calls_max: u32) -> Calls {
    let keyring = Arc::new(Keyring::parse(KEYS).expect("the test keyring"));
    let ingress: Arc<[Ingress]> = Arc::from([
        SocketAddr::from(([192, 0, 2, 1], 3478)).into(),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 3478)).into(),
    ]);
    let handles = shard(calls_max, &keyring, &ingress);
    let policy = Policy {
        keyring,
        cluster: ClusterId(1),
        transceiver: TransceiverId(2),
        hint_lifetime: Duration::from_secs(3_600),
        ingress,
        calls_per_shard_max: calls_max,
    };
    Calls::new(vec![handles], vec![Box::new(Echoes), Box::new(Parrots)], policy, Arc::default())
        .expect("a certificate")
}

fn shard(calls_max: u32, keyring: &Arc<Keyring>, ingress: &Arc<[Ingress]>) -> ShardHandles {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = sockets::bind(&sockets::SocketSettings::tunnel(loopback)).expect("a socket");
    let link = LinkSocket { socket: bound.socket, settings: LinkSettings::default() };
    let settings = engine::Settings { outbox: thread::outbox(), ..engine::Settings::default() };
    let engine: Box<dyn Engine> = Box::new(Mmsg::new(vec![link], &settings).expect("an engine"));
    let calls = Arc::new(AtomicU32::new(0));
    let orders = Orders::new();
    let board = Board::new(Some(engine.waker()));
    let desk = orders.desk(engine.waker(), board.clone());
    let settings = CoreSettings {
        tunnel_mtu_bytes: 1_472,
        packet_bytes_max: 1_600,
        limits: Limits {
            calls_max,
            call_time_max: Duration::from_secs(3_600),
            lost_after: Duration::from_secs(60),
        },
        ingress: Arc::clone(ingress),
        watch: Arc::default(),
        boot: 1,
        board,
        calls: Arc::clone(&calls),
        random: Box::new(|bytes| getrandom::fill(bytes).expect("random bytes")),
    };
    let core = Core::new(settings, Arc::clone(keyring), Instant::now());
    let parts = thread::Parts { engine, core, orders, slot: Arc::new(Slot::new()) };
    std::thread::spawn(move || thread::run(parts).expect("the shard runs"));
    ShardHandles { desk, calls }
}

/// Sends one request, and ends what it began. Says the status.
pub fn request(bytes: &[u8]) -> u16 {
    let Some((choice, rest)) = bytes.split_first_chunk::<4>() else { return 0 };
    // One at a time: the next one's calls are not ours to end.
    let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let World { runtime, router, calls } = &*world;
    runtime.block_on(async {
        let wants_call = pick(&PATHS, choice[1]).contains("{}");
        let name = if wants_call { open(router).await } else { String::new() };
        let path = pick(&PATHS, choice[1]).replace("{}", &name);
        let (content_type, body) = content(*choice, rest);
        let mut request = Request::builder().method(pick(&METHODS, choice[0])).uri(path);
        if let Ok(value) = HeaderValue::from_bytes(&content_type) {
            request = request.header(header::CONTENT_TYPE, value);
        }
        if choice[3] & 1 == 1 {
            request = request.header(header::IF_MATCH, "*");
        }
        let request = request.body(Body::from(body)).expect("a request");
        let answer = ask(router, request).await;
        let status = answer.status();
        check(answer).await;
        for live in calls.list(CALLS_MAX as usize).await.expect("a shard that answers") {
            let path = format!("/v1/realtime/calls/{}", live.id);
            let request = Request::delete(path).body(Body::empty()).expect("a request");
            assert_eq!(ask(router, request).await.status(), StatusCode::OK);
        }
        assert_eq!(calls.count(), 0, "a call was left behind");
        status.as_u16()
    })
}

fn pick<'a>(from: &[&'a str], choice: u8) -> &'a str {
    from[usize::from(choice) % from.len()]
}

/// The bytes as they are, or within a good offer, or with a content type of their own.
fn content(choice: [u8; 4], rest: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let content_type = pick(&CONTENT_TYPES, choice[2]).as_bytes().to_vec();
    match choice[3] >> 1 & 3 {
        0 => (content_type, rest.to_vec()),
        1 => {
            let Some((place, insert)) = rest.split_first_chunk::<4>() else {
                return (content_type, OFFER.as_bytes().to_vec());
            };
            let at = usize::from(u16::from_be_bytes([place[0], place[1]])) % OFFER.len();
            let cut = usize::from(u16::from_be_bytes([place[2], place[3]])).min(OFFER.len() - at);
            let (before, behind) = (&OFFER.as_bytes()[..at], &OFFER.as_bytes()[at + cut..]);
            (content_type, [before, insert, behind].concat())
        }
        2 => {
            let part = b"--b\r\nContent-Disposition: form-data; name=sdp\r\n\r\n".as_slice();
            let between = b"\r\n--b\r\nContent-Disposition: form-data; name=session\r\n\r\n";
            let form = [part, OFFER.as_bytes(), between, rest, b"\r\n--b--\r\n"].concat();
            (b"multipart/form-data; boundary=b".to_vec(), form)
        }
        _ => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            (rest[..end].to_vec(), rest.get(end + 1..).unwrap_or_default().to_vec())
        }
    }
}

async fn open(router: &Router) -> String {
    let request = Request::post("/v1/realtime/calls")
        .header(header::CONTENT_TYPE, "application/sdp")
        .body(Body::from(OFFER))
        .expect("a request");
    let answer = ask(router, request).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()[header::LOCATION].to_str().expect("a path");
    location.rsplit('/').next().expect("a name").to_owned()
}

async fn ask(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// An error is whole and not ours; an answer to an offer has what a client needs.
async fn check(answer: Response<Body>) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    assert!(!head.status.is_server_error(), "{}: {body:?}", head.status);
    if head.status.is_client_error() {
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert!(json["error"]["code"].is_string() && json["error"]["message"].is_string());
    }
    if head.status == StatusCode::CREATED {
        let text = std::str::from_utf8(&body).expect("text");
        assert!(text.contains("a=ice-lite") && text.contains("a=candidate:1 "), "{text}");
        assert!(!text.contains("192.0.0.8"), "only relays are named: {text}");
    }
}
