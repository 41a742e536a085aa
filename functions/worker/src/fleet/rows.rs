//! The fleet's rows, and every write to them (protocol.md §1): `W`/{worker} {counter, leaving} and `S`/{shard} {owner, epoch}.
//! No wall-clock time is in them.
//!
//! Each write is conditional on what its writer saw, so that it may land late, or twice, and does no harm.

use std::collections::BTreeMap;

use shared::{
    Result,
    store::{Change, Cond, Item, Query, Read, Store, Write, keys},
};

/// A worker's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerRow {
    pub(crate) counter: u64,
    /// It gives everything back, and takes nothing.
    pub(crate) leaving: bool,
}

/// A shard's row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardRow {
    pub(crate) owner: Option<String>,
    /// 0: there is no row yet.
    pub(crate) epoch: u64,
}

/// What a worker sees when it looks around.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) workers: BTreeMap<String, WorkerRow>,
    pub(crate) shards: BTreeMap<u16, ShardRow>,
}

/// Reads all rows: first the shards, then, strongly, the workers. A worker has its row before it owns a shard; so an owner
/// without a row in the result has none any more.
pub(crate) async fn look(store: &dyn Store) -> Result<View> {
    let mut view = View::default();
    for item in all(store, Query { read: Read::Eventual, ..Query::table(keys::SHARDS) }).await? {
        let Ok(shard) = item.key.sk.parse() else { continue };
        let row = ShardRow { owner: item.str("owner").map(str::to_owned), epoch: item.u64("epoch").unwrap_or(0) };
        view.shards.insert(shard, row);
    }
    for item in all(store, Query::table(keys::WORKERS)).await? {
        let leaving = item.doc.get("leaving").is_some_and(|value| *value == true);
        let row = WorkerRow { counter: item.u64("counter").unwrap_or(0), leaving };
        view.workers.insert(item.key.sk, row);
    }
    Ok(view)
}

async fn all(store: &dyn Store, mut query: Query) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    loop {
        let page = store.query(query.clone()).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(items),
        }
    }
}

/// A worker's first row.
pub(crate) fn join(worker: &str, counter: u64) -> Write {
    let mut doc = shared::store::Doc::new();
    doc.insert("counter".into(), counter.into());
    Write::create(Item { key: keys::worker(worker), index: None, ttl: None, doc })
}

/// A renewal. It fails if somebody has deleted the row, or if a later one has landed before.
pub(crate) fn renew(worker: &str, counter: u64, leaving: bool) -> Write {
    let mut change = Change::default().set("counter", counter);
    if leaving {
        change = change.set("leaving", true);
    }
    Write::update(keys::worker(worker), change).only_if(Cond::lt("counter", number(counter)))
}

/// Deletes a dead worker's row, if it has not moved: its next renewal fails then.
pub(crate) fn bury(worker: &str, counter: u64) -> Write {
    Write::delete(keys::worker(worker)).only_if(Cond::eq("counter", counter))
}

/// A worker's last write.
pub(crate) fn leave(worker: &str) -> Write {
    Write::delete(keys::worker(worker)).only_if(Cond::Exists)
}

/// Makes a shard one's own, from what it was seen to be, under a higher epoch.
pub(crate) fn take(shard: u16, seen: &ShardRow, owner: &str, epoch: u64) -> Write {
    let change = Change::default().set("owner", owner).set("epoch", epoch);
    let before = match (&seen.owner, seen.epoch) {
        (None, 0) => Cond::Absent,
        (None, epoch) => Cond::All(vec![Cond::eq("epoch", epoch), Cond::lacks("owner")]),
        (Some(owner), epoch) => Cond::All(vec![Cond::eq("epoch", epoch), Cond::eq("owner", owner.as_str())]),
    };
    Write::update(keys::shard(shard), change).only_if(before)
}

/// Gives a shard back. The epoch stays, for the next owner to raise.
pub(crate) fn clear(shard: u16, owner: &str, epoch: u64) -> Write {
    let own = Cond::All(vec![Cond::eq("epoch", epoch), Cond::eq("owner", owner)]);
    Write::update(keys::shard(shard), Change::default().remove("owner")).only_if(own)
}

fn number(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}
