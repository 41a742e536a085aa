//! The control API: what tests ask phones and network to do. JSON over HTTP; `README.md` has every route with an example.

mod groups;
mod media;
mod messages;
mod network;
mod phones;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;

use crate::world::Shared;

/// Uploads and messages with media may be this large.
const BODY_LIMIT: usize = 128 * 1024 * 1024;

/// Serves for ever.
pub(crate) async fn serve(world: Shared, listener: TcpListener) {
    if let Err(error) = axum::serve(listener, router(world)).await {
        tracing::error!("the control API ended: {error}");
    }
}

fn router(world: Shared) -> Router {
    Router::new()
        .route("/phones", post(phones::post_phones).get(phones::get_phones))
        .route("/phones/{phone}", get(phones::get_phone).patch(phones::patch_phone))
        .route("/phones/{phone}/scan", post(phones::post_scan))
        .route("/phones/{phone}/unlink", post(phones::post_unlink))
        .route("/phones/{phone}/replace", post(phones::post_replace))
        .route("/phones/{phone}/stream-error", post(phones::post_stream_error))
        .route("/phones/{phone}/ban", post(phones::post_ban).delete(phones::delete_ban))
        .route("/phones/{phone}/refuse", post(phones::post_refuse))
        .route("/phones/{phone}/time-lock", post(phones::post_time_lock))
        .route("/phones/{phone}/contacts", post(phones::post_contacts))
        .route("/phones/{phone}/picture", post(phones::post_picture))
        .route("/phones/{phone}/history", post(phones::post_history))
        .route("/phones/{phone}/send", post(messages::post_send))
        .route("/phones/{phone}/inbox", get(messages::get_inbox).delete(messages::delete_inbox))
        .route("/phones/{phone}/inbox/{id}/media", get(messages::get_inbox_media))
        .route("/phones/{phone}/pending", get(messages::get_pending))
        .route("/phones/{phone}/delivered", post(messages::post_delivered))
        .route("/phones/{phone}/read", post(messages::post_read))
        .route("/phones/{phone}/played", post(messages::post_played))
        .route("/phones/{phone}/receipts", get(messages::get_receipts))
        .route("/phones/{phone}/states", get(messages::get_states))
        .route("/phones/{phone}/presence", post(messages::post_presence))
        .route("/phones/{phone}/chatstate", post(messages::post_chatstate))
        .route("/phones/{phone}/call", post(messages::post_call))
        .route("/phones/{phone}/hangup", post(messages::post_hangup))
        .route("/groups", post(groups::post_groups))
        .route("/groups/{group}", get(groups::get_group))
        .route("/groups/{group}/{action}", post(groups::post_action))
        .route("/network/cut", post(network::post_cut))
        .route("/stats", get(network::get_stats))
        .route("/mms/{kind}/{token}", post(media::post_upload))
        .route("/v/media/{name}", get(media::get_blob))
        .route("/media", delete(media::delete_blob))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(world)
}

/// Why a request was refused.
pub(crate) struct Refused(StatusCode, String);

impl Refused {
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::BAD_REQUEST, format!("{error:#}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, text) = self;
        (status, axum::Json(serde_json::json!({ "error": text }))).into_response()
    }
}

/// What a handler answers.
pub(crate) type Reply<T> = Result<T, Refused>;
