//! What the writer does beside its callers' work: expired items go, rows that the deduplication no longer wants go, and the
//! write-ahead log is kept short.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::{
    clock::Millis,
    store::{Key, log},
};

use crate::{
    dedup::WINDOW_MS,
    file::{self, CHECKPOINT_BYTES},
    items, search, tails,
};

/// Expired items to look at in one transaction.
const EXPIRED: usize = 500;
/// Rows of the queue to pass over in one transaction.
const SPENT: usize = 5_000;
/// With callers waiting, items expire only when this much overdue.
const OVERDUE: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
/// A log smaller than this is not worth an extra sync when nothing else happens.
const WORTH_BYTES: u64 = 4 << 20;
/// How long a full checkpoint waits for readers, and so callers for it.
const READERS: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Upkeep {
    path: PathBuf,
    /// When items last expired, completely.
    expired: Instant,
    /// More may be there.
    more_expired: bool,
    spent: Instant,
    /// The last look did not come to the end.
    more_spent: bool,
    /// Rows up to this id have been passed over.
    passed: i64,
    checked: Instant,
    /// Not before: a full checkpoint has just failed.
    checkpoint: Instant,
    warned: Option<Instant>,
}

impl Upkeep {
    pub(crate) fn new(path: PathBuf) -> Self {
        let now = Instant::now();
        Self {
            path,
            expired: now,
            more_expired: true,
            spent: now,
            more_spent: true,
            passed: 0,
            checked: now,
            checkpoint: now,
            warned: None,
        }
    }

    /// How long the writer may sleep.
    pub(crate) fn patience(&self) -> Duration {
        let (_, wal) = file::sizes(&self.path);
        let short = self.more_expired || self.more_spent || (wal > WORTH_BYTES && self.checkpoint <= Instant::now());
        if short { Duration::from_secs(1) } else { MINUTE }
    }

    /// Between two transactions, while there is work: only what cannot wait.
    pub(crate) fn between(&mut self, conn: &Connection, now: Millis) {
        if self.spent.elapsed() >= Duration::from_millis(250) {
            self.remove_spent(conn, now);
        }
        if self.expired.elapsed() >= OVERDUE {
            self.expire(conn, now);
        }
        if self.checked.elapsed() >= Duration::from_secs(1) {
            self.checked = Instant::now();
            let (_, wal) = file::sizes(&self.path);
            // Readers that follow one upon another keep the log from starting over: make them pause.
            if wal > 2 * CHECKPOINT_BYTES && self.checkpoint <= Instant::now() {
                self.truncate(conn, wal);
            }
        }
    }

    /// Nobody wants anything.
    pub(crate) fn idle(&mut self, conn: &Connection, now: Millis) {
        self.remove_spent(conn, now);
        if self.more_expired || self.expired.elapsed() >= MINUTE {
            self.expire(conn, now);
        }
        let (_, wal) = file::sizes(&self.path);
        if wal > WORTH_BYTES && self.checkpoint <= Instant::now() {
            self.truncate(conn, wal);
        }
    }

    fn expire(&mut self, conn: &Connection, now: Millis) {
        match in_transaction(conn, |conn| expire(conn, now)) {
            Ok(found) => self.more_expired = found == EXPIRED,
            Err(error) => {
                tracing::warn!(%error, "expired items could not be removed; tried again later");
                self.more_expired = false;
            }
        }
        if !self.more_expired {
            self.expired = Instant::now();
        }
    }

    fn remove_spent(&mut self, conn: &Connection, now: Millis) {
        self.spent = Instant::now();
        match in_transaction(conn, |conn| remove_spent(conn, self.passed, now)) {
            Ok((passed, more)) => (self.passed, self.more_spent) = (passed, more),
            Err(error) => {
                self.more_spent = false;
                tracing::warn!(%error, "spent queue rows could not be removed; tried again later");
            }
        }
    }

