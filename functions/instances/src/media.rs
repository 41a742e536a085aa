//! Media: upload tickets for what is too large for an API call, and downloads.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::{App, AppState},
    domain::{
        access::{Caller, Scope},
        compose, instance,
    },
    edge::{Json, Reject},
    id::{InstanceId, MediaId},
    media::{Ticket, reserve, sign_ticket, verify_ticket},
};

/// How long an upload may be begun.
const TICKET_LIFE: Duration = Duration::from_secs(3600);
/// What an upload may have at the most.
const MAX_UPLOAD: u64 = 100 * 1024 * 1024;

fn key(app: &App) -> [u8; 32] {
    app.keyring.derived("upload")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Upload {
    filename: Option<String>,
    mime_type: Option<String>,
    size: u64,
}

/// `POST /api/media/uploads {filename, mimeType, size}` → 201 `{mediaId, uploadUrl, expiresAt}`.
pub(crate) async fn create_upload(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Upload>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    caller.require(Scope::MessagesSend)?;
    if !(1..=MAX_UPLOAD).contains(&body.size) {
        return Err(Error::invalid("size", format!("size must be 1 to {MAX_UPLOAD} bytes")).into());
    }
    let ticket = Ticket {
        owner: caller.id().clone(),
        media: reserve()?,
        mime: compose::optional("mimeType", body.mime_type, 255)?,
        name: compose::optional("filename", body.filename, 255)?,
        size: body.size,
        expires: app.clock.now().plus(TICKET_LIFE),
    };
    let signed = sign_ticket(&key(&app), &ticket)?;
    Ok((
        StatusCode::CREATED,
        axum::Json(json!({
            "mediaId": ticket.media,
            "uploadUrl": format!("{}/api/media/uploads/{signed}", app.config.public_url()),
            "expiresAt": ticket.expires.iso(),
        })),
    ))
}

/// `PUT /api/media/uploads/{ticket}`: the bytes. The ticket is the credential.
pub(crate) async fn put_upload(
    State(app): State<AppState>,
    Path(ticket): Path<String>,
    request: Request,
) -> Result<axum::Json<Value>, Reject> {
    let ticket = verify_ticket(&key(&app), &ticket, app.clock.now())?;
    let content = request
        .into_body()
        .into_data_stream()
        .map(|chunk| chunk.map_err(|error| Error::invalid("body", "The upload was cut off").source(error)));
    let stored = app.media.put_upload(&ticket, content).await?;
    if stored.size != ticket.size {
        let message = format!("The upload has {} bytes, {} were declared; send it again", stored.size, ticket.size);
        return Err(Error::invalid("size", message).into());
    }
    Ok(axum::Json(json!({ "mediaId": stored.id, "mimeType": stored.mime, "size": stored.size })))
}

/// `GET /api/media/{instanceId}/{mediaId}`: the content, as an attachment that no browser runs.
pub(crate) async fn get_media(
    State(app): State<AppState>,
    caller: Caller,
    Path((instance, media)): Path<(String, String)>,
) -> Result<Response, Reject> {
    caller.require(Scope::MessagesRead)?;
    let instance = instance::find(&app, &InstanceId::new(instance)).await?.ok_or_else(instance::unknown)?;
    caller.require_instance(&instance.user_id, &instance.id)?;
    let (meta, content) = app.media.open(&instance.id, &MediaId::new(media)).await?;
    let headers = [
        (header::CONTENT_TYPE, meta.mime.clone()),
        (header::CONTENT_LENGTH, meta.size.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, max-age=86400, immutable".to_owned()),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}
