//! Media on its way between our storage and the platform's, streamed, never held whole.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, TryStreamExt as _};
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use shared::{
    Error,
    app::{App, AppState},
    domain::{
        compose::MAX_MEDIA,
        content::{Content, Media, MediaKind},
    },
    error::Retry,
    id::{InstanceId, MediaId},
    media::extension_of,
    uploads,
};

use crate::{failure::Failure, graph::Graph};

/// The platform keeps uploads for 30 days; half of it is certainly enough to use one again.
const REUSED_FOR: Duration = Duration::from_secs(15 * 86_400);
/// Between the tries of a download.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Why an upload did not come to an id. Nothing has been sent then.
#[derive(Debug, Clone)]
pub(crate) enum NoUpload {
    Platform(Failure),
    /// Our storage does not have it, and never will.
    Missing(String),
    /// Our storage does not answer.
    Storage,
    /// It takes its time, and goes on meanwhile.
    UnderWay,
}

/// What is uploaded, or was lately, by our id and the type that it is sent as.
pub(crate) struct Uploads(uploads::Uploads<(MediaId, String), String, NoUpload>);

impl Default for Uploads {
    fn default() -> Self {
        Self(uploads::Uploads::new(REUSED_FOR))
    }
}

impl Uploads {
    /// The platform's id of this media, uploading it if need be.
    pub(crate) async fn id(
        &self,
        app: &AppState,
        graph: &Graph,
        instance: &InstanceId,
        media: &Media,
    ) -> Result<String, NoUpload> {
        let mime = plain(&media.mime).to_owned();
        let key = (media.media_id.clone(), mime.clone());
        let make = || {
            let (app, graph, instance, media) = (Arc::clone(app), graph.clone(), instance.clone(), media.clone());
            async move { upload(&app, &graph, &instance, &media, mime).await }.boxed()
        };
        self.0.get(key, make).await.unwrap_or(Err(NoUpload::UnderWay))
    }

    /// The platform does not know what it was given: the next use uploads it again.
    pub(crate) fn forget(&self, media: &Media) {
        self.0.forget(|(id, _)| *id == media.media_id);
    }
}

async fn upload(
    app: &App,
    graph: &Graph,
    instance: &InstanceId,
    media: &Media,
    mime: String,
) -> Result<String, NoUpload> {
    let opened = app.media.open(instance, &media.media_id).await;
    let (meta, content) = opened.map_err(|error| match error.retry {
        Retry::Permanent => NoUpload::Missing(error.message.into_owned()),
        Retry::Temporary | Retry::Persistent => {
            tracing::warn!(%instance, %error, "media was not read");
            NoUpload::Storage
        }
    })?;
    let name = media.filename.clone().unwrap_or_else(|| format!("file.{}", extension_of(&mime)));
    let part = Part::stream_with_length(Body::wrap_stream(content), meta.size).file_name(name);
    let part = part.mime_str(&mime).map_err(|_| NoUpload::Missing(format!("{mime} is not a type of media")))?;
    graph.upload(Form::new().text("type", mime).part("file", part)).await.map_err(NoUpload::Platform)
}

/// A type without its parameters: the platform knows `audio/ogg`, not all spellings of its codecs.
fn plain(mime: &str) -> &str {
    mime.split(';').next().unwrap_or(mime).trim()
}

/// Media that a message came with, as a callback describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attached {
    pub(crate) kind: MediaKind,
    /// The platform's id.
    pub(crate) id: String,
    pub(crate) mime: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) caption: Option<String>,
    /// Of the content, in base64.
    pub(crate) sha256: Option<String>,
}

impl Attached {
    pub(crate) fn read(kind: MediaKind, object: &Value) -> Option<Self> {
        let text = |name: &str| object[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            kind,
            id: text("id")?,
            mime: text("mime_type"),
            filename: text("filename"),
            caption: text("caption"),
            sha256: text("sha256"),
        })
    }

    /// What it is while its bytes are not here.
    pub(crate) fn elsewhere(&self) -> Content {
        let detail = json!({
            "mediaId": self.id, "mimeType": self.mime, "sha256": self.sha256, "filename": self.filename,
        });
        Content::Foreign {
            name: self.kind.name().to_owned(),
            text: self.caption.clone().unwrap_or_default(),
            detail: Some(detail),
        }
    }
}

/// Brings the content into our storage, in a few tries: the message waits for it, and with it those behind it.
///
/// Errors: it could not be had. A temporary one means that it might be had later.
pub(crate) async fn fetch(
    app: &App,
    graph: &Graph,
    instance: &InstanceId,
    attached: &Attached,
) -> Result<Media, Error> {
    let mut pauses = PAUSES.iter();
    loop {
        match fetch_once(app, graph, instance, attached).await {
            Err(error) if error.is_temporary() => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(error),
            },
            fetched => return fetched,
        }
    }
}

async fn fetch_once(app: &App, graph: &Graph, instance: &InstanceId, attached: &Attached) -> Result<Media, Error> {
    let place = graph.media(&attached.id).await.map_err(Failure::into_error)?;
    let url = place["url"].as_str().ok_or_else(|| Error::not_found("The platform does not say where the media is"))?;
    let response = graph.content(url).await.map_err(Failure::into_error)?;
    if response.content_length().is_some_and(|length| length > MAX_MEDIA) {
        return Err(Error::too_large(format!("The media is larger than {MAX_MEDIA} bytes")));
    }
    let declared = attached.mime.as_deref().map(plain).map(str::to_owned);
    let content = response.bytes_stream().map_err(|error| Error::unavailable(error.without_url()));
    let stored = app.media.put_stream(instance, content, declared.as_deref(), MAX_MEDIA).await?;
    Ok(Media {
        media_id: stored.id,
        mime: attached.mime.clone().unwrap_or(stored.mime),
        size: stored.size,
        filename: attached.filename.clone(),
        caption: attached.caption.clone(),
    })
}
