//! From what callers write to a [`Draft`]: the checks and the fetching that all sending routes share.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use crate::{
    address,
    app::App,
    clock::{DAY_MS, Millis},
    domain::{
        content::{Content, Media, MediaKind},
        instance::{Instance, Mode},
        send::Draft,
    },
    error::{Error, Result},
    id::MediaId,
};

/// Bytes of media that are fetched or uploaded at the most.
pub const MAX_MEDIA: u64 = 64 * 1024 * 1024;
/// Fetching a URL takes at most this long in all (spec/http.md, "whatsapp").
const FETCH: Duration = Duration::from_secs(15);
/// A send may be put off by that much at the most.
const MAX_AHEAD_MS: i64 = 30 * DAY_MS;
const MAX_TYPING_MS: u64 = 60_000;

/// What every send accepts beside its content (spec/http.md, "whatsapp").
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    pub client_message_id: Option<String>,
    pub quoted_message_id: Option<String>,
    pub mentions: Option<Vec<String>>,
    /// ISO 8601.
    pub send_at: Option<String>,
    pub delay_ms: Option<u64>,
    pub link_preview: Option<bool>,
    pub view_once: Option<bool>,
}

impl Options {
    /// Checks the options and puts them into the draft.
    pub fn apply(self, app: &App, instance: &Instance, mut draft: Draft) -> Result<Draft> {
        draft.client_id = optional("clientMessageId", self.client_message_id, 128)?;
        draft.quoted = optional("quotedMessageId", self.quoted_message_id, 512)?;
        let mentions = self.mentions.unwrap_or_default();
        if mentions.len() > 256 {
            return Err(Error::invalid("mentions", "mentions must have at most 256 entries"));
        }
        draft.mentions = mentions.iter().map(|text| recipient(instance, "mentions", text)).collect::<Result<_>>()?;
        if let Some(text) = self.send_at {
            let at =
                Millis::parse(&text).ok_or_else(|| Error::invalid("sendAt", "sendAt must be a time in ISO 8601"))?;
            if at.0 > app.clock.now().0 + MAX_AHEAD_MS {
                return Err(Error::invalid("sendAt", "sendAt must be at most 30 days ahead"));
            }
            draft.send_at = Some(at);
        }
        if self.delay_ms.is_some_and(|delay| delay > MAX_TYPING_MS) {
            return Err(Error::invalid("delayMs", format!("delayMs must be 0 to {MAX_TYPING_MS}")));
        }
        draft.typing = Duration::from_millis(self.delay_ms.unwrap_or(0));
        draft.link_preview = self.link_preview;
        draft.view_once = self.view_once.unwrap_or(false);
        if draft.view_once && !instance.capability()?.view_once {
            let text = format!("viewOnce is not possible with {} over this transport", instance.platform);
            return Err(Error::invalid("viewOnce", text).code("NOT_SUPPORTED"));
        }
        Ok(draft)
    }
}

/// The canonical address that a caller's `to` or `phone` means.
pub fn recipient(instance: &Instance, field: &'static str, text: &str) -> Result<String> {
    address::canonical(instance.platform, field, text, instance.mode == Mode::Sandbox)
}

/// Text that must be there: not empty, no more than `max` characters, without NUL.
pub fn text(field: &'static str, text: &str, max: usize) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::invalid(field, format!("{field} must not be empty")));
    }
    bounded(field, text, max)
}

/// Text of no more than `max` characters, without NUL.
pub fn bounded(field: &'static str, text: &str, max: usize) -> Result<String> {
    if text.chars().count() > max {
        return Err(Error::invalid(field, format!("{field} must have at most {max} characters")));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, format!("{field} must not contain NUL")));
    }
    Ok(text.to_owned())
}

/// Text that may be missing; empty counts as missing.
pub fn optional(field: &'static str, value: Option<String>, max: usize) -> Result<Option<String>> {
    value.filter(|text| !text.is_empty()).map(|text| bounded(field, &text, max)).transpose()
}

/// Where media comes from: exactly one of these.
#[derive(Debug, Default)]
pub struct MediaSource {
    pub url: Option<String>,
    pub base64: Option<String>,
    pub media_id: Option<String>,
    pub mime: Option<String>,
    pub filename: Option<String>,
    pub caption: Option<String>,
    /// What it shall be sent as; else by its MIME type.
    pub kind: Option<MediaKind>,
}

