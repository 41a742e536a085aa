//! Who writes: users by id or username, and the bots that users send as.

use serde_json::json;

use crate::{
    app::App,
    domain::{
        access::Caller,
        user::{self, Role, User},
    },
    error::{Error, Result},
    id::{UserId, is_id_shaped},
    redact::Secret,
    store::{CommitError, Item, Read, Write, keys},
};

/// Names of bots begin with this; no user's does.
const BOT: &str = "bot_";

/// What a lookup says when there is no such user.
pub fn unknown() -> Error {
    Error::not_found("User not found").code("USER_NOT_FOUND")
}

/// The user that `name` means to `user`: an id, a username, or the name of one of the user's own bots. E-mail addresses mean
/// nobody here.
pub async fn find(app: &App, user: &User, name: &str) -> Result<Option<User>> {
    if name == user.id.as_str() {
        return Ok(Some(user.clone()));
    }
    if name.len() > 256 || name.contains('@') {
        return Ok(None);
    }
    if is_id_shaped(name) {
        return user::find(app, &UserId::new(name)).await;
    }
    if is_bot_name(name) {
        let owner = user.bot_of.as_ref().unwrap_or(&user.id);
        return find_bot(app, owner, name).await;
    }
    user::find_by_name(app, name).await
}

/// The user that a caller may send as: itself, a bot of its own (made at first use), or anybody for an administrator.
///
/// Errors: 403 `NOT_YOUR_SENDER` for anybody else; 404 for nobody.
pub async fn sender(app: &App, caller: &Caller, field: &'static str, from: Option<&str>) -> Result<User> {
    let Some(from) = from else { return Ok(caller.user.clone()) };
    if is_bot_name(from) {
        check_bot_name(field, from)?;
        return bot(app, caller.id(), from).await;
    }
    let user = find(app, &caller.user, from).await?.ok_or_else(|| unknown().field(field))?;
    if user.id == *caller.id() || user.bot_of.as_ref() == Some(caller.id()) || caller.is_admin() {
        return Ok(user);
    }
    Err(Error::forbidden(format!("{field} must be yourself or one of your bots")).code("NOT_YOUR_SENDER").field(field))
}

pub fn is_bot_name(name: &str) -> bool {
    name.len() > BOT.len() && name.to_lowercase().starts_with(BOT)
}

fn check_bot_name(field: &'static str, name: &str) -> Result<()> {
    if name.chars().count() > 64 || name.chars().any(|c| matches!(c, '@' | '#' | '&') || c.is_control()) {
        let message = format!("{field} of a bot must have at most 64 characters, without @, # and &");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

fn bot_key(app: &App, owner: &UserId, name: &str) -> crate::store::Key {
    keys::bot(owner, &app.keyring.index2("bot", owner.as_str(), &name.to_lowercase()))
}

async fn find_bot(app: &App, owner: &UserId, name: &str) -> Result<Option<User>> {
    let Some(item) = app.store.get(&bot_key(app, owner, name), Read::Strong).await? else { return Ok(None) };
    match item.str("user") {
        Some(id) => user::find(app, &UserId::new(id)).await,
        None => Err(Error::internal(format!("{} names no user", item.key))),
    }
}

/// The bot of this name, made if there is none. A bot is a user without credentials that belongs to another user.
async fn bot(app: &App, owner: &UserId, name: &str) -> Result<User> {
    if let Some(bot) = find_bot(app, owner, name).await? {
        return Ok(bot);
    }
    let now = app.clock.now();
    let bot = User {
        v: user::VERSION,
        id: UserId::new(app.ids.short()),
        email: String::new(),
        username: None,
        first_name: name.to_owned(),
        last_name: String::new(),
        avatar: String::new(),
        role: Role::User,
        bot_of: Some(owner.clone()),
        // No password has this hash.
        password_hash: Secret::new("-"),
        token_version: 1,
        api_key_version: 1,
        disabled: false,
        allowed_ips: Vec::new(),
        limits: None,
        created_at: now,
        updated_at: now,
    };
    let writes = vec![
        Write::create(Item::new(bot_key(app, owner, name), &json!({ "user": bot.id }))?),
        // Not in the list of all users: it is not an account.
        Write::create(Item::new(keys::user(&bot.id), &bot)?),
    ];
    match app.store.transact(writes).await {
        Ok(()) => Ok(bot),
        Err(CommitError::Conflict { .. }) => {
            find_bot(app, owner, name).await?.ok_or_else(|| Error::unavailable("a bot was there a moment ago"))
        }
        Err(error) => Err(error.into()),
    }
}

/// What others see a user as: first and last name, else username, else the id.
pub fn display_name(user: &User) -> String {
    let full = format!("{} {}", user.first_name, user.last_name);
    match (full.trim(), &user.username) {
        ("", Some(username)) => username.clone(),
        ("", None) => user.id.to_string(),
        (full, _) => full.to_owned(),
    }
}
