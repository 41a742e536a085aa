//! Scoped API keys: for part of one's account.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::AppState,
    clock::Millis,
    domain::access::{
        Caller, Scope,
        scoped_key::{self, NewKey, ScopedKey},
    },
    edge::{Allocated, Json, Reject},
    id::{InstanceId, KeyId},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    name: String,
    instance_ids: Option<BTreeSet<InstanceId>>,
    scopes: Option<BTreeSet<Scope>>,
    expires_at: Option<String>,
    allowed_ips: Option<Vec<String>>,
}

/// `POST /api/auth/keys`. The key is shown in this answer only.
pub(crate) async fn create_key(
    State(app): State<AppState>,
    caller: Caller,
    id: Allocated,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<Value>), Reject> {
    caller.require_full()?;
    if body.scopes.as_ref().is_some_and(|scopes| scopes.contains(&Scope::Admin)) {
        caller.require_admin()?;
    }
    let time = |text: String| {
        Millis::parse(&text).ok_or_else(|| Error::invalid("expiresAt", "expiresAt must be an ISO 8601 time"))
    };
    let new = NewKey {
        id: KeyId::new(id.short()),
        name: body.name,
        instance_ids: body.instance_ids,
        scopes: body.scopes,
        expires_at: body.expires_at.map(time).transpose()?,
        allowed_ips: body.allowed_ips.unwrap_or_default(),
    };
    let (key, text) = scoped_key::create(&app, &caller, new).await?;
    let mut view = view(&key);
    view["key"] = text.reveal().into();
    Ok((StatusCode::CREATED, Json(view)))
}

/// `GET /api/auth/keys`
pub(crate) async fn list_keys(State(app): State<AppState>, caller: Caller) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    let keys = scoped_key::list(&app, caller.id()).await?;
    Ok(Json(json!({ "keys": keys.iter().map(view).collect::<Vec<_>>() })))
}

/// `DELETE /api/auth/keys/{id}`
pub(crate) async fn delete_key(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Reject> {
    caller.require_full()?;
    scoped_key::revoke(&app, caller.id(), &KeyId::new(id)).await?;
    Ok(Json(json!({ "success": true })))
}

fn view(key: &ScopedKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "instanceIds": key.instance_ids,
        "scopes": key.scopes,
        "expiresAt": key.expires_at.map(Millis::iso),
        "allowedIps": key.allowed_ips,
        "createdAt": key.created_at.iso(),
    })
}
