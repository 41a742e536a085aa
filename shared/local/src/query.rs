//! Queries and counts: a range of a partition, of the table or of the index, in either direction.

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use shared::{
    Result,
    store::{
        Cursor, Doc, IndexKey, Item, Key, Page, Query, Range, Read, Source,
        keys::LISTED,
        meter::{self, Used},
    },
};

use crate::{items, sql};

/// Bytes that one request to DynamoDB reads.
const REQUEST_BYTES: usize = 1 << 20;

/// Items that are passed over in the table itself: for so few it is not worth asking the index of keys first.
const NEAR: usize = 100;
/// The index of the keys of large listings; SQLite takes it only for queries that repeat its condition.
const KEYS: &str = "items INDEXED BY items_listed WHERE pk >= 'MI#' AND pk < 'MI$' AND";
/// Items whose size stands for that of all.
const SAMPLE: i64 = 100;

/// A condition in SQL, as it grows.
pub(crate) struct Where {
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
}

impl Where {
    fn partition(source: &Source) -> Self {
        let (column, name) = match source {
            Source::Table(pk) => ("pk", pk),
            Source::Index(h) => ("h", h),
        };
        Self::new(column, name.clone())
    }

    pub(crate) fn new(column: &str, value: impl Into<Value>) -> Self {
        Self { text: format!("{column} = ?"), values: vec![value.into()] }
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = String>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values.into_iter().map(Value::from));
    }
}

fn sort_column(source: &Source) -> &'static str {
    match source {
        Source::Table(_) => "sk",
        Source::Index(_) => "hs",
    }
}

/// The least text that is greater than every text with the prefix; `None` if there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The code points of surrogates are no chars: step over them.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Adds the range and the place to go on from. There is one lower and one upper bound at the most, the tighter one, since
/// SQLite seeks to only one.
pub(crate) fn bounds(
    condition: &mut Where,
    source: &Source,
    range: &Range,
    after: Option<&Cursor>,
    newest_first: bool,
) {
    let column = sort_column(source);
    let (mut low, mut high, mut high_open) = match range {
        Range::All => (None, None, false),
        Range::Prefix(prefix) => (Some(prefix.clone()), after_prefix(prefix), true),
        Range::Between(from, to) => (Some(from.clone()), Some(to.clone()), false),
    };
    if let Some(after) = after {
        if newest_first {
            if high.as_ref().is_none_or(|high| after.sort < *high) {
                (high, high_open) = (Some(after.sort.clone()), false);
            }
        } else if low.as_ref().is_none_or(|low| after.sort > *low) {
            low = Some(after.sort.clone());
        }
    }
    if let Some(low) = low {
        condition.and(&format!("{column} >= ?"), [low]);
    }
    if let Some(high) = high {
        condition.and(&format!("{column} {} ?", if high_open { "<" } else { "<=" }), [high]);
    }
    let Some(after) = after else { return };
    let beyond = if newest_first { "<" } else { ">" };
    let Cursor { sort, key } = after.clone();
    match source {
        // Not `sk > ?`, which SQLite could take for its bound: the one above is the tighter or the same.
        Source::Table(_) => condition.and(&format!("+sk {beyond} ?"), [sort]),
        Source::Index(_) => {
            condition.and(&format!("(+hs, +pk, +sk) {beyond} (?, ?, ?)"), [sort, key.pk, key.sk]);
        }
    }
}

fn is_listed(source: &Source) -> bool {
    matches!(source, Source::Table(pk) if pk.starts_with(LISTED))
}

/// The last of the items that are to be passed over, found by their keys alone; `None` if there are not so many.
fn passed_over(conn: &Connection, query: &Query) -> Result<Option<Cursor>> {
    let mut condition = Where::partition(&query.source);
    bounds(&mut condition, &query.source, &query.range, query.after.as_ref(), query.newest_first);
    let Where { text, mut values } = condition;
    let direction = if query.newest_first { "DESC" } else { "ASC" };
    values.push(Value::from(i64::try_from(query.skip - 1).unwrap_or(i64::MAX)));
    let last = conn
        .prepare_cached(&format!("SELECT pk, sk FROM {KEYS} {text} ORDER BY sk {direction} LIMIT 1 OFFSET ?"))
        .and_then(|mut statement| {
            let key = |row: &Row<'_>| Ok(Key { pk: row.get(0)?, sk: row.get(1)? });
            statement.query_row(params_from_iter(values), key).optional()
        })
        .map_err(sql)?;
    Ok(last.map(|key| Cursor { sort: key.sk.clone(), key }))
}

