//! Tokens that IM clients connect with (`POST /im/token`): they open a socket of one user, and nothing else.
//!
//! `im1.{user}.{expiry}.{mac}`, bound to the user's token version, so a new password ends them as it ends JWTs.

use std::time::Duration;

use crate::{
    app::App,
    crypto,
    domain::user::{self, User},
    error::Result,
    id::UserId,
    redact::Secret,
};

/// How long a token is valid.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const PREFIX: &str = "im1.";

pub fn issue(app: &App, user: &User) -> Secret {
    let expiry = app.clock.now().plus(LIFE).seconds();
    let mac = mac(app, &user.id, user.token_version, expiry);
    Secret::new(format!("{PREFIX}{}.{expiry}.{mac}", user.id))
}

fn mac(app: &App, user: &UserId, version: u64, expiry: i64) -> String {
    app.keyring.sign("im-token", &format!("{user}.{version}.{expiry}"))
}

/// Whether a text is meant to be such a token.
pub fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The user that a token stands for; `None` if it is not valid, whatever the reason.
pub async fn verify(app: &App, text: &str) -> Result<Option<User>> {
    let mut parts = text.strip_prefix(PREFIX).unwrap_or_default().splitn(3, '.');
    let (Some(id), Some(expiry), Some(shown)) = (parts.next(), parts.next(), parts.next()) else { return Ok(None) };
    let Ok(expiry) = expiry.parse::<i64>() else { return Ok(None) };
    if expiry <= app.clock.now().seconds() {
        return Ok(None);
    }
    let Some(user) = user::find(app, &UserId::new(id)).await? else { return Ok(None) };
    let right = mac(app, &user.id, user.token_version, expiry);
    Ok((!user.disabled && crypto::same(right, shown)).then_some(user))
}
