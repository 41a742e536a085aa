//! What the index on SQLite adds to the contract: old files, expiry, rollbacks, the operators' checks, and plans.

use std::{sync::Arc, time::Duration};

use rusqlite::Connection;
use serde_json::json;
use shared::{
    clock::{Clock as _, ManualClock, Millis},
    store::{Change, Cond, Item, Key, Range, Search, Store as _, Unit, Write, meter::Meter, search::fold},
};
use tempfile::TempDir;

use crate::{Sqlite, backup, check, file};

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

    fn look(&self) -> Connection {
        file::open_reader(&file::path(self.dir.path())).expect("opens")
    }

    /// Rows of the index: partitions, items, and what FTS5 keeps of their lengths.
    fn rows(&self) -> [i64; 3] {
        ["search_parts", "search_rows", "search_grams_docsize"].map(|table| {
            self.look().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts")
        })
    }
}

fn said(sk: &str, text: &str) -> Item {
    Item::new(Key::new("P", sk), &json!({"search": fold(text)})).expect("an object")
}

async fn total(store: &Sqlite, keyword: &str) -> u64 {
    store.search(Search::new("P", keyword)).await.expect("searches").total
}

#[tokio::test]
async fn a_file_without_an_index_gets_one() {
    let home = Home::new();
    let items = [
        said("1", "张三"),
        said("2", "\"search\":"),
        Item::new(Key::new("P", "3"), &json!({"search": 5})).expect("an object"),
    ];
    home.open().write_many(items.map(Write::put).to_vec()).await.expect("writes");
    let conn = Connection::open(file::path(home.dir.path())).expect("opens");
    conn.execute_batch(
        "DROP INDEX items_listed; DROP TABLE search_grams; DROP TABLE search_rows; DROP TABLE search_parts; PRAGMA user_version = 1",
    )
    .expect("as the first version was");
    drop(conn);
    let store = home.open();
    assert_eq!(home.rows(), [1, 2, 2]);
    assert_eq!((total(&store, "张三").await, total(&store, "\"search\"").await, total(&store, "5").await), (1, 1, 0));
}

#[tokio::test]
async fn what_expires_leaves_the_index() {
    let home = Home::new();
    let store = home.open();
    let gone = said("1", "here today").expires(home.clock.now());
    store.write_many(vec![Write::put(gone), Write::put(said("2", "here for good"))]).await.expect("writes");
    home.clock.advance(Duration::from_secs(60));
    for _ in 0..200 {
        if total(&store, "here").await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((total(&store, "here").await, home.rows()), (1, [1, 1, 1]));
    store.commit(Unit::write(Write::delete(Key::new("P", "2")))).await.expect("deletes");
    assert_eq!(home.rows(), [0, 0, 0]);
}

#[tokio::test]
async fn a_refused_unit_leaves_the_index_as_it_was() {
    let home = Home::new();
    let store = home.open();
    store.commit(Unit::write(Write::create(said("1", "before")))).await.expect("creates");
    let refused = Unit {
        writes: vec![
            Write::put(said("1", "after")),
            Write::create(said("2", "after")),
            Write::update(Key::new("P", "1"), Change::default().set("n", 1)).only_if(Cond::eq("n", 5)),
        ],
        ..Unit::default()
    };
    // One of many in a transaction, so that what comes before it and after it stays.
    let units = (10..40)
        .map(|n| if n % 3 == 0 { refused.clone() } else { Unit::write(Write::create(said(&n.to_string(), "other"))) });
    let done = units.map(|unit| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(unit).await.is_ok() })
    });
    let mut happened = 0;
    for task in done.collect::<Vec<_>>() {
        happened += usize::from(task.await.expect("does not panic"));
    }
    assert_eq!(happened, 20);
    assert_eq!((total(&store, "before").await, total(&store, "after").await, total(&store, "other").await), (1, 0, 20));
    assert_eq!(home.rows(), [1, 21, 21]);
}

