//! User accounts: the row, what it may hold, how it is found, and the changes to it.
//!
//! E-mail and username are unique, whatever their case. Uniqueness is an item each, written in one transaction with the row.
//! Passwords and tokens are the business of [`super::login`] and [`super::access`].

mod bootstrap;
mod change;

use serde::{Deserialize, Serialize};

pub use bootstrap::{FirstStart, bootstrap, first_admin, is_settled};
pub use change::{Changes, MAX_NAME, change, check_avatar};

use crate::{
    app::App,
    clock::Millis,
    domain::{access::allow_list, instance::Limits},
    error::{Error, Result},
    id::{UserId, is_id_shaped},
    redact::Secret,
    store::{Change, CommitError, Cond, Cursor, Item, Key, Query, Read, Unit, Write, keys},
};

/// Version of the row.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// The user's row, `keys::user`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub v: u32,
    pub id: UserId,
    /// As the user spelled it; `""` when unset.
    #[serde(default)]
    pub email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default)]
    pub first_name: String,
    #[serde(default)]
    pub last_name: String,
    /// Where a picture of the user is; `""` when unset.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub avatar: String,
    pub role: Role,
    /// Set on a bot: the user who sends as it. It has no credentials and is in no list of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_of: Option<UserId>,
    /// PHC string, argon2id.
    pub password_hash: Secret,
    /// Part of every JWT; raised when all of them shall end.
    pub token_version: u64,
    /// The API key is derived from it; raised by a rotation.
    pub api_key_version: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Networks (CIDR) that the user's credentials work from; empty: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<String>,
    /// Quotas over all instances of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

impl User {
    /// The user's API key: the same until it is rotated, derived and so stored nowhere.
    pub fn api_key(&self, app: &App) -> Secret {
        Secret::new(format!("tk_{}_{}", self.id, app.keyring.api_key(self.id.as_str(), self.api_key_version)))
    }
}

/// What [`create`] needs.
#[derive(Debug)]
pub struct NewUser {
    /// An id that was allocated before, so that a repeated request finds what the first one made.
    pub id: Option<UserId>,
    /// May be `""` if there is a username.
    pub email: String,
    pub username: Option<String>,
    pub password: Secret,
    pub first_name: String,
    pub last_name: String,
    pub role: Role,
}

/// Creates a user. `also` is written in the same transaction (an invitation that is used up, say).
///
/// Errors: `Invalid` by the rules below; `Conflict` when e-mail or username is taken; what `also`'s condition means is for the
/// caller to read from [`CommitError::Conflict`], which then counts `also` from 0.
pub async fn create(app: &App, new: NewUser, also: Vec<Write>) -> Result<User, CommitError> {
    create_with(app, new, Extras::default(), also).await
}

/// What an administrator may give a new user beside.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    pub avatar: String,
    pub limits: Option<Limits>,
}

/// [`create`], with more in it.
pub async fn create_with(app: &App, new: NewUser, extras: Extras, also: Vec<Write>) -> Result<User, CommitError> {
    let email = new.email.trim().to_owned();
    if email.is_empty() && new.username.is_none() {
        return Err(Error::invalid("email", "Email or username is required").into());
    }
    if !email.is_empty() {
        check_email(&email)?;
    }
    if let Some(username) = &new.username {
        check_username(username)?;
    }
    check_password("password", new.password.reveal())?;
    let password_hash = app.passwords.hash(&new.password).await?;
    let now = app.clock.now();
    let user = User {
        v: VERSION,
        id: new.id.unwrap_or_else(|| UserId::new(app.ids.short())),
        email,
        username: new.username,
        first_name: new.first_name,
        last_name: new.last_name,
        avatar: extras.avatar,
        role: new.role,
        bot_of: None,
        password_hash,
        token_version: 1,
        api_key_version: 1,
        disabled: false,
        allowed_ips: Vec::new(),
        limits: extras.limits,
        created_at: now,
        updated_at: now,
    };

    let also_count = also.len();
    let mut writes = also;
    let mut taken = Vec::new();
    for (key, error) in claims(app, &user) {
        writes.push(Write::create(Item::new(key, &serde_json::json!({ "user": user.id }))?));
        taken.push(error);
    }
    writes.push(Write::create(item(&user)?));
    match app.store.transact(writes).await {
        Ok(()) => Ok(user),
        Err(CommitError::Conflict { which, old }) if which >= also_count => {
            // The same request before this one got that far: it is done.
            let owner = old.as_ref().and_then(|old| old.str("user"));
            if owner == Some(user.id.as_str())
                && let Some(user) = find(app, &user.id).await?
            {
                return Ok(user);
            }
            Err(taken.into_iter().nth(which - also_count).unwrap_or_else(|| Error::unavailable("id collision")).into())
        }
        Err(error) => Err(error),
    }
}

