//! Questions that only the platform can answer: done within 20 s, else 202 with a job.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error,
    app::App,
    app::AppState,
    connector::Request,
    domain::{access::Scope, compose, instance::Instance, job},
    edge::{Json, OwnedWhatsapp, Reject, query::Params},
};

/// Asks the instance's owner, and gives its answer.
pub(crate) async fn ask(app: &App, instance: &Instance, kind: &str, request: Request) -> Result<Response, Reject> {
    if !instance.paired {
        return Err(Error::conflict("INSTANCE_NOT_READY", format!("Instance {} not ready", instance.id)).into());
    }
    Ok(match job::ask(app, instance, kind, request, job::WAIT).await? {
        job::Answer::Done(value) => axum::Json(value).into_response(),
        job::Answer::Later(id) => (StatusCode::ACCEPTED, axum::Json(json!({ "jobId": id }))).into_response(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Read {
    phone: String,
    message_ids: Option<Vec<String>>,
    #[serde(default)]
    typing: bool,
}

/// `POST …/read {phone, messageIds?, typing?}` → `{success}`: tells the other side that we read, and with `typing` that we
/// are writing an answer.
pub(crate) async fn mark_read(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Read>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let chat = compose::recipient(&instance, "phone", &body.phone)?;
    let messages = body.message_ids.unwrap_or_default();
    if messages.len() > 500 {
        return Err(Error::invalid("messageIds", "messageIds must have at most 500 entries").into());
    }
    ask(&app, &instance, "mark_read", Request::MarkRead { chat, messages, typing: body.typing }).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Typing {
    phone: String,
    #[serde(default = "on")]
    on: bool,
}

fn on() -> bool {
    true
}

/// `POST …/typing {phone, on?}` → `{success}`.
pub(crate) async fn set_typing(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Typing>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let chat = compose::recipient(&instance, "phone", &body.phone)?;
    ask(&app, &instance, "typing", Request::Typing { chat, on: body.on }).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Watch {
    phone: String,
}

/// `POST …/presence/subscribe {phone}` → `{success, seconds}`: for so long, `presence_updated` tells when this contact comes, goes
/// or writes; of a group, who writes. The account is shown as online meanwhile, since WhatsApp tells nobody else.
pub(crate) async fn watch_presence(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Watch>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let address = compose::recipient(&instance, "phone", &body.phone)?;
    ask(&app, &instance, "watch_presence", Request::WatchPresence { address }).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    phones: Vec<String>,
}

/// `POST …/check {phones[]}` → `{results: [{phone, exists, address, lid}]}`: who is on WhatsApp.
pub(crate) async fn check_phones(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Check>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    if !(1..=100).contains(&body.phones.len()) {
        return Err(Error::invalid("phones", "phones must have 1 to 100 entries").into());
    }
    for phone in &body.phones {
        compose::recipient(&instance, "phones", phone)?;
    }
    ask(&app, &instance, "check", Request::Check { phones: body.phones }).await
}

/// `GET …/profile-picture?phone=` → `{url}`.
pub(crate) async fn get_profile_picture(
    State(app): State<AppState>,
    params: Params,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    let phone = params.text("phone").ok_or_else(|| Error::invalid("phone", "Phone is required"))?;
    let address = compose::recipient(&instance, "phone", phone)?;
    ask(&app, &instance, "profile_picture", Request::ProfilePicture { address }).await
}

/// `GET …/lid/{id}` → `{lid, phone}`: the phone behind a LID, or the LID of a phone.
pub(crate) async fn get_lid(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    let address = compose::recipient(&instance, "id", &id)?;
    ask(&app, &instance, "lid", Request::Lid { address }).await
}
