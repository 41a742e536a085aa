//! What is kept of a connection between two invocations: a row, which goes when the connection does, and small ones beside it,
//! which expire.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use shared::{
    Result,
    app::App,
    clock::Millis,
    id::{InstanceId, SocketId, UserId},
    realtime::remote,
    store::{Change, CommitError, Cond, Item, Key, Query, Read, Unit, Write, keys},
};

use super::Stop;
use crate::{session::FORGIVEN_EVERY, tracker::Position};

/// Lost races after which a client is taken to err without end.
const RACES: usize = 32;

/// `keys::socket`. The mailbox alone changes it, but for `pending` and `erredUntil`, which frames change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    v: u32,
    pub(super) id: SocketId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<IpAddr>,
    /// When the rows beside it expire.
    pub(super) until: Millis,
    /// Who has signed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserId>,
    /// A credential was shown and lies in the mailbox.
    #[serde(default)]
    pub(super) pending: bool,
    /// The credential that was accepted, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
    /// When it was last seen to hold.
    #[serde(default)]
    pub(super) checked: Millis,
    /// Whether it may read the account's messages.
    #[serde(default)]
    pub(super) reads: bool,
    /// Whether it may see what pairs a phone.
    #[serde(default)]
    pub(super) may_pair: bool,
    /// Where channels that nobody named start from, while they are being caught up with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) floor: Option<u64>,
    /// When the errors of the client are forgiven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) erred_until: Option<Millis>,
}

impl Row {
    /// A connection that was just opened; `pending`: with a credential.
    pub(super) fn new(id: SocketId, peer: Option<IpAddr>, now: Millis, pending: bool) -> Self {
        Self {
            v: 1,
            id,
            peer,
            until: now.plus(remote::LIFE),
            user: None,
            pending,
            credential: None,
            checked: Millis::default(),
            reads: false,
            may_pair: false,
            floor: None,
            erred_until: None,
        }
    }

    pub(super) async fn load(app: &App, id: &SocketId) -> Result<Option<Self>> {
        let row = app.store.get(&keys::socket(id), Read::Strong).await?.map(Item::into::<Self>).transpose()?;
        Ok(row.filter(|row| app.clock.now() < row.until))
    }

    pub(super) async fn create(&self, app: &App) -> Result<()> {
        let item = Item::new(keys::socket(&self.id), self)?.expires(self.until);
        app.store.commit(Unit::write(Write::put(item))).await?;
        Ok(())
    }

    /// Writes what the mailbox knows.
    pub(super) async fn save(&self, app: &App) -> Result<(), Stop> {
        let change = Change::default()
            .set("pending", self.pending)
            .set("checked", self.checked.0)
            .set("reads", self.reads)
            .set("mayPair", self.may_pair)
            .set_or_remove("user", self.user.as_ref().map(UserId::as_str))
            .set_or_remove("credential", self.credential.as_deref())
            .set_or_remove("floor", self.floor);
        self.change(app, change).await
    }

    /// Errors: [`Stop::Gone`] when the connection was closed meanwhile.
    async fn change(&self, app: &App, change: Change) -> Result<(), Stop> {
        match app.store.commit(Unit::write(Write::update(keys::socket(&self.id), change).only_if(Cond::Exists))).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { .. }) => Err(Stop::Gone),
            Err(error) => Err(Stop::Failed(error.into())),
        }
    }

    /// From here on what the client says waits in the mailbox behind its credential.
    pub(super) async fn set_pending(&self, app: &App) -> Result<(), Stop> {
        self.change(app, Change::default().set("pending", true)).await
    }

    /// For how long the client's errors are not forgiven yet.
    pub(super) fn erred(&self, now: Millis) -> Duration {
        self.erred_until.map_or(Duration::ZERO, |until| now.until(until))
    }

    /// Notes an error of the client's, beside whatever else goes wrong at the moment; for how long its errors are not forgiven
    /// then.
    pub(super) async fn note_error(&mut self, app: &App) -> Result<Duration, Stop> {
        let now = app.clock.now();
        for _ in 0..RACES {
            let until = now.plus(self.erred(now) + FORGIVEN_EVERY);
            let same = match self.erred_until {
                Some(before) => Cond::eq("erredUntil", before.0),
                None => Cond::lacks("erredUntil"),
            };
            let write = Write::update(keys::socket(&self.id), Change::default().set("erredUntil", until.0))
                .only_if(Cond::All(vec![Cond::Exists, same]));
            match app.store.commit(Unit::write(write)).await {
                Ok(_) => {
                    self.erred_until = Some(until);
                    return Ok(self.erred(now));
                }
                Err(CommitError::Conflict { old: Some(old), .. }) => {
                    self.erred_until = old.decode::<Self>()?.erred_until;
                }
                Err(CommitError::Conflict { old: None, .. }) => return Err(Stop::Gone),
                Err(error) => return Err(Stop::Failed(error.into())),
            }
        }
        // So many at once are an answer, too.
        Ok(Duration::MAX)
    }

    /// How far a log was sent.
    pub(super) async fn position(&self, app: &App, key: &Key) -> Result<Option<Position>> {
        app.store.get(key, Read::Strong).await?.map(Item::into).transpose()
    }

    pub(super) fn position_write(&self, key: Key, position: Position) -> Result<Write> {
        Ok(Write::put(Item::new(key, &position)?.expires(self.until)))
    }

    pub(super) async fn set_position(&self, app: &App, key: &Key, position: Position) -> Result<()> {
        app.store.commit(Unit::write(self.position_write(key.clone(), position)?)).await?;
        Ok(())
    }

    /// The instances whose events it follows, and how far they were sent.
    pub(super) async fn followed(&self, app: &App) -> Result<HashMap<InstanceId, Position>> {
        let mut found = HashMap::new();
        let mut query = Query::table(keys::socket_rows(&self.id)).prefix(keys::SOCKET_EVENTS).limit(1000);
        loop {
            let page = app.store.query(query.clone()).await?;
            for item in page.items {
                if let Some(id) = item.key.sk.strip_prefix(keys::SOCKET_EVENTS).map(InstanceId::new) {
                    found.insert(id, item.into()?);
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn own_key(&self, app: &App, number: &str) -> Key {
        keys::socket_own(&self.id, &app.keyring.index2("socket-own", self.id.as_str(), number))
    }

    /// Notes, before it is posted, that the client sends a message under this number here.
    pub(super) async fn sends(&self, app: &App, number: &str) -> Result<()> {
        let item = Item::new(self.own_key(app, number), &serde_json::json!({ "v": 1 }))?.expires(self.until);
        app.store.commit(Unit::write(Write::put(item))).await?;
        Ok(())
    }

    /// Which messages of these writers and numbers were sent on this connection.
    pub(super) async fn sent_here(&self, app: &App, messages: &[(&UserId, &str)]) -> Result<Vec<bool>> {
        let mine = |(from, _): &&(&UserId, &str)| self.user.as_ref() == Some(*from);
        let keys: Vec<Key> = messages.iter().filter(mine).map(|(_, number)| self.own_key(app, number)).collect();
        if keys.is_empty() {
            return Ok(vec![false; messages.len()]);
        }
        let mut found = app.store.batch_get(&keys, Read::Strong).await?.into_iter();
        let here = messages.iter().map(|message| mine(&message) && found.next().flatten().is_some());
        Ok(here.collect())
    }
}