/// The items that make e-mail and username unique, and what to say when one is taken.
fn claims(app: &App, user: &User) -> Vec<(Key, Error)> {
    let mut claims = Vec::with_capacity(2);
    if !user.email.is_empty() {
        let error = Error::conflict("EMAIL_TAKEN", "This email is already registered").field("email");
        claims.push((email_key(app, &user.email), error));
    }
    if let Some(username) = &user.username {
        let error = Error::conflict("USERNAME_TAKEN", "This username is already taken").field("username");
        claims.push((username_key(app, username), error));
    }
    claims
}

fn email_key(app: &App, email: &str) -> Key {
    keys::email(&app.keyring.index("email", &email.trim().to_lowercase()))
}

fn username_key(app: &App, username: &str) -> Key {
    keys::username(&app.keyring.index("username", &username.trim().to_lowercase()))
}

fn item(user: &User) -> Result<Item> {
    Ok(Item::new(keys::user(&user.id), user)?
        .indexed(keys::ALL_USERS, format!("{}{}", user.created_at.digits(), user.id)))
}

/// At least an `@` with something on both sides, at most 254 bytes, no spaces or control characters.
pub fn check_email(email: &str) -> Result<()> {
    let shaped = email.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if shaped && clean && email.len() <= 254 {
        Ok(())
    } else {
        Err(Error::invalid("email", "email must be an email address of at most 254 characters"))
    }
}

/// 2–64 characters, none of `@ # &` or control characters, no space at an end, not shaped like one of our ids, not a bot's.
pub fn check_username(username: &str) -> Result<()> {
    let invalid = |message: &'static str| Err(Error::invalid("username", message));
    if !(2..=64).contains(&username.chars().count()) {
        return invalid("username must have 2 to 64 characters");
    }
    if username.chars().any(|c| matches!(c, '@' | '#' | '&') || c.is_control()) || username.trim() != username {
        return invalid("username must not contain @, # or &, or begin or end with a space");
    }
    let lower = username.to_lowercase();
    if is_id_shaped(&lower) {
        return invalid("username must not look like an id");
    }
    if lower.starts_with("bot_") {
        return invalid("username must not begin with bot_");
    }
    Ok(())
}

/// 8–200 characters; no other rule.
pub fn check_password(field: &'static str, password: &str) -> Result<()> {
    if (8..=200).contains(&password.chars().count()) {
        Ok(())
    } else {
        Err(Error::invalid(field, format!("{field} must have 8 to 200 characters")))
    }
}

pub async fn find(app: &App, id: &UserId) -> Result<Option<User>> {
    app.store.get(&keys::user(id), Read::Strong).await?.map(Item::into).transpose()
}

/// Those of these users that there are, in order. What others see of them may be some moments old.
pub async fn find_all(app: &App, ids: &[UserId]) -> Result<Vec<User>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(100) {
        let rows: Vec<_> = ids.iter().map(keys::user).collect();
        for item in app.store.batch_get(&rows, Read::Eventual).await?.into_iter().flatten() {
            found.push(item.into()?);
        }
    }
    Ok(found)
}

