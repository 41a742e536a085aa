//! The file: its name, its connections, its schema and the migrations.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use shared::{
    Error, Result,
    error::{Kind, Retry},
};

use crate::{search, sql, views};

/// Name of the database in `DATA_DIR`.
pub const NAME: &str = "trunkline.db";

/// Pages in the WAL after which a commit also moves them into the database: 80 MB at 4 KiB.
pub(crate) const CHECKPOINT_PAGES: i64 = 20_000;
/// Size of the WAL that a full checkpoint cycle needs, in bytes.
pub(crate) const CHECKPOINT_BYTES: u64 = 20_000 * 4096;

/// How to get from each version of the schema to the next. `PRAGMA user_version` counts those done. Never edit an entry that
/// was released: add one.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE items (
        pk TEXT NOT NULL,
        sk TEXT NOT NULL,
        h TEXT,
        hs TEXT,
        ttl INTEGER,
        doc TEXT NOT NULL,
        PRIMARY KEY (pk, sk)
    ) WITHOUT ROWID;
    CREATE INDEX items_hist ON items (h, hs, pk, sk) WHERE h IS NOT NULL;
    CREATE INDEX items_ttl ON items (ttl) WHERE ttl IS NOT NULL;

    -- A row without a body is a FIFO message that was deleted less than five minutes after it was sent: its dedup id counts
    -- still. Dead letters are under the name of their queue with '.dead' appended. No further index: what is waiting is in
    -- memory, and rows are reached by id. The body is last, so that the scan at start need not pass over it.
    CREATE TABLE queue (
        id INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        grp TEXT NOT NULL,
        dedup TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        receives INTEGER NOT NULL,
        body TEXT
    );
",
// Keyword search: see `search`. Rows are found by their place (when an item changes, and in order) and by their number (when
// the index tells it).
"
    CREATE TABLE search_parts (id INTEGER PRIMARY KEY, pk TEXT NOT NULL UNIQUE);
    CREATE TABLE search_rows (id INTEGER PRIMARY KEY, part INTEGER NOT NULL, sk TEXT NOT NULL, UNIQUE (part, sk));
    CREATE VIRTUAL TABLE search_grams USING fts5(
        grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
    );

    -- `shared::store::keys::LISTED`: pages are passed over and items counted without reading documents.
    CREATE INDEX items_listed ON items (pk, sk) WHERE pk >= 'MI#' AND pk < 'MI$';
"];
/// The version whose step made the tables of the search index.
const SEARCHABLE: usize = 2;

/// The version of the schema that this program writes.
pub(crate) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Bytes of the database and of its write-ahead log; 0 for a file that is not there.
pub(crate) fn sizes(path: &Path) -> (u64, u64) {
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let mut wal = OsString::from(path);
    wal.push("-wal");
    (size(path), size(Path::new(&wal)))
}

/// The writer's connection: creates the file, brings the schema up to date and the views.
pub(crate) fn open_writer(dir: &Path) -> Result<Connection> {
    fs::create_dir_all(dir).map_err(|error| Error::unavailable(format!("{}: {error}", dir.display())))?;
    let mut conn = Connection::open(path(dir)).map_err(sql)?;
    prepare_writer(&conn).map_err(sql)?;
    migrate(&mut conn)?;
    Ok(conn)
}

fn prepare_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // FULL: what was answered is on the disk. NORMAL would lose the last commits with the power.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.query_row(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"), [], |_| Ok(()))?;
    conn.query_row(&format!("PRAGMA journal_size_limit = {CHECKPOINT_BYTES}"), [], |_| Ok(()))
}

fn migrate(conn: &mut Connection) -> Result<()> {
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let found = user_version(&txn).map_err(sql)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or_else(|| {
        Error::new(
            Kind::Conflict,
            "SCHEMA_TOO_NEW",
            format!("{NAME} has schema version {found}, this program knows up to {}: use a newer one", version()),
        )
        .retry(Retry::Persistent)
    })?;
    for step in &MIGRATIONS[done..] {
        txn.execute_batch(step).map_err(sql)?;
    }
    if done < SEARCHABLE {
        search::rebuild(&txn).map_err(sql)?;
    }
    if done < MIGRATIONS.len() {
        txn.pragma_update(None, "user_version", version()).map_err(sql)?;
    }
    views::recreate(&txn).map_err(sql)?;
    txn.commit().map_err(sql)
}

pub(crate) fn user_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// A read-only connection.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Readers wait for nobody in WAL mode, but for an instant while the log is recovered or removed.
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "cache_size", -8192)?;
    Ok(conn)
}
