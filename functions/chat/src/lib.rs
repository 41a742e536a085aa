//! HTTP route group: seed 004, chat of users.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
