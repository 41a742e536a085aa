//! `Idempotency-Key` at the edge: a layer for routes that create or send, and the same for handlers that hash a streamed body
//! themselves. What a key means is in [`crate::domain::idempotency`].

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{BODY_LIMIT, Group, OpenMode, Reject, body, envelope};
use crate::{
    app::{App, AppState},
    domain::{
        access::Caller,
        idempotency::{self, Answer, Begin, End},
    },
    error::Error,
    id::UserId,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// The id for what a request creates, a ULID: the same in every attempt under one `Idempotency-Key`. As an extractor it is
/// always there; without a key it is fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocated(pub String);

impl Allocated {
    /// In the shape of user, instance and key ids: 16 characters.
    pub fn short(&self) -> String {
        let (time, chance) = self.0.split_at(10);
        format!("{time}{}", &chance[chance.len() - 6..])
    }
}

impl FromRequestParts<AppState> for Allocated {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(app.ids.ulid())))
    }
}

/// Set by a handler in the response's extensions when something was accepted although the status says otherwise: the answer
/// is then kept as a 2xx is.
#[derive(Debug, Clone, Copy)]
pub struct Accepted;

/// Who a key belongs to where nobody is logged in.
fn nobody() -> UserId {
    UserId::new("-")
}

/// The layer for routes of authenticated callers (and of nobody, in open mode): `route_layer(from_fn(idempotent::once))`.
/// Looks at POST requests with an `Idempotency-Key` only. Multipart bodies are not buffered: their handlers call [`run`].
pub async fn once(request: Request, next: Next) -> Response {
    guard(request, next, false).await.unwrap_or_else(Reject::into_response)
}

/// The layer for routes that need no credentials, such as registering.
pub async fn once_for_anybody(request: Request, next: Next) -> Response {
    guard(request, next, true).await.unwrap_or_else(Reject::into_response)
}

async fn guard(request: Request, next: Next, anybody: bool) -> Result<Response, Reject> {
    let multipart = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"multipart/"));
    if request.method() != Method::POST || multipart || !request.headers().contains_key(KEY) {
        return Ok(next.run(request).await);
    }
    let app = request.extensions().get::<AppState>().cloned();
    let app = app.ok_or_else(|| Error::internal("idempotent routes must be served through edge::finish"))?;
    let key = key(request.headers())?.unwrap_or_default();
    let (mut parts, body) = request.into_parts();
    let user = if anybody {
        nobody()
    } else {
        match <Caller as OptionalFromRequestParts<AppState>>::from_request_parts(&mut parts, &app).await? {
            Some(caller) => caller.user.id,
            None => match OpenMode::from_request_parts(&mut parts, &app).await {
                Ok(OpenMode(true)) => nobody(),
                // The route will say 401; nothing is written for strangers.
                Ok(OpenMode(false)) | Err(_) => return Ok(next.run(Request::from_parts(parts, body)).await),
            },
        }
    };
    let body = body::read(body, BODY_LIMIT).await?;
    let route = format!("{} {}", parts.method, parts.uri.path());
    let hash = idempotency::body_hash(&body);
    run(&app, &user, &route, Some(&key), &hash, |allocated| {
        parts.extensions.insert(allocated);
        next.run(Request::from_parts(parts, Body::from(body)))
    })
    .await
}

/// The request's key. Errors with `Invalid` if it is not a text.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let key = headers.get(KEY).map(text);
    if let Some(key) = &key {
        idempotency::check_key(key)?;
    }
    Ok(key)
}

/// Does `work` once for the key: the first answer is kept, and given again with `Idempotent-Replay: true`. `route` is method
/// and path, `body_hash` the SHA-256 of what was sent. Without a key the work is simply done.
pub async fn run<F, R>(
    app: &App,
    user: &UserId,
    route: &str,
    key: Option<&str>,
    body_hash: &str,
    work: F,
) -> Result<Response, Reject>
where
    F: FnOnce(Allocated) -> R,
    R: Future<Output = Response>,
{
    let Some(key) = key else { return Ok(work(Allocated(app.ids.ulid())).await) };
    let claim = match idempotency::begin(app, user, route, key, body_hash).await? {
        Begin::Run(claim) => claim,
        Begin::Replay(answer) => return replay(&answer),
    };
    let (method, path) = route.split_once(' ').unwrap_or(("POST", route));
    let response = work(Allocated(claim.allocated.clone())).await;
    let response = envelope::dress(response, Group::of(path), method).await;
    let (response, end) = keep(response).await?;
    if let Err(error) = claim.end(app, end).await {
        // The work is done and the answer is on its way; a repeat runs again under the same id.
        tracing::warn!(code = %error.code, cause = ?error.source, "the answer to an Idempotency-Key was not kept");
    }
    Ok(response)
}

/// Reads the answer, if it is one to be kept.
async fn keep(response: Response) -> Result<(Response, End), Reject> {
    let status = response.status();
    let accepted = status.as_u16() < 400 || response.extensions().get::<Accepted>().is_some();
    if !accepted {
        let end = if status.is_client_error() { End::Rejected } else { End::Unknown };
        return Ok((response, end));
    }
    let (parts, body) = response.into_parts();
    // Answers are bounded by the contract: 5 MB.
    let body = body::read(body, 5 * 1024 * 1024).await?;
    let end = match std::str::from_utf8(&body) {
        Ok(text) => End::Answered(Answer {
            status: status.as_u16(),
            headers: parts.headers.iter().filter_map(kept_header).collect(),
            body: text.to_owned(),
        }),
        Err(_) => End::Unknown,
    };
    Ok((Response::from_parts(parts, Body::from(body)), end))
}

/// Headers that belong to the answer and not to its delivery.
fn kept_header((name, value): (&HeaderName, &HeaderValue)) -> Option<(String, String)> {
    let kept = *name == header::CONTENT_TYPE || (name.as_str().starts_with("x-") && name != "x-request-id");
    kept.then(|| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).flatten()
}

fn replay(answer: &Answer) -> Result<Response, Reject> {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(Error::internal)?;
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(Error::internal)?;
        headers.insert(name, HeaderValue::from_str(value).map_err(Error::internal)?);
    }
    headers.insert(REPLAY, HeaderValue::from_static("true"));
    Ok(response)
}
