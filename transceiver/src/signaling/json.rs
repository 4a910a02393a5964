//! JSON answers.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers are of one moment, and hold credentials.
pub(super) const UNCACHED: [(header::HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

pub(super) fn json(value: &impl Serialize) -> Response {
    // What we serialise has string keys and no cycles: it always has a text.
    let text = serde_json::to_string(value).unwrap_or_default();
    (UNCACHED, [(header::CONTENT_TYPE, JSON)], text).into_response()
}
