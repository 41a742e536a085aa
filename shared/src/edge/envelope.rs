//! The envelopes: how each group of paths wraps its errors (spec/http.md, "Each group keeps its own envelope"). Errors become
//! bodies here and nowhere else.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde_json::{Value, json};

use super::reject::{Failure, Reject};
use crate::error::{Error, Kind};

/// Families of paths, by envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// auth, instances, whatsapp, stats, and what is ours: `{error, code}`.
    Plain,
    /// Seed 000: `{success: false, error: {code, message, details}}`.
    ThirdParty,
    /// Seed 002: `{success: false, message}`.
    Im,
    /// Seed 003: `{success: false, error, code}`.
    Juhe,
    /// Seed 004, chat and admin: `{code, msg, data: null}`.
    Chat,
    /// Callbacks of platforms: `{error, code}`, and plain answers stay as they are.
    Inbound,
}

/// Prefix → group; the first that fits counts. A prefix fits whole segments only.
const PREFIXES: &[(&str, Group)] = &[
    ("/third-party", Group::ThirdParty),
    ("/api/third-party", Group::ThirdParty),
    ("/api/v1/third-party", Group::ThirdParty),
    ("/api/v1/im", Group::Im),
    ("/api/im", Group::Im),
    ("/callback", Group::Juhe),
    ("/api/contacts", Group::Juhe),
    ("/api/messages", Group::Juhe),
    ("/api/rooms", Group::Juhe),
    ("/api/sync-status", Group::Juhe),
    ("/api/login", Group::Chat),
    ("/api/register", Group::Chat),
    ("/api/message", Group::Chat),
    ("/api/conversations", Group::Chat),
    ("/api/webhook", Group::Chat),
    ("/api/admin", Group::Chat),
    ("/inbound", Group::Inbound),
];

