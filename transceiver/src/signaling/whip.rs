//! WHIP (RFC 9725): strict ingest. An endpoint is a backend's name.
//!
//! A session's ETag is its ICE user name: both change when, and only when, ICE restarts. So nothing
//! needs to be kept here, and a tag cannot go out of step with its session.

use super::Signaling;
use super::body::{self, media_type};
use super::call_api::{in_time, sdp_answer};
use super::counters::{CallRefusal, Route};
use super::failure::Failure;
use super::json::UNCACHED;
use super::media_type::{FRAGMENT, SDP};
use super::request::{About, Admitted};
use crate::call::{CallReport, CallState};
use crate::calls::Opened;
use crate::negotiation::{FRAGMENT_BYTES_MAX, Fragment, OFFER_BYTES_MAX, Role};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// `POST /whip/{endpoint}`
pub(super) async fn open(
    State(signaling): State<Arc<Signaling>>,
    Path(endpoint): Path<String>,
    admitted: Admitted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    admitted.may_open(&signaling)?;
    signaling.check_endpoint(&endpoint)?;
    if !media_type(&headers).is(SDP) {
        return Err(Failure::wrong_type(format!("send the offer as Content-Type: {SDP}")));
    }
    let sdp = body::read(&headers, body, OFFER_BYTES_MAX, admitted.settings.body_time).await?;
    let session = json!({ "model": endpoint });
    let Opened { id, answer } =
        signaling.open(&admitted, &sdp, Role::Ingest, Some(session)).await?;
    let location = Route::WhipSession.path().replace("{id}", &id.to_string());
    let location = location.replace("{endpoint}", &endpoint);
    let headers = [
        (header::LOCATION, location),
        (header::ETAG, tag(ufrag_of(&answer))),
        (header::HeaderName::from_static("accept-patch"), FRAGMENT.to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, sdp_answer(answer)).into_response())
}

/// `PATCH /whip/{endpoint}/{id}`: candidates, of which we need none, or an ICE restart.
///
/// RFC 9725 section 4.3 tells the two apart by `If-Match`: the tag, or `*`. What a fragment does is
/// told by what is in it, so a client that restarts with a good tag is not left without an answer.
pub(super) async fn restart(
    State(signaling): State<Arc<Signaling>>,
    about: About,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    if !media_type(&headers).is(FRAGMENT) {
        return Err(Failure::wrong_type(format!("send Content-Type: {FRAGMENT}")));
    }
    let time_max = about.admitted.settings.body_time;
    let body = body::read(&headers, body, FRAGMENT_BYTES_MAX, time_max).await?;
    let report = signaling.session(&about).await?;
    check_precondition(&headers, &tag(&report.ufrag))?;
    let fragment = Fragment::parse(&body)?;
    let renegotiated = in_time(signaling.calls.restart_ice(about.id, fragment)).await???;
    if !renegotiated.restarted {
        return Ok((StatusCode::NO_CONTENT, UNCACHED).into_response());
    }
    let headers = [
        (header::ETAG, tag(ufrag_of(&renegotiated.answer))),
        (header::CONTENT_TYPE, FRAGMENT.to_owned()),
    ];
    Ok((headers, UNCACHED, Fragment::of_answer(&renegotiated.answer)).into_response())
}

/// `DELETE /whip/{endpoint}/{id}`, whatever the tag.
pub(super) async fn end(
    State(signaling): State<Arc<Signaling>>,
    about: About,
) -> Result<StatusCode, Failure> {
    signaling.session(&about).await?;
    signaling.hang_up(about.id).await?;
    Ok(StatusCode::OK)
}

/// `GET /whip/{endpoint}/{id}`: it is there.
pub(super) async fn nothing(
    State(signaling): State<Arc<Signaling>>,
    about: About,
) -> Result<Response, Failure> {
    signaling.session(&about).await?;
    Ok((StatusCode::NO_CONTENT, UNCACHED).into_response())
}

/// `GET /whip/{endpoint}`: it is there.
pub(super) async fn nothing_here(
    State(signaling): State<Arc<Signaling>>,
    Path(endpoint): Path<String>,
    admitted: Admitted,
) -> Result<StatusCode, Failure> {
    admitted.may_open(&signaling)?;
    signaling.check_endpoint(&endpoint)?;
    Ok(StatusCode::NO_CONTENT)
}

impl Signaling {
    fn check_endpoint(&self, endpoint: &str) -> Result<(), Failure> {
        self.check_model(endpoint)
            .inspect_err(|_| self.counters.refused(CallRefusal::ModelNotFound))
    }

    /// The live session that a path names.
    async fn session(&self, about: &About) -> Result<Box<CallReport>, Failure> {
        let report = self.report(about.id).await?;
        let is_there = about.endpoint.as_deref() == Some(report.backend);
        let is_live = report.state != CallState::Ended;
        if is_there && is_live { Ok(report) } else { Err(Failure::no_such_call()) }
    }
}

/// RFC 9110 section 13.1.1, compared strongly: a weak tag never matches.
fn check_precondition(headers: &HeaderMap, tag: &str) -> Result<(), Failure> {
    let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
    if lines.peek().is_none() {
        // RFC 6585 section 3.
        return Err(Failure::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if_match_missing",
            "send If-Match: the session's ETag with candidates, or * with an ICE restart",
        ));
    }
    let tags = lines.filter_map(|line| HeaderValue::to_str(line).ok());
    if tags.flat_map(|line| line.split(',')).map(str::trim).any(|each| each == "*" || each == tag) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::PRECONDITION_FAILED,
        "if_match_stale",
        "ICE has restarted since that ETag was given: use the ETag of the latest answer",
    ))
}

fn tag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

fn ufrag_of(answer: &str) -> &str {
    answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_are_compared_strongly() {
        let status = |values: &[&'static str]| {
            let line = |value: &&'static str| (header::IF_MATCH, HeaderValue::from_static(value));
            let headers: HeaderMap = values.iter().map(line).collect();
            check_precondition(&headers, "\"abc\"").err().map(|failure| failure.status.as_u16())
        };
        for (values, expected) in [
            (&[][..], Some(428)),
            (&["\"abc\""], None),
            (&["*"], None),
            (&["\"x\", \"abc\""], None),
            (&["\"x\"", "\"abc\""], None),
            (&["\"x\""], Some(412)),
            (&["abc"], Some(412)),
            (&["W/\"abc\""], Some(412)),
            (&["\"ABC\""], Some(412)),
            (&[""], Some(412)),
        ] {
            assert_eq!(status(values), expected, "{values:?}");
        }
    }
}
