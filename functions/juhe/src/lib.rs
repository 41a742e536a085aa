//! HTTP route group: seed 003, WeCom data synchronisation.

use axum::Router;
use shared::app::AppState;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
}
