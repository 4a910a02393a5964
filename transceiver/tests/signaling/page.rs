//! The page.

use crate::world::*;
use transceiver::signaling::{Access, Settings};

#[tokio::test]
async fn the_page_is_served_with_what_keeps_it_safe() {
    let world = World::with_keys().await;
    let index = world.ask("GET", "/", &[], "").await;
    assert_eq!(index.status, 200, "nobody has a token yet who opens it");
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(index.body.starts_with("<!doctype html>"));
    let policy = index.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(index.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(index.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(index.header("permissions-policy"), Some("microphone=(self)"));
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    for (name, content_type) in [
        ("app.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let file = world.ask("GET", &format!("/page/{name}"), &[], "").await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)));
        let tag = file.header("etag").unwrap();
        let headers = [("if-none-match", tag)];
        let again = world.ask("GET", &format!("/page/{name}"), &headers, "").await;
        assert_eq!((again.status, &*again.body), (304, ""), "{name}");
        let headers = [("if-none-match", "\"other\"")];
        assert_eq!(world.ask("GET", &format!("/page/{name}"), &headers, "").await.status, 200);
    }
    for path in ["/page/", "/page/nothing.js", "/page/..%2Fsrc%2Fmain.rs", "/page/%ff"] {
        let answer = world.ask("GET", path, &[], "").await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_page_can_be_turned_off() {
    let mut settings = Settings::new(Access::open());
    settings.page = false;
    let world = World::new(settings).await;
    for path in ["/", "/page/app.js"] {
        let answer = world.ask("GET", path, &[], "").await;
        assert_eq!((answer.status, &*answer.code()), (404, "not_found"));
    }
}
