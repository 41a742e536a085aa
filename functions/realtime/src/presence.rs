//! Who is there: the users of person conversations hear of each other's coming and going.
//!
//! Told are the peers of at most [`MOST_PEERS`] conversations, who have a socket open themselves; others ask by a `presence`
//! frame. A user is gone when no socket of theirs has come back within [`GRACE`], so that a reconnect is no news.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{Result, app::AppState, domain::im::conversation, id::UserId, realtime::Frame};

use crate::frame;

/// Conversations whose other side is told.
pub(crate) const MOST_PEERS: usize = 500;
const GRACE: Duration = Duration::from_secs(3);

/// Whom this process has told others of.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<HashSet<UserId>>);

impl Presence {
    fn told(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of the user was signed on.
    pub(crate) async fn came(&self, app: &AppState, user: &UserId) -> Result<()> {
        if !self.told().insert(user.clone()) {
            return Ok(());
        }
        let peers = conversation::peers(app, user, MOST_PEERS).await?;
        app.realtime.push(&peers, &state(app, user, true)).await
    }

    /// A socket of the user was signed off. Returns at once.
    pub(crate) fn left(self: &Arc<Self>, app: &AppState, user: &UserId) {
        if app.hub.is_online(user) || app.closing.is_cancelled() {
            return;
        }
        let (presence, app, user) = (Arc::clone(self), Arc::clone(app), user.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(GRACE) => {}
                () = app.closing.cancelled() => return,
            }
            if let Err(error) = presence.gone(&app, &user).await {
                tracing::warn!(%user, %error, "nobody was told that a user has gone");
            }
        });
    }

    async fn gone(&self, app: &AppState, user: &UserId) -> Result<()> {
        let peers = conversation::peers(app, user, MOST_PEERS).await?;
        {
            let mut told = self.told();
            // Who comes back signs on first and asks for this lock then.
            if app.hub.is_online(user) || !told.remove(user) {
                return Ok(());
            }
        }
        app.realtime.push(&peers, &state(app, user, false)).await
    }
}

fn state(app: &AppState, user: &UserId, online: bool) -> Frame {
    Frame::new(frame::presence(user, online, app.clock.now()))
}
