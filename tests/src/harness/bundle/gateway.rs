//! API Gateway's HTTP API: a request becomes an event of payload format 2.0 for the function whose route it is, and the
//! function's answer the response. With its limits: 30 s, 10 MB in; Lambda's 6 MB both ways.

use super::super::gateway_ws::Sockets;
use super::environments::{Environments, Failed};
use super::runtime;
use crate::harness::tools::root;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The longest that an HTTP API waits for an integration.
const LIMIT: Duration = Duration::from_secs(30);
const MOST_IN: usize = 10 << 20;
const MOST_LAMBDA: usize = 6 << 20;

/// The WebSocket API of the same deployment: its client, too, waits 29 s at most.
pub(super) fn sockets(environments: &Arc<Environments>) -> Arc<Sockets> {
    let environments = Arc::clone(environments);
    Sockets::new(Arc::new(move |function, event| {
        let environments = Arc::clone(&environments);
        Box::pin(async move {
            let answer = environments.invoke(function, &event, Duration::from_secs(29)).await;
            answer.map_err(|failed| format!("{failed:?}"))
        })
    }))
}

/// The routes of the template, `(path, whether what lies below is meant, function)`.
fn routes() -> &'static [(String, bool, String)] {
    static ROUTES: OnceLock<Vec<(String, bool, String)>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let path = root().join("infra/template.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let routes: Vec<_> = text.lines().filter_map(route).collect();
        assert!(routes.len() > 20, "the template's routes are written in another way now");
        routes
    })
}

/// `… RouteKey: 'ANY /api/im/{proxy+}', Target: !Sub 'integrations/${ImIntegration}' …`
fn route(line: &str) -> Option<(String, bool, String)> {
    let (_, rest) = line.split_once("RouteKey: 'ANY ")?;
    let (path, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once("integrations/${")?;
    let (name, _) = rest.split_once("Integration}")?;
    // `ThirdParty` is the function `third-party`.
    let mut function = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !function.is_empty() {
            function.push('-');
        }
        function.push(letter.to_ascii_lowercase());
    }
    Some(match path.strip_suffix("/{proxy+}") {
        Some(above) => (above.to_owned(), true, function),
        None => (path.to_owned(), false, function),
    })
}

/// The function of a path, as API Gateway chooses it: the full match, then the longest that takes what lies below it, then
/// `$default`.
fn function(path: &str) -> &'static str {
    let fits = |(route, below, _): &&(String, bool, String)| match path.strip_prefix(route.as_str()) {
        Some("") => !below,
        Some(rest) => *below && rest.len() > 1 && rest.starts_with('/'),
        None => false,
    };
    let best = routes().iter().filter(fits).max_by_key(|(route, ..)| route.len());
    best.map_or("instances", |(_, _, function)| function)
}

/// Listens on the port until the task is aborted.
pub(super) async fn open(port: u16, environments: Arc<Environments>, sockets: Arc<Sockets>) -> JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the bundle's port");
    let routes = axum::Router::new().fallback(call).with_state(environments).merge(sockets.routes());
    runtime().spawn(async move { axum::serve(listener, routes).await.expect("serves") })
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

async fn call(State(environments): State<Arc<Environments>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST_IN).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
    };
    let event = serde_json::to_vec(&event(&parts, &body)).expect("JSON");
    if event.len() > MOST_LAMBDA {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
    }
    match environments.invoke_bytes(function(parts.uri.path()), event.into(), LIMIT).await {
        Ok(answer) if answer.len() <= MOST_LAMBDA => {
            response(&answer).unwrap_or_else(|| refused(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
        }
        Err(Failed::TimedOut) => refused(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        Ok(_) | Err(Failed::Ended | Failed::Error(_)) => {
            refused(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn event(parts: &axum::http::request::Parts, body: &Bytes) -> Value {
    let mut headers = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == header::COOKIE {
            cookies.extend(value.split("; ").map(str::to_owned));
            continue;
        }
        match headers.get_mut(name.as_str()) {
            Some(Value::String(before)) => *before = format!("{before},{value}"),
            _ => drop(headers.insert(name.as_str().to_owned(), value.into())),
        }
    }
    // As the gateway does, whose listener is always TLS; in front of whatever the client claims.
    let before = headers.get("x-forwarded-for").and_then(Value::as_str).map(|list| format!("{list}, "));
    headers.insert("x-forwarded-for".into(), format!("{}127.0.0.1", before.unwrap_or_default()).into());
    headers.insert("x-forwarded-proto".into(), "https".into());
    headers.insert("x-forwarded-port".into(), "443".into());
    let text = std::str::from_utf8(body).ok().filter(|_| {
        let kind = headers.get("content-type").and_then(Value::as_str).unwrap_or_default();
        kind.starts_with("text/") || kind.contains("json") || kind.contains("xml") || kind.contains("javascript")
    });
    let host = headers.get("host").cloned().unwrap_or_default();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.uri.path(),
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "suite",
            "domainName": host,
            "domainPrefix": "suite",
            "http": {
                "method": parts.method.as_str(),
                "path": parts.uri.path(),
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent").cloned().unwrap_or_default(),
            },
            "requestId": "suite",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
        },
        "isBase64Encoded": text.is_none() && !body.is_empty(),
    });
    event["headers"] = headers.into();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !body.is_empty() {
        event["body"] = text.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
    }
    event
}

fn response(answer: &[u8]) -> Option<Response> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let status = StatusCode::from_u16(u16::try_from(answer.get("statusCode")?.as_u64()?).ok()?).ok()?;
    let text = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"] == true { STANDARD.decode(text).ok()? } else { text.as_bytes().to_vec() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let mut put = |name: &str, value: &str| {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
        if let Some((name, value)) = pair
            && name != header::CONTENT_LENGTH
            && name != header::TRANSFER_ENCODING
        {
            response.headers_mut().append(name, value);
        }
    };
    let many = answer["multiValueHeaders"].as_object().cloned().unwrap_or_default();
    for (name, values) in &many {
        for value in values.as_array().into_iter().flatten() {
            put(name, value.as_str().unwrap_or_default());
        }
    }
    for (name, value) in
        answer["headers"].as_object().into_iter().flatten().filter(|(name, _)| !many.contains_key(*name))
    {
        put(name, value.as_str().unwrap_or_default());
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        put("set-cookie", cookie.as_str().unwrap_or_default());
    }
    Some(response)
}
