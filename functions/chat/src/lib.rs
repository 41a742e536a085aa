//! HTTP route group: seed 004, chat of users.

mod conversations;
mod messages;
mod session;

use axum::{
    Router,
    middleware::from_fn,
    routing::{get, post},
};
use shared::{
    app::AppState,
    edge::{Reject, idempotent},
};

type Answer = Result<axum::Json<serde_json::Value>, Reject>;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    let open = Router::new()
        .route("/api/register", post(session::register_user))
        .route_layer(from_fn(idempotent::once_for_anybody));
    let sends = Router::new()
        .route("/api/message/send", post(messages::send_chat_message))
        .route_layer(from_fn(idempotent::once));
    Router::new()
        .route("/api/login", post(session::login_user))
        .route("/api/message/history", get(messages::list_chat_messages))
        .route("/api/conversations", get(conversations::list_conversations))
        .route("/api/conversations/read", post(conversations::read_conversation))
        .merge(open)
        .merge(sends)
}