impl Group {
    pub fn of(path: &str) -> Self {
        PREFIXES
            .iter()
            .find(|(prefix, _)| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
            .map_or(Self::Plain, |(_, group)| *group)
    }

    /// The body of an error.
    pub fn error(self, status: StatusCode, error: &Error) -> Value {
        let field = error.field.as_deref();
        let mut body = match self {
            Self::Plain | Self::Inbound => json!({ "error": error.message, "code": error.code }),
            Self::ThirdParty => {
                let details = field.map_or_else(|| json!({}), |field| json!({ "field": field }));
                return json!({
                    "success": false,
                    "error": { "code": error.code, "message": error.message, "details": details },
                });
            }
            Self::Im => json!({ "success": false, "message": error.message }),
            Self::Juhe => json!({ "success": false, "error": error.message, "code": error.code }),
            Self::Chat => json!({ "code": status.as_u16(), "msg": error.message, "data": null }),
        };
        if let (Some(field), Some(object)) = (field, body.as_object_mut()) {
            object.insert("field".into(), field.into());
        }
        body
    }
}

/// A success of [`Group::Chat`]: `{code: 200, msg: "ok", data}`.
pub fn chat_ok(data: impl Into<Value>) -> axum::Json<Value> {
    axum::Json(json!({ "code": 200, "msg": "ok", "data": data.into() }))
}

/// A success of [`Group::Im`]: `{success: true, data}`.
pub fn im_ok(data: impl Into<Value>) -> axum::Json<Value> {
    axum::Json(json!({ "success": true, "data": data.into() }))
}

/// Lets an answer of [`Group::Im`] that is a fault of ours or of a dependency (5xx) say it in the words that its seed fixes. What
/// is logged stays as it is.
pub fn im_fault(mut response: Response, words: &'static str) -> Response {
    if !response.status().is_server_error() {
        return response;
    }
    let status = response.status();
    let said = match response.extensions_mut().remove::<Failure>() {
        Some(Failure(reject)) => {
            let mut reject = Arc::into_inner(reject)
                .unwrap_or_else(|| Reject { status, error: Error::new(Kind::Unavailable, "UNAVAILABLE", words) });
            reject.error.message = words.into();
            response.extensions_mut().insert(Failure(Arc::new(reject)));
            return response;
        }
        // It has its body already: an `Idempotency-Key` was looked after.
        None => Group::Im.error(status, &Error::new(Kind::Unavailable, "UNAVAILABLE", words)),
    };
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(said.to_string());
    response
}

/// The HTTP status of a kind of error.
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Gone => StatusCode::GONE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The layer that gives every error its body.
pub async fn render(request: Request, next: Next) -> Response {
    let group = Group::of(request.uri().path());
    let method = request.method().clone();
    dress(next.run(request).await, group, method.as_str()).await
}

/// Gives an error its body, if it has none yet. What a handler rejected carries a [`Failure`]; what the framework refused by
/// itself is a text, which is wrapped likewise.
pub(super) async fn dress(mut response: Response, group: Group, method: &str) -> Response {
    let failure = response.extensions_mut().remove::<Failure>();
    let framework;
    let reject = match &failure {
        Some(Failure(reject)) => reject.as_ref(),
        None if group != Group::Inbound && is_bare_refusal(&response) => {
            framework = framework_refusal(&mut response).await;
            &framework
        }
        None => return response,
    };
    log(&reject.error, method);
    let body = group.error(reject.status, &reject.error).to_string();
    let headers = response.headers_mut();
    // The empty body of a rejection may have been measured already.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(body);
    response
}

/// Faults of ours and of dependencies, with the whole chain of causes, once. What callers do wrong is in the access log.
fn log(error: &Error, method: &str) {
    let chain = || {
        let mut text = String::new();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    };
    match error.kind {
        Kind::Internal => tracing::error!(code = %error.code, method, cause = chain(), "request failed"),
        Kind::Unavailable => tracing::warn!(code = %error.code, method, cause = chain(), "dependency unavailable"),
        _ => {}
    }
}

/// An error status with a text or nothing in it: the framework's own refusals (a bad path segment, a body over the limit).
fn is_bare_refusal(response: &Response) -> bool {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or(&b"text/plain"[..], HeaderValue::as_bytes);
    (status.is_client_error() || status.is_server_error()) && content_type.starts_with(b"text/plain")
}

async fn framework_refusal(response: &mut Response) -> Reject {
    let status = response.status();
    let body = std::mem::take(response.body_mut());
    let text = axum::body::to_bytes(body, 1024).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let (kind, code) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => (Kind::TooLarge, "PAYLOAD_TOO_LARGE"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Kind::UnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE"),
        status if status.is_server_error() => return Error::internal(text).into(),
        _ => (Kind::Invalid, "BAD_REQUEST"),
    };
    let message = match text.as_str() {
        "" => status.canonical_reason().unwrap_or("Refused").to_owned(),
        _ => text,
    };
    Reject { status, error: Error::new(kind, code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_by_whole_segments() {
        assert_eq!(Group::of("/api/instances/x"), Group::Plain);
        assert_eq!(Group::of("/api/im/token"), Group::Im);
        assert_eq!(Group::of("/api/images"), Group::Plain);
        assert_eq!(Group::of("/third-party/telegram/messages"), Group::ThirdParty);
        assert_eq!(Group::of("/api/v1/third-party"), Group::ThirdParty);
        assert_eq!(Group::of("/api/messages"), Group::Juhe);
        assert_eq!(Group::of("/api/message/send"), Group::Chat);
        assert_eq!(Group::of("/api/conversations/read"), Group::Chat);
        assert_eq!(Group::of("/api/login"), Group::Chat);
        assert_eq!(Group::of("/api/auth/login"), Group::Plain);
    }

    #[test]
    fn each_group_has_its_envelope() {
        let error = Error::invalid("guid", "Invalid GUID").code("INVALID_PARAMS");
        let body = |group: Group| group.error(StatusCode::BAD_REQUEST, &error);
        assert_eq!(
            body(Group::Juhe),
            json!({"success": false, "error": "Invalid GUID", "code": "INVALID_PARAMS", "field": "guid"})
        );
        assert_eq!(
            body(Group::ThirdParty),
            json!({"success": false, "error":
                {"code": "INVALID_PARAMS", "message": "Invalid GUID", "details": {"field": "guid"}}})
        );
        assert_eq!(body(Group::Chat), json!({"code": 400, "msg": "Invalid GUID", "data": null, "field": "guid"}));
        assert_eq!(body(Group::Im), json!({"success": false, "message": "Invalid GUID", "field": "guid"}));
        assert_eq!(body(Group::Plain), json!({"error": "Invalid GUID", "code": "INVALID_PARAMS", "field": "guid"}));
    }
}
