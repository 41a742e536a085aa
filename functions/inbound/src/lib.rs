//! HTTP route group: what other systems post to us.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
