//! What signaling counts: atomics that any thread may add to, and the metrics they are.

use super::access::AuthFailure;
use super::rate::KINDS;
use crate::negotiation::OfferError;
use service::http::Connections;
use service::metrics::{Row, Text};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Calls,
    Call,
    HangUp,
    ClientSecrets,
    Models,
    Whip,
    WhipSession,
    Page,
    Unknown,
}

impl Route {
    const ALL: [Self; 9] = [
        Self::Calls,
        Self::Call,
        Self::HangUp,
        Self::ClientSecrets,
        Self::Models,
        Self::Whip,
        Self::WhipSession,
        Self::Page,
        Self::Unknown,
    ];

    /// Its path, as the router has it.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Calls => "/v1/realtime/calls",
            Self::Call => "/v1/realtime/calls/{id}",
            Self::HangUp => "/v1/realtime/calls/{id}/hangup",
            Self::ClientSecrets => "/v1/realtime/client_secrets",
            Self::Models => "/v1/models",
            Self::Whip => "/whip/{endpoint}",
            Self::WhipSession => "/whip/{endpoint}/{id}",
            Self::Page => "/page/{name}",
            Self::Unknown => "other",
        }
    }

    /// Which one the router matched.
    pub(super) fn of(path: Option<&str>) -> Self {
        let Some(path) = path else { return Self::Unknown };
        if path == "/" {
            return Self::Page;
        }
        Self::ALL.into_iter().find(|route| route.path() == path).unwrap_or(Self::Unknown)
    }
}

/// Answers by the first digit of their status, from 1.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a call did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallRefusal {
    TooLong,
    Unreadable,
    TooManySections,
    WithoutAudio,
    WithoutOpus,
    Direction,
    NotForIngest,
    Unacceptable,
    Internal,
    ModelNotFound,
    BackendUnavailable,
    AtCapacity,
    Draining,
    Overloaded,
}

impl CallRefusal {
    const ALL: [Self; 14] = [
        Self::TooLong,
        Self::Unreadable,
        Self::TooManySections,
        Self::WithoutAudio,
        Self::WithoutOpus,
        Self::Direction,
        Self::NotForIngest,
        Self::Unacceptable,
        Self::Internal,
        Self::ModelNotFound,
        Self::BackendUnavailable,
        Self::AtCapacity,
        Self::Draining,
        Self::Overloaded,
    ];

    /// The code that the client gets too.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => OfferError::TooLong.code(),
            Self::Unreadable => OfferError::NotSdp.code(),
            Self::TooManySections => OfferError::TooManySections.code(),
            Self::WithoutAudio => OfferError::NoAudio.code(),
            Self::WithoutOpus => OfferError::NoOpus.code(),
            Self::Direction => OfferError::WrongDirection("").code(),
            Self::NotForIngest => OfferError::NotForIngest("").code(),
            Self::Unacceptable => "offer_unacceptable",
            Self::Internal => OfferError::Internal.code(),
            Self::ModelNotFound => "model_not_found",
            Self::BackendUnavailable => "backend_unavailable",
            Self::AtCapacity => "at_capacity",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
        }
    }
}

impl From<&OfferError> for CallRefusal {
    fn from(error: &OfferError) -> Self {
        match error {
            OfferError::TooLong => Self::TooLong,
            OfferError::NotText | OfferError::NotSdp | OfferError::Unreadable(_) => {
                Self::Unreadable
            }
            OfferError::TooManySections => Self::TooManySections,
            OfferError::NoAudio => Self::WithoutAudio,
            OfferError::NoOpus => Self::WithoutOpus,
            OfferError::WrongDirection(_) => Self::Direction,
            OfferError::NotForIngest(_) => Self::NotForIngest,
            OfferError::Unacceptable(_) => Self::Unacceptable,
            OfferError::Internal => Self::Internal,
        }
    }
}

