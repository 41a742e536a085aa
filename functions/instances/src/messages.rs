//! Platform-neutral sending (spec/http.md, "instances").

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::Value;
use shared::{
    app::AppState,
    domain::{
        access::Scope,
        compose::Options,
        message,
        neutral::{self, Ask, Parts},
        view,
    },
    edge::{Allocated, Json3, Owned, Reject},
    store::Doc,
};

use crate::Answer;

#[derive(Debug, Deserialize)]
pub(crate) struct Send {
    to: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<String>,
    metadata: Option<Doc>,
}

/// `POST /api/instances/{instanceId}/messages` → 201, a `ThirdPartyMessage` with `instanceId`.
pub(crate) async fn send_message(
    State(app): State<AppState>,
    owned: Owned,
    Allocated(ulid): Allocated,
    Json3(body, parts, options): Json3<Send, Parts, Options>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    let Owned { instance, .. } = owned.with(Scope::MessagesSend)?;
    let ask = Ask {
        to: body.to,
        from: None,
        kind: body.kind,
        content: body.content,
        parts,
        parts_in: None,
        metadata: body.metadata.unwrap_or_default(),
    };
    let message = neutral::send(&app, &instance, ask, options, &ulid).await?;
    Ok((StatusCode::CREATED, axum::Json(view::neutral_message(&app, &instance, &message).into())))
}

/// `GET /api/instances/{instanceId}/messages/{messageId}`: by our id or by the platform's.
pub(crate) async fn get_message(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    owned: Owned,
) -> Answer {
    let Owned { instance, .. } = owned.with(Scope::MessagesRead)?;
    let message = message::find(&app, &instance, &id).await?.ok_or_else(message::unknown)?;
    Ok(axum::Json(view::neutral_message(&app, &instance, &message).into()))
}