/// Reads a page; tells what it would have used on DynamoDB.
pub(crate) fn page(conn: &Connection, query: &Query) -> Result<(Page, Used)> {
    let limit = query.limit.clamp(1, 1000);
    // One snapshot for the index and the documents.
    let txn = conn.unchecked_transaction().map_err(sql)?;
    let (mut after, mut skip) = (query.after.clone(), query.skip);
    if skip > NEAR && is_listed(&query.source) {
        match passed_over(&txn, query)? {
            Some(last) => (after, skip) = (Some(last), 0),
            None => return Ok((Page::default(), of_bytes(0, true))),
        }
    }
    let mut condition = Where::partition(&query.source);
    bounds(&mut condition, &query.source, &query.range, after.as_ref(), query.newest_first);
    let direction = if query.newest_first { "DESC" } else { "ASC" };
    let (columns, order) = match (&query.source, query.keys_only) {
        (Source::Table(_), false) => (items::COLUMNS, format!("sk {direction}")),
        (Source::Table(_), true) => ("pk, sk, h, hs, ttl, '{}'", format!("sk {direction}")),
        // What the index holds; documents are fetched below, for the page only and not for what is skipped.
        (Source::Index(_), _) => {
            ("pk, sk, h, hs, NULL, '{}'", format!("hs {direction}, pk {direction}, sk {direction}"))
        }
    };
    let Where { text, mut values } = condition;
    let text = format!("SELECT {columns} FROM items WHERE {text} ORDER BY {order} LIMIT ? OFFSET ?");
    values.push(Value::from(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    values.push(Value::from(i64::try_from(skip).unwrap_or(i64::MAX)));

    let mut found = {
        let mut statement = txn.prepare_cached(&text).map_err(sql)?;
        let rows = statement.query_map(params_from_iter(values), items::read).map_err(sql)?;
        rows.map(|row| row.map_err(sql)?.parse()).collect::<Result<Vec<Item>>>()?
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().and_then(|last| cursor(&query.source, last)) } else { None };
    let mut used = walked(&found, query);
    if matches!(query.source, Source::Index(_)) && !query.keys_only {
        let mut full = Vec::with_capacity(found.len());
        for entry in found {
            if let Some(item) = items::get(&txn, &entry.key)? {
                used.read_half_units += meter::read_half_units(meter::bytes(&item), true);
                full.push(item);
            }
        }
        used.requests += full.len().div_ceil(100) as u64;
        found = full;
    }
    txn.commit().map_err(sql)?;
    Ok((Page { items: found, next }, used))
}

fn cursor(source: &Source, last: &Item) -> Option<Cursor> {
    let sort = match (source, &last.index) {
        (Source::Table(_), _) => last.key.sk.clone(),
        (Source::Index(_), Some(IndexKey { hs, .. })) => hs.clone(),
        (Source::Index(_), None) => return None,
    };
    Some(Cursor { sort, key: last.key.clone() })
}

/// What it takes to walk over these and over what was skipped, of which the size is not known but by theirs.
fn walked(found: &[Item], query: &Query) -> Used {
    let bytes: usize = found.iter().map(meter::bytes).sum();
    let skipped = bytes.checked_div(found.len()).unwrap_or(0) * query.skip;
    let strong = query.read == Read::Strong && matches!(query.source, Source::Table(_));
    of_bytes(bytes + skipped, strong)
}

pub(crate) fn of_bytes(bytes: usize, strong: bool) -> Used {
    Used {
        requests: bytes.div_ceil(REQUEST_BYTES).max(1) as u64,
        read_half_units: meter::read_half_units(bytes, strong),
        write_units: 0,
    }
}

/// Counts a range. The bytes are those of the attribute values; names are added as [`meter::bytes`] does for an empty item.
pub(crate) fn count(conn: &Connection, source: &Source, range: &Range) -> Result<(u64, Used)> {
    let mut condition = Where::partition(source);
    bounds(&mut condition, source, range, None, false);
    if is_listed(source) {
        return count_keys(conn, condition);
    }
    let size = match source {
        Source::Table(_) => "octet_length(pk) + octet_length(sk) + octet_length(doc)",
        Source::Index(_) => "octet_length(pk) + octet_length(sk) + octet_length(h) + octet_length(hs)",
    };
    let text = format!("SELECT count(*), coalesce(sum({size}), 0) FROM items WHERE {}", condition.text);
    let (count, bytes): (i64, i64) = conn
        .prepare_cached(&text)
        .and_then(|mut statement| {
            statement.query_row(params_from_iter(condition.values), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .map_err(sql)?;
    let empty = Item { key: Key::new("", ""), index: None, ttl: None, doc: Doc::new() };
    let names = usize::try_from(count).unwrap_or(0) * meter::bytes(&empty);
    let used = of_bytes(usize::try_from(bytes).unwrap_or(0) + names, matches!(source, Source::Table(_)));
    Ok((u64::try_from(count).unwrap_or(0), used))
}

/// Likewise, for a partition of the index of keys. The bytes are those of a sample.
fn count_keys(conn: &Connection, Where { text, mut values }: Where) -> Result<(u64, Used)> {
    let count: i64 = conn
        .prepare_cached(&format!("SELECT count(*) FROM {KEYS} {text}"))
        .and_then(|mut statement| statement.query_row(params_from_iter(&values), |row| row.get(0)))
        .map_err(sql)?;
    let sample = format!(
        "SELECT coalesce(avg(octet_length(pk) + octet_length(sk) + octet_length(doc)), 0)
         FROM (SELECT pk, sk, doc FROM items WHERE {text} LIMIT ?)"
    );
    values.push(SAMPLE.into());
    let average: f64 = conn
        .prepare_cached(&sample)
        .and_then(|mut statement| statement.query_row(params_from_iter(values), |row| row.get(0)))
        .map_err(sql)?;
    let count = u64::try_from(count).unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an average of lengths")]
    let bytes = usize::try_from(count).unwrap_or(0) * average as usize;
    Ok((count, of_bytes(bytes, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{D7FF}").as_deref(), Some("a\u{E000}"));
        assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
    }
}
