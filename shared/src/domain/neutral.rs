//! Platform-neutral sending: one form of a message for every platform, and the way to its sender's name. What
//! `POST /api/instances/{id}/messages` and the routes of seed 000 have in common, which is all but their paths.

pub mod sender;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    domain::{
        compose::{self, MediaSource, Options},
        content::{Content, MediaKind},
        im,
        instance::{Instance, Status as InstanceStatus},
        message::{self, AsSent, Message, Status},
        send::{self, Draft},
    },
    error::{Error, Result},
    store::Doc,
};

/// Bytes of a caller's metadata, as JSON, at the most.
const MAX_METADATA: usize = 65_536;
/// Bytes of what fills a template, as JSON, at the most.
const MAX_COMPONENTS: usize = 32_768;

/// What a caller wants sent, before any of it is checked.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub to: String,
    /// The sender as the caller named it; `None`: the instance's own address.
    pub from: Option<String>,
    /// `type`; `text` where nothing is said.
    pub kind: Option<String>,
    pub content: Option<String>,
    pub parts: Parts,
    /// Where `parts` were found: in errors, this stands before their names.
    pub parts_in: Option<&'static str>,
    pub metadata: Doc,
}

/// What types other than `text` are made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parts {
    pub url: Option<String>,
    pub base64: Option<String>,
    pub media_id: Option<String>,
    pub mime_type: Option<String>,
    pub filename: Option<String>,
    pub caption: Option<String>,
    #[serde(deserialize_with = "crate::edge::object::optional")]
    pub location: Option<Place>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub name: Option<String>,
    pub address: Option<String>,
    #[serde(deserialize_with = "crate::edge::object::optional")]
    pub contact: Option<Card>,
    pub phone: Option<String>,
    #[serde(deserialize_with = "crate::edge::object::optional")]
    pub poll: Option<Poll>,
    #[serde(deserialize_with = "crate::edge::object::optional")]
    pub reaction: Option<Reaction>,
    #[serde(deserialize_with = "crate::edge::object::optional")]
    pub template: Option<Template>,
}

/// Names of the parts on the wire.
const PARTS: &[&str] = &[
    "url",
    "base64",
    "mediaId",
    "mimeType",
    "filename",
    "caption",
    "location",
    "latitude",
    "longitude",
    "name",
    "address",
    "contact",
    "phone",
    "poll",
    "question",
    "options",
    "reaction",
    "template",
];

