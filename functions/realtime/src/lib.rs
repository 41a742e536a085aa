//! The WebSocket of seed 004.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
