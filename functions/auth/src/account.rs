//! One's own account: profile, API key, password, where it may be used from; and invitations.

use axum::{Extension, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::AppState,
    domain::{
        access::{Caller, token},
        audit::{self, Action, Note},
        login,
        user::{self, check_password},
    },
    edge::{Admin, Json, Reject, auth::Peer, observe::RequestId},
    redact::Secret,
};

use crate::session::profile;

/// `GET /api/auth/me`
pub(crate) async fn get_me(caller: Caller) -> Json<Value> {
    Json(profile(&caller.user))
}

/// `POST /api/auth/api-key/rotate`
pub(crate) async fn rotate_api_key(State(app): State<AppState>, caller: Caller) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    let user = user::rotate_api_key(&app, &caller.user).await?;
    Ok(Json(json!({ "apiKey": user.api_key(&app).reveal() })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Password {
    old_password: Option<Secret>,
    new_password: Option<Secret>,
}

/// `PUT /api/auth/password`. Ends every token issued before, so the answer has a new one.
pub(crate) async fn put_password(
    State(app): State<AppState>,
    caller: Caller,
    Peer(peer): Peer,
    Json(body): Json<Password>,
) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    let required = |field: &'static str| Error::invalid(field, format!("{field} is required"));
    let old = body.old_password.ok_or_else(|| required("oldPassword"))?;
    let new = body.new_password.ok_or_else(|| required("newPassword"))?;
    check_password("newPassword", new.reveal())?;
    login::confirm(&app, &caller.user, &old, peer).await?;
    let user = user::set_password(&app, &caller.user, &new).await?;
    Ok(Json(json!({ "success": true, "token": token::issue(&app, &user)?.reveal() })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllowedIps {
    allowed_ips: Vec<String>,
}

/// `GET /api/auth/allowed-ips`
pub(crate) async fn get_allowed_ips(caller: Caller) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    Ok(Json(json!({ "allowedIps": caller.user.allowed_ips })))
}

/// `PUT /api/auth/allowed-ips`: the networks that the account works from; an empty list: everywhere.
pub(crate) async fn put_allowed_ips(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<AllowedIps>,
) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    let networks = user::set_allowed_ips(&app, caller.id(), &body.allowed_ips).await?;
    Ok(Json(json!({ "allowedIps": networks })))
}

/// `POST /api/auth/invites`: a code for one registration within a week, for `REGISTRATION=invite`.
pub(crate) async fn create_invite(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
) -> Result<(StatusCode, Json<Value>), Reject> {
    let note = Note { action: Action::InviteCreate, target: "invitation".into(), details: json!({}) };
    let (code, until) = audit::during(&app, &caller, &request, note, login::invite(&app, &caller.user)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "code": code.reveal(), "expiresAt": until.iso() }))))
}
