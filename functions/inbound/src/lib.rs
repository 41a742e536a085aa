//! HTTP route group: what other systems post to us.

mod wechat;

use axum::{Router, middleware, routing::post};
use shared::{app::AppState, edge::idempotent};

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/webhook/wechat", post(wechat::forward_to_wecom))
        .route_layer(middleware::from_fn(idempotent::once))
}
