//! Logging in and registering, as seed 004 has it: by username.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::{App, AppState},
    domain::{
        access::token,
        compose,
        im::people,
        login,
        user::{MAX_NAME, NewUser, Role, User},
    },
    edge::{Allocated, Json, OpenMode, auth::Peer, envelope},
    id::UserId,
    redact::Secret,
};

use crate::Answer;

#[derive(Deserialize)]
pub(crate) struct Login {
    /// Or an e-mail address.
    username: Option<String>,
    password: Option<Secret>,
}

/// `POST /api/login`
pub(crate) async fn login_user(State(app): State<AppState>, Peer(peer): Peer, Json(body): Json<Login>) -> Answer {
    let (name, password) = credentials(body.username, body.password)?;
    let user = login::login(&app, &name, &password, peer).await?;
    Ok(envelope::chat_ok(session(&app, &user)?))
}

#[derive(Deserialize)]
pub(crate) struct Register {
    username: Option<String>,
    password: Option<Secret>,
    nickname: Option<String>,
    email: Option<String>,
    /// With `REGISTRATION=invite`: the code from `POST /api/auth/invites`.
    invitation: Option<String>,
}

/// `POST /api/register`: what a login answers, for a new user.
pub(crate) async fn register_user(
    State(app): State<AppState>,
    OpenMode(open_mode): OpenMode,
    id: Allocated,
    Json(body): Json<Register>,
) -> Answer {
    let (username, password) = credentials(body.username, body.password)?;
    let new = NewUser {
        id: Some(UserId::new(id.short())),
        email: body.email.unwrap_or_default(),
        username: Some(username),
        password,
        first_name: compose::bounded("nickname", &body.nickname.unwrap_or_default(), MAX_NAME)?,
        last_name: String::new(),
        role: Role::User,
    };
    let user = login::register(&app, open_mode, body.invitation.as_deref(), new).await?;
    Ok(envelope::chat_ok(session(&app, &user)?))
}

fn credentials(username: Option<String>, password: Option<Secret>) -> Result<(String, Secret)> {
    let username = username.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let password = password.filter(|text| !text.reveal().is_empty());
    let missing = if username.is_none() { "username" } else { "password" };
    username.zip(password).ok_or_else(|| Error::invalid(missing, "username and password are required"))
}

/// A token, whose it is, and where the WebSocket is.
fn session(app: &App, user: &User) -> Result<Value> {
    Ok(json!({
        "token": token::issue(app, user)?.reveal(),
        "user": {
            "id": user.id,
            "username": user.username.as_deref().unwrap_or_default(),
            "nickname": people::display_name(user),
            "email": user.email,
            "avatar": user.avatar,
            "role": user.role,
        },
        "realtimeUrl": app.realtime_url(),
    }))
}