const REQUESTS: Row = Row::counter(
    "transceiver_http_requests_total",
    &["route", "status"],
    "Requests to the signaling listener that were answered.",
);
const CALLS_REFUSED: Row = Row::counter(
    "transceiver_calls_refused_total",
    &["code"],
    "Offers that did not become a call, by the error code that the client got.",
);
const AUTH_FAILURES: Row = Row::counter(
    "transceiver_http_auth_failures_total",
    &["cause"],
    "Requests without a good API key or client secret.",
);
const RATE_LIMITED: Row = Row::counter(
    "transceiver_http_rate_limited_total",
    &["by"],
    "Requests refused because too many came from one address, API key or client secret.",
);
const OPEN_TIME: Row = Row::histogram(
    "transceiver_http_call_open_seconds",
    &[],
    "From an offer's arrival to its answer, for calls that came about.",
);
const CONNECTIONS_OPEN: Row =
    Row::gauge("transceiver_http_connections", &[], "Connections to the signaling listener.");
const CONNECTIONS_ACCEPTED: Row = Row::counter(
    "transceiver_http_connections_accepted_total",
    &[],
    "Connections to the signaling listener that were served.",
);
const CONNECTIONS_REFUSED: Row = Row::counter(
    "transceiver_http_connections_refused_total",
    &[],
    "Connections closed at once because their address had as many as it may have.",
);

/// Bounds of the buckets of [`OPEN_TIME`].
const OPEN_TIME_BOUNDS_US: [u64; 11] =
    [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// All numbers of one signaling listener.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[AtomicU64; CLASSES.len()]; Route::ALL.len()],
    calls_refused: [AtomicU64; CallRefusal::ALL.len()],
    auth_failures: [AtomicU64; AuthFailure::ALL.len()],
    rate_limited: [AtomicU64; KINDS.len()],
    open_time: [AtomicU64; OPEN_TIME_BOUNDS_US.len() + 1],
    open_time_sum_us: AtomicU64,
    connections: Arc<Connections>,
}

impl Counters {
    /// All metrics there are.
    pub const ROWS: [&'static Row; 8] = [
        &REQUESTS,
        &CALLS_REFUSED,
        &AUTH_FAILURES,
        &RATE_LIMITED,
        &OPEN_TIME,
        &CONNECTIONS_OPEN,
        &CONNECTIONS_ACCEPTED,
        &CONNECTIONS_REFUSED,
    ];

    pub(super) fn of(connections: Arc<Connections>) -> Self {
        Self { connections, ..Self::default() }
    }

    /// Writes all of them as they are now. Every series is there from the start.
    pub fn write(&self, text: &mut Text) {
        text.family(&REQUESTS);
        for (route, classes) in Route::ALL.iter().zip(&self.requests) {
            for (class, count) in CLASSES.iter().zip(classes).filter(|(class, _)| **class != "1xx")
            {
                let labels = [("route", route.path()), ("status", *class)];
                text.sample(REQUESTS.name, &labels, load(count));
            }
        }
        let codes = CallRefusal::ALL.map(CallRefusal::as_str);
        series(text, &CALLS_REFUSED, &codes, &self.calls_refused);
        let causes = AuthFailure::ALL.map(AuthFailure::as_str);
        series(text, &AUTH_FAILURES, &causes, &self.auth_failures);
        series(text, &RATE_LIMITED, &KINDS, &self.rate_limited);
        text.family(&OPEN_TIME);
        let written: Vec<u64> =
            self.open_time.iter().chain([&self.open_time_sum_us]).map(load).collect();
        let bound = |bucket| OPEN_TIME_BOUNDS_US.get(bucket).copied();
        text.histogram(OPEN_TIME.name, &[], &written, bound, 1e-6);
        let connections = &self.connections;
        let open = u64::try_from(connections.open()).unwrap_or(u64::MAX);
        for (row, value) in [
            (&CONNECTIONS_OPEN, open),
            (&CONNECTIONS_ACCEPTED, connections.accepted()),
            (&CONNECTIONS_REFUSED, connections.refused()),
        ] {
            text.family(row);
            text.sample(row.name, &[], value);
        }
    }

