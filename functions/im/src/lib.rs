//! HTTP route group: seed 002, instant messaging compatible with WuKongIM's integration.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
