//! Route group `juhe` (seed 003): the callbacks of the aggregation service, and the queries over what they have told.

mod access;
mod callback;
mod query;

use axum::{
    Router,
    routing::{get, post},
};
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/callback", post(callback::receive_callback))
        .route("/api/contacts", get(query::list_contacts))
        .route("/api/messages", get(query::list_messages))
        .route("/api/rooms", get(query::list_rooms))
        .route("/api/sync-status", get(query::get_sync_status))
}
