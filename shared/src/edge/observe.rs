//! What is seen of a request from outside: its id, one line in the access log, and two metrics. Neither query nor body is ever
//! looked at, and paths appear as route templates, since they hold ids, addresses and tokens.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use crate::{app::AppState, id::UserId};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Counter: requests by method, route and status.
pub const REQUESTS_TOTAL: &str = "http_requests_total";
/// Histogram: seconds until the answer's headers, by method and route.
pub const REQUEST_SECONDS: &str = "http_request_duration_seconds";
/// Stands for the template of paths that no route has.
const NO_ROUTE: &str = "(none)";

/// The request's id, in its extensions: the caller's, or ours.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// What inner layers add to the access log's line.
#[derive(Debug, Clone, Default)]
pub(super) struct LogFields(Arc<OnceLock<UserId>>);

impl LogFields {
    pub(super) fn set_user(&self, id: &UserId) {
        // The first credential counts; there is only one.
        self.0.get_or_init(|| id.clone());
    }
}

/// The outermost layer. Puts [`RequestId`] and the app into the request's extensions, for layers of single routes, which have
/// no state.
pub async fn observe(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| app.ids.ulid());
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let trace = trace_id(request.headers()).map(str::to_owned);
    let fields = LogFields::default();
    let extensions = request.extensions_mut();
    extensions.insert(RequestId(id.clone()));
    extensions.insert(fields.clone());
    extensions.insert(app);

    let span = tracing::info_span!("request", request_id = id, trace_id = trace);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();

    let status = response.status().as_u16();
    span.in_scope(|| {
        let user = fields.0.get().map(UserId::as_str);
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(method, route, status, duration_ms, user, "request answered");
    });
    metrics::counter!(REQUESTS_TOTAL, "method" => method, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => route).record(elapsed.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The caller's request id, if it is fit for logs: 1–128 of `A-Z a-z 0-9 . _ -`.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    sane.then(|| text.to_owned())
}

/// The trace id of a W3C `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let valid = version.len() == 2 && version != "ff" && trace.len() == 32 && lower_hex(trace);
    (valid && trace.bytes().any(|byte| byte != b'0')).then_some(trace)
}

/// A bounded set of names, whatever callers send.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))])
    }

    #[test]
    fn request_ids_are_taken_if_sane() {
        assert_eq!(request_id(&headers("x-request-id", "a.B_9-")).as_deref(), Some("a.B_9-"));
        for bad in ["", "a b", "a;b", &"x".repeat(129)] {
            assert_eq!(request_id(&headers("x-request-id", bad)), None, "{bad}");
        }
    }

    #[test]
    fn traceparents_give_their_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: &str| trace_id(&headers("traceparent", text)).map(str::to_owned);
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        for bad in ["", "00", "00-xyz-1-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
