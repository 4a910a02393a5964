//! WHIP (RFC 9725), row by row.

use crate::world::*;

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

async fn opened(world: &World) -> Answer {
    world.ask("POST", "/whip/echo", &[SDP], whip_offer()).await
}

/// What a client sends that has found a candidate, or restarts if the name is another.
fn fragment(ufrag: &str) -> String {
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:freshfreshfreshfreshfresh\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host\r\na=end-of-candidates\r\n"
    )
}

/// A candidate of the session that `offer` began.
fn candidates_of(offer: &str) -> String {
    let line = |start: &str| offer.lines().find(|line| line.starts_with(start)).unwrap();
    format!(
        "{}\r\n{}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host\r\n",
        line("a=ice-ufrag:"),
        line("a=ice-pwd:")
    )
}

#[tokio::test]
async fn post_opens_an_ingest() {
    let world = World::open().await;
    let answer = opened(&world).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/sdp"));
    assert!(answer.header("location").unwrap().starts_with("/whip/echo/rtc_"), "{answer:?}");
    assert_eq!(answer.header("accept-patch"), Some(FRAGMENT.1));
    let tag = answer.header("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "strong: {tag}");
    assert!(answer.body.contains("a=recvonly\r\n"), "{}", answer.body);
    for never in ["a=sendrecv", "a=sendonly", "a=inactive"] {
        assert!(!answer.body.contains(never), "{never} in {}", answer.body);
    }
    for always in ["a=rtcp-mux-only", "a=end-of-candidates", "a=ice-lite", "a=group:BUNDLE"] {
        assert!(answer.body.contains(always), "{always} in {}", answer.body);
    }
}

#[tokio::test]
async fn post_refuses_what_is_no_ingest() {
    let world = World::open().await;
    let offer = whip_offer();
    let json = ("content-type", "application/json");
    for (name, path, headers, body, status, code) in [
        ("json", "/whip/echo", &[json][..], offer.clone(), 415, "unsupported_media_type"),
        ("no type", "/whip/echo", &[], offer.clone(), 415, "unsupported_media_type"),
        ("garbage", "/whip/echo", &[SDP], "garbage".into(), 400, "offer_unreadable"),
        ("empty", "/whip/echo", &[SDP], String::new(), 400, "offer_unreadable"),
        ("data too", "/whip/echo", &[SDP], OFFER.into(), 422, "offer_not_for_ingest"),
        (
            "only listens",
            "/whip/echo",
            &[SDP],
            offer.replace("a=sendonly", "a=recvonly"),
            422,
            "offer_direction",
        ),
        (
            "no bundle",
            "/whip/echo",
            &[SDP],
            offer.replace("a=group:BUNDLE", "a=x"),
            422,
            "offer_not_for_ingest",
        ),
        ("nobody", "/whip/nobody", &[SDP], offer.clone(), 404, "model_not_found"),
    ] {
        let answer = world.ask("POST", path, headers, body).await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{name}: {answer:?}");
    }
    assert_eq!(world.calls.count(), 0);
}

#[tokio::test]
async fn patch_follows_the_table() {
    let world = World::open().await;
    let offer = whip_offer();
    let first = world.ask("POST", "/whip/echo", &[SDP], &offer).await;
    let (path, tag) = (first.location(), first.header("etag").unwrap().to_owned());
    let patch = async |headers: &[(&str, &str)], body: &str| {
        let answer = world.ask("PATCH", &path, headers, body).await;
        if answer.status >= 400 {
            answer.code();
        }
        answer
    };
    let candidates = candidates_of(&offer);
    let tag_header = ("if-match", &*tag);

    assert_eq!(patch(&[SDP, tag_header], &candidates).await.status, 415);
    assert_eq!(patch(&[FRAGMENT], &candidates).await.status, 428);
    assert_eq!(patch(&[FRAGMENT, ("if-match", "\"old\"")], &candidates).await.status, 412);
    let weak = format!("W/{tag}");
    assert_eq!(patch(&[FRAGMENT, ("if-match", &*weak)], &candidates).await.status, 412);
    assert_eq!(patch(&[FRAGMENT, tag_header], "nonsense").await.status, 400);
    let trickled = patch(&[FRAGMENT, tag_header], &candidates).await;
    assert_eq!((trickled.status, &*trickled.body), (204, ""), "candidates need no answer");
    assert_eq!(trickled.header("etag"), None);

    let restart = patch(&[FRAGMENT, ("if-match", "*")], &fragment("fresh")).await;
    assert_eq!(restart.status, 200, "{restart:?}");
    assert_eq!(restart.header("content-type"), Some(FRAGMENT.1));
    let fresh = restart.header("etag").unwrap().to_owned();
    assert_ne!(fresh, tag);
    assert!(restart.body.contains("a=ice-lite"), "{}", restart.body);
    assert!(restart.body.contains(&format!("a=ice-ufrag:{}\r\n", fresh.trim_matches('"'))));
    assert!(restart.body.contains("a=ice-pwd:") && restart.body.contains("a=candidate:"));
    assert!(!restart.body.contains("a=fingerprint"), "ICE alone: {}", restart.body);

    let fresh_header = ("if-match", &*fresh);
    assert_eq!(patch(&[FRAGMENT, tag_header], &fragment("fresh")).await.status, 412, "stale now");
    assert_eq!(patch(&[FRAGMENT, fresh_header], &fragment("fresh")).await.status, 204);
    // Whoever restarts with a good tag instead of `*` gets an answer all the same.
    let another = patch(&[FRAGMENT, fresh_header], &fragment("other")).await;
    assert_eq!(another.status, 200);
    assert_ne!(another.header("etag"), Some(&*fresh));
    let report = world.ask("GET", &path.replace("/whip/echo", "/v1/realtime/calls"), &[], "").await;
    assert_eq!(report.json()["ice_restarts"], 2);
}

#[tokio::test]
async fn a_refused_restart_leaves_the_session_as_it_was() {
    let world = World::open().await;
    let first = opened(&world).await;
    let (path, tag) = (first.location(), first.header("etag").unwrap().to_owned());
    let short = "a=ice-ufrag:x\r\na=ice-pwd:short\r\n";
    let answer = world.ask("PATCH", &path, &[FRAGMENT, ("if-match", "*")], short).await;
    assert_eq!((answer.status, &*answer.code()), (400, "fragment_unreadable"));
    let answer =
        world.ask("PATCH", &path, &[FRAGMENT, ("if-match", &tag)], fragment("fresh")).await;
    assert_eq!(answer.status, 200, "the tag is still the one from before");
}

#[tokio::test]
async fn delete_ends_it_whatever_the_tag() {
    let world = World::open().await;
    let path = opened(&world).await.location();
    let answer = world.ask("DELETE", &path, &[("if-match", "\"old\"")], "").await;
    assert_eq!(answer.status, 200);
    for (method, headers, body) in [
        ("DELETE", &[][..], String::new()),
        ("GET", &[], String::new()),
        ("PATCH", &[FRAGMENT, ("if-match", "*")], fragment("new")),
    ] {
        let answer = world.ask(method, &path, headers, body).await;
        assert_eq!((answer.status, &*answer.code()), (404, "call_not_found"), "{method}");
    }
    assert_eq!(world.calls.count(), 0);
}

#[tokio::test]
async fn get_is_empty_and_options_says_what_may_be_posted() {
    let world = World::open().await;
    let path = opened(&world).await.location();
    for path in ["/whip/echo", &path] {
        let answer = world.ask("GET", path, &[], "").await;
        assert_eq!((answer.status, &*answer.body), (204, ""), "{path}");
    }
    assert_eq!(world.ask("GET", "/whip/nobody", &[], "").await.status, 404);
    let origin = ("origin", "https://app.example");
    let options = world.ask("OPTIONS", "/whip/echo", &[origin], "").await;
    assert_eq!(options.status, 200);
    assert_eq!(options.header("accept-post"), Some("application/sdp"));
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    let exposed = options.header("access-control-expose-headers").unwrap();
    for name in ["location", "etag", "link"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let options = world.ask("OPTIONS", &path, &[origin], "").await;
    assert_eq!(options.header("accept-patch"), Some(FRAGMENT.1));
}

#[tokio::test]
async fn a_session_is_found_at_its_own_endpoint_only() {
    let world = World::open().await;
    let path = opened(&world).await.location();
    let elsewhere = path.replace("/whip/echo", "/whip/parrot");
    assert_eq!(world.ask("GET", &elsewhere, &[], "").await.status, 404);
    assert_eq!(world.ask("DELETE", &elsewhere, &[], "").await.status, 404);
    assert_eq!(world.ask("DELETE", "/whip/echo/rtc_x", &[], "").await.status, 404);
    assert_eq!(world.ask("DELETE", &path, &[], "").await.status, 200);
}

#[tokio::test]
async fn everything_but_options_wants_a_token() {
    let world = World::with_keys().await;
    let bearer = format!("Bearer {KEY}");
    let token = ("authorization", &*bearer);
    let opened = world.ask("POST", "/whip/echo", &[SDP, token], whip_offer()).await;
    let path = opened.location();
    for (method, path) in
        [("POST", "/whip/echo"), ("GET", "/whip/echo"), ("PATCH", &path), ("DELETE", &path)]
    {
        let answer = world.ask(method, path, &[SDP], whip_offer()).await;
        assert_eq!((answer.status, &*answer.code()), (401, "invalid_api_key"), "{method}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(world.ask("OPTIONS", &path, &[], "").await.status, 200);
    assert_eq!(world.ask("DELETE", &path, &[token], "").await.status, 200);
}
