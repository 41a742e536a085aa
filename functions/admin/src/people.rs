//! How an administrator names a user: by id, username or e-mail address.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shared::{
    Error, Result,
    app::App,
    domain::{
        im::people,
        user::{self, User},
    },
    id::{UserId, is_id_shaped},
};

/// Names that are looked up side by side.
const AT_ONCE: usize = 32;

/// Any user, bots by their id included.
///
/// Errors: 404 `USER_NOT_FOUND`, with the field.
pub(crate) async fn find(app: &App, field: &'static str, name: &str) -> Result<User> {
    let found = match name {
        _ if name.is_empty() || name.len() > 256 => None,
        name if is_id_shaped(name) => user::find(app, &UserId::new(name)).await?,
        name => user::find_by_name(app, name).await?,
    };
    found.ok_or_else(|| people::unknown().field(field))
}

/// A user with an account: bots have none.
pub(crate) async fn find_account(app: &App, field: &'static str, name: &str) -> Result<User> {
    let user = find(app, field, name).await?;
    if user.bot_of.is_some() { Err(people::unknown().field(field)) } else { Ok(user) }
}

/// The users of these names, each once.
///
/// Errors: 400 for none or too many; 404 for an unknown one.
pub(crate) async fn find_all(app: &App, field: &'static str, names: &[String], most: usize) -> Result<Vec<UserId>> {
    if names.is_empty() || names.len() > most {
        return Err(Error::invalid(field, format!("{field} must name 1 to {most} users")));
    }
    let users: Vec<User> =
        stream::iter(names.to_vec()).map(|name| named(app, field, name)).buffered(AT_ONCE).try_collect().await?;
    let mut each = Vec::with_capacity(users.len());
    for user in users {
        if !each.contains(&user.id) {
            each.push(user.id);
        }
    }
    Ok(each)
}

async fn named(app: &App, field: &'static str, name: String) -> Result<User> {
    find(app, field, &name).await
}