/// Fetches or takes media and stores it; the message refers to it from then on.
///
/// Errors: 400 on `url` if it cannot be fetched, may not be reached, or is too large; on `base64` or `mediaId` likewise.
pub async fn media(app: &App, instance: &Instance, source: MediaSource) -> Result<Content> {
    let filename = optional("filename", source.filename, 255)?;
    let caption = optional("caption", source.caption, 65_536)?;
    let declared = optional("mimeType", source.mime, 255)?;
    let (media_id, mime, size, name): (MediaId, String, u64, Option<String>) =
        match (source.url.filter(|url| !url.is_empty()), source.base64, source.media_id) {
            (Some(url), None, None) => {
                app.guard.check_url(&url, "url")?;
                let fetched =
                    app.guard.fetch(&url, MAX_MEDIA, FETCH).await.map_err(|failure| failure.into_error("url"))?;
                let content = fetched.content.map(|chunk| chunk.map_err(|failure| failure.into_error("url")));
                let declared = declared.or(fetched.content_type);
                let stored = app
                    .media
                    .put_stream(&instance.id, content, declared.as_deref(), MAX_MEDIA)
                    .await
                    .map_err(on("url"))?;
                let name = url::Url::parse(&url)
                    .ok()
                    .and_then(|url| Some(url.path_segments()?.next_back()?.to_owned()).filter(|name| !name.is_empty()));
                (stored.id, stored.mime, stored.size, name)
            }
            (None, Some(text), None) => {
                let text = text.rsplit_once(";base64,").map_or(text.as_str(), |(_, data)| data);
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(text.trim())
                    .map_err(|_| Error::invalid("base64", "base64 must be standard base64"))?;
                let content = stream::once(async move { Ok(Bytes::from(bytes)) });
                let stored = app.media.put_stream(&instance.id, content, declared.as_deref(), MAX_MEDIA).await?;
                (stored.id, stored.mime, stored.size, None)
            }
            (None, None, Some(id)) => {
                let (id, meta) = app
                    .media
                    .adopt(&instance.user_id, &instance.id, &MediaId::new(id), MAX_MEDIA)
                    .await
                    .map_err(on("mediaId"))?;
                (id, declared.unwrap_or(meta.mime), meta.size, meta.name)
            }
            _ => return Err(Error::invalid("url", "Exactly one of url, base64 and mediaId is required")),
        };
    if size == 0 {
        return Err(Error::invalid("url", "The media is empty"));
    }
    let media_kind = source.kind.unwrap_or_else(|| MediaKind::of(&mime));
    let filename = filename.or(name);
    Ok(Content::Media { media_kind, media: Media { media_id, mime, size, filename, caption } })
}

/// A fault in what the caller gave is a 400 on that field; faults of ours stay what they are.
fn on(field: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error.kind {
        crate::Kind::NotFound | crate::Kind::TooLarge => Error::invalid(field, format!("{field}: {}", error.message)),
        _ => error,
    }
}

/// Checks a place on earth.
pub fn location(latitude: f64, longitude: f64, name: Option<String>, address: Option<String>) -> Result<Content> {
    if !(-90.0..=90.0).contains(&latitude) {
        return Err(Error::invalid("latitude", "latitude must be -90 to 90"));
    }
    if !(-180.0..=180.0).contains(&longitude) {
        return Err(Error::invalid("longitude", "longitude must be -180 to 180"));
    }
    Ok(Content::Location {
        latitude,
        longitude,
        name: optional("name", name, 255)?,
        address: optional("address", address, 1024)?,
    })
}

/// Checks a poll: 2 to 12 different options.
pub fn poll(question: &str, options: &[String], multiple: bool) -> Result<Content> {
    let question = text("question", question, 255)?;
    if !(2..=12).contains(&options.len()) {
        return Err(Error::invalid("options", "options must have 2 to 12 entries"));
    }
    let options = options.iter().map(|option| text("options", option, 100)).collect::<Result<Vec<_>>>()?;
    let mut different = options.clone();
    different.sort();
    different.dedup();
    if different.len() != options.len() {
        return Err(Error::invalid("options", "options must differ from each other"));
    }
    Ok(Content::Poll { question, options, multiple })
}
