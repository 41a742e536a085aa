//! Planning the appends of a unit: numbers and items, without writing, so that the unit's writes can carry the numbers and a
//! fenced unit has touched nothing.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use shared::{
    clock::Millis,
    error::Result,
    store::{
        Append, CommitError, Item,
        log::{self, Tail},
    },
};

use crate::{items, sql};

/// What the appends of a unit come to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// One list an append.
    pub(crate) seqs: Vec<Vec<u64>>,
    /// Items to insert, in order; none of them exists.
    pub(crate) items: Vec<Item>,
    /// The tails afterwards.
    pub(crate) tails: HashMap<String, Tail>,
}

/// Plans behind the tails that `tail` tells. Errors: [`CommitError::Fenced`] for a stale owner.
pub(crate) fn plan(
    conn: &Connection,
    appends: &[Append],
    now: Millis,
    tail: impl Fn(&str) -> Result<Tail>,
) -> Result<Plan, CommitError> {
    let mut plan = Plan::default();
    for append in appends {
        let mut at = match plan.tails.get(&append.log) {
            Some(tail) => *tail,
            None => tail(&append.log)?,
        };
        let fence = log::fence(at, append.writer).map_err(|fence| match append.writer {
            log::Writer::Owner { epoch } => CommitError::Fenced { epoch, fence },
            log::Writer::Foreign => CommitError::Fenced { epoch: 0, fence },
        })?;
        let there = match append.look_from {
            Some(from) => find(conn, append, from, at)?,
            None => HashMap::new(),
        };
        let absent: Vec<_> =
            append.entries.iter().filter(|entry| !there.contains_key(entry.key.as_str())).cloned().collect();
        let mut rest = absent.as_slice();
        while !rest.is_empty() {
            let first = at.seq + 1;
            let (now_in, later) = rest.split_at(log::fitting(first, rest));
            plan.items.push(log::item(&append.log, first, fence, now_in, now)?);
            at = Tail { seq: at.seq + now_in.len() as u64, fence };
            rest = later;
        }
        // The absent ones got the numbers up to the tail, in order.
        let mut new = at.seq + 1 - absent.len() as u64..;
        plan.seqs.push(
            append
                .entries
                .iter()
                .filter_map(|entry| there.get(entry.key.as_str()).copied().or_else(|| new.next()))
                .collect(),
        );
        if !absent.is_empty() {
            plan.tails.insert(append.log.clone(), at);
        }
    }
    Ok(plan)
}

/// Those of the entries that the log has already, between `from` and the tail, with their numbers.
fn find<'a>(conn: &Connection, append: &'a Append, from: u64, tail: Tail) -> Result<HashMap<&'a str, u64>> {
    let mut found = HashMap::new();
    let from = from.max(1);
    for bucket in from / log::BUCKET..=tail.seq / log::BUCKET {
        // The item that holds `from` may start before it.
        let start = from.saturating_sub(log::MAX_ENTRIES as u64 - 1).max(bucket * log::BUCKET);
        let first = log::key(&append.log, start);
        let mut statement = conn
            .prepare_cached("SELECT pk, sk, h, hs, ttl, doc FROM items WHERE pk = ?1 AND sk >= ?2 ORDER BY sk")
            .map_err(sql)?;
        let partition = log::partition(&append.log, bucket * log::BUCKET);
        let rows = statement.query_map(params![partition, first.sk], items::read).map_err(sql)?;
        for row in rows {
            for entry in log::entries(row.map_err(sql)?.parse()?)?.into_iter().filter(|entry| entry.seq >= from) {
                if let Some(wanted) = append.entries.iter().find(|wanted| wanted.key == entry.body.key) {
                    found.entry(wanted.key.as_str()).or_insert(entry.seq);
                }
            }
        }
        if found.len() == append.entries.len() {
            break;
        }
    }
    Ok(found)
}