    pub(super) fn answered(&self, route: Route, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1).min(CLASSES.len() - 1);
        add(&self.requests[route as usize][class]);
    }

    pub(super) fn refused(&self, refusal: CallRefusal) {
        add(&self.calls_refused[refusal as usize]);
    }

    pub(super) fn auth_failed(&self, failure: AuthFailure) {
        add(&self.auth_failures[failure as usize]);
    }

    /// By the kind's place in [`KINDS`].
    pub(super) fn rate_limited(&self, kind: usize) {
        add(&self.rate_limited[kind]);
    }

    pub(super) fn opened(&self, after: Duration) {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        add(&self.open_time[OPEN_TIME_BOUNDS_US.partition_point(|bound| *bound < us)]);
        self.open_time_sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

fn series(text: &mut Text, row: &Row, names: &[&str], counts: &[AtomicU64]) {
    text.family(row);
    for (name, count) in names.iter().zip(counts) {
        text.sample(row.name, &[(row.labels[0], name)], load(count));
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(counters: &Counters) -> String {
        let mut text = Text::default();
        counters.write(&mut text);
        text.finish()
    }

    #[test]
    fn every_metric_is_there_from_the_start() {
        let text = written(&Counters::default());
        for row in Counters::ROWS {
            assert!(text.contains(&format!("# TYPE {} ", row.name)), "{}", row.name);
            assert!(text.lines().any(|line| line.starts_with(row.name)), "{}", row.name);
        }
        assert_eq!(text.matches("# TYPE ").count(), Counters::ROWS.len());
        service::metrics::strict::parse(&text);
    }

    #[test]
    fn what_is_counted_is_shown_where_it_belongs() {
        let counters = Counters::default();
        counters.answered(Route::of(Some("/whip/{endpoint}/{id}")), 201);
        counters.answered(Route::of(None), 404);
        counters.answered(Route::of(Some("/")), 200);
        counters.auth_failed(AuthFailure::Expired);
        counters.rate_limited(1);
        for error in [OfferError::NotText, OfferError::NoAudio] {
            counters.refused(CallRefusal::from(&error));
        }
        counters.opened(Duration::from_millis(2));
        counters.opened(Duration::from_secs(60));
        let text = written(&counters);
        for line in [
            "transceiver_http_requests_total{route=\"/whip/{endpoint}/{id}\",status=\"2xx\"} 1",
            "transceiver_http_requests_total{route=\"other\",status=\"4xx\"} 1",
            "transceiver_http_requests_total{route=\"/page/{name}\",status=\"2xx\"} 1",
            "transceiver_http_auth_failures_total{cause=\"expired\"} 1",
            "transceiver_http_rate_limited_total{by=\"key\"} 1",
            "transceiver_calls_refused_total{code=\"offer_unreadable\"} 1",
            "transceiver_calls_refused_total{code=\"offer_without_audio\"} 1",
            "transceiver_http_call_open_seconds_bucket{le=\"0.001\"} 0",
            "transceiver_http_call_open_seconds_bucket{le=\"0.002\"} 1",
            "transceiver_http_call_open_seconds_bucket{le=\"5\"} 1",
            "transceiver_http_call_open_seconds_bucket{le=\"+Inf\"} 2",
            "transceiver_http_call_open_seconds_sum 60.002",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_refusal_has_the_code_that_the_client_gets() {
        let errors = [
            OfferError::TooLong,
            OfferError::NotText,
            OfferError::NotSdp,
            OfferError::TooManySections,
            OfferError::NoAudio,
            OfferError::NoOpus,
            OfferError::WrongDirection("inactive"),
            OfferError::NotForIngest("x"),
            OfferError::Unreadable("x".into()),
            OfferError::Unacceptable("x".into()),
            OfferError::Internal,
        ];
        for error in errors {
            assert_eq!(CallRefusal::from(&error).as_str(), error.code());
        }
        for (place, refusal) in CallRefusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
        }
    }
}
