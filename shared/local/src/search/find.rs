//! Answering a search: candidates from the index, in the order of their sort keys, read where the index alone does not
//! decide, and counted.

use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value as SqlValue};
use serde_json::Value;
use shared::{
    Result,
    store::{
        Found, Item, Key, Range, Search, Source,
        meter::{self, Used},
    },
};

use super::{grams, index};
use crate::{items, query, sql};

/// So few candidates are looked up one by one and sorted at once. With more, it is first tried whether the page fills soon
/// in a walk over the partition in order.
const FEW: usize = 1_000;
/// Rows of such a walk for each candidate: one in vain then costs about as much as the look-ups that follow.
const STEPS: usize = 3;
/// Where [`shared::store::search::ATTRIBUTE`] is in a document.
const TEXT: &str = "$.search";
/// Items that DynamoDB reads for one search before it gives up, at the size that is taken for the usual one.
const DYNAMO_ITEMS: i64 = 15_000;
const DYNAMO_BYTES: usize = 10 << 20;
const USUAL_BYTES: usize = 700;

/// Reads a page of matches and their number; tells about what it would have used on DynamoDB, where everything in the range
/// is read: that is estimated by the number of searchable items and the size of those that were found.
///
/// Costs, however large the partition is: at the most a look-up for each match (0.3 µs), and a read for each candidate of a
/// keyword of three or more characters, or with a filter (2 µs while the pages are in memory).
pub(crate) fn search(conn: &Connection, search: &Search) -> Result<(Found, Used)> {
    let keyword = search.folded()?;
    let limit = search.limit.clamp(1, 1000);
    // One snapshot for the index and the items.
    let txn = conn.unchecked_transaction().map_err(sql)?;
    let mut found = Found::default();
    let mut rows = 0;
    if let Some(part) = index::part(&txn, &search.partition).map_err(sql)? {
        let (expression, certain) = grams::of_keyword(part, &keyword);
        let candidates = candidates(&txn, &expression).map_err(sql)?;
        let mut page = Hits {
            conn: &txn,
            search,
            proof: (!certain || search.filter.is_some()).then_some(keyword.as_str()),
            known: (certain && search.filter.is_none() && search.range == Range::All).then_some(candidates.len()),
            window: search.skip..search.skip.saturating_add(limit),
            total: 0,
            sks: Vec::new(),
        };
        let beyond = page.known.is_some_and(|total| total <= search.skip);
        if !beyond && (candidates.len() <= FEW || !page.walk(part, &candidates)?) {
            page.look_up(&candidates)?;
        }
        found.total = page.known.unwrap_or(page.total) as u64;
        for sk in page.sks {
            found.items.extend(items::get(&txn, &Key { pk: search.partition.clone(), sk })?);
        }
        rows = in_range(&txn, part, search).map_err(sql)?;
    }
    txn.commit().map_err(sql)?;
    Ok((found.clone(), estimate(&found.items, rows)))
}

/// The numbers of the items that have all pairs, in ascending order: so FTS5 stores them.
fn candidates(conn: &Connection, expression: &str) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached("SELECT rowid FROM search_grams WHERE search_grams MATCH ?1 ORDER BY rowid")?
        .query_map([expression], |row| row.get(0))?
        .collect()
}

/// The page as it fills.
struct Hits<'a> {
    conn: &'a Connection,
    search: &'a Search,
    /// Set when a candidate must be read: the folded keyword.
    proof: Option<&'a str>,
    /// The total, if it need not be counted.
    known: Option<usize>,
    window: std::ops::Range<usize>,
    total: usize,
    /// Of the page.
    sks: Vec<String>,
}

