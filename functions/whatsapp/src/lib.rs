//! Route group `whatsapp`: `/api/whatsapp/{instanceId}/…` of seed 001 and its additions in spec/http.md.

mod account;
mod ask;
mod change;
mod file;
mod groups;
mod send;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use shared::{
    app::AppState,
    edge::{Reached, Reject, idempotent},
};

type Answer = Result<axum::Json<serde_json::Value>, Reject>;

/// Bytes of a multipart upload at the most.
const MAX_MULTIPART: usize = 100 * 1024 * 1024;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    let sends = Router::new()
        .route("/api/whatsapp/{instanceId}/send", post(send::send_text))
        .route("/api/whatsapp/{instanceId}/send-media", post(send::send_media))
        .route("/api/whatsapp/{instanceId}/send-location", post(send::send_location))
        .route("/api/whatsapp/{instanceId}/send-contact", post(send::send_contact))
        .route("/api/whatsapp/{instanceId}/send-poll", post(send::send_poll))
        .route("/api/whatsapp/{instanceId}/send-reaction", post(change::send_reaction))
        .route("/api/whatsapp/{instanceId}/groups", get(groups::list_groups).post(groups::create_group))
        .route_layer(middleware::from_fn(idempotent::once))
        .route(
            "/api/whatsapp/{instanceId}/send-file",
            post(file::send_file).layer(DefaultBodyLimit::max(MAX_MULTIPART)),
        );
    Router::new()
        .route("/api/whatsapp/{instanceId}/status", get(account::get_status))
        .route("/api/whatsapp/{instanceId}/qr", get(account::get_qr))
        .route("/api/whatsapp/{instanceId}/contacts", get(account::list_contacts))
        .route("/api/whatsapp/{instanceId}/logout", post(account::logout))
        .route(
            "/api/whatsapp/{instanceId}/messages/{messageId}",
            put(change::edit_message).delete(change::revoke_message),
        )
        .route("/api/whatsapp/{instanceId}/read", post(ask::mark_read))
        .route("/api/whatsapp/{instanceId}/typing", post(ask::set_typing))
        .route("/api/whatsapp/{instanceId}/presence/subscribe", post(ask::watch_presence))
        .route("/api/whatsapp/{instanceId}/check", post(ask::check_phones))
        .route("/api/whatsapp/{instanceId}/profile-picture", get(ask::get_profile_picture))
        .route("/api/whatsapp/{instanceId}/lid/{id}", get(ask::get_lid))
        .route("/api/whatsapp/{instanceId}/groups/{groupId}", get(groups::get_group))
        .route("/api/whatsapp/{instanceId}/groups/{groupId}/participants", post(groups::change_participants))
        .route("/api/whatsapp/{instanceId}/groups/{groupId}/subject", put(groups::set_subject))
        .route("/api/whatsapp/{instanceId}/groups/{groupId}/invite", get(groups::get_invite))
        .route("/api/whatsapp/{instanceId}/groups/{groupId}/leave", post(groups::leave_group))
        .merge(sends)
        .route_layer(middleware::from_fn(count_call))
}

/// Marks the answer of an accepted send: its call is counted with the message, from the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedInLog;

/// Counts authenticated calls (`apiCalls` of seed 001's statistics).
async fn count_call(Extension(app): Extension<AppState>, mut request: Request, next: Next) -> Response {
    let reached = Reached::default();
    request.extensions_mut().insert(reached.clone());
    let response = next.run(request).await;
    // Only calls that got to an instance of the caller's count, whoever's id was in the path.
    if let Some(instance) = reached.instance()
        && response.extensions().get::<CountedInLog>().is_none()
    {
        app.calls.hit(instance, app.clock.now());
    }
    response
}