#[derive(Debug, Clone, Deserialize)]
pub struct Place {
    pub latitude: f64,
    pub longitude: f64,
    pub name: Option<String>,
    pub address: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Card {
    pub name: String,
    pub phone: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Poll {
    pub question: String,
    pub options: Vec<String>,
    #[serde(default)]
    pub multiple: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    pub message_id: String,
    pub emoji: String,
}

/// A message template of the WhatsApp Cloud API.
#[derive(Debug, Clone, Deserialize)]
pub struct Template {
    pub name: String,
    /// `en_US`.
    pub language: String,
    #[serde(default)]
    pub components: Vec<Value>,
}

/// Accepts a message. `ulid` is fresh, or what an idempotency key was given before.
///
/// Errors: 400 on the field that is wrong, and what [`send::accept`] refuses.
pub async fn send(app: &App, instance: &Instance, ask: Ask, options: Options, ulid: &str) -> Result<Message> {
    let to = compose::recipient(instance, "to", &ask.to)?;
    let to = im::account::recipient(app, instance, "to", to).await?;
    let kind = ask.kind.unwrap_or_else(|| "text".into());
    if serde_json::to_string(&ask.metadata)?.len() > MAX_METADATA {
        return Err(Error::invalid("metadata", format!("metadata must have at most {MAX_METADATA} bytes as JSON")));
    }
    // Before anything is fetched.
    send::require_session(instance)?;
    let content = content(app, instance, &kind, ask.content.as_deref(), ask.parts)
        .await
        .map_err(|error| within(error, ask.parts_in))?;
    let mut draft = options.apply(app, instance, Draft::new(to, content))?;
    let shown = ask.content.unwrap_or_default();
    draft.as_sent = Some(AsSent {
        to: ask.to,
        from: ask.from.unwrap_or_else(|| instance.address.clone().unwrap_or_else(|| instance.id.to_string())),
        metadata: ask.metadata,
        kind,
        content: (shown != draft.content.text()).then_some(shown),
    });
    send::accept(app, instance, draft, ulid).await
}

/// Names a part by where the caller put it.
fn within(error: Error, parts_in: Option<&'static str>) -> Error {
    let part = |field: &str| PARTS.contains(&field.split('.').next().unwrap_or(field));
    match (parts_in, error.field.clone()) {
        (Some(parts_in), Some(field)) if part(&field) => error.field(format!("{parts_in}.{field}")),
        _ => error,
    }
}

async fn content(app: &App, instance: &Instance, kind: &str, content: Option<&str>, parts: Parts) -> Result<Content> {
    let required = |field: &'static str| Error::invalid(field, format!("{field} is required for type {kind}"));
    if let Some(text) = content {
        compose::bounded("content", text, instance.capability()?.max_text)?;
    }
    let media_kind = match kind {
        "text" => {
            let text = content.ok_or_else(|| required("content"))?;
            return Ok(Content::Text { text: compose::text("content", text, usize::MAX)? });
        }
        "location" => return location(content, parts).ok_or_else(|| required("latitude"))?,
        "contact" => {
            let name = parts.name.or_else(|| content.filter(|text| !text.is_empty()).map(str::to_owned));
            let (card, at) = match (parts.contact, name, parts.phone) {
                (Some(card), ..) => (card, ("contact.name", "contact.phone")),
                (None, Some(name), Some(phone)) => (Card { name, phone }, ("name", "phone")),
                (None, _, None) => return Err(required("contact")),
                (None, None, Some(_)) => return Err(required("name")),
            };
            return Ok(Content::Contact {
                name: compose::text(at.0, &card.name, 255)?,
                phone: compose::text(at.1, &card.phone, 64)?,
            });
        }
        "poll" => {
            let poll = parts.poll.ok_or_else(|| required("poll"))?;
            return compose::poll(&poll.question, &poll.options, poll.multiple);
        }
        "reaction" => {
            let reaction = parts.reaction.ok_or_else(|| required("reaction"))?;
            return Ok(Content::Reaction {
                target: compose::text("reaction.messageId", &reaction.message_id, 512)?,
                emoji: compose::optional("reaction.emoji", Some(reaction.emoji), 32)?.unwrap_or_default(),
            });
        }
        "template" => return template(&parts.template.ok_or_else(|| required("template"))?),
        "image" => MediaKind::Image,
        "video" => MediaKind::Video,
        "audio" => MediaKind::Audio,
        "document" | "file" => MediaKind::Document,
        "sticker" => MediaKind::Sticker,
        _ => {
            let text = "type must be text, image, video, audio, file, document, sticker, location, contact, poll, \
                        reaction or template";
            return Err(Error::invalid("type", text));
        }
    };
    media(app, instance, media_kind, content, parts).await
}

/// Names and codes as the platform's own rules have them; what fills the gaps is checked by the platform.
fn template(template: &Template) -> Result<Content> {
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let is_code = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let name = compose::text("template.name", &template.name, 512)?;
    if !is_name(&name) {
        let text = "template.name must consist of lower-case letters, digits and underscores";
        return Err(Error::invalid("template.name", text));
    }
    let language = compose::text("template.language", &template.language, 16)?;
    if !is_code(&language) {
        return Err(Error::invalid("template.language", "template.language must be a code such as en_US"));
    }
    let components = serde_json::to_string(&template.components)?;
    if components.len() > MAX_COMPONENTS {
        let text = format!("template.components must have at most {MAX_COMPONENTS} bytes as JSON");
        return Err(Error::invalid("template.components", text));
    }
    Ok(Content::Template { name, language, components })
}

/// `None`: there is no place in it.
fn location(content: Option<&str>, parts: Parts) -> Option<Result<Content>> {
    let place = match (parts.location, parts.latitude, parts.longitude) {
        (Some(place), ..) => place,
        (None, Some(latitude), Some(longitude)) => {
            let name = parts.name.or_else(|| content.map(str::to_owned));
            Place { latitude, longitude, name, address: parts.address }
        }
        _ => return None,
    };
    Some(compose::location(place.latitude, place.longitude, place.name, place.address))
}

/// The content is the caption, unless there is another; or, where nothing else says where the media is, its URL.
async fn media(
    app: &App,
    instance: &Instance,
    kind: MediaKind,
    content: Option<&str>,
    parts: Parts,
) -> Result<Content> {
    let mut caption = parts.caption.or_else(|| content.map(str::to_owned));
    let mut url = parts.url;
    let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    if url.is_none()
        && parts.base64.is_none()
        && parts.media_id.is_none()
        && let Some(text) = content.filter(|text| is_url(text))
    {
        caption = caption.filter(|caption| caption != text);
        url = Some(text.to_owned());
    }
    let source = MediaSource {
        url,
        base64: parts.base64,
        media_id: parts.media_id,
        mime: parts.mime_type,
        filename: parts.filename,
        caption,
        kind: Some(kind),
    };
    compose::media(app, instance, source).await
}

/// Waits, at most `wait`, until the platform has taken the message or refused it. What was accepted stays accepted: if the row
/// cannot be read, the message is as it was.
pub async fn acknowledged(app: &App, instance: &Instance, message: Message, wait: Duration) -> Message {
    let waits = matches!(instance.status, InstanceStatus::Connected | InstanceStatus::Connecting);
    if !waits || message.send_at.is_some() || message.status != Status::Pending {
        return message;
    }
    match watch(app, &message, wait).await {
        Ok(now) => now.unwrap_or(message),
        Err(error) => {
            tracing::debug!(instance = %instance.id, %error, "the status of an accepted message was not read");
            message
        }
    }
}

/// The message as it is when it is pending no longer, or when the time is over.
async fn watch(app: &App, message: &Message, wait: Duration) -> Result<Option<Message>> {
    let (log, sort) = (message.instance_id.as_str(), message.sort());
    let deadline = app.clock.monotonic() + wait;
    loop {
        // The tail before the row: what is written behind it is noticed.
        let tail = app.store.tail(log).await?;
        let now = message::load_many(app, &message.instance_id, &[&sort]).await?.pop().flatten();
        let left = deadline.saturating_sub(app.clock.monotonic());
        if left.is_zero() || now.as_ref().is_none_or(|now| now.status != Status::Pending) {
            return Ok(now);
        }
        app.store.changed(log, tail.seq, left).await;
    }
}
