//! Changes to messages: reactions, edits, revokes. Each goes out like a message, under an id of its own.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::Scope,
        compose::{self, Options},
        content::Content,
        instance::Instance,
        message::{self, Message},
        send,
    },
    edge::{Allocated, Json, Json2, OwnedWhatsapp, Reject},
};

use crate::send::accept;

async fn target(app: &AppState, instance: &Instance, id: &str) -> Result<Message, Reject> {
    Ok(message::find(app, instance, id).await?.ok_or_else(message::unknown)?)
}

/// The target, if it is ours to change.
async fn own(app: &AppState, instance: &Instance, id: &str) -> Result<Message, Reject> {
    let message = target(app, instance, id).await?;
    if !message.from_me {
        return Err(Error::conflict("NOT_OWN_MESSAGE", "Only messages that this account sent can be changed").into());
    }
    if message.revoked {
        return Err(Error::conflict("MESSAGE_REVOKED", "The message was revoked").into());
    }
    Ok(message)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct React {
    message_id: String,
    emoji: String,
}

/// `POST …/send-reaction {messageId, emoji}` → `{id}`. An empty emoji takes the reaction back.
pub(crate) async fn send_reaction(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<React, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let emoji = compose::optional("emoji", Some(body.emoji), 32)?.unwrap_or_default();
    let message = target(&app, &owned.instance, &body.message_id).await?;
    let content = Content::Reaction { target: message.platform_id().to_owned(), emoji };
    accept(&app, &owned, &message.remote_jid, content, options, &ulid).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Edit {
    message: String,
}

/// `PUT …/messages/{messageId} {message}` → `{id}`: another text for a message that this account sent.
pub(crate) async fn edit_message(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json(body): Json<Edit>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let text = compose::text("message", &body.message, 65_536)?;
    let message = own(&app, &owned.instance, &id).await?;
    if message.is_scheduled() {
        let text = "The message is not sent yet: take it back and send another";
        return Err(Error::conflict("MESSAGE_SCHEDULED", text).into());
    }
    if !matches!(message.content, Content::Text { .. }) {
        return Err(Error::conflict("NOT_TEXT", "Only text messages can be edited").into());
    }
    let content = Content::Edit { target: message.platform_id().to_owned(), text };
    accept(&app, &owned, &message.remote_jid, content, Options::default(), &ulid).await
}

/// `DELETE …/messages/{messageId}` → `{id}`: takes a message back, for everybody. One that waits for its time is not sent.
pub(crate) async fn revoke_message(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let message = own(&app, &owned.instance, &id).await?;
    if message.is_scheduled() && send::cancel(&app, &message).await? {
        let body = serde_json::json!({ "id": message.platform_id(), "status": "failed", "messageId": message.id });
        return Ok(axum::Json(body).into_response());
    }
    let content = Content::Revoke { target: message.platform_id().to_owned() };
    accept(&app, &owned, &message.remote_jid, content, Options::default(), &ulid).await
}
