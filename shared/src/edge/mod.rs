//! The HTTP edge: what every route group shares. Extractors, envelopes, layers, and the common routes; nothing of any group.
//!
//! A group is a `Router<AppState>`. Whoever serves groups (the local binary all of them, a Lambda one) merges them and calls
//! [`finish`], once.

pub mod auth;
pub mod body;
pub mod envelope;
pub mod idempotent;
pub mod object;
pub mod observe;
pub mod open_mode;
mod openapi;
pub mod owned;
pub mod query;
pub mod rate;
mod reject;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::json;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, Any, CorsLayer},
};

pub use auth::{Admin, PeerIp, WholeAnswers};
pub use body::{Json, Json2, Json3, JsonList};
pub use envelope::Group;
pub use idempotent::Allocated;
pub use open_mode::OpenMode;
pub use owned::{Owned, OwnedWhatsapp, Reached};
pub use query::Query;
pub use reject::Reject;

use crate::{
    app::{App, AppState},
    error::{Error, Result},
};

/// Bytes of a request body at the most, where a route does not say otherwise.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// Adds the common routes, the answers to unknown paths and methods, and the layers. To be called once, on everything that
/// one process serves.
///
/// The server must put the caller's address into the request: axum's `ConnectInfo<SocketAddr>`, or [`PeerIp`].
///
/// Errors: `CORS_ORIGINS` holds something that is not an origin.
pub fn finish(groups: Router<AppState>, app: AppState) -> Result<Router> {
    let cors = cors(&app.config.cors_origins)?;
    let router = groups
        .route("/health", get(get_health))
        .route("/ready", get(get_ready))
        .merge(openapi::routes())
        .fallback(async || Reject::from(Error::not_found("Not found")))
        .method_not_allowed_fallback(async || Reject::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(envelope::render));
    // Outermost last: the log and the request id also cover what CORS answers.
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    Ok(router.layer(middleware::from_fn_with_state(app.clone(), observe::observe)).with_state(app))
}

/// `GET /health`: the process is up.
async fn get_health(State(app): State<AppState>) -> axum::Json<serde_json::Value> {
    axum::Json(json!({ "status": "ok", "timestamp": app.clock.now().iso() }))
}

/// `GET /ready`: the stores answer; else 503, which names the part that does not.
async fn get_ready(State(app): State<AppState>) -> Response {
    readiness(&app, Vec::new()).await
}

/// The answer to `GET /ready`, for the stores and for what else a process needs: the parts and how they are.
pub async fn readiness(app: &App, others: Vec<(&'static str, Result<()>)>) -> Response {
    let (store, queues) = tokio::join!(app.store.ready(), app.queues.ready());
    let all = [("store", store), ("queues", queues)].into_iter().chain(others);
    let mut parts = serde_json::Map::new();
    let mut failing = Vec::new();
    for (name, outcome) in all {
        let ok = outcome.is_ok();
        if let Err(error) = outcome {
            tracing::warn!(part = name, cause = ?error.source, "not ready");
            failing.push(name);
        }
        parts.insert(name.into(), if ok { "ok" } else { "failing" }.into());
    }
    if failing.is_empty() {
        return axum::Json(json!({ "status": "ready", "parts": parts })).into_response();
    }
    let body = json!({
        "error": format!("Not ready: {}", failing.join(", ")),
        "code": "NOT_READY",
        "status": "unavailable",
        "parts": parts,
    });
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, axum::Json(body)).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that the layer wants")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Reject::from(Error::internal(format!("panic: {text}"))).into_response()
}

/// The CORS layer for the configured origins; `None` when there are none: then browsers on other origins stay out.
fn cors(origins: &[String]) -> Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        let origin = |text: &String| {
            HeaderValue::from_str(text.trim_end_matches('/')).map_err(|_| {
                Error::invalid("CORS_ORIGINS", "CORS_ORIGINS must list origins such as https://example.com")
            })
        };
        AllowOrigin::list(origins.iter().map(origin).collect::<Result<Vec<_>>>()?)
    };
    let exposed = ["x-request-id", "retry-after", "idempotent-replay", "x-next-cursor", "x-sync-job", "x-sync-status"];
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("x-api-key"),
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("x-session-passphrase"),
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("last-event-id"),
            ])
            .expose_headers(exposed.map(HeaderName::from_static))
            .max_age(std::time::Duration::from_secs(3600)),
    ))
}
