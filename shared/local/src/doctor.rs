//! For operators: a copy of the file while the program runs, and whether the file is sound.

use std::{
    fs::{self, File},
    path::Path,
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use shared::{Error, Result};

use crate::{file, sql};

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Complaints of SQLite's `quick_check`; empty if the file is sound.
    pub faults: Vec<String>,
    /// Schema version of the file, and the one that this program knows.
    pub schema: i64,
    pub schema_known: i64,
    /// Bytes of the database and of its write-ahead log.
    pub file_bytes: u64,
    pub wal_bytes: u64,
}

impl Check {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.schema <= self.schema_known
    }
}

/// Looks at the database in `dir`, read-only, also while the program runs. Reads the whole file.
///
/// Errors: unavailable when there is no file or it cannot be opened.
pub fn check(dir: &Path) -> Result<Check> {
    let path = file::path(dir);
    let conn = existing(&path)?;
    let faults: Vec<String> = conn
        .prepare("PRAGMA quick_check")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(sql)?;
    let (file_bytes, wal_bytes) = file::sizes(&path);
    Ok(Check {
        faults: faults.into_iter().filter(|fault| fault != "ok").collect(),
        schema: file::user_version(&conn).map_err(sql)?,
        schema_known: file::version(),
        file_bytes,
        wal_bytes,
    })
}

/// Copies the database in `dir` to the file `to`, as of now, also while the program runs; writers go on meanwhile. `to` must
/// not exist: it appears only when the copy is complete and on the disk.
///
/// Errors: `to` exists, or cannot be written; no database in `dir`.
pub fn backup(dir: &Path, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::unavailable(format!("{}: {error}", to.display()));
    if to.exists() {
        return Err(Error::conflict("BACKUP_EXISTS", format!("{} exists already", to.display())));
    }
    let conn = existing(&file::path(dir))?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    if partial.exists() {
        fs::remove_file(partial).map_err(failed)?;
    }
    copy(&conn, partial)?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(partial, to).map_err(failed)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// All pages in one step: one snapshot, so changes meanwhile do not make it start over.
fn copy(from: &Connection, to: &Path) -> Result<()> {
    let mut to = Connection::open(to).map_err(sql)?;
    let step = Backup::new(from, &mut to).and_then(|backup| backup.step(-1)).map_err(sql)?;
    match step {
        StepResult::Done => Ok(()),
        other => Err(Error::unavailable(format!("the copy stopped: {other:?}"))),
    }
}

fn existing(path: &Path) -> Result<Connection> {
    if !path.exists() {
        return Err(Error::unavailable(format!("{}: no such file", path.display())));
    }
    file::open_reader(path).map_err(sql)
}