    /// Moves the log into the database and empties it. Waits for readers, but not long.
    fn truncate(&mut self, conn: &Connection, wal: u64) {
        let busy = conn
            .busy_timeout(READERS)
            .and_then(|()| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)));
        if let Err(error) = conn.busy_timeout(Duration::from_secs(5)) {
            tracing::warn!(%error, "the time-out of the writer could not be reset");
        }
        match busy {
            Ok(false) => {}
            Ok(true) => {
                self.checkpoint = Instant::now() + Duration::from_secs(30);
                if wal > 2 * CHECKPOINT_BYTES && self.warned.is_none_or(|at| at.elapsed() >= OVERDUE) {
                    self.warned = Some(Instant::now());
                    tracing::warn!(
                        wal_bytes = wal,
                        "a reader keeps an old state of the database open, so its write-ahead log grows: look for another \
                         program that has it open"
                    );
                }
            }
            Err(error) => {
                self.checkpoint = Instant::now() + Duration::from_secs(30);
                tracing::warn!(%error, wal_bytes = wal, "the write-ahead log could not be emptied");
            }
        }
    }
}

fn in_transaction<T>(conn: &Connection, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let txn = conn.unchecked_transaction()?;
    let result = act(&txn)?;
    txn.commit()?;
    Ok(result)
}

/// Removes a portion of the expired items; returns how many it looked at. The newest item of a log stays, and with it the
/// log's numbering: it gets another life.
fn expire(conn: &Connection, now: Millis) -> rusqlite::Result<usize> {
    let found: Vec<Key> = conn
        .prepare_cached("SELECT pk, sk FROM items WHERE ttl IS NOT NULL AND ttl < ?1 ORDER BY ttl LIMIT ?2")?
        .query_map(params![now.seconds(), i64::try_from(EXPIRED).unwrap_or(i64::MAX)], |row| {
            Ok(Key { pk: row.get(0)?, sk: row.get(1)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for key in &found {
        if tails::log_of(&key.pk).is_some() && !has_later(conn, key)? {
            conn.prepare_cached("UPDATE items SET ttl = ?3 WHERE pk = ?1 AND sk = ?2")?.execute(params![
                key.pk,
                key.sk,
                now.seconds() + log::LIFE_MS / 1000
            ])?;
        } else {
            items::delete(conn, key)?;
            search::removed(conn, key)?;
        }
    }
    Ok(found.len())
}

/// Whether the log goes on after this item, here or in the next bucket.
fn has_later(conn: &Connection, key: &Key) -> rusqlite::Result<bool> {
    let later = |pk: &str, sk: &str| {
        conn.prepare_cached("SELECT 1 FROM items WHERE pk = ?1 AND sk > ?2 LIMIT 1")?
            .query_row(params![pk, sk], |_| Ok(()))
            .optional()
            .map(|found| found.is_some())
    };
    if later(&key.pk, &key.sk)? {
        return Ok(true);
    }
    let (Some(log), Ok(seq)) = (tails::log_of(&key.pk), key.sk.parse::<u64>()) else { return Ok(true) };
    later(&log::partition(log, (seq / log::BUCKET + 1) * log::BUCKET), "")
}

/// Removes rows without a body that were sent before the window of the deduplication, among those after `passed`; returns up
/// to where it came, and whether there may be more. Each row is passed over once: one that is still waiting then is really deleted when it is done.
fn remove_spent(conn: &Connection, passed: i64, now: Millis) -> rusqlite::Result<(i64, bool)> {
    let mut upto = passed;
    let mut seen = 0;
    let mut any = false;
    {
        let mut statement =
            conn.prepare_cached("SELECT id, sent_at, body IS NULL FROM queue WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let mut rows = statement.query(params![passed, i64::try_from(SPENT).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            if now.0 - row.get::<_, i64>(1)? < WINDOW_MS {
                break;
            }
            upto = row.get(0)?;
            seen += 1;
            any |= row.get::<_, bool>(2)?;
        }
    }
    if any {
        conn.prepare_cached("DELETE FROM queue WHERE id > ?1 AND id <= ?2 AND body IS NULL")?
            .execute(params![passed, upto])?;
    }
    Ok((upto, seen == SPENT))
}
