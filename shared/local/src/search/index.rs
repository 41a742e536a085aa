//! Keeping the index: what the writer does beside its change of an item.

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::store::Key;

use super::grams;

/// An item's searchable text has become another one, appeared or gone. Nothing to do is the usual case, and free.
pub(crate) fn changed(conn: &Connection, key: &Key, old: Option<&str>, new: Option<&str>) -> rusqlite::Result<()> {
    match (old, new) {
        (old, new) if old == new => Ok(()),
        (_, None) => removed(conn, key),
        (None, Some(text)) => add(conn, key, text),
        (Some(_), Some(text)) => match place(conn, key)? {
            Some((part, row)) => write(conn, part, row, text),
            None => add(conn, key, text),
        },
    }
}

/// An item is gone that may have been searchable.
pub(crate) fn removed(conn: &Connection, key: &Key) -> rusqlite::Result<()> {
    let Some((part, row)) = place(conn, key)? else { return Ok(()) };
    conn.prepare_cached("DELETE FROM search_grams WHERE rowid = ?1")?.execute([row])?;
    conn.prepare_cached("DELETE FROM search_rows WHERE id = ?1")?.execute([row])?;
    conn.prepare_cached(
        "DELETE FROM search_parts WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM search_rows WHERE part = ?1)",
    )?
    .execute([part])?;
    Ok(())
}

fn add(conn: &Connection, key: &Key, text: &str) -> rusqlite::Result<()> {
    let part = match part(conn, &key.pk)? {
        Some(part) => part,
        None => {
            conn.prepare_cached("INSERT INTO search_parts (pk) VALUES (?1)")?.execute([&key.pk])?;
            conn.last_insert_rowid()
        }
    };
    conn.prepare_cached("INSERT INTO search_rows (part, sk) VALUES (?1, ?2)")?.execute(params![part, key.sk])?;
    write(conn, part, conn.last_insert_rowid(), text)
}

fn write(conn: &Connection, part: i64, row: i64, text: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO search_grams (rowid, grams) VALUES (?1, ?2)")?
        .execute(params![row, grams::of_text(part, text)])
        .map(|_| ())
}

/// The number of a partition that has searchable items.
pub(super) fn part(conn: &Connection, pk: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM search_parts WHERE pk = ?1")?.query_row([pk], |row| row.get(0)).optional()
}

/// The numbers of an item's partition and of the item.
fn place(conn: &Connection, key: &Key) -> rusqlite::Result<Option<(i64, i64)>> {
    let Some(part) = part(conn, &key.pk)? else { return Ok(None) };
    conn.prepare_cached("SELECT id FROM search_rows WHERE part = ?1 AND sk = ?2")?
        .query_row(params![part, key.sk], |row| Ok((part, row.get(0)?)))
        .optional()
}

/// Indexes every searchable item of a file that has had no index: once, when its schema is brought up to date.
pub(crate) fn rebuild(conn: &Connection) -> rusqlite::Result<()> {
    // The first condition is a plain search in the text, and spares parsing the other documents.
    let mut statement = conn.prepare(
        "SELECT pk, sk, doc ->> '$.search' FROM items
         WHERE instr(doc, '\"search\":') > 0 AND json_type(doc, '$.search') = 'text'",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        add(conn, &Key { pk: row.get(0)?, sk: row.get(1)? }, row.get_ref(2)?.as_str()?)?;
    }
    Ok(())
}
