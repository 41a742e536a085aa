//! Who is there, as [`crate::presence`] has it, over many processes: a row remembers that the peers of a user were told.

use std::time::Duration;

use serde_json::json;
use shared::{
    Result,
    app::AppState,
    domain::im::conversation,
    id::UserId,
    realtime::{Frame, remote},
    store::{CommitError, Cond, Item, Unit, Write, keys},
};

use crate::{frame, presence::MOST_PEERS};

/// Who comes back within this time was not gone.
pub(super) const GRACE: Duration = Duration::from_secs(3);
/// How long it is remembered that peers were told: beyond, they are told again.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A socket of the user was signed on.
pub(super) async fn came(app: &AppState, user: &UserId) -> Result<()> {
    if remember(app, user).await? { tell(app, user, true).await } else { Ok(()) }
}

/// Whether that is news.
async fn remember(app: &AppState, user: &UserId) -> Result<bool> {
    let row = Item::new(keys::presence(user), &json!({ "v": 1 }))?.expires(app.clock.now().plus(LIFE));
    settle(app, Write::create(row)).await
}

/// A while ago the last socket of the user was signed off.
pub(super) async fn gone(app: &AppState, user: &UserId) -> Result<()> {
    if !remote::open(&app.store, app.clock.now(), user).await?.is_empty() {
        return Ok(());
    }
    if !settle(app, Write::delete(keys::presence(user)).only_if(Cond::Exists)).await? {
        return Ok(());
    }
    // Who comes back signs on first and remembers then: one that signed on before the row went found it, and said nothing.
    if !remote::open(&app.store, app.clock.now(), user).await?.is_empty() {
        return remember(app, user).await.map(drop);
    }
    tell(app, user, false).await
}

async fn settle(app: &AppState, write: Write) -> Result<bool> {
    match app.store.commit(Unit::write(write)).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn tell(app: &AppState, user: &UserId, online: bool) -> Result<()> {
    let peers = conversation::peers(app, user, MOST_PEERS).await?;
    app.realtime.push(&peers, &Frame::new(frame::presence(user, online, app.clock.now()))).await
}
