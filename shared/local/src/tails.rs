//! The newest entry of each log, as committed, and who waits for it to move. Only the writer changes it, after a commit;
//! what a batch has appended so far is the batch's own ([`crate::unit::Batch`]), so a rollback has nothing to undo here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::{
    Result,
    store::log::{self, Tail},
};
use tokio::sync::Notify;

use crate::{items, sql};

/// Logs to remember. Beyond, everything is forgotten and read again when it is wanted.
const MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tails: HashMap<String, Tail>,
    watched: HashMap<String, (usize, Arc<Notify>)>,
}

impl Tails {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, log: &str) -> Option<Tail> {
        self.inner().tails.get(log).copied()
    }

    /// Takes over what a batch has committed: new tails, or `None` for logs whose items somebody has touched. Wakes those
    /// who wait for one of them.
    pub(crate) fn publish(&self, changed: HashMap<String, Option<Tail>>) {
        if changed.is_empty() {
            return;
        }
        let mut inner = self.inner();
        if inner.tails.len() + changed.len() > MAX {
            inner.tails.clear();
        }
        for (log, tail) in changed {
            if let Some((_, notify)) = inner.watched.get(&log) {
                notify.notify_waiters();
            }
            match tail {
                Some(tail) => inner.tails.insert(log, tail),
                None => inner.tails.remove(&log),
            };
        }
    }

    /// From now on `notify` hears of every change of the log.
    pub(crate) fn watch(self: &Arc<Self>, log: &str) -> Watch {
        let notify = {
            let mut inner = self.inner();
            let (count, notify) = inner.watched.entry(log.to_owned()).or_default();
            *count += 1;
            Arc::clone(notify)
        };
        Watch { tails: Arc::clone(self), log: log.to_owned(), notify }
    }
}

/// Somebody's interest in one log; ends when it is dropped.
pub(crate) struct Watch {
    tails: Arc<Tails>,
    log: String,
    pub(crate) notify: Arc<Notify>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.tails.inner();
        if let Some((count, _)) = inner.watched.get_mut(&self.log) {
            *count -= 1;
            if *count == 0 {
                inner.watched.remove(&self.log);
            }
        }
    }
}

/// The log that the items of a partition belong to.
pub(crate) fn log_of(pk: &str) -> Option<&str> {
    let (log, bucket) = pk.strip_prefix("E#")?.rsplit_once('#')?;
    bucket.bytes().all(|byte| byte.is_ascii_digit()).then_some(log)
}

/// Reads the tail of a log from its items: steps from bucket to bucket, one look-up in the tree each, of which there are as
/// many as the life of entries leaves.
pub(crate) fn read(conn: &Connection, log: &str) -> Result<Tail> {
    let end = format!("E#{log}$");
    let mut at = format!("E#{log}#");
    let mut newest = None;
    loop {
        let next: Option<String> = conn
            .prepare_cached("SELECT min(pk) FROM items WHERE pk > ?1 AND pk < ?2")
            .and_then(|mut statement| statement.query_row(params![at, end], |row| row.get(0)))
            .map_err(sql)?;
        let Some(next) = next else { break };
        if log_of(&next) == Some(log) {
            newest = newest.max(next.rsplit('#').next().and_then(|bucket| bucket.parse::<u64>().ok()));
        }
        at = next;
    }
    let Some(bucket) = newest else { return Ok(Tail::default()) };
    let raw = conn
        .prepare_cached("SELECT pk, sk, h, hs, ttl, doc FROM items WHERE pk = ?1 ORDER BY sk DESC LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row(params![log::partition(log, bucket * log::BUCKET)], items::read).optional()
        })
        .map_err(sql)?;
    Ok(match raw {
        Some(raw) => log::tail_of(&raw.parse()?),
        None => Tail::default(),
    })
}
