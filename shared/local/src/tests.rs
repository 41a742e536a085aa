//! What this implementation adds to the contract suite: what survives a restart, what a rollback leaves behind, and what the
//! file looks like from outside.

use std::{sync::Arc, time::Duration};

use rusqlite::Connection;
use serde_json::json;
use shared::{
    clock::{Clock as _, ManualClock, Millis},
    error::Kind,
    store::{
        Append, Cause, Change, CommitError, Cond, Cursor, Doc, Enqueue, Item, Key, Query, Queue, Queues as _, Range,
        Read, Received, Source, Stamp, Store as _, Unit, Write,
        log::{self, NewEntry, Tail, Writer},
        meter::Meter,
    },
};
use tempfile::TempDir;

use crate::{DataDirLock, Sqlite, backup, check, file};

struct Home {
    dir: TempDir,
    clock: Arc<ManualClock>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, clock: Arc::new(ManualClock::at(Millis(1_700_000_000_000))) }
    }

    fn open(&self) -> Arc<Sqlite> {
        Sqlite::open(self.dir.path(), self.clock.clone(), Arc::new(Meter::default())).expect("opens")
    }

    /// A second look at the file, as from another program.
    fn look(&self) -> Connection {
        file::open_reader(&file::path(self.dir.path())).expect("opens")
    }
}

fn item(sk: &str, n: u64) -> Item {
    Item::new(Key::new("P", sk), &json!({ "n": n })).expect("an object")
}

fn append(log: &str, keys: &[&str]) -> Append {
    let entry = |key: &&str| NewEntry {
        key: (*key).to_owned(),
        kind: "x".into(),
        at: Millis(0),
        chat: None,
        message: None,
        data: json!(null),
        delta: None,
        history: Vec::new(),
    };
    Append { log: log.into(), writer: Writer::Foreign, entries: keys.iter().map(entry).collect(), look_from: None }
}

fn message(queue: Queue, group: &str, dedup: &str) -> Enqueue {
    let body = Doc::from_iter([("id".to_owned(), json!(dedup))]);
    Enqueue { queue, group: group.into(), dedup: dedup.into(), body, delay: Duration::ZERO, stamp: None }
}

async fn receive(store: &Sqlite, queue: Queue) -> Vec<Received> {
    store.receive(queue, 10, Duration::ZERO).await.expect("receives")
}

