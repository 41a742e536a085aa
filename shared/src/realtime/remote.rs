//! Sockets that a gateway holds: rows say who has one, pushes go to their mailboxes. Whoever pushes needs no more than the store
//! and the queues; only what reads the mailboxes talks to the gateway.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    Frame, Realtime,
    mailbox::{self, Note, Pushed},
};
use crate::{
    app::App,
    clock::{Clock, Millis},
    domain::watch,
    error::Result,
    id::{Ids, SocketId, UserId},
    store::{CommitError, DynQueues, DynStore, Enqueue, Item, Query, Range, Source, Unit, Write, keys},
};

/// A gateway's connection ends after two hours; its rows live a little longer.
pub const LIFE: Duration = Duration::from_secs(2 * 3600 + 600);
/// Users whose sockets are looked up at the same time.
const AT_ONCE: usize = 32;

/// A connection on which a user has signed on: `keys::socket_of`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    pub v: u32,
    pub id: SocketId,
    /// Whether it follows the events of the user's instances.
    pub events: bool,
    /// From then on it is certainly gone.
    pub until: Millis,
}

/// Pushes to sockets that a gateway holds.
pub struct Remote {
    store: DynStore,
    queues: DynQueues,
    clock: Arc<dyn Clock>,
    ids: Ids,
}

impl Remote {
    pub fn new(store: DynStore, queues: DynQueues, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { store, queues, clock, ids: Ids::default() })
    }

    /// The open sockets of these users.
    async fn all(&self, users: &[UserId]) -> Result<Vec<Open>> {
        Ok(self.each(users).await?.into_iter().flatten().collect())
    }

    /// The open sockets of each of these users.
    async fn each(&self, users: &[UserId]) -> Result<Vec<Vec<Open>>> {
        let now = self.clock.now();
        let looks: Vec<_> = users.iter().map(|user| open(&self.store, now, user)).collect();
        stream::iter(looks).buffered(AT_ONCE).try_collect().await
    }
}

/// The sockets of a user, read strongly: who has just signed on misses nothing.
pub async fn open(store: &DynStore, now: Millis, user: &UserId) -> Result<Vec<Open>> {
    let page = store.query(Query::table(keys::sockets_of(user))).await?;
    let rows = page.items.into_iter().map(Item::into::<Open>).collect::<Result<Vec<_>>>()?;
    Ok(rows.into_iter().filter(|row| now < row.until).collect())
}

/// Signs a user on with a socket.
pub async fn sign_on(app: &App, user: &UserId, socket: &SocketId, events: bool) -> Result<()> {
    let until = app.clock.now().plus(LIFE);
    let row = Open { v: 1, id: socket.clone(), events, until };
    let item = Item::new(keys::socket_of(user, socket), &row)?
        .indexed(keys::ALL_SOCKETS, format!("{}#{socket}", until.digits()))
        .expires(until);
    app.store.commit(Unit::write(Write::put(item))).await.map(drop).map_err(CommitError::into)
}

/// Signs the socket off.
pub async fn sign_off(app: &App, user: &UserId, socket: &SocketId) -> Result<()> {
    let delete = Write::delete(keys::socket_of(user, socket));
    app.store.commit(Unit::write(delete)).await.map(drop).map_err(CommitError::into)
}

#[async_trait]
impl Realtime for Remote {
    async fn push(&self, users: &[UserId], frame: &Frame) -> Result<()> {
        let sockets = self.all(users).await?;
        let pushed = Pushed::new(frame);
        let notes = sockets
            .into_iter()
            .filter(|socket| frame.except.as_ref() != Some(&socket.id))
            .map(|Open { id, .. }| {
                // A repeat of the same job is dropped by the queue, or by the socket's position.
                let dedup = match &frame.place {
                    Some(place) => format!("{id}/{}/{}", place.channel, place.seq),
                    None => format!("{id}/{}", self.ids.ulid()),
                };
                mailbox::message(&id, dedup, Note::Push(pushed.clone()))
            })
            .collect::<Result<Vec<Enqueue>>>()?;
        if notes.is_empty() { Ok(()) } else { self.queues.send(notes).await }
    }

    async fn online(&self, users: &[UserId]) -> Result<Vec<bool>> {
        Ok(self.each(users).await?.iter().map(|found| !found.is_empty()).collect())
    }

    async fn look(&self, user: &UserId) {
        let looked = async {
            let sockets = self.all(std::slice::from_ref(user)).await?;
            let look = |Open { id, .. }| {
                mailbox::message(&id, format!("{id}/look/{}", self.ids.ulid()), Note::Look { behind: false })
            };
            let notes = sockets.into_iter().map(look).collect::<Result<Vec<_>>>()?;
            if notes.is_empty() { Ok(()) } else { self.queues.send(notes).await }
        };
        if let Err(error) = looked.await {
            tracing::warn!(%user, %error, "sockets look a little later whether they are still welcome");
        }
    }

    async fn watches(&self, user: &UserId) -> Result<Option<Millis>> {
        let now = self.clock.now();
        let sockets = open(&self.store, now, user).await?;
        Ok(sockets.iter().any(|socket| socket.events).then(|| now.plus(watch::WRITTEN)))
    }

    async fn connections(&self) -> Result<u64> {
        let from = self.clock.now().digits();
        self.store.count(Source::Index(keys::ALL_SOCKETS.into()), Range::Between(from, "9".repeat(20))).await
    }
}
