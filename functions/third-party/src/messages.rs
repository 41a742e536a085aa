//! Sending, and what became of it.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::Value;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::Scope,
        compose::Options,
        instance,
        message::{self, Status},
        neutral::{self, Ask, Parts, sender},
        view,
    },
    edge::{Allocated, Json2, body},
    store::Doc,
};

use crate::{Answer, access::Access};

/// How long an answer waits for the platform.
const ACKNOWLEDGED: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
pub(crate) struct Send {
    to: String,
    from: String,
    content: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    metadata: Option<Doc>,
}

/// `POST …/{platform}/messages {to, from, content, type?, metadata?}` → 201, a `ThirdPartyMessage`.
pub(crate) async fn send_third_party_message(
    State(app): State<AppState>,
    access: Access,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Send, Options>,
) -> Answer<(StatusCode, axum::Json<Value>)> {
    access.require(Scope::MessagesSend)?;
    let metadata = body.metadata.unwrap_or_default();
    let parts = parts(body.kind.as_deref(), &metadata)?;
    let instance = sender::find(&app, access.platform, &body.from, access.caller.as_ref()).await?;
    let ask = Ask {
        to: body.to,
        from: Some(body.from),
        kind: body.kind,
        content: Some(body.content),
        parts,
        parts_in: Some("metadata"),
        metadata,
    };
    let message = neutral::send(&app, &instance, ask, options, &ulid).await?;
    let mut message = neutral::acknowledged(&app, &instance, message, ACKNOWLEDGED).await;
    // The answer tells whether the platform has it. Receipts may be there already; they are for who asks later.
    if matches!(message.status, Status::Delivered | Status::Read) {
        message.status = Status::Sent;
    }
    Ok((StatusCode::CREATED, axum::Json(view::neutral_message(&app, &instance, &message).into())))
}

/// What `metadata` says of the content. Beside a text it is the caller's alone.
fn parts(kind: Option<&str>, metadata: &Doc) -> Result<Parts, Error> {
    if matches!(kind, None | Some("text")) {
        return Ok(Parts::default());
    }
    body::decode(&serde_json::to_vec(metadata)?).map_err(|error| match error.field.clone() {
        Some(field) => Error::invalid(format!("metadata.{field}"), format!("metadata.{}", error.message)),
        None => error.field("metadata"),
    })
}

/// `GET …/{platform}/messages/{messageId}/status` → the status, as a JSON string.
pub(crate) async fn get_third_party_status(
    State(app): State<AppState>,
    access: Access,
    Path((_, id)): Path<(String, String)>,
) -> Answer<axum::Json<&'static str>> {
    access.require(Scope::MessagesRead)?;
    let Some(located) = message::locate(&id) else { return Err(message::unknown().into()) };
    let instance = instance::find(&app, &located.instance).await?;
    let instance = instance.filter(|instance| instance.platform == access.platform).ok_or_else(message::unknown)?;
    access.require_instance(&instance)?;
    let message = message::find(&app, &instance, &id).await?;
    // What came in has none of the seed's states.
    let message = message.filter(|message| message.from_me).ok_or_else(message::unknown)?;
    Ok(axum::Json(message.status_now(app.clock.now()).name()))
}
