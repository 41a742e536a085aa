//! What an administrator changes of an account, in one transaction.

use super::{User, check_email, check_password, email_key, find};
use crate::{
    app::App,
    clock::Millis,
    domain::{compose, instance::Limits, user::Role},
    error::{Error, Result},
    id::UserId,
    redact::Secret,
    store::{Change, CommitError, Cond, Item, Write, keys},
};

/// Characters of a first, last or nickname at the most.
pub const MAX_NAME: usize = 100;

/// What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// What others see: becomes the first name, and the last name is emptied.
    pub nickname: Option<String>,
    /// `""` takes it away, if there is a username.
    pub email: Option<String>,
    /// Where a picture is; `""` takes it away.
    pub avatar: Option<String>,
    pub role: Option<Role>,
    /// Ends every JWT, and the sockets that were opened with one.
    pub password: Option<Secret>,
    /// `Some(None)`: no quotas.
    pub limits: Option<Option<Limits>>,
}

impl Changes {
    /// Names of what is changed, as the requests spell them.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("nickname", self.nickname.is_some()),
            ("email", self.email.is_some()),
            ("avatar", self.avatar.is_some()),
            ("role", self.role.is_some()),
            ("password", self.password.is_some()),
            ("limits", self.limits.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Errors: 400 that names the field.
    pub fn check(&self) -> Result<()> {
        if let Some(nickname) = &self.nickname {
            compose::bounded("nickname", nickname, MAX_NAME)?;
        }
        if let Some(email) = self.email.as_deref().filter(|email| !email.is_empty()) {
            check_email(email)?;
        }
        if let Some(avatar) = self.avatar.as_deref() {
            check_avatar("avatar", avatar)?;
        }
        if let Some(password) = &self.password {
            check_password("password", password.reveal())?;
        }
        match &self.limits {
            Some(Some(limits)) => limits.check(),
            _ => Ok(()),
        }
    }
}

/// A reference to a picture, of at most 2048 bytes: an http or https URL, or one that is relative to something; or `""`.
pub fn check_avatar(field: &'static str, avatar: &str) -> Result<()> {
    let scheme = url::Url::parse(avatar).ok().map(|url| url.scheme().to_owned());
    let fetched = scheme.is_none_or(|scheme| matches!(scheme.as_str(), "http" | "https"));
    if fetched && avatar.len() <= 2048 && !avatar.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} must be an http or https URL of at most 2048 bytes")))
}

/// Changes an account; answers it as it is now.
///
/// Errors: 400 by [`Changes::check`]; 404 for nobody; `EMAIL_TAKEN` (409); `CONFLICT` (409) if somebody else changed the account
/// at the same time.
pub async fn change(app: &App, id: &UserId, changes: Changes) -> Result<User> {
    changes.check()?;
    let mut user = find(app, id).await?.ok_or_else(unknown)?;
    let before = user.updated_at;
    let Changes { nickname, email, avatar, role, password, limits } = changes;
    let mut change = Change::default();
    let mut claims = Vec::new();
    if let Some(nickname) = nickname {
        change = change.set("firstName", nickname.as_str()).set("lastName", "");
        (user.first_name, user.last_name) = (nickname, String::new());
    }
    if let Some(email) = email.map(|email| email.trim().to_owned()).filter(|email| *email != user.email) {
        if email.is_empty() && user.username.is_none() {
            return Err(Error::invalid("email", "email is required: the account has no username"));
        }
        claims = claims_of(app, &user, &email)?;
        change = change.set("email", email.as_str());
        user.email = email;
    }
    if let Some(avatar) = avatar {
        change = change.set("avatar", avatar.as_str());
        user.avatar = avatar;
    }
    if let Some(role) = role {
        change = change.set("role", serde_json::to_value(role)?);
        user.role = role;
    }
    if let Some(limits) = limits {
        change = change.set_or_remove("limits", limits.as_ref().map(serde_json::to_value).transpose()?);
        user.limits = limits;
    }
    let ends = password.is_some();
    if let Some(password) = password {
        user.password_hash = app.passwords.hash(&password).await?;
        user.token_version += 1;
        change = change.set("passwordHash", user.password_hash.reveal()).set("tokenVersion", user.token_version);
    }
    // Strictly later, so that the condition tells two changes within a millisecond apart.
    user.updated_at = Millis(app.clock.now().0.max(before.0 + 1));
    let change = change.set("updatedAt", user.updated_at.0);
    let mut writes = vec![Write::update(keys::user(id), change).only_if(Cond::eq("updatedAt", before.0))];
    writes.extend(claims);
    match app.store.transact(writes).await {
        Ok(()) => {}
        Err(CommitError::Conflict { which: 0, old: None }) => return Err(unknown()),
        Err(CommitError::Conflict { which: 1, .. }) if !user.email.is_empty() => {
            return Err(Error::conflict("EMAIL_TAKEN", "This email is already registered").field("email"));
        }
        Err(CommitError::Conflict { .. }) => {
            return Err(Error::conflict("CONFLICT", "The account was changed by another request, please try again"));
        }
        Err(error) => return Err(error.into()),
    }
    if ends {
        app.realtime.look(id).await;
    }
    Ok(user)
}

/// What makes the new address the user's and frees the old one; the new one first.
fn claims_of(app: &App, user: &User, email: &str) -> Result<Vec<Write>> {
    let mine = Cond::eq("user", user.id.as_str());
    let claim = |email: &str| Item::new(email_key(app, email), &serde_json::json!({ "user": user.id }));
    let (new, old) = (email_key(app, email), email_key(app, &user.email));
    // Another spelling of the same address.
    if new == old {
        return Ok(Vec::new());
    }
    let mut claims = Vec::with_capacity(2);
    if !email.is_empty() {
        claims.push(Write::put(claim(email)?).only_if(Cond::Any(vec![Cond::Absent, mine.clone()])));
    }
    if !user.email.is_empty() {
        claims.push(Write::delete(old).only_if(Cond::Any(vec![Cond::Absent, mine])));
    }
    Ok(claims)
}

fn unknown() -> Error {
    Error::not_found("User not found").code("USER_NOT_FOUND")
}
