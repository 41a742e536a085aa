//! HTTP route group: seed 000, four platforms behind one form. The domain's neutral sending and contacts, seen by user, platform
//! and address instead of by instance.

mod access;
mod contacts;
mod messages;

use axum::{
    Router,
    extract::Request,
    http::header,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use shared::{
    app::AppState,
    config::ThirdPartyAuth,
    edge::{Reject, idempotent},
};

type Answer<T> = Result<T, Reject>;

/// All routes of the group, under each of the prefixes that the original's documents and code have.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/third-party/{platform}/messages", post(messages::send_third_party_message))
        .route("/api/third-party/{platform}/messages", post(messages::send_third_party_message))
        .route("/api/v1/third-party/{platform}/messages", post(messages::send_third_party_message))
        .route("/third-party/{platform}/contacts/sync", post(contacts::sync_third_party_contacts))
        .route("/api/third-party/{platform}/contacts/sync", post(contacts::sync_third_party_contacts))
        .route("/api/v1/third-party/{platform}/contacts/sync", post(contacts::sync_third_party_contacts))
        .route_layer(middleware::from_fn(once))
        .route("/third-party/{platform}/messages/{messageId}/status", get(messages::get_third_party_status))
        .route("/api/third-party/{platform}/messages/{messageId}/status", get(messages::get_third_party_status))
        .route("/api/v1/third-party/{platform}/messages/{messageId}/status", get(messages::get_third_party_status))
        .route("/third-party/{platform}/contacts", get(contacts::get_third_party_contact))
        .route("/api/third-party/{platform}/contacts", get(contacts::get_third_party_contact))
        .route("/api/v1/third-party/{platform}/contacts", get(contacts::get_third_party_contact))
        .route("/third-party/{platform}/contacts/list", get(contacts::list_third_party_contacts))
        .route("/api/third-party/{platform}/contacts/list", get(contacts::list_third_party_contacts))
        .route("/api/v1/third-party/{platform}/contacts/list", get(contacts::list_third_party_contacts))
}

/// `Idempotency-Key`; where nobody needs credentials, those who show none share their keys.
async fn once(request: Request, next: Next) -> Response {
    let open = request
        .extensions()
        .get::<AppState>()
        .is_some_and(|app| app.config.third_party_auth == Some(ThirdPartyAuth::Off));
    let headers = request.headers();
    if open && !headers.contains_key(header::AUTHORIZATION) && !headers.contains_key("x-api-key") {
        idempotent::once_for_anybody(request, next).await
    } else {
        idempotent::once(request, next).await
    }
}
