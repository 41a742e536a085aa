//! Platform-neutral sending (spec/http.md, "instances").

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
        compose::{self, MediaSource, Options},
        content::{Content, MediaKind},
        message::{self, AsSent},
        send::{self, Draft},
        view,
    },
    edge::{Allocated, Json2, Owned, Reject},
    store::Doc,
};

use crate::Answer;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Send {
    to: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<String>,
    url: Option<String>,
    base64: Option<String>,
    media_id: Option<String>,
    mime_type: Option<String>,
    filename: Option<String>,
    caption: Option<String>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    location: Option<Place>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    contact: Option<Card>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    poll: Option<Poll>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    reaction: Option<Reaction>,
    metadata: Option<Doc>,
}

#[derive(Debug, Deserialize)]
struct Place {
    latitude: f64,
    longitude: f64,
    name: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Card {
    name: String,
    phone: String,
}

#[derive(Debug, Deserialize)]
struct Poll {
    question: String,
    options: Vec<String>,
    #[serde(default)]
    multiple: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reaction {
    message_id: String,
    emoji: String,
}

/// `POST /api/instances/{instanceId}/messages` → 201, a `ThirdPartyMessage` with `instanceId`.
pub(crate) async fn send_message(
    State(app): State<AppState>,
    owned: Owned,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Send, Options>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    let Owned { instance, .. } = owned.with(Scope::MessagesSend)?;
    let to = compose::recipient(&instance, "to", &body.to)?;
    let kind = body.kind.unwrap_or_else(|| "text".into());
    let required = |field: &'static str| Error::invalid(field, format!("{field} is required for type {kind}"));
    let shown = body.content.clone().unwrap_or_default();
    let media_kind = match kind.as_str() {
        "image" => Some(MediaKind::Image),
        "video" => Some(MediaKind::Video),
        "audio" => Some(MediaKind::Audio),
        "document" | "file" => Some(MediaKind::Document),
        "sticker" => Some(MediaKind::Sticker),
        _ => None,
    };
    let content = match kind.as_str() {
        "text" => {
            let text = body.content.ok_or_else(|| required("content"))?;
            Content::Text { text: compose::text("content", &text, 65_536)? }
        }
        "location" => match (body.location, body.latitude, body.longitude) {
            (Some(place), ..) => compose::location(place.latitude, place.longitude, place.name, place.address)?,
            (None, Some(latitude), Some(longitude)) => compose::location(latitude, longitude, body.content, None)?,
            _ => return Err(required("location").into()),
        },
        "contact" => {
            let card = body.contact.ok_or_else(|| required("contact"))?;
            Content::Contact {
                name: compose::text("contact.name", &card.name, 255)?,
                phone: compose::text("contact.phone", &card.phone, 64)?,
            }
        }
        "poll" => {
            let poll = body.poll.ok_or_else(|| required("poll"))?;
            compose::poll(&poll.question, &poll.options, poll.multiple)?
        }
        "reaction" => {
            let reaction = body.reaction.ok_or_else(|| required("reaction"))?;
            Content::Reaction {
                target: compose::text("reaction.messageId", &reaction.message_id, 512)?,
                emoji: compose::optional("reaction.emoji", Some(reaction.emoji), 32)?.unwrap_or_default(),
            }
        }
        _ if media_kind.is_some() => {
            let source = MediaSource {
                url: body.url,
                base64: body.base64,
                media_id: body.media_id,
                mime: body.mime_type,
                filename: body.filename,
                caption: body.caption.or(body.content),
                kind: media_kind,
            };
            compose::media(&app, &instance, source).await?
        }
        _ => {
            return Err(Error::invalid(
                "type",
                "type must be text, image, video, audio, document, sticker, location, contact, poll or reaction",
            )
            .into());
        }
    };
    let mut draft = options.apply(&app, &instance, Draft::new(to, content))?;
    draft.as_sent = Some(AsSent {
        to: body.to,
        from: instance.address.clone().unwrap_or_else(|| instance.id.to_string()),
        metadata: body.metadata.unwrap_or_default(),
        kind,
        content: shown,
    });
    let message = send::accept(&app, &instance, draft, &ulid).await?;
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
