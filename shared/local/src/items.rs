//! Rows of the table `items`: between [`Item`] and SQL.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use shared::{
    Error, Result,
    store::{Doc, IndexKey, Item, Key},
};

use crate::sql;

/// What [`read`] wants, in this order.
pub(crate) const COLUMNS: &str = "pk, sk, h, hs, ttl, doc";

/// What a row holds, before the document is parsed.
pub(crate) struct Raw {
    key: Key,
    index: Option<IndexKey>,
    ttl: Option<i64>,
    doc: String,
}

impl Raw {
    pub(crate) fn parse(self) -> Result<Item> {
        let doc = parse(&self.doc).map_err(|error| Error::internal(format!("item {}: {error}", self.key)))?;
        Ok(Item { key: self.key, index: self.index, ttl: self.ttl, doc })
    }
}

/// Parses a stored document.
pub(crate) fn parse(text: &str) -> Result<Doc> {
    match serde_json::from_str(text)? {
        Value::Object(doc) => Ok(doc),
        other => Err(Error::internal(format!("a stored document is not an object but {other:.40}"))),
    }
}

/// Takes a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let index = match (row.get(2)?, row.get(3)?) {
        (Some(h), Some(hs)) => Some(IndexKey { h, hs }),
        _ => None,
    };
    Ok(Raw { key: Key { pk: row.get(0)?, sk: row.get(1)? }, index, ttl: row.get(4)?, doc: row.get(5)? })
}

pub(crate) fn get(conn: &Connection, key: &Key) -> Result<Option<Item>> {
    let raw = conn
        .prepare_cached("SELECT pk, sk, h, hs, ttl, doc FROM items WHERE pk = ?1 AND sk = ?2")
        .and_then(|mut statement| statement.query_row(params![key.pk, key.sk], read).optional())
        .map_err(sql)?;
    raw.map(Raw::parse).transpose()
}

pub(crate) fn encode(doc: &Doc) -> Result<String> {
    Ok(serde_json::to_string(doc)?)
}

/// Everything of an item but its document as an object: that is already text.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub(crate) key: &'a Key,
    pub(crate) index: Option<&'a IndexKey>,
    pub(crate) ttl: Option<i64>,
    pub(crate) doc: &'a str,
}

/// Inserts or replaces.
pub(crate) fn put(conn: &Connection, item: Encoded<'_>) -> rusqlite::Result<()> {
    execute(
        conn,
        "INSERT INTO items (pk, sk, h, hs, ttl, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (pk, sk) DO UPDATE SET h = excluded.h, hs = excluded.hs, ttl = excluded.ttl, doc = excluded.doc",
        item,
    )
    .map(|_| ())
}

/// Inserts if there is none: `false` if there is.
pub(crate) fn create(conn: &Connection, item: Encoded<'_>) -> rusqlite::Result<bool> {
    let insert = "INSERT INTO items (pk, sk, h, hs, ttl, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    execute(conn, insert, item).map(|rows| rows == 1)
}

fn execute(conn: &Connection, statement: &str, item: Encoded<'_>) -> rusqlite::Result<usize> {
    let (h, hs) = item.index.map(|index| (&index.h, &index.hs)).unzip();
    conn.prepare_cached(statement)?.execute(params![item.key.pk, item.key.sk, h, hs, item.ttl, item.doc])
}

pub(crate) fn delete(conn: &Connection, key: &Key) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM items WHERE pk = ?1 AND sk = ?2")?.execute(params![key.pk, key.sk]).map(|_| ())
}
