//! Route group `instances`: connected accounts and everything that hangs on one (seed 001 "instances", spec/http.md), and the
//! common routes that belong to nobody else: media and jobs.

mod activity;
mod deliveries;
mod events;
mod forwarders;
mod history;
mod jobs;
mod lifecycle;
mod manage;
mod media;
mod messages;
mod moving;
mod pairing;
mod sandbox;
mod settings;

use axum::{
    Router, middleware,
    routing::{get, post, put},
};
use shared::{
    app::AppState,
    edge::{Reject, idempotent},
};

type Answer = Result<axum::Json<serde_json::Value>, Reject>;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    let created = Router::new()
        .route("/api/instances", get(manage::list_instances).post(manage::create_instance))
        .route("/api/instances/{instanceId}/messages", post(messages::send_message))
        .route(
            "/api/instances/{instanceId}/forwarders",
            get(forwarders::list_forwarders).post(forwarders::create_forwarder),
        )
        .route("/api/instances/{instanceId}/webhook-deliveries/{deliveryId}/replay", post(deliveries::replay_delivery))
        .route("/api/instances/{instanceId}/webhook-deliveries/replay", post(deliveries::replay_deliveries))
        .route("/api/instances/{instanceId}/sandbox/receive", post(sandbox::receive_message))
        .route("/api/media/uploads", post(media::create_upload))
        .route_layer(middleware::from_fn(idempotent::once));
    Router::new()
        .route(
            "/api/instances/{instanceId}",
            get(manage::get_instance).put(manage::update_instance).delete(lifecycle::delete_instance),
        )
        .route("/api/instances/{instanceId}/reconnect", post(lifecycle::reconnect_instance))
        .route("/api/instances/{instanceId}/logout", post(lifecycle::logout_instance))
        .route("/api/instances/{instanceId}/session/export", post(moving::export_session))
        .route("/api/instances/{instanceId}/session/import", post(moving::import_session))
        .route("/api/instances/{instanceId}/qr", get(pairing::get_qr))
        .route("/api/instances/{instanceId}/pairing-code", post(pairing::create_pairing_code))
        .route("/api/instances/{instanceId}/capabilities", get(manage::get_capabilities))
        .route("/api/instances/{instanceId}/activity", get(activity::list_activity))
        .route("/api/instances/{instanceId}/chats", get(history::list_chats))
        .route("/api/instances/{instanceId}/chats/{chatId}/messages", get(history::list_messages))
        .route("/api/instances/{instanceId}/messages/{messageId}", get(messages::get_message))
        .route("/api/instances/{instanceId}/events", get(events::list_events))
        .route("/api/instances/{instanceId}/events/stream", get(events::stream_events))
        .route("/api/instances/{instanceId}/webhook-deliveries", get(deliveries::list_deliveries))
        .route("/api/instances/{instanceId}/webhook/test", post(deliveries::test_webhook))
        .route(
            "/api/instances/{instanceId}/forwarders/{forwarderId}",
            put(forwarders::update_forwarder).delete(forwarders::delete_forwarder),
        )
        .route("/api/instances/{instanceId}/forwarders/{forwarderId}/test", post(forwarders::test_forwarder))
        .route("/api/instances/{instanceId}/sandbox/scan", post(sandbox::scan_qr))
        .route("/api/instances/{instanceId}/sandbox/outbox", get(sandbox::list_outbox))
        .route("/api/instances/{instanceId}/sandbox/disconnect", post(sandbox::disconnect_line))
        .route("/api/instances/{instanceId}/sandbox/logout", post(sandbox::logout_phone))
        .route("/api/jobs/{jobId}", get(jobs::get_job))
        .route("/api/media/uploads/{ticket}", put(media::put_upload))
        .route("/api/media/{instanceId}/{mediaId}", get(media::get_media))
        .merge(created)
}