fn names(received: &[Received]) -> Vec<&str> {
    received.iter().map(|message| message.body["id"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn a_conflict_tells_which_and_leaves_nothing() {
    let home = Home::new();
    let store = home.open();
    store.commit(Unit::write(Write::create(item("a", 1)))).await.expect("creates");
    let unit = Unit {
        writes: vec![
            Write::create(item("b", 1)),
            Write::put(item("c", 1)).only_if(Cond::eq("n", 5)),
            Write::create(item("a", 2)),
        ],
        append: vec![append("i", &["k"])],
        enqueue: vec![message(Queue::Jobs, "g", "d")],
        done: None,
    };
    // The second write's condition looks at an item that is not there.
    let error = store.commit(unit.clone()).await.expect_err("conflicts");
    assert!(matches!(error, CommitError::Conflict { which: 1, old: None }), "{error:?}");
    let mut unit = unit;
    unit.writes.remove(1);
    let Err(CommitError::Conflict { which: 1, old: Some(old) }) = store.commit(unit.clone()).await else {
        panic!("the last write conflicts with what is there")
    };
    assert_eq!(*old, item("a", 1));
    assert_eq!(store.get(&Key::new("P", "b"), Read::Strong).await.expect("reads"), None);
    assert_eq!(store.tail("i").await.expect("reads"), Tail::default());
    // Nothing was noted for the deduplication either.
    unit.writes.clear();
    assert_eq!(store.commit(unit).await.expect("commits").first(), 1);
    assert_eq!(names(&receive(&store, Queue::Jobs).await), ["d"]);
}

#[tokio::test]
async fn one_failing_unit_of_many_fails_alone() {
    let home = Home::new();
    let store = home.open();
    // All wait for the same transaction; every third is broken half-way (its stamp points at nothing) after a first write.
    let units = (0..60u64).map(|n| {
        let mut unit = Unit {
            writes: vec![Write::create(item(&format!("{n:02}"), n))],
            append: vec![append("i", &[&format!("k{n}")])],
            enqueue: vec![message(Queue::Jobs, "g", &format!("{n:02}"))],
            done: None,
        };
        if n % 3 == 0 {
            unit.enqueue[0].stamp = Some(Stamp { append: 4, entry: 0 });
        }
        let store = store.clone();
        tokio::spawn(async move { (n, store.commit(unit).await) })
    });
    let mut seqs = Vec::new();
    for unit in units.collect::<Vec<_>>() {
        let (n, result) = unit.await.expect("no panic");
        assert_eq!(result.is_ok(), n % 3 != 0, "{n}: {result:?}");
        seqs.extend(result.ok().map(|committed| committed.first()));
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>(), "gapless");
    assert_eq!(store.tail("i").await.expect("reads").seq, 40);
    assert_eq!(store.count(Source::Table("P".into()), Range::All).await.expect("counts"), 40);
    assert_eq!(store.depth(Queue::Jobs).await.expect("tells").visible, 40);
    let entries = log::read(&*store, "i", 0, 100).await.expect("reads");
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), seqs);
}

#[tokio::test]
async fn stamps_carry_the_number_and_a_redelivery_finds_it() {
    let home = Home::new();
    let store = home.open();
    store.commit(Unit { append: vec![append("i", &["a", "b"])], ..Unit::default() }).await.expect("appends");
    let stamp = Stamp { append: 0, entry: 1 };
    let mut unit = Unit {
        writes: vec![Write::update(Key::new("P", "s"), Change::default().set("x", 1)).stamped("seq", stamp)],
        append: vec![append("i", &["c", "d"])],
        enqueue: vec![Enqueue { stamp: Some(stamp), ..message(Queue::Dispatch, "g", "e") }],
        done: None,
    };
    assert_eq!(store.commit(unit.clone()).await.expect("commits").seqs, [[3, 4]]);
    let state = store.get(&Key::new("P", "s"), Read::Strong).await.expect("reads").expect("is there");
    assert_eq!(state.u64("seq"), Some(4));
    assert_eq!(receive(&store, Queue::Dispatch).await[0].body["seq"], json!(4));

    unit.append[0] = Append { look_from: Some(3), ..append("i", &["c", "new", "d"]) };
    unit.enqueue.clear();
    assert_eq!(store.commit(unit).await.expect("commits").seqs, [[3, 5, 4]]);
}

#[tokio::test]
async fn a_stale_owner_is_fenced_also_after_a_restart() {
    let home = Home::new();
    let owned = |epoch| Append { writer: Writer::Owner { epoch }, ..append("i", &["k"]) };
    let store = home.open();
    store.commit(Unit { append: vec![owned(7)], ..Unit::default() }).await.expect("appends");
    drop(store);
    let store = home.open();
    let unit = Unit { writes: vec![Write::put(item("a", 1))], append: vec![owned(6)], ..Unit::default() };
    let error = store.commit(unit).await.expect_err("is fenced");
    assert!(matches!(error, CommitError::Fenced { epoch: 6, fence: 7 }), "{error:?}");
    assert_eq!(store.get(&Key::new("P", "a"), Read::Strong).await.expect("reads"), None);
    let foreign = Unit { append: vec![append("i", &["l"])], ..Unit::default() };
    assert_eq!(store.commit(foreign).await.expect("appends").first(), 2);
    assert_eq!(store.tail("i").await.expect("reads"), Tail { seq: 2, fence: 7 });
}

#[tokio::test]
async fn a_restart_keeps_what_is_queued_and_what_was_sent_lately() {
    let home = Home::new();
    let store = home.open();
    let sent = ["1", "2", "3"].map(|id| message(Queue::Jobs, "g", id));
    store.send(sent.to_vec()).await.expect("sends");
    let later = Enqueue { delay: Duration::from_secs(60), ..message(Queue::Timers, "", "t") };
    store.send(vec![later]).await.expect("sends");
    let first = receive(&store, Queue::Jobs).await;
    assert_eq!(names(&first), ["1", "2", "3"]);
    store.delete(&first[0].receipt).await.expect("deletes");
    store.release(&first[1].receipt, Duration::from_secs(5)).await.expect("releases");
    drop(store);

    home.clock.advance(Duration::from_secs(1));
    let store = home.open();
    assert!(receive(&store, Queue::Jobs).await.is_empty(), "the head waits for its time");
    assert_eq!(store.depth(Queue::Timers).await.expect("tells").delayed, 1);
    store.send(sent[..1].to_vec()).await.expect("is dropped: deleted, but sent a second ago");
    home.clock.advance(Duration::from_secs(5));
    let again = receive(&store, Queue::Jobs).await;
    assert_eq!(names(&again), ["2", "3"]);
    assert_eq!([again[0].receives, again[1].receives], [2, 2], "closing has noted the flight of 3");
    home.clock.advance(Duration::from_secs(60));
    assert_eq!(names(&receive(&store, Queue::Timers).await), ["t"]);
    home.clock.advance(Duration::from_secs(240));
    store.send(sent[..1].to_vec()).await.expect("sends anew");
    assert_eq!(store.depth(Queue::Jobs).await.expect("tells").visible, 3, "and the two of before have expired");
}

#[tokio::test]
async fn a_unit_acknowledges_with_its_work() {
    let home = Home::new();
    let store = home.open();
    store.send(vec![message(Queue::Jobs, "g", "1"), message(Queue::Timers, "", "2")]).await.expect("sends");
    for queue in [Queue::Jobs, Queue::Timers] {
        let received = receive(&store, queue).await;
        let unit = Unit {
            writes: vec![Write::create(item("a", 1))],
            done: Some(Cause::Message(received[0].receipt.clone())),
            ..Unit::default()
        };
        let conflicts = store.commit(unit).await.is_err();
        assert_eq!(conflicts, queue == Queue::Timers, "the second create conflicts, so it acknowledges nothing");
    }
    assert_eq!(store.depth(Queue::Jobs).await.expect("tells").in_flight, 0);
    assert_eq!(store.depth(Queue::Timers).await.expect("tells").in_flight, 1);
    drop(store);
    let kept = "SELECT count(*) FILTER (WHERE body IS NULL), count(*) FILTER (WHERE body IS NOT NULL) FROM queue";
    let rows: (i64, i64) = home.look().query_row(kept, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("reads");
    assert_eq!(rows, (1, 1), "a trace of the deleted one for the deduplication, and the one in flight");
}

#[tokio::test]
async fn traces_of_deleted_messages_go_after_the_window() {
    let home = Home::new();
    let store = home.open();
    store.send(vec![message(Queue::Jobs, "g", "1"), message(Queue::Jobs, "h", "2")]).await.expect("sends");
    let received = receive(&store, Queue::Jobs).await;
    store.delete(&received[0].receipt).await.expect("deletes");
    let rows = || home.look().query_row("SELECT count(*) FROM queue", [], |row| row.get::<_, i64>(0)).expect("reads");
    assert_eq!(rows(), 2);
    home.clock.advance(Duration::from_secs(300));
    store.delete(&received[1].receipt).await.expect("deletes, without a trace");
    for _ in 0..200 {
        if rows() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the trace is still there");
}

#[tokio::test]
async fn dead_letters_survive_and_can_be_buried() {
    let home = Home::new();
    let store = home.open();
    store.send(vec![message(Queue::Timers, "g", "1")]).await.expect("sends");
    for n in 1..=Queue::Timers.max_receives() {
        let received = receive(&store, Queue::Timers).await;
        assert_eq!(received[0].receives, n);
        // Half of the deliveries end by themselves.
        if n % 2 == 0 {
            store.release(&received[0].receipt, Duration::ZERO).await.expect("releases");
        } else {
            home.clock.advance(Queue::Timers.visibility());
        }
    }
    assert!(receive(&store, Queue::Timers).await.is_empty());
    drop(store);
    let store = home.open();
    let dead = store.dead_letters(Queue::Timers, 10).await.expect("lists");
    assert_eq!((names(&dead), dead[0].receives), (vec!["1"], 20));
    store.bury(&dead[0].receipt).await.expect("buries");
    assert_eq!(store.depth(Queue::Timers).await.expect("tells").dead, 0);
    assert!(home.open().dead_letters(Queue::Timers, 10).await.expect("lists").is_empty());
}

#[tokio::test]
async fn waiting_ends_when_something_comes() {
    let home = Home::new();
    let store = home.open();
    let long = Duration::from_secs(30);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store.changed("i", 0, long).await;
            store.receive(Queue::Jobs, 1, long).await.expect("receives").len()
        })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.commit(Unit { append: vec![append("i", &["k"])], ..Unit::default() }).await.expect("appends");
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.send(vec![message(Queue::Jobs, "g", "1")]).await.expect("sends");
    let received = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("wakes").expect("no panic");
    assert_eq!(received, 1);
    // What has happened already is seen at once.
    tokio::time::timeout(Duration::from_secs(5), store.changed("i", 0, long)).await.expect("returns");
}

#[tokio::test]
async fn pages_of_the_index_follow_its_order_both_ways() {
    let home = Home::new();
    let store = home.open();
    let writes = (0..130u64).map(|n| {
        // Ten of a kind have the same place, so the key decides.
        Write::put(item(&format!("{n:03}"), n).indexed("H", format!("{:02}", n / 10)))
    });
    store.write_many(writes.collect()).await.expect("writes");
    for newest_first in [false, true] {
        let mut all = Vec::new();
        let mut query = Query::index("H").between("01", "11").limit(33);
        query.newest_first = newest_first;
        loop {
            let page = store.query(query.clone()).await.expect("reads");
            all.extend(page.items.iter().map(|item| item.u64("n").expect("documents are there")));
            let Some(next) = page.next else { break };
            query = query.after(Some(next));
        }
        let mut wanted: Vec<u64> = (10..120).collect();
        if newest_first {
            wanted.reverse();
        }
        assert_eq!(all, wanted);
    }
    let keys = store.query(Query::index("H").prefix("12").skip(8).keys_only()).await.expect("reads").items;
    assert_eq!(keys.iter().map(|item| item.key.sk.as_str()).collect::<Vec<_>>(), ["128", "129"]);
    assert!(keys[0].doc.is_empty());
    assert_eq!(store.count(Source::Index("H".into()), Range::Prefix("0".into())).await.expect("counts"), 100);
}

/// Pages and counts of large listings come from an index of keys: they tell what those of any partition tell.
#[tokio::test]
async fn a_listing_is_passed_over_by_its_keys() {
    let home = Home::new();
    let store = home.open();
    for pk in ["P", "MI#i", "MI#j"] {
        let writes = (0..700u64).map(|n| Write::put(Item { key: Key::new(pk, format!("{n:03}")), ..item("", n) }));
        store.write_many(writes.collect()).await.expect("writes");
    }
    for (newest_first, skip, limit) in
        [(false, 0, 5), (false, 101, 5), (true, 101, 5), (true, 690, 20), (false, 700, 5)]
    {
        for (range, after) in [(Range::All, None), (Range::Prefix("4".into()), None), (Range::All, Some("350"))] {
            let ask = async |pk: &str| {
                let mut query = Query::table(pk).limit(limit).skip(skip);
                (query.newest_first, query.range) = (newest_first, range.clone());
                query.after = after.map(|sk| Cursor { sort: sk.into(), key: Key::new(pk, sk) });
                let page = store.query(query).await.expect("reads");
                let sks: Vec<String> = page.items.into_iter().map(|item| item.key.sk).collect();
                (
                    sks,
                    page.next.map(|next| next.sort),
                    store.count(Source::Table(pk.into()), range.clone()).await.expect("counts"),
                )
            };
            assert_eq!(ask("MI#i").await, ask("P").await, "{skip}, {limit} of {range:?} {after:?} {newest_first}");
        }
    }
    let asked = "SELECT pk, sk FROM items INDEXED BY items_listed WHERE pk >= 'MI#' AND pk < 'MI$' AND pk = 'MI#i' AND sk >= 'a'";
    let plan: String = home
        .look()
        .query_row(&format!("EXPLAIN QUERY PLAN {asked} ORDER BY sk DESC"), [], |row| row.get(3))
        .expect("plans");
    assert_eq!(plan, "SEARCH items USING COVERING INDEX items_listed (pk=? AND sk>?)");
}

/// SQLite must seek to where a page begins, and read only the index where it can.
#[tokio::test]
async fn plans_seek() {
    let home = Home::new();
    let _store = home.open();
    let plan = |query: &str| -> String {
        home.look().query_row(&format!("EXPLAIN QUERY PLAN {query}"), [], |row| row.get(3)).expect("plans")
    };
    let index = "SELECT pk, sk, h, hs FROM items WHERE h = 'a' AND hs >= 'b' AND hs <= 'c' AND (+hs, +pk, +sk) > ('b', 'c', 'd')";
    assert_eq!(
        plan(&format!("{index} ORDER BY hs, pk, sk")),
        "SEARCH items USING COVERING INDEX items_hist (h=? AND hs>? AND hs<?)"
    );
    let table = "SELECT * FROM items WHERE pk = 'a' AND sk >= 'b' AND sk < 'c' AND +sk > 'b' ORDER BY sk DESC";
    assert_eq!(plan(table), "SEARCH items USING PRIMARY KEY (pk=? AND sk>? AND sk<?)");
    let ttl = "SELECT pk, sk FROM items WHERE ttl IS NOT NULL AND ttl < 5 ORDER BY ttl LIMIT 5";
    assert_eq!(plan(ttl), "SEARCH items USING COVERING INDEX items_ttl (ttl>? AND ttl<?)");
}

#[tokio::test]
async fn expired_items_go_but_a_log_keeps_its_numbering() {
    let home = Home::new();
    let store = home.open();
    for n in 0..3 {
        store
            .commit(Unit { append: vec![append("i", &[&format!("k{n}")])], ..Unit::default() })
            .await
            .expect("appends");
    }
    let gone = item("a", 1).expires(home.clock.now());
    store.commit(Unit::write(Write::put(gone))).await.expect("puts");
    home.clock.advance(Duration::from_secs(31 * 86_400));
    // The writer expires items a second after the last work.
    let mut left = 3;
    for _ in 0..200 {
        left = store.count(Source::Table(log::partition("i", 1)), Range::All).await.expect("counts");
        if left == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(left, 1);
    assert_eq!(store.get(&Key::new("P", "a"), Read::Strong).await.expect("reads"), None);
    drop(store);
    assert_eq!(home.open().tail("i").await.expect("reads").seq, 3);
}

#[tokio::test]
async fn a_directory_has_one_process_and_a_file_one_schema() {
    let home = Home::new();
    let lock = DataDirLock::acquire(home.dir.path()).expect("is free");
    assert_eq!(DataDirLock::acquire(home.dir.path()).expect_err("is taken").code, "DATA_DIR_LOCKED");
    drop(lock);
    DataDirLock::acquire(home.dir.path()).expect("is free again");

    drop(home.open());
    let conn = Connection::open(file::path(home.dir.path())).expect("opens");
    conn.pragma_update(None, "user_version", 99).expect("sets");
    let error = Sqlite::open(home.dir.path(), home.clock.clone(), Arc::new(Meter::default())).expect_err("is too new");
    assert_eq!((error.kind, &*error.code), (Kind::Conflict, "SCHEMA_TOO_NEW"));
    assert!(!check(home.dir.path()).expect("checks").is_sound());
}

#[tokio::test]
async fn a_backup_is_a_whole_file_and_readers_block_nobody() {
    let home = Home::new();
    let store = home.open();
    store.commit(Unit::write(Write::put(item("a", 1)))).await.expect("puts");
    let foreign = home.look();
    foreign.execute_batch("BEGIN; SELECT * FROM items").expect("reads");
    store.commit(Unit::write(Write::put(item("b", 2)))).await.expect("a reader with an old state does not block");
    let copies = tempfile::tempdir().expect("a directory");
    let to = copies.path().join(crate::NAME);
    backup(home.dir.path(), &to).expect("copies");
    assert_eq!(backup(home.dir.path(), &to).expect_err("is there").code, "BACKUP_EXISTS");
    let found = check(copies.path()).expect("checks");
    assert!(found.is_sound() && found.file_bytes > 0, "{found:?}");
    let copy = Sqlite::open(copies.path(), home.clock.clone(), Arc::new(Meter::default())).expect("opens");
    assert_eq!(copy.get(&Key::new("P", "b"), Read::Strong).await.expect("reads"), Some(item("b", 2)));
    shared::store::Store::ready(&*store).await.expect("answers");
}
