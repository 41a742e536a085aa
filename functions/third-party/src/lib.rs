//! HTTP route group: seed 000, four platforms behind one form.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
