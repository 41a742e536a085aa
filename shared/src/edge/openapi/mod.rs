//! The API's own description: `GET /openapi.json` and a page that renders it. Both are files, embedded here. The document is
//! made by `tests/openapi/generate.py`; the suite compares it with the routers.

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::app::AppState;

const DOCUMENT: &[u8] = include_bytes!("openapi.json");
const PAGE: &str = include_str!("docs.html");

/// Nothing but the page's own style and script runs, and it talks to this server only: a key that was typed in stays here.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src blob: data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("style"),
        hash_of("script"),
    );
    HeaderValue::try_from(policy).expect("the policy is ASCII")
});

/// The content of the page's one element of that name, as a source of a content security policy.
fn hash_of(tag: &str) -> String {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let content =
        PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(content, _)| content);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

/// The two routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/openapi.json", get(get_openapi)).route("/docs", get(get_docs))
}

/// `GET /openapi.json`: OpenAPI 3.1 of everything.
async fn get_openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, DOCUMENT).into_response()
}

/// `GET /docs`: the document as a page, with a form to try each operation.
async fn get_docs() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone() {
        for tag in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "the policy names one {tag}");
            assert!(PAGE.contains(&format!("<{tag}>")), "{tag} has no attributes");
        }
        // Neither would run under the policy.
        for refused in [" style=", " onclick=", "javascript:", "innerHTML"] {
            assert!(!PAGE.contains(refused), "{refused}");
        }
        assert!(!PAGE.contains("http://") && !PAGE.contains("https://"), "nothing comes from elsewhere");
        let policy = POLICY.to_str().expect("ASCII");
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    }

    #[test]
    fn the_document_is_json() {
        let document: serde_json::Value = serde_json::from_slice(DOCUMENT).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
    }
}
