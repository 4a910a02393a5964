//! The page to talk to, built in: its files, served as they are.

use super::failure::Failure;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// One file.
struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal: $content_type:ident,)+) => {
        &[$(File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../page/", $name)),
        }),+]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What `/` shows.
const INDEX: &str = "index.html";

static FILES: &[File] = files! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "app.js": JS,
    "call.js": JS,
    "canvas.js": JS,
    "dom.js": JS,
    "events.js": JS,
    "hint.js": JS,
    "levels.js": JS,
    "microphone.js": JS,
    "plot.js": JS,
    "problems.js": JS,
    "ring.js": JS,
    "signaling.js": JS,
    "stage.js": JS,
    "stats.js": JS,
    "waterfall.js": JS,
};

/// Each file's tag, in their order: what is in it.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |file: &File| {
        let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(file.bytes)[..12]);
        HeaderValue::try_from(format!("\"{digest}\"")).expect("base64 is ASCII")
    };
    FILES.iter().map(tag).collect()
});

/// The page asks nobody but us, and nobody may frame it: it holds a microphone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; media-src 'self' blob: mediastream:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

pub(super) fn index(headers: &HeaderMap) -> Response {
    file(INDEX, headers)
}

/// Serves one file.
pub(super) fn file(name: &str, request: &HeaderMap) -> Response {
    let found = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.name == name);
    let Some((file, tag)) = found else {
        return Failure::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such file; the page is at /",
        )
        .into_response();
    };
    let known = request.get_all(header::IF_NONE_MATCH).iter().any(|value| knows(value, tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    for (name, value) in [
        // Asked anew each time: after an upgrade, old and new files must not meet.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("permissions-policy", HeaderValue::from_static("microphone=(self)"));
    response
}

/// RFC 9110 section 13.1.2: a list, compared weakly.
fn knows(value: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(value), Ok(tag)) = (value.to_str(), tag.to_str()) else { return false };
    value.split(',').map(str::trim).any(|each| each == "*" || each.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().unwrap().is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| [".html", ".css", ".svg", ".js"].iter().any(|end| name.ends_with(end)))
            .collect();
        let mut built_in: Vec<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        there.sort();
        built_in.sort();
        assert_eq!(built_in, there, "the table in page.rs and the folder page/ differ");
    }

    #[test]
    fn what_the_page_refers_to_is_there() {
        for file in FILES {
            let text = std::str::from_utf8(file.bytes).unwrap();
            for found in text.split("\"/page/").skip(1) {
                let name = found.split('"').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{} wants {name}", file.name);
            }
            for found in text.split("from './").skip(1) {
                let name = found.split('\'').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{} wants {name}", file.name);
            }
        }
    }
}
