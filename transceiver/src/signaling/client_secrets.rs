//! `POST /v1/realtime/client_secrets`: what a server gets for a browser.

use super::Signaling;
use super::body::{self, media_type};
use super::call_api::{SESSION_BYTES_MAX, check_session};
use super::failure::Failure;
use super::json::json;
use super::request::{Admitted, since_1970};
use super::secret::{self, Secret, SecretNumber};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

const SECONDS_MIN: u64 = 10;
const SECONDS_MAX: u64 = 7_200;
const SECONDS_DEFAULT: u64 = 600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    expires_after: ExpiresAfter,
    session: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiresAfter {
    #[serde(default)]
    anchor: Anchor,
    #[serde(default = "seconds_default")]
    seconds: u64,
}

impl Default for ExpiresAfter {
    fn default() -> Self {
        Self { anchor: Anchor::default(), seconds: SECONDS_DEFAULT }
    }
}

const fn seconds_default() -> u64 {
    SECONDS_DEFAULT
}

/// From when the time counts. There is one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Anchor {
    #[default]
    CreatedAt,
}

pub(super) async fn issue(
    State(signaling): State<Arc<Signaling>>,
    admitted: Admitted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let (key_name, signing) = admitted.settings.access.issuer(&admitted.caller)?;
    let body = body::read(&headers, body, SESSION_BYTES_MAX, admitted.settings.body_time).await?;
    let Wanted { expires_after: ExpiresAfter { anchor: Anchor::CreatedAt, seconds }, session } =
        wanted(&headers, &body)?;
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        let message = format!("expires_after.seconds must be from {SECONDS_MIN} to {SECONDS_MAX}");
        return Err(Failure::bad("expires_after_out_of_range", message));
    }
    if let Some(session) = &session {
        check_session(session)?;
        // Better told now to the server than later to its users.
        if let Some(model) = session.get("model").and_then(Value::as_str) {
            signaling.check_model(model)?;
        }
    }
    let secret = Secret {
        number: SecretNumber::random(),
        expires_at: since_1970().as_secs() + seconds,
        key_name: key_name.to_owned(),
        session,
    };
    let value = secret.issue(signing).map_err(|secret::SessionTooLong| {
        let bytes_max = secret::SESSION_BYTES_MAX;
        Failure::too_large(format!(
            "the session is longer than {bytes_max} bytes of JSON, too long for a client secret: \
             send it with the offer, as the part `session`"
        ))
    })?;
    let Secret { expires_at, session, .. } = secret;
    let issued =
        serde_json::json!({ "value": value, "expires_at": expires_at, "session": session });
    Ok(json(&issued))
}

/// An empty body wants the defaults.
fn wanted(headers: &HeaderMap, body: &[u8]) -> Result<Wanted, Failure> {
    if body.is_empty() {
        return Ok(Wanted::default());
    }
    if !media_type(headers).is("application/json") {
        return Err(Failure::wrong_type("send JSON, as Content-Type: application/json"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Failure::bad("body_unreadable", format!("the body is not as it should be: {error}"))
    })
}
