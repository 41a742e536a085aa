//! Status, QR code, contacts, logout (seed 001).

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    connector::{Action, Command},
    domain::{access::Scope, contact, instance, job},
    edge::{OwnedWhatsapp, Reject, query::Params},
    store::Unit,
};

use crate::Answer;

/// Contacts an answer has at the most.
const MAX_CONTACTS: u64 = 5000;

/// `GET …/status` → `{ready, status, hasQr}`.
pub(crate) async fn get_status(State(app): State<AppState>, OwnedWhatsapp(owned): OwnedWhatsapp) -> Answer {
    Ok(axum::Json(owned.instance.connection_status(app.clock.now())))
}

/// `GET …/qr` → `{qrCode}`, or 404 if there is none.
pub(crate) async fn get_qr(OwnedWhatsapp(owned): OwnedWhatsapp) -> Answer {
    let owned = owned.with(Scope::InstancesManage)?;
    match owned.instance.qr {
        Some(qr) if !owned.instance.status.eq(&instance::Status::Connected) => {
            Ok(axum::Json(json!({ "qrCode": qr.code })))
        }
        _ => Err(Error::not_found("QR code not available").code("QR_NOT_AVAILABLE").into()),
    }
}

/// `GET …/contacts` → `{contacts: [{id, name, number, isGroup}]}`, at most 5,000; `X-Next-Cursor` leads to the rest.
pub(crate) async fn list_contacts(
    State(app): State<AppState>,
    params: Params,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let owned = owned.with(Scope::MessagesRead)?;
    let limit = params.limit(MAX_CONTACTS, MAX_CONTACTS)?;
    let mut cursor = params.cursor("cursor")?;
    let mut contacts = Vec::new();
    while contacts.len() < limit {
        let page = (limit - contacts.len()).min(1000);
        let (found, next) = contact::list(&app, &owned.instance.id, page, cursor).await?;
        contacts.extend(found.into_iter().map(|contact| {
            json!({
                "id": contact.address,
                "name": contact.name,
                "number": contact.number(),
                "isGroup": contact.is_group,
            })
        }));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let mut response = axum::Json(json!({ "contacts": contacts })).into_response();
    if let Some(next) = cursor
        && let Ok(value) = HeaderValue::from_str(&next.encode())
    {
        response.headers_mut().insert(HeaderName::from_static("x-next-cursor"), value);
    }
    Ok(response)
}

/// `POST …/logout` → `{success: true}`.
pub(crate) async fn logout(State(app): State<AppState>, OwnedWhatsapp(owned): OwnedWhatsapp) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let command = Command::new(instance.id.clone(), Action::Logout);
    let enqueue = vec![job::command_message(&instance, &command, &app.ids.ulid())?];
    app.store.commit(Unit { enqueue, ..Unit::default() }).await.map_err(Error::from)?;
    instance::settled(&app, &instance.id, Duration::from_secs(5), |now| !now.paired && !now.ready()).await?;
    Ok(axum::Json(json!({ "success": true })))
}
