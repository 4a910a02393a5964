//! Calls, as clients of the Realtime API make them.

use super::Signaling;
use super::access::Caller;
use super::body::{self, media_type};
use super::counters::{CallRefusal, Route};
use super::failure::Failure;
use super::json::{UNCACHED, json};
use super::media_type::{FORM, SDP};
use super::multipart::Form;
use super::request::{About, Admitted};
use crate::call::{CallId, CallReport};
use crate::calls::Opened;
use crate::negotiation::{OFFER_BYTES_MAX, Offer, OfferError, Role};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Room for long instructions.
pub(super) const SESSION_BYTES_MAX: usize = 64 << 10;
/// Both, and what separates them.
const FORM_BYTES_MAX: usize = OFFER_BYTES_MAX + SESSION_BYTES_MAX + (4 << 10);
/// A shard that has not answered by then is stuck.
const SHARD_TIME: Duration = Duration::from_secs(5);

/// `POST /v1/realtime/calls`
pub(super) async fn open(
    State(signaling): State<Arc<Signaling>>,
    admitted: Admitted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    admitted.may_open(&signaling)?;
    let (sdp, session) = offer_and_session(&admitted, &headers, body).await?;
    let Opened { id, answer } = signaling.open(&admitted, &sdp, Role::Call, session).await?;
    let location = format!("{}/{id}", Route::Calls.path());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], sdp_answer(answer)).into_response())
}

/// `PATCH /v1/realtime/calls/{id}`: another offer of the same peer connection.
pub(super) async fn renegotiate(
    State(signaling): State<Arc<Signaling>>,
    about: About,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    if !media_type(&headers).is(SDP) {
        return Err(Failure::wrong_type(format!("send the new offer as Content-Type: {SDP}")));
    }
    let body =
        body::read(&headers, body, OFFER_BYTES_MAX, about.admitted.settings.body_time).await?;
    let offer = Offer::parse(&body, Role::Call)?;
    let renegotiated = in_time(signaling.calls.renegotiate(about.id, offer)).await???;
    Ok(sdp_answer(renegotiated.answer).into_response())
}

/// `GET /v1/realtime/calls/{id}`
pub(super) async fn report(
    State(signaling): State<Arc<Signaling>>,
    about: About,
) -> Result<Response, Failure> {
    let report = signaling.report(about.id).await?;
    Ok(json(&report))
}

/// `POST /v1/realtime/calls/{id}/hangup` and `DELETE /v1/realtime/calls/{id}`
pub(super) async fn hang_up(
    State(signaling): State<Arc<Signaling>>,
    about: About,
) -> Result<StatusCode, Failure> {
    signaling.hang_up(about.id).await?;
    Ok(StatusCode::OK)
}

impl Signaling {
    /// Opens a call for an offer.
    pub(super) async fn open(
        &self,
        admitted: &Admitted,
        sdp: &[u8],
        role: Role,
        session: Option<Value>,
    ) -> Result<Opened, Failure> {
        let refused = |error: &OfferError| self.counters.refused(CallRefusal::from(error));
        let offer = Offer::parse(sdp, role).inspect_err(refused)?;
        let opening = in_time(self.calls.open(offer, session, admitted.received)).await;
        let opening = opening.inspect_err(|_| self.counters.refused(CallRefusal::Overloaded))?;
        let opened =
            opening.inspect_err(|error| self.counters.refused(CallRefusal::from(error)))?;
        if let Caller::Secret(secret) = &admitted.caller {
            self.openers.remember(opened.id, secret.number);
        }
        self.counters.opened(admitted.received.elapsed());
        Ok(opened)
    }

    pub(super) async fn report(&self, id: CallId) -> Result<Box<CallReport>, Failure> {
        Ok(in_time(self.calls.report(id)).await??)
    }

    pub(super) async fn hang_up(&self, id: CallId) -> Result<(), Failure> {
        Ok(in_time(self.calls.hang_up(id)).await??)
    }
}

/// A shard's answer, or that there is none.
pub(super) async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(SHARD_TIME, answer).await.map_err(|_| Failure::overloaded())
}

pub(super) fn sdp_answer(answer: String) -> impl IntoResponse {
    (UNCACHED, [(header::CONTENT_TYPE, HeaderValue::from_static(SDP))], answer)
}

async fn offer_and_session(
    admitted: &Admitted,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, Option<Value>), Failure> {
    let time_max = admitted.settings.body_time;
    let media_type = media_type(headers);
    let (sdp, session) = if media_type.is(SDP) {
        (body::read(headers, body, OFFER_BYTES_MAX, time_max).await?.to_vec(), None)
    } else if media_type.is(FORM) {
        let body = body::read(headers, body, FORM_BYTES_MAX, time_max).await?;
        let form = Form::parse(&body, &media_type)?;
        let sdp = form.sdp.ok_or_else(|| {
            Failure::bad("sdp_missing", "the form has no part `sdp`: add the offer")
        })?;
        (sdp.to_vec(), form.session.map(session).transpose()?)
    } else {
        return Err(Failure::wrong_type(
            "send the offer as Content-Type: application/sdp, or as multipart/form-data with the \
             parts `sdp` and `session`",
        ));
    };
    let of_secret = || match &admitted.caller {
        Caller::Secret(secret) => secret.session.clone(),
        Caller::Anybody | Caller::Key(_) => None,
    };
    Ok((sdp, session.or_else(of_secret)))
}

/// Reads a session's configuration as far as it is ours to understand.
fn session(json: &[u8]) -> Result<Value, Failure> {
    if json.len() > SESSION_BYTES_MAX {
        return Err(Failure::too_large(format!(
            "the part `session` is longer than {SESSION_BYTES_MAX} bytes: send less"
        )));
    }
    let session = serde_json::from_slice(json).map_err(|error| {
        Failure::bad("session_unreadable", format!("the part `session` is no JSON: {error}"))
    })?;
    check_session(&session)?;
    Ok(session)
}

/// A session is an object, and its `model` is a name, if there is one.
pub(super) fn check_session(session: &Value) -> Result<(), Failure> {
    let Some(session) = session.as_object() else {
        let message = "the session must be a JSON object, such as {\"model\": \"echo\"}";
        return Err(Failure::bad("session_unreadable", message));
    };
    if session.get("model").is_some_and(|model| !model.is_string()) {
        let message = "session.model must be a string: the id of one of GET /v1/models";
        return Err(Failure::bad("session_unreadable", message));
    }
    Ok(())
}
