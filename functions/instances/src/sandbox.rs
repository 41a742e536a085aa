//! The simulated phone network, as a user plays it. What happens there goes the way of every connector's commands and updates.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error,
    app::App,
    app::AppState,
    connector::{Play, Request},
    domain::{
        access::Scope,
        chat,
        compose::{self, MediaSource},
        content::Content,
        instance::{self, Instance},
        job,
    },
    edge::{Allocated, Json, Owned, Reject, query::Params},
};

use crate::Answer;

async fn play(app: &App, instance: &Instance, play: Play) -> Result<Response, Reject> {
    let answer = job::ask(app, instance, "sandbox", Request::Sandbox { play }, job::WAIT).await?;
    Ok(match answer {
        job::Answer::Done(value) => axum::Json(value).into_response(),
        job::Answer::Later(id) => (StatusCode::ACCEPTED, axum::Json(json!({ "jobId": id }))).into_response(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Scan {
    phone: Option<String>,
    name: Option<String>,
}

/// `POST …/sandbox/scan {phone?, name?}`: plays the phone that scans the code. Answers when the instance is connected.
pub(crate) async fn scan_qr(
    State(app): State<AppState>,
    owned: Owned,
    Json(body): Json<Scan>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.sandbox()?.with(Scope::InstancesManage)?;
    let phone = match compose::optional("phone", body.phone, 64)? {
        Some(phone) => {
            compose::recipient(&instance, "phone", &phone)?;
            Some(phone)
        }
        None => None,
    };
    let name = compose::optional("name", body.name, 100)?;
    let response = play(&app, &instance, Play::Scan { phone, name }).await?;
    instance::settled(&app, &instance.id, std::time::Duration::from_secs(5), Instance::ready).await?;
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receive {
    from: String,
    name: Option<String>,
    chat_id: Option<String>,
    text: Option<String>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    media: Option<Media>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    location: Option<Place>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    contact: Option<Card>,
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    reaction: Option<Reaction>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Media {
    url: Option<String>,
    base64: Option<String>,
    media_id: Option<String>,
    mime_type: Option<String>,
    filename: Option<String>,
    caption: Option<String>,
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
#[serde(rename_all = "camelCase")]
struct Reaction {
    message_id: String,
    emoji: String,
}

/// `POST …/sandbox/receive {from, name?, text|media|location|contact|reaction, chatId?}`: makes somebody write to the
/// instance. → `{id}`, the platform's id of the message, once it is stored.
pub(crate) async fn receive_message(
    State(app): State<AppState>,
    owned: Owned,
    Allocated(ulid): Allocated,
    Json(body): Json<Receive>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.sandbox()?.with(Scope::InstancesManage)?;
    let from = compose::recipient(&instance, "from", &body.from)?;
    if chat::is_group(instance.platform, &from) {
        return Err(Error::invalid("from", "from must be a person; put the group into chatId").into());
    }
    let chat = body.chat_id.as_deref().map(|text| compose::recipient(&instance, "chatId", text)).transpose()?;
    let content = match (body.text, body.media, body.location, body.contact, body.reaction) {
        (Some(text), None, None, None, None) => Content::Text { text: compose::text("text", &text, 65_536)? },
        (None, Some(media), None, None, None) => {
            let source = MediaSource {
                url: media.url,
                base64: media.base64,
                media_id: media.media_id,
                mime: media.mime_type,
                filename: media.filename,
                caption: media.caption,
                kind: None,
            };
            compose::media(&app, &instance, source).await?
        }
        (None, None, Some(place), None, None) => {
            compose::location(place.latitude, place.longitude, place.name, place.address)?
        }
        (None, None, None, Some(card), None) => Content::Contact {
            name: compose::text("contact.name", &card.name, 255)?,
            phone: compose::text("contact.phone", &card.phone, 64)?,
        },
        (None, None, None, None, Some(reaction)) => Content::Reaction {
            target: compose::text("reaction.messageId", &reaction.message_id, 512)?,
            emoji: compose::optional("reaction.emoji", Some(reaction.emoji), 32)?.unwrap_or_default(),
        },
        _ => {
            let message = "Exactly one of text, media, location, contact and reaction is required";
            return Err(Error::invalid("text", message).into());
        }
    };
    // Follows from the allocated ULID: a repeated request is the same message.
    let id = format!("3A{}", app.keyring.message_id_tail(instance.id.as_str(), &format!("sandbox/{ulid}")));
    let received = Play::Receive {
        id,
        chat: chat.unwrap_or_else(|| from.clone()),
        from,
        name: compose::optional("name", body.name, 100)?,
        content,
        at: app.clock.now(),
    };
    play(&app, &instance, received).await
}

/// `GET …/sandbox/outbox?after=&limit=` → `{messages: [{id, to, type, text, …}], nextCursor}`: what arrived on the other
/// side, oldest first.
pub(crate) async fn list_outbox(State(app): State<AppState>, params: Params, owned: Owned) -> Answer {
    let Owned { instance, .. } = owned.sandbox()?.with(Scope::MessagesRead)?;
    let limit = params.limit(1000, 1000)?;
    let after = params.number("after", 0..=u64::from(u32::MAX), 0)?;
    let messages = connector_sandbox::outbox(app.store.as_ref(), &instance.id, limit, after).await?;
    let next = messages.last().filter(|_| messages.len() == limit).map(|last| last["seq"].clone());
    Ok(axum::Json(json!({ "messages": messages, "nextCursor": next })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Break {
    seconds: Option<u64>,
}

/// `POST …/sandbox/disconnect {seconds?}`: the line breaks, and can be opened again after that many seconds (1).
pub(crate) async fn disconnect_line(
    State(app): State<AppState>,
    owned: Owned,
    Json(body): Json<Break>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.sandbox()?.with(Scope::InstancesManage)?;
    let seconds = body.seconds.unwrap_or(1);
    if seconds > 86_400 {
        return Err(Error::invalid("seconds", "seconds must be 0 to 86400").into());
    }
    play(&app, &instance, Play::Disconnect { seconds }).await
}

/// `POST …/sandbox/logout`: the phone removes the linked device.
pub(crate) async fn logout_phone(State(app): State<AppState>, owned: Owned) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.sandbox()?.with(Scope::InstancesManage)?;
    play(&app, &instance, Play::Logout).await
}
