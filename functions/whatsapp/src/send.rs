//! Sending: text, media by URL, location, contact, poll.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::Scope,
        compose::{self, MediaSource, Options},
        content::Content,
        send::{self, Draft},
    },
    edge::{Allocated, Json2, Owned, OwnedWhatsapp, Reject},
};

use crate::CountedInLog;

/// Accepts a message and answers `{id, status}`: the id is the platform's, and final.
pub(crate) async fn accept(
    app: &AppState,
    owned: &Owned,
    phone: &str,
    content: Content,
    options: Options,
    ulid: &str,
) -> Result<Response, Reject> {
    let instance = &owned.instance;
    let to = compose::recipient(instance, "phone", phone)?;
    let draft = Draft { api_call: true, user_limits: owned.user_limits(), ..Draft::new(to, content) };
    let draft = options.apply(app, instance, draft)?;
    let message = send::accept(app, instance, draft, ulid).await?;
    let body = json!({
        "id": message.platform_id(),
        "status": message.status_now(app.clock.now()).name(),
        "messageId": message.id,
    });
    let mut response = axum::Json(body).into_response();
    response.extensions_mut().insert(CountedInLog);
    Ok(response)
}

fn both<T>(phone: Option<String>, other: Option<T>, text: &'static str) -> Result<(String, T), Error> {
    match (phone.filter(|phone| !phone.trim().is_empty()), other) {
        (Some(phone), Some(other)) => Ok((phone, other)),
        (None, _) => Err(Error::invalid("phone", text)),
        (_, None) => Err(Error::new(shared::Kind::Invalid, "VALIDATION_ERROR", text)),
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Text {
    phone: Option<String>,
    message: Option<String>,
}

/// `POST …/send {phone, message}` → `{id}`.
pub(crate) async fn send_text(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Text, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let message = body.message.filter(|text| !text.trim().is_empty());
    let (phone, text) = both(body.phone, message, "Phone and message are required").map_err(named("message"))?;
    let content = Content::Text { text: compose::text("message", &text, 65_536)? };
    accept(&app, &owned, &phone, content, options, &ulid).await
}

/// Names the field where the text speaks of two.
fn named(field: &'static str) -> impl Fn(Error) -> Error {
    move |error| if error.field.is_none() { error.field(field) } else { error }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Media {
    phone: Option<String>,
    url: Option<String>,
    base64: Option<String>,
    media_id: Option<String>,
    mime_type: Option<String>,
    caption: Option<String>,
    filename: Option<String>,
}

/// `POST …/send-media {phone, url | base64 | mediaId, caption?, filename?}` → `{id}`.
pub(crate) async fn send_media(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Media, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let given =
        body.url.as_ref().is_some_and(|url| !url.is_empty()) || body.base64.is_some() || body.media_id.is_some();
    let (phone, ()) = both(body.phone, given.then_some(()), "Phone and URL are required").map_err(named("url"))?;
    // Before anything is fetched.
    compose::recipient(&owned.instance, "phone", &phone)?;
    let source = MediaSource {
        url: body.url,
        base64: body.base64,
        media_id: body.media_id,
        mime: body.mime_type,
        filename: body.filename,
        caption: body.caption,
        kind: None,
    };
    let content = compose::media(&app, &owned.instance, source).await?;
    accept(&app, &owned, &phone, content, options, &ulid).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Location {
    phone: String,
    latitude: f64,
    longitude: f64,
    name: Option<String>,
    address: Option<String>,
}

/// `POST …/send-location {phone, latitude, longitude, name?, address?}` → `{id}`.
pub(crate) async fn send_location(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Location, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let content = compose::location(body.latitude, body.longitude, body.name, body.address)?;
    accept(&app, &owned, &body.phone, content, options, &ulid).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Contact {
    phone: String,
    #[serde(deserialize_with = "shared::edge::object::required")]
    contact: Card,
}

#[derive(Debug, Deserialize)]
struct Card {
    name: String,
    phone: String,
}

/// `POST …/send-contact {phone, contact: {name, phone}}` → `{id}`.
pub(crate) async fn send_contact(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Contact, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let content = Content::Contact {
        name: compose::text("contact.name", &body.contact.name, 255)?,
        phone: compose::text("contact.phone", &body.contact.phone, 64)?,
    };
    accept(&app, &owned, &body.phone, content, options, &ulid).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Poll {
    phone: String,
    question: String,
    options: Vec<String>,
    #[serde(default)]
    multiple: bool,
}

/// `POST …/send-poll {phone, question, options[], multiple?}` → `{id}`.
pub(crate) async fn send_poll(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Allocated(ulid): Allocated,
    Json2(body, options): Json2<Poll, Options>,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesSend)?;
    let content = compose::poll(&body.question, &body.options, body.multiple)?;
    accept(&app, &owned, &body.phone, content, options, &ulid).await
}
