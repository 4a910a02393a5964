//! The routes, and what is done around each.

use super::counters::Route;
use super::failure::Failure;
use super::media_type::{FRAGMENT, SDP};
use super::{Signaling, call_api, client_secrets, cors, models, page, whip};
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn router(signaling: Arc<Signaling>) -> Router {
    let call = get(call_api::report).patch(call_api::renegotiate).delete(call_api::hang_up);
    let session = get(whip::nothing).patch(whip::restart).delete(whip::end);
    Router::new()
        .route("/", get(index))
        .route(Route::Page.path(), get(file))
        .route(Route::Calls.path(), post(call_api::open))
        .route(Route::Call.path(), call)
        .route(Route::HangUp.path(), post(call_api::hang_up))
        .route(Route::ClientSecrets.path(), post(client_secrets::issue))
        .route(Route::Models.path(), get(models::list))
        .route(Route::Whip.path(), post(whip::open).get(whip::nothing_here))
        .route(Route::WhipSession.path(), session)
        .fallback(absent)
        .method_not_allowed_fallback(wrong_method)
        // Every handler that takes a body bounds it itself, and says how.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&signaling), around))
        .with_state(signaling)
}

/// What every answer gets: permissions for other origins, and a place in the counters.
async fn around(State(signaling): State<Arc<Signaling>>, request: Request, next: Next) -> Response {
    let route = Route::of(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let (method, began) = (request.method().clone(), Instant::now());
    let origin = request.headers().get(header::ORIGIN).cloned();
    // A browser's question whether it may ask. It carries no token.
    let is_options = method == Method::OPTIONS && route != Route::Unknown;
    let mut response = if is_options { options(route) } else { next.run(request).await };
    let settings = signaling.settings();
    cors::allow(&settings.origins, origin.as_ref(), is_options, response.headers_mut());
    let status = response.status().as_u16();
    signaling.counters.answered(route, status);
    tracing::debug!(%method, route = route.path(), status, elapsed = ?began.elapsed(), "answered");
    response
}

/// RFC 9725 section 4.2: "OPTIONS" says what may be posted.
fn options(route: Route) -> Response {
    let mut response = StatusCode::OK.into_response();
    let accepted = match route {
        Route::Whip | Route::Calls => Some(("accept-post", SDP)),
        Route::Call => Some(("accept-patch", SDP)),
        Route::WhipSession => Some(("accept-patch", FRAGMENT)),
        _ => None,
    };
    if let Some((name, value)) = accepted {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn index(State(signaling): State<Arc<Signaling>>, uri: Uri, headers: HeaderMap) -> Response {
    if signaling.settings().page {
        page::index(&headers)
    } else {
        absent(uri).await.into_response()
    }
}

async fn file(
    State(signaling): State<Arc<Signaling>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if signaling.settings().page {
        page::file(&name, &headers)
    } else {
        absent(uri).await.into_response()
    }
}

async fn absent(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(100).collect();
    let message = format!(
        "there is no {path} here; there are POST {calls}, GET, PATCH and DELETE {calls}/{{id}}, POST \
         {calls}/{{id}}/hangup, POST {secrets}, GET {models} and POST {whip}",
        calls = Route::Calls.path(),
        secrets = Route::ClientSecrets.path(),
        models = Route::Models.path(),
        whip = Route::Whip.path(),
    );
    Failure::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// axum adds `Allow`.
async fn wrong_method(method: Method) -> Failure {
    let method: String = method.as_str().chars().take(20).collect();
    let message = format!("{method} does nothing here; the Allow header says what does");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
