//! HTTP route group: what other systems post to us.

mod wechat;
mod whatsapp;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use shared::{app::AppState, edge::idempotent};

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/webhook/wechat", post(wechat::forward_to_wecom))
        .route_layer(middleware::from_fn(idempotent::once))
        .route("/inbound/whatsapp/{instanceId}", get(whatsapp::verify_whatsapp).post(whatsapp::receive_whatsapp))
}
