//! What went wrong, as HTTP says it: a status, and JSON whose message says what to change.

use super::access::{AuthFailure, Forbidden};
use super::counters::CallRefusal;
use super::json::json;
use crate::calls::{AskError, OpenError};
use crate::negotiation::{NoFragment, OfferError};
use crate::shard::Refusal;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::time::Duration;

/// A shard without room may have some when calls have ended.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(5);
/// Whoever draws another transceiver next time may go at once.
const RETRY_AFTER_DRAINING: Duration = Duration::from_secs(1);

/// A refusal of any request.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: Cow<'static, str>,
    pub(super) retry_after: Option<Duration>,
    /// Whether `WWW-Authenticate` says how to do it.
    wants_bearer: bool,
}

impl Failure {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into(), retry_after: None, wants_bearer: false }
    }

    /// A request that can never work like this.
    pub(super) fn bad(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(super) fn wrong_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// There is no call of that name, or none that this caller may know of.
    pub(super) fn no_such_call() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "call_not_found",
            "there is no such call here: it ended, or another transceiver has it, or the client \
             secret is not the one that opened it",
        )
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        let message = "too many requests: wait as long as Retry-After says, then go slower";
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        failure.retry(wait)
    }

    pub(super) fn overloaded() -> Self {
        let message = "a shard does not answer: this transceiver is overloaded or stopping";
        let failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        failure.retry(RETRY_AFTER_FULL)
    }

    #[must_use]
    pub(super) const fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The kind of mistake, in the words that clients of the Realtime API know.
    const fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.as_u16() >= 500 => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = serde_json::json!({
            "type": self.kind(),
            "code": self.code,
            "message": self.message,
            "param": null,
        });
        let mut response = json(&serde_json::json!({ "error": error }));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Rounded up: who comes back a moment too early is refused again.
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        if self.wants_bearer {
            // RFC 6750 section 3.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<AuthFailure> for Failure {
    fn from(failure: AuthFailure) -> Self {
        let code = match failure {
            AuthFailure::Expired => "client_secret_expired",
            _ => "invalid_api_key",
        };
        let message = failure.to_string();
        Self { wants_bearer: true, ..Self::new(StatusCode::UNAUTHORIZED, code, message) }
    }
}

impl From<Forbidden> for Failure {
    fn from(forbidden: Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, "api_key_required", forbidden.to_string())
    }
}

impl From<OfferError> for Failure {
    fn from(error: OfferError) -> Self {
        let status = match error {
            OfferError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            OfferError::NotText | OfferError::NotSdp | OfferError::Unreadable(_) => {
                StatusCode::BAD_REQUEST
            }
            OfferError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            // It is SDP, and still no call.
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<NoFragment> for Failure {
    fn from(error: NoFragment) -> Self {
        Self::bad("fragment_unreadable", error.to_string())
    }
}

impl From<&OpenError> for CallRefusal {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::Offer(error) => Self::from(error),
            OpenError::NoSuchBackend { .. } => Self::ModelNotFound,
            OpenError::Backend(_) => Self::BackendUnavailable,
            OpenError::Refused(Refusal::Full) => Self::AtCapacity,
            OpenError::Refused(Refusal::Draining) => Self::Draining,
            OpenError::Silent => Self::Overloaded,
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let (status, code) = (StatusCode::SERVICE_UNAVAILABLE, CallRefusal::from(&error).as_str());
        let message = error.to_string();
        match error {
            OpenError::Offer(error) => error.into(),
            OpenError::NoSuchBackend { .. } => Self::new(StatusCode::NOT_FOUND, code, message),
            OpenError::Refused(Refusal::Draining) => {
                Self::new(status, code, message).retry(RETRY_AFTER_DRAINING)
            }
            OpenError::Backend(_) | OpenError::Refused(Refusal::Full) => {
                Self::new(status, code, message).retry(RETRY_AFTER_FULL)
            }
            OpenError::Silent => Self::overloaded(),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoSuchCall(_) => Self::no_such_call(),
            AskError::Silent => Self::overloaded(),
        }
    }
}