#[tokio::test]
async fn items_without_text_do_not_touch_the_index() {
    let home = Home::new();
    let store = home.open();
    let plain = |n: u64| Item::new(Key::new("P", "1"), &json!({ "n": n })).expect("an object");
    for write in [Write::create(plain(1)), Write::put(plain(2)), Write::delete(Key::new("P", "1"))] {
        store.commit(Unit::write(write)).await.expect("writes");
    }
    assert_eq!(home.rows(), [0, 0, 0]);
}

#[tokio::test]
async fn a_copy_has_the_index_and_a_damaged_one_is_noticed() {
    let home = Home::new();
    let store = home.open();
    store.write_many((0..50).map(|n| Write::put(said(&n.to_string(), "some words"))).collect()).await.expect("writes");
    assert!(check(home.dir.path()).expect("checks").is_sound());
    let copies = tempfile::tempdir().expect("a directory");
    backup(home.dir.path(), &copies.path().join(crate::NAME)).expect("copies");
    let copy = Sqlite::open(copies.path(), home.clock.clone(), Arc::new(Meter::default())).expect("opens");
    assert_eq!(total(&copy, "words").await, 50);
    drop(copy);
    let conn = Connection::open(copies.path().join(crate::NAME)).expect("opens");
    conn.execute_batch("UPDATE search_grams_data SET block = x'00' WHERE id > 10").expect("damages");
    drop(conn);
    assert!(!check(copies.path()).expect("checks").is_sound());
}

/// Few matches are looked up, many are walked over: both tell the same.
#[tokio::test]
async fn many_matches_are_found_like_few() {
    let home = Home::new();
    let store = home.open();
    // Written in no order; the first 1,200 say one word more.
    let message = |n: u64| {
        let n = n * 7919 % 5003;
        said(&format!("{n:05}"), if n < 1200 { "some early words" } else { "some words" })
    };
    store.write_many((0..5003).map(|n| Write::put(message(n))).collect()).await.expect("writes");
    for keyword in ["o", "me", "words"] {
        for newest_first in [false, true] {
            let search = Search { newest_first, ..Search::new("P", keyword).page(4000, 3) };
            let found = store.search(search.clone()).await.expect("searches");
            let sks: Vec<&str> = found.items.iter().map(|item| item.key.sk.as_str()).collect();
            let should = if newest_first { ["01002", "01001", "01000"] } else { ["04000", "04001", "04002"] };
            assert_eq!((found.total, &*sks), (5003, &should[..]), "{keyword}");
            let range = Range::Between("01000".into(), "01999".into());
            let found = store.search(search.range(range).page(999, 3)).await.expect("searches");
            let last = if newest_first { "01000" } else { "01999" };
            assert_eq!((found.total, found.items.len(), &*found.items[0].key.sk), (1000, 1, last), "{keyword}");
        }
    }
    // From either end, from the end that a walk does not reach in time, and beyond.
    for (skip, newest_first, should) in [
        (0, false, &["00000", "00001"][..]),
        (0, true, &["01199", "01198"]),
        (1199, true, &["00000"]),
        (1200, true, &[]),
    ] {
        let search = Search { newest_first, ..Search::new("P", "ea").page(skip, 2) };
        let found = store.search(search).await.expect("searches");
        let sks: Vec<&str> = found.items.iter().map(|item| item.key.sk.as_str()).collect();
        assert_eq!((found.total, &*sks), (1200, should), "{skip}");
    }
}

#[tokio::test]
async fn plans_seek() {
    let home = Home::new();
    let _store = home.open();
    let plan = |query: &str| -> String {
        home.look().query_row(&format!("EXPLAIN QUERY PLAN {query}"), [], |row| row.get(3)).expect("plans")
    };
    assert_eq!(
        plan("SELECT id, sk FROM search_rows WHERE part = 1 AND sk >= 'a' AND sk <= 'b' ORDER BY sk DESC"),
        "SEARCH search_rows USING COVERING INDEX sqlite_autoindex_search_rows_1 (part=? AND sk>? AND sk<?)"
    );
    // No sorting: FTS5 tells numbers in order.
    assert_eq!(
        plan("SELECT rowid FROM search_grams WHERE search_grams MATCH '\"1x\"*' ORDER BY rowid"),
        "SCAN search_grams VIRTUAL TABLE INDEX 64:M1"
    );
}
