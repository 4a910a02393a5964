//! Who may do what, and how often.

use crate::world::*;
use serde_json::json;
use transceiver::signaling::{Access, Rate, Settings};

const JSON: (&str, &str) = ("content-type", "application/json");
const SECRETS: &str = "/v1/realtime/client_secrets";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn secret(world: &World, body: &str) -> Answer {
    let authorization = bearer(KEY);
    world.ask("POST", SECRETS, &[JSON, ("authorization", &authorization)], body).await
}

async fn secret_value(world: &World, body: &str) -> String {
    let answer = secret(world, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["value"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_good_token_nothing_is_done_and_the_cause_is_counted() {
    let world = World::with_keys().await;
    let good = secret_value(&world, "").await;
    let forged = format!("{}A", &good[..good.len() - 1]);
    let forged = if forged == good { format!("{}Q", &good[..good.len() - 1]) } else { forged };
    let other = World::new(Settings::new(keys("rk_another_key_of_twenty"))).await;
    for (name, headers, cause) in [
        ("nothing", None, "missing"),
        ("basic", Some("Basic d2ViOng=".to_owned()), "malformed"),
        ("unknown", Some(bearer("rk_0123456789abcdef0124")), "unknown_key"),
        ("forged", Some(bearer(&forged)), "forged"),
        ("half", Some(bearer(&good[..3 + 4 * 8])), "malformed"),
        ("the prefix", Some(bearer("ek_")), "malformed"),
    ] {
        let series = format!("transceiver_http_auth_failures_total{{cause=\"{cause}\"}}");
        let before = world.counted(&series);
        let headers: Vec<_> =
            headers.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = world.call(&headers).await;
        assert_eq!((answer.status, &*answer.code()), (401, "invalid_api_key"), "{name}");
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(world.counted(&series), before + 1.0, "{name}");
    }
    let authorization = bearer(&good);
    let answer = other.call(&[("authorization", &authorization)]).await;
    assert_eq!(answer.status, 401, "another transceiver's");
    assert_eq!(world.calls.count(), 0);
}

#[tokio::test]
async fn a_client_secret_brings_its_session_and_touches_only_its_calls() {
    let world = World::with_keys().await;
    let wanted = json!({
        "expires_after": { "anchor": "created_at", "seconds": 60 },
        "session": { "type": "realtime", "model": "parrot" },
    });
    let issued = secret(&world, &wanted.to_string()).await.json();
    assert_eq!(issued["session"], wanted["session"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = issued["expires_at"].as_u64().unwrap() - now.as_secs();
    assert!((30..=60).contains(&left), "{left}");
    let (first, other, key) =
        (bearer(issued["value"].as_str().unwrap()), secret_value(&world, "").await, bearer(KEY));
    let other = bearer(&other);
    let [first, other, key] = [&first, &other, &key].map(|token| ("authorization", token.as_str()));

    let path = world.call(&[first]).await.location();
    let report = world.ask("GET", &path, &[first], "").await.json();
    assert_eq!(report["backend"], "parrot", "the secret's session");
    let (content_type, body) = form(&[("sdp", OFFER), ("session", r#"{"model": "echo"}"#)]);
    let headers = [first, ("content-type", content_type)];
    let own = world.ask("POST", "/v1/realtime/calls", &headers, body).await.location();
    let report = world.ask("GET", &own, &[first], "").await.json();
    assert_eq!(report["backend"], "echo", "the request's session");

    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("PATCH", path.clone()),
        ("POST", format!("{path}/hangup")),
    ] {
        let answer = world.ask(method, &path, &[other], "").await;
        assert_eq!((answer.status, &*answer.code()), (404, "call_not_found"), "{method}");
    }
    let answer = world.ask("POST", SECRETS, &[JSON, first], "").await;
    assert_eq!((answer.status, &*answer.code()), (403, "api_key_required"));
    assert_eq!(world.ask("DELETE", &path, &[first], "").await.status, 200);
    assert_eq!(world.ask("DELETE", &own, &[key], "").await.status, 200, "a key touches all");
}

#[tokio::test]
async fn wrong_wishes_for_a_secret_say_what_to_change() {
    let world = World::with_keys().await;
    let long = json!({ "session": { "instructions": "x".repeat(5_000) } }).to_string();
    for (name, body, status, code) in [
        ("no json", "seconds=5", 400, "body_unreadable"),
        ("unknown field", r#"{"expires_afer": {}}"#, 400, "body_unreadable"),
        ("too short", r#"{"expires_after": {"seconds": 9}}"#, 400, "expires_after_out_of_range"),
        ("too long", r#"{"expires_after": {"seconds": 7201}}"#, 400, "expires_after_out_of_range"),
        ("negative", r#"{"expires_after": {"seconds": -1}}"#, 400, "body_unreadable"),
        ("anchor", r#"{"expires_after": {"anchor": "now"}}"#, 400, "body_unreadable"),
        ("no object", r#"{"session": []}"#, 400, "session_unreadable"),
        ("no model", r#"{"session": {"model": "gpt"}}"#, 404, "model_not_found"),
        ("long", &long, 413, "body_too_large"),
    ] {
        let answer = secret(&world, body).await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{name}: {answer:?}");
    }
    let authorization = bearer(KEY);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let answer =
        world.ask("POST", SECRETS, &[form, ("authorization", &authorization)], "a=b").await;
    assert_eq!((answer.status, &*answer.code()), (415, "unsupported_media_type"));
    for good in ["", "{}", r#"{"expires_after": {"seconds": 10}}"#, r#"{"session": {}}"#] {
        assert_eq!(secret(&world, good).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn keys_change_while_it_serves() {
    let world = World::with_keys().await;
    let (old, new) = (bearer(KEY), bearer("rk_another_key_of_twenty"));
    let of_old = bearer(&secret_value(&world, "").await);
    let status = async |token: &str| world.call(&[("authorization", token)]).await.status;
    assert_eq!((status(&old).await, status(&new).await), (201, 401));
    world.signaling.set(Settings::new(keys("rk_another_key_of_twenty")));
    assert_eq!((status(&old).await, status(&new).await), (401, 201));
    assert_eq!(status(&of_old).await, 401, "secrets end with the key that issued them");
    world.signaling.set(Settings::new(keys(KEY)));
    assert_eq!(status(&of_old).await, 201, "and are good again where it is known again");
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_to_wait() {
    let mut settings = Settings::new(Access::open());
    settings.rates.address = Rate { per_second: 1, burst: 2 };
    settings.rates.secret = Rate { per_second: 1, burst: 1 };
    let world = World::new(settings.clone()).await;
    let models = async || world.ask("GET", "/v1/models", &[], "").await;
    assert_eq!((models().await.status, models().await.status), (200, 200));
    let answer = models().await;
    assert_eq!((answer.status, &*answer.code()), (429, "rate_limited"));
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(world.counted("transceiver_http_rate_limited_total{by=\"address\"}"), 1.0);
    assert_eq!(world.ask("GET", "/", &[], "").await.status, 200, "the page is for everybody");

    settings.access = keys(KEY);
    world.signaling.set(settings);
    let value = bearer(&secret_value(&world, "").await);
    let token = [("authorization", &*value)];
    assert_eq!(world.ask("GET", "/v1/models", &token, "").await.status, 200);
    assert_eq!(world.ask("GET", "/v1/models", &token, "").await.status, 429);
    let another = bearer(&secret_value(&world, "").await);
    let token = [("authorization", &*another)];
    assert_eq!(world.ask("GET", "/v1/models", &token, "").await.status, 200, "its own bucket");
}

#[tokio::test]
async fn guessing_keys_is_limited_and_hurts_nobody_with_a_key() {
    let mut settings = Settings::new(keys(KEY));
    settings.rates.address = Rate { per_second: 1, burst: 3 };
    let world = World::new(settings).await;
    let guess = bearer("rk_ffffffffffffffffffff");
    let mut statuses = vec![];
    for _ in 0..6 {
        statuses.push(world.call(&[("authorization", &guess)]).await.status);
    }
    assert_eq!(statuses[..3], [401; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let good = bearer(KEY);
    assert_eq!(world.call(&[("authorization", &good)]).await.status, 201);
}