/// Finds a user by e-mail (a text with `@`) or username, in any case.
pub async fn find_by_name(app: &App, name: &str) -> Result<Option<User>> {
    let key = if name.contains('@') { email_key(app, name) } else { username_key(app, name) };
    let Some(item) = app.store.get(&key, Read::Strong).await? else { return Ok(None) };
    match item.str("user") {
        Some(id) => find(app, &UserId::new(id)).await,
        None => Err(Error::internal(format!("{key} names no user"))),
    }
}

/// All users, oldest first: a page of at most `limit` after `cursor`.
pub async fn list(app: &App, limit: usize, cursor: Option<Cursor>) -> Result<(Vec<User>, Option<Cursor>)> {
    let page = app.store.query(Query::index(keys::ALL_USERS).limit(limit).after(cursor)).await?;
    let users = page.items.into_iter().map(Item::into).collect::<Result<_>>()?;
    Ok((users, page.next))
}

/// Sets a new password. Ends every JWT issued before; API keys live on.
pub async fn set_password(app: &App, user: &User, password: &Secret) -> Result<User> {
    let hash = app.passwords.hash(password).await?;
    let change = Change::default().set("passwordHash", hash.reveal()).set("tokenVersion", user.token_version + 1);
    let unchanged = Cond::eq("tokenVersion", user.token_version);
    update(app, &user.id, change, unchanged).await?;
    app.realtime.look(&user.id).await;
    Ok(User { password_hash: hash, token_version: user.token_version + 1, ..user.clone() })
}

/// Gives the user another API key; the one before stops working at once. A configured `ADMIN_API_KEY` is not the derived
/// key and stays valid until it is taken out of the configuration.
pub async fn rotate_api_key(app: &App, user: &User) -> Result<User> {
    let change = Change::default().set("apiKeyVersion", user.api_key_version + 1);
    update(app, &user.id, change, Cond::eq("apiKeyVersion", user.api_key_version)).await?;
    app.realtime.look(&user.id).await;
    Ok(User { api_key_version: user.api_key_version + 1, ..user.clone() })
}

/// Limits where the user's credentials work from. Empty: no limit. Answers the list as it is stored.
pub async fn set_allowed_ips(app: &App, id: &UserId, networks: &[String]) -> Result<Vec<String>> {
    let networks = allow_list::parse("allowedIps", networks)?;
    update(app, id, Change::default().set("allowedIps", networks.clone()), Cond::Exists).await?;
    app.realtime.look(id).await;
    Ok(networks)
}

/// Locks a user out, or lets it in again. Locking also ends its JWTs for good; its open sockets notice.
pub async fn set_disabled(app: &App, user: &User, disabled: bool) -> Result<()> {
    let change = Change::default().set("disabled", disabled).set("tokenVersion", user.token_version + 1);
    update(app, &user.id, change, Cond::eq("tokenVersion", user.token_version)).await?;
    app.realtime.look(&user.id).await;
    Ok(())
}

async fn update(app: &App, id: &UserId, change: Change, cond: Cond) -> Result<()> {
    let change = change.set("updatedAt", app.clock.now().0);
    let write = Write::update(keys::user(id), change).only_if(cond);
    match app.store.commit(Unit::write(write)).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { old: None, .. }) => Err(Error::not_found("User not found").code("USER_NOT_FOUND")),
        Err(CommitError::Conflict { .. }) => {
            Err(Error::conflict("CONFLICT", "The account was changed by another request, please try again"))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_keep_the_rules() {
        for good in ["al", "alice", "张三", "a b", &"x".repeat(64)] {
            assert!(check_username(good).is_ok(), "{good}");
        }
        for bad in
            ["a", "", " alice", "a@b", "a#b", "a&b", "bot_x", "BOT_x", "01hz0000000abcde", &"x".repeat(65), "a\nb"]
        {
            assert!(check_username(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails_have_two_sides() {
        assert!(check_email("a@b").is_ok() && check_email("user@example.com").is_ok());
        for bad in ["", "a", "@b", "a@", "a b@c", &format!("{}@b", "x".repeat(260))] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_counted_in_characters() {
        assert!(check_password("password", "密码密码密码密码").is_ok());
        assert!(check_password("password", "1234567").is_err());
        assert!(check_password("password", &"x".repeat(201)).is_err());
    }
}
