//! Session state of a connector: sealed values, each change under the owner's epoch.

use async_trait::async_trait;
use serde_json::json;

use crate::{
    app::AppState,
    clock::Millis,
    connector::{SessionChange, SessionStore},
    domain::moving::Row,
    error::{Error, Result},
    id::InstanceId,
    store::{CommitError, Cond, Cursor, Item, Key, Query, Read, Write, keys},
};

/// Changes in one transaction, beside the check of the epoch.
const MAX_CHANGES: usize = 50;
/// Rows of a page when all are read.
const PAGE: usize = 500;

/// A [`SessionStore`] that refuses to write once another owner has taken the instance over: `FENCED`.
pub struct FencedSession {
    app: AppState,
    instance: InstanceId,
    epoch: u64,
}

impl FencedSession {
    pub(super) fn new(app: AppState, instance: InstanceId, epoch: u64) -> Self {
        Self { app, instance, epoch }
    }

    fn row(&self, key: &str) -> Key {
        Key::new(keys::session(&self.instance), key)
    }

    /// Binds a value to its place, so that a value moved to another key does not open.
    fn context(&self, key: &str) -> String {
        format!("{}/session/{key}", self.instance)
    }

    fn open(&self, item: &Item) -> Result<Vec<u8>> {
        let sealed = item.str("value").ok_or_else(|| Error::internal("a session row without a value"))?;
        self.app.keyring.open(&self.context(&item.key.sk), sealed)
    }

    /// Everything, in the order of the keys, with its end where it has one.
    pub(super) async fn rows(&self) -> Result<Vec<Row>> {
        let mut query = Query::table(keys::session(&self.instance)).limit(PAGE);
        let mut rows = Vec::new();
        loop {
            let page = self.app.store.query(query.clone()).await?;
            for item in page.items {
                let until = item.ttl.map(|seconds| Millis(seconds * 1000));
                rows.push(Row { value: self.open(&item)?, key: item.key.sk, until });
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(rows),
            }
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<()> {
        let mut all = vec![Write::check(keys::owner(&self.instance), Cond::eq("epoch", self.epoch))];
        all.extend(writes);
        self.app.store.transact(all).await.map_err(|error| match error {
            CommitError::Conflict { which: 0, .. } => {
                Error::conflict("FENCED", "Another owner has taken this instance over")
            }
            other => other.into(),
        })
    }
}

#[async_trait]
impl SessionStore for FencedSession {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let item = self.app.store.get(&self.row(key), Read::Strong).await?;
        item.as_ref().map(|item| self.open(item)).transpose()
    }

    async fn write(&self, changes: Vec<SessionChange>) -> Result<()> {
        if changes.len() > MAX_CHANGES {
            return Err(Error::internal(format!("{} session changes at once", changes.len())));
        }
        let mut writes = Vec::with_capacity(changes.len());
        for SessionChange { key, value, until } in changes {
            writes.push(match value {
                Some(value) => {
                    let sealed = self.app.keyring.seal(&self.context(&key), value)?;
                    let item = Item::new(self.row(&key), &json!({ "value": sealed }))?;
                    Write::put(match until {
                        Some(until) => item.expires(until),
                        None => item,
                    })
                }
                None => Write::delete(self.row(&key)),
            });
        }
        self.transact(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let after = after.map(|key| Cursor { sort: key.to_owned(), key: self.row(key) });
        let query = Query::table(keys::session(&self.instance)).prefix(prefix).limit(limit.clamp(1, 1000)).after(after);
        let page = self.app.store.query(query).await?;
        page.items.iter().map(|item| Ok((item.key.sk.clone(), self.open(item)?))).collect()
    }

    async fn clear(&self) -> Result<()> {
        loop {
            let query = Query::table(keys::session(&self.instance)).limit(MAX_CHANGES).keys_only();
            let page = self.app.store.query(query).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            self.transact(page.items.into_iter().map(|item| Write::delete(item.key)).collect()).await?;
        }
    }
}
