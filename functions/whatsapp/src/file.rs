//! Sending an uploaded file: the multipart body is streamed into the media store, never held as a whole.

use axum::{
    extract::{FromRequest as _, Multipart, Request, State, multipart::Field},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde_json::json;
use shared::{
    Error, Kind, Result as Outcome,
    app::{App, AppState},
    domain::{
        access::Scope,
        compose::{self, Options},
        content::{Content, Media, MediaKind},
        idempotency,
        instance::Instance,
    },
    edge::{OwnedWhatsapp, Reject, idempotent},
    media::Stored,
};

use crate::{MAX_MULTIPART, send::accept};

/// Bytes of a text field at the most.
const MAX_TEXT: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Form {
    phone: Option<String>,
    caption: Option<String>,
    options: Options,
    file: Option<(Stored, Option<String>)>,
}

/// `POST …/send-file`, multipart: `phone`, `file`, `caption?`, and the options of every send → `{id}`.
pub(crate) async fn send_file(
    State(app): State<AppState>,
    headers: HeaderMap,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    request: Request,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let path = request.uri().path().to_owned();
    let form = Multipart::from_request(request, &app).await.map_err(|error| {
        Error::new(Kind::Invalid, "BAD_REQUEST", "The body must be multipart/form-data").source(error)
    })?;
    let form = read(&app, &owned.instance, form).await?;
    let (stored, filename) = form.file.ok_or_else(|| Error::invalid("file", "File is required"))?;
    if stored.size == 0 {
        return Err(Error::invalid("file", "The file is empty").into());
    }
    let phone = form.phone.filter(|phone| !phone.trim().is_empty());
    let phone = phone.ok_or_else(|| Error::invalid("phone", "Phone is required"))?;
    let caption = compose::optional("caption", form.caption, 65_536)?;
    let filename = compose::optional("file", filename, 255)?;
    // What makes two requests the same: the content by its hash, and the fields beside it.
    let fingerprint = json!([stored.sha256, phone, caption, filename, format!("{:?}", form.options)]).to_string();
    let hash = idempotency::body_hash(fingerprint.as_bytes());
    let key = idempotent::key(&headers)?;
    let content = Content::Media {
        media_kind: MediaKind::of(&stored.mime),
        media: Media { media_id: stored.id, mime: stored.mime, size: stored.size, filename, caption },
    };
    let user = owned.caller.id().clone();
    let options = form.options;
    idempotent::run(&app, &user, &format!("POST {path}"), key.as_deref(), &hash, async |allocated| {
        match accept(&app, &owned, &phone, content, options, &allocated.0).await {
            Ok(response) => response,
            Err(reject) => reject.into_response(),
        }
    })
    .await
}

async fn read(app: &App, instance: &Instance, mut form: Multipart) -> Outcome<Form> {
    let mut out = Form::default();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" && field.file_name().is_some() {
            if out.file.is_some() {
                return Err(Error::invalid("file", "There must be one file"));
            }
            out.file = Some(store(app, instance, field).await?);
            continue;
        }
        let text = text(&name, field).await?;
        let bad = |field: &'static str, want: &str| Error::invalid(field, format!("{field} must be {want}"));
        match name.as_str() {
            "phone" => {
                // Before anything large is taken in.
                compose::recipient(instance, "phone", &text)?;
                out.phone = Some(text);
            }
            "caption" => out.caption = Some(text),
            "clientMessageId" => out.options.client_message_id = Some(text),
            "quotedMessageId" => out.options.quoted_message_id = Some(text),
            "mentions" => out.options.mentions = Some(text.split(',').map(|one| one.trim().to_owned()).collect()),
            "sendAt" => out.options.send_at = Some(text),
            "delayMs" => out.options.delay_ms = Some(text.parse().map_err(|_| bad("delayMs", "a number"))?),
            "viewOnce" => out.options.view_once = Some(text.parse().map_err(|_| bad("viewOnce", "true or false"))?),
            "file" => return Err(Error::invalid("file", "File is required")),
            _ => {}
        }
    }
    Ok(out)
}

async fn store(app: &App, instance: &Instance, field: Field<'_>) -> Outcome<(Stored, Option<String>)> {
    let filename = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned);
    let declared = field.content_type().map(str::to_owned);
    // A field can only be read here, and the store wants a stream that can move: pass the chunks through a short channel.
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let content =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|chunk| (chunk, receiver)) });
    let reading = async move {
        let mut field = field;
        loop {
            let chunk = match field.chunk().await {
                Ok(Some(chunk)) => Ok(chunk),
                Ok(None) => return,
                Err(error) => Err(broken(error)),
            };
            let last = chunk.is_err();
            if sender.send(chunk).await.is_err() || last {
                return;
            }
        }
    };
    let storing = app.media.put_stream(&instance.id, content, declared.as_deref(), MAX_MULTIPART as u64);
    let ((), stored) = tokio::join!(reading, storing);
    Ok((stored?, filename))
}

async fn text(name: &str, mut field: Field<'_>) -> Outcome<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > MAX_TEXT {
            return Err(Error::too_large(format!("A field must have at most {MAX_TEXT} bytes")).field(name.to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(name.to_owned(), "A text field must be UTF-8"))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: axum::extract::multipart::MultipartError) -> Error {
    match error.status().as_u16() {
        413 => Error::too_large(format!("A multipart body must have at most {MAX_MULTIPART} bytes")),
        _ => Error::new(Kind::Invalid, "BAD_REQUEST", "The multipart body is broken").source(error.to_string()),
    }
}
