//! What takes a clock to see from outside: secrets that have expired.

use super::keys::{Keys, SigningKey};
use super::request::since_1970;
use super::secret::{Secret, SecretNumber};
use super::*;
use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

const OFFER: &str = include_str!("../../tests/offers/audio-and-data.sdp");
const KEY: &str = "rk_0123456789abcdef0123";

async fn ask(
    router: &Router,
    method: &str,
    path: &str,
    token: &str,
) -> (u16, String, Response<Body>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/sdp")
        .body(Body::from(OFFER))
        .unwrap();
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let status = head.status.as_u16();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (status, text, Response::from_parts(head, Body::empty()))
}

#[tokio::test]
async fn an_expired_secret_opens_nothing_and_ends_what_it_opened() {
    let keys = Keys::parse(&format!("web:{KEY}")).unwrap();
    let signing: SigningKey = keys.signing_key("web").unwrap().clone();
    let calls = Arc::new(fuzz::desk(4));
    let router = router(Arc::clone(&calls), Settings::new(Access::with_keys(keys)));
    let number = SecretNumber::random();
    let secret = |expires_at| {
        Secret { number, expires_at, key_name: "web".into(), session: None }
            .issue(&signing)
            .unwrap()
    };
    let now = since_1970().as_secs();
    let (good, expired) = (secret(now + 60), secret(now - 1));

    let (status, _, opened) = ask(&router, "POST", "/v1/realtime/calls", &good).await;
    assert_eq!(status, 201);
    let path = opened.headers()[header::LOCATION].to_str().unwrap().to_owned();
    for (method, path) in [
        ("POST", "/v1/realtime/calls"),
        ("POST", "/whip/echo"),
        ("GET", "/whip/echo"),
        ("GET", "/v1/models"),
    ] {
        let (status, body, _) = ask(&router, method, path, &expired).await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(body.contains("client_secret_expired"), "{body}");
    }
    assert_eq!(ask(&router, "GET", &path, &expired).await.0, 200);
    assert_eq!(ask(&router, "POST", &format!("{path}/hangup"), &expired).await.0, 200);
    assert_eq!(calls.count(), 0);
    calls.tell_all(|| crate::shard::Order::Stop).unwrap();
}
