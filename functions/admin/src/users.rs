//! Accounts: listing, making, changing, locking out.

use axum::{Extension, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::AppState,
    domain::{
        audit::{self, Action, Note},
        im::people::display_name,
        instance::Limits,
        user::{self, Changes, Extras, NewUser, Role, User},
    },
    edge::{Admin, Allocated, Json2, envelope, object, observe::RequestId, query::Params},
    id::UserId,
    redact::Secret,
};

use crate::{Answer, people};

/// A user as administrators see it.
fn view(user: &User) -> Value {
    let name = display_name(user);
    json!({
        "id": user.id,
        "username": user.username.as_deref().unwrap_or_default(),
        "email": user.email,
        "nickname": name,
        "name": name,
        "avatar": user.avatar,
        "role": user.role,
        "disabled": user.disabled,
        "limits": user.limits,
        "createdAt": user.created_at.iso(),
        "updatedAt": user.updated_at.iso(),
    })
}

/// `GET /api/admin/users`: oldest first.
pub(crate) async fn list_users(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let (limit, cursor) = (params.limit(500, 100)?, params.cursor("cursor")?);
    let (users, next) = user::list(&app, limit, cursor).await?;
    let users: Vec<_> = users.iter().map(view).collect();
    Ok(envelope::chat_ok(json!({ "users": users, "nextCursor": next.map(|next| next.encode()) })))
}

/// What can be set of an account, at its creation and later.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Fields {
    nickname: Option<String>,
    email: Option<String>,
    avatar: Option<String>,
    role: Option<Role>,
    password: Option<Secret>,
    #[serde(deserialize_with = "object::nullable")]
    limits: Option<Option<Limits>>,
}

impl Fields {
    /// Errors: 400 that names the field.
    fn changes(self) -> Result<Changes> {
        let Self { nickname, email, avatar, role, password, limits } = self;
        let changes = Changes { nickname, email, avatar, role, password, limits };
        changes.check()?;
        Ok(changes)
    }
}

#[derive(Deserialize)]
pub(crate) struct Create {
    username: Option<String>,
}

/// `POST /api/admin/user/create`.
pub(crate) async fn create_user(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    allocated: Allocated,
    Json2(Create { username }, fields): Json2<Create, Fields>,
) -> Answer {
    let Changes { nickname, email, avatar, role, password, limits } = fields.changes()?;
    let username = username.filter(|name| !name.is_empty());
    let email = email.unwrap_or_default();
    if username.is_none() && email.trim().is_empty() {
        return Err(Error::invalid("username", "username or email is required").into());
    }
    let id = UserId::new(allocated.short());
    let new = NewUser {
        id: Some(id.clone()),
        email,
        username,
        password: password.ok_or_else(|| Error::invalid("password", "password is required"))?,
        first_name: nickname.unwrap_or_default(),
        last_name: String::new(),
        role: role.unwrap_or(Role::User),
    };
    let extras = Extras { avatar: avatar.unwrap_or_default(), limits: limits.flatten() };
    let note = Note { action: Action::UserCreate, target: id.to_string(), details: json!({ "role": new.role }) };
    let user = audit::during(&app, &caller, &request, note, async {
        Ok(user::create_with(&app, new, extras, Vec::new()).await?)
    })
    .await?;
    Ok(envelope::chat_ok(view(&user)))
}

/// Who is meant: by id, username or e-mail address.
#[derive(Deserialize)]
pub(crate) struct Named {
    id: String,
}

/// `POST /api/admin/user/update`: changes what is given.
pub(crate) async fn update_user(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json2(Named { id }, fields): Json2<Named, Fields>,
) -> Answer {
    let changes = fields.changes()?;
    let user = people::find_account(&app, "id", &id).await?;
    if changes.role.is_some_and(|role| role != user.role) && user.id == *caller.id() {
        // So that there is an administrator left.
        return Err(Error::conflict("OWN_ACCOUNT", "Another administrator must change your role").into());
    }
    let names = changes.names();
    if names.is_empty() {
        return Ok(envelope::chat_ok(view(&user)));
    }
    let mut details = json!({ "fields": names });
    if let Some(role) = changes.role {
        details["role"] = json!(role);
    }
    let note = Note { action: Action::UserUpdate, target: user.id.to_string(), details };
    let user = audit::during(&app, &caller, &request, note, user::change(&app, &user.id, changes)).await?;
    Ok(envelope::chat_ok(view(&user)))
}

#[derive(Deserialize)]
pub(crate) struct Disable {
    /// `false` lets the user in again.
    disabled: Option<bool>,
}

/// `POST /api/admin/user/disable`: ends tokens and open sockets at once; keys work again when the user is let in.
pub(crate) async fn disable_user(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json2(Named { id }, Disable { disabled }): Json2<Named, Disable>,
) -> Answer {
    let disabled = disabled.unwrap_or(true);
    let user = people::find_account(&app, "id", &id).await?;
    if user.id == *caller.id() {
        return Err(Error::conflict("OWN_ACCOUNT", "Another administrator must lock you out").into());
    }
    if user.disabled != disabled {
        let action = if disabled { Action::UserDisable } else { Action::UserEnable };
        let note = Note { action, target: user.id.to_string(), details: json!({}) };
        let change = user::set_disabled(&app, &user, disabled);
        audit::during(&app, &caller, &request, note, change).await?;
    }
    Ok(envelope::chat_ok(view(&User { disabled, ..user })))
}
