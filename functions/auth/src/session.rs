//! Logging in and registering.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::{App, AppState},
    domain::{
        access::token,
        login,
        user::{NewUser, Role, User},
    },
    edge::{Allocated, Json, OpenMode, Reject, auth::Peer},
    id::UserId,
    redact::Secret,
};

/// Characters of a first or last name at the most.
const MAX_NAME: usize = 100;

#[derive(Deserialize)]
pub(crate) struct Login {
    /// An e-mail address; a username works, too.
    email: Option<String>,
    password: Option<Secret>,
}

/// `POST /api/auth/login`
pub(crate) async fn login(
    State(app): State<AppState>,
    Peer(peer): Peer,
    Json(body): Json<Login>,
) -> Result<Json<Value>, Reject> {
    let (name, password) = credentials(body.email, body.password)?;
    let user = login::login(&app, &name, &password, peer).await?;
    Ok(Json(session(&app, &user)?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Register {
    email: Option<String>,
    password: Option<Secret>,
    username: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// With `REGISTRATION=invite`: the code from `POST /api/auth/invites`.
    invitation: Option<String>,
}

/// `POST /api/auth/register`
pub(crate) async fn register(
    State(app): State<AppState>,
    OpenMode(open_mode): OpenMode,
    id: Allocated,
    Json(body): Json<Register>,
) -> Result<(StatusCode, Json<Value>), Reject> {
    let (email, password) = credentials(body.email, body.password)?;
    let new = NewUser {
        id: Some(UserId::new(id.short())),
        email,
        username: body.username.filter(|name| !name.is_empty()),
        password,
        first_name: name("firstName", body.first_name)?,
        last_name: name("lastName", body.last_name)?,
        role: Role::User,
    };
    let user = login::register(&app, open_mode, body.invitation.as_deref(), new).await?;
    Ok((StatusCode::CREATED, Json(session(&app, &user)?)))
}

fn credentials(email: Option<String>, password: Option<Secret>) -> Result<(String, Secret), Error> {
    let email = email.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let password = password.filter(|text| !text.reveal().is_empty());
    let missing = if email.is_none() { "email" } else { "password" };
    // The original's text, whichever is missing.
    email.zip(password).ok_or_else(|| Error::invalid(missing, "Email and password are required"))
}

fn name(field: &'static str, text: Option<String>) -> Result<String, Error> {
    let text = text.unwrap_or_default();
    if text.chars().count() <= MAX_NAME {
        Ok(text)
    } else {
        Err(Error::invalid(field, format!("{field} must have at most {MAX_NAME} characters")))
    }
}

/// The answer to a login: a token, the user with its API key, and where the WebSocket is.
fn session(app: &App, user: &User) -> Result<Value, Error> {
    let mut view = profile(user);
    view["apiKey"] = user.api_key(app).reveal().into();
    Ok(json!({ "token": token::issue(app, user)?.reveal(), "user": view, "realtimeUrl": app.realtime_url() }))
}

/// A user as it sees itself. Texts are `""` when unset, never missing; `role` and `username` are ours.
pub(crate) fn profile(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "username": user.username.as_deref().unwrap_or_default(),
        "role": user.role,
    })
}