impl Hits<'_> {
    /// Finds out where the candidates are, and sorts them.
    fn look_up(&mut self, candidates: &[i64]) -> Result<()> {
        let mut statement = self.conn.prepare_cached("SELECT sk FROM search_rows WHERE id = ?1").map_err(sql)?;
        let mut sks = Vec::with_capacity(candidates.len());
        for id in candidates {
            let sk: Option<String> = statement.query_row([id], |row| row.get(0)).optional().map_err(sql)?;
            sks.extend(sk.filter(|sk| self.search.range.contains(sk)));
        }
        sks.sort_unstable();
        if self.search.newest_first {
            sks.reverse();
        }
        for sk in sks {
            self.offer(&sk)?;
        }
        Ok(())
    }

    /// Walks over the partition in order and passes over what is no candidate, until the page is full. `false`, and nothing
    /// found: not worth it, because the total wants every candidate looked at, or the page does not fill soon.
    fn walk(&mut self, part: i64, candidates: &[i64]) -> Result<bool> {
        let Some(total) = self.known else { return Ok(false) };
        let full = self.window.end.min(total);
        let (condition, values) = bounded(part, self.search);
        let direction = if self.search.newest_first { "DESC" } else { "ASC" };
        let text = format!("SELECT id, sk FROM search_rows WHERE {condition} ORDER BY sk {direction}");
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(sql)?;
        for _ in 0..candidates.len() * STEPS {
            let Some(row) = rows.next().map_err(sql)? else { break };
            if candidates.binary_search(&row.get(0).map_err(sql)?).is_ok() {
                self.offer(row.get_ref(1).and_then(|sk| Ok(sk.as_str()?)).map_err(sql)?)?;
                if self.total == full {
                    return Ok(true);
                }
            }
        }
        self.total = 0;
        self.sks.clear();
        Ok(false)
    }

    /// The next candidate in order.
    fn offer(&mut self, sk: &str) -> Result<()> {
        if let Some(keyword) = self.proof
            && !self.matches(sk, keyword)?
        {
            return Ok(());
        }
        if self.window.contains(&self.total) {
            self.sks.push(sk.to_owned());
        }
        self.total += 1;
        Ok(())
    }

    /// Reads the candidate. SQLite takes the two attributes out of the document, and parses it once.
    fn matches(&self, sk: &str, keyword: &str) -> Result<bool> {
        let filter = self.search.filter.as_ref();
        let path = filter.map(|(name, _)| format!("$.\"{name}\""));
        let read = |row: &Row<'_>| {
            let contains = row.get_ref(0)?.as_str_or_null()?.is_some_and(|text| text.contains(keyword));
            Ok((contains, row.get::<_, Option<String>>(1)?))
        };
        let found = self
            .conn
            .prepare_cached("SELECT doc ->> ?3, doc -> ?4 FROM items WHERE pk = ?1 AND sk = ?2")
            .and_then(|mut statement| {
                let params = params![self.search.partition, sk, TEXT, path];
                statement.query_row(params, read).optional()
            })
            .map_err(sql)?;
        Ok(match (found, filter) {
            (Some((true, Some(value))), Some((_, should))) => serde_json::from_str::<Value>(&value)? == *should,
            (Some((contains, _)), None) => contains,
            _ => false,
        })
    }
}

/// The range among the rows of a partition, as a condition with its values.
fn bounded(part: i64, search: &Search) -> (String, Vec<SqlValue>) {
    let mut condition = query::Where::new("part", part);
    query::bounds(&mut condition, &Source::Table(String::new()), &search.range, None, search.newest_first);
    (condition.text, condition.values)
}

/// Searchable items in the range, as far as DynamoDB would read them.
fn in_range(conn: &Connection, part: i64, search: &Search) -> rusqlite::Result<usize> {
    let (condition, mut values) = bounded(part, search);
    values.push(DYNAMO_ITEMS.into());
    let text = format!("SELECT count(*) FROM (SELECT 1 FROM search_rows WHERE {condition} LIMIT ?)");
    let count: i64 = conn.prepare_cached(&text)?.query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn estimate(found: &[Item], rows: usize) -> Used {
    let bytes: usize = found.iter().map(meter::bytes).sum();
    let usual = bytes.checked_div(found.len()).unwrap_or(USUAL_BYTES);
    query::of_bytes((rows * usual).min(DYNAMO_BYTES).max(bytes), false)
}
