//! Queries on the table and on the index: order, ranges, pages, and an index that follows its items.

use serde_json::json;
use shared::store::{Change, Cursor, IndexKey, Item, Key, Query, Range, Source, Unit, Write};

use super::{World, contract, doc, item};

contract!(
    a_partition_is_in_the_order_of_bytes,
    ranges_include_both_ends,
    walks_reach_every_item_once,
    a_walk_goes_on_where_it_was_though_items_come_and_go,
    big_items_are_walked_too,
    without_documents,
    equal_places_in_the_index_are_all_found,
    the_index_follows_its_items,
    counts_are_exact,
);

const HARD_SORTS: [&str; 14] = ["!", "%", "%a", "10", "9", "A", "Z", "_", "a", "a%", "a_b", "ab", "é", "张三"];

/// Both ways of asking for the same items: by `sk` in the table, by `hs` in the index.
fn both() -> [Query; 2] {
    [Query::table("P"), Query::index("H")]
}

/// `sk` and `hs` are the same text.
fn twin(sort: &str) -> Item {
    item(&Key::new("P", sort), json!({"sort": sort})).indexed("H", sort)
}

fn sorts(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.key.sk.as_str()).collect()
}

/// Puts the items, with neighbours that no query may return, and waits until the index has them.
async fn fill(w: &World, items: Vec<Item>) {
    let size = items.len();
    w.put_all(items).await;
    let beside = |pk: &str, h: &str| item(&Key::new(pk, format!("beside/{h}")), json!({})).indexed(h, "m");
    w.put_all(vec![beside("P2", "H2"), beside("p", "h"), beside("Q", "HH"), beside("P#", "H#")]).await;
    w.put_all(vec![item(&Key::new("Q", "unindexed"), json!({}))]).await;
    index_has(w, size).await;
}

async fn index_has(w: &World, size: usize) {
    w.soon("the index catches up", size, || async { w.walk(Query::index("H").limit(1000)).await.0.len() }).await;
}

async fn a_partition_is_in_the_order_of_bytes(w: World) {
    let mut should = HARD_SORTS.to_vec();
    should.push("😀");
    fill(&w, should.iter().rev().map(|sort| twin(sort)).collect()).await;
    for query in both() {
        let (items, sizes) = w.walk(query.clone()).await;
        w.same(&format!("{:?}", query.source), sorts(&items), should.clone());
        w.same("one page", sizes, vec![should.len()]);
        w.same("a whole item", items.first(), Some(&twin("!")));
        let (items, _) = w.walk(query.newest_first()).await;
        w.same("newest first", sorts(&items), should.iter().rev().copied().collect::<Vec<_>>());
    }
    for empty in [Query::table("none"), Query::index("none"), Query::table("h"), Query::index("P")] {
        w.same(&format!("{:?}", empty.source), w.walk(empty).await, (vec![], vec![0]));
    }
}

async fn ranges_include_both_ends(w: World) {
    fill(&w, HARD_SORTS.iter().map(|sort| twin(sort)).collect()).await;
    let ranges = [
        Range::All,
        Range::Prefix("a".into()),
        Range::Prefix("a%".into()),
        Range::Prefix("%".into()),
        Range::Prefix("_".into()),
        Range::Prefix("张".into()),
        Range::Prefix("nothing".into()),
        Range::Between("A".into(), "a".into()),
        Range::Between("AA".into(), "a_".into()),
        Range::Between("9".into(), "9".into()),
        Range::Between("b".into(), "\u{10ffff}".into()),
        Range::Between("0".into(), "0".into()),
    ];
    for (range, query) in ranges.iter().flat_map(|range| both().map(|query| (range, query))) {
        let query = Query { range: range.clone(), ..query };
        let what = format!("{range:?} of {:?}", query.source);
        let mut should: Vec<&str> = HARD_SORTS.iter().copied().filter(|sort| range.contains(sort)).collect();
        w.same(&what, sorts(&w.walk(query.clone()).await.0), should.clone());
        w.same(&what, w.ok("count", w.store.count(query.source.clone(), range.clone()).await), should.len() as u64);
        should.reverse();
        w.same(&format!("{what}, newest first"), sorts(&w.walk(query.limit(2).newest_first()).await.0), should);
    }
}

async fn walks_reach_every_item_once(w: World) {
    let name = |n: usize| format!("{n:04}");
    fill(&w, (0..250).map(|n| twin(&name(n))).collect()).await;
    for query in both() {
        for (limit, skip) in [
            (7, 0),
            (50, 0),
            (125, 0),
            (249, 0),
            (250, 0),
            (251, 0),
            (1000, 0),
            (50, 30),
            (50, 200),
            (9, 249),
            (50, 250),
            (50, 300),
        ] {
            for newest_first in [false, true] {
                let what = format!("{:?}, {limit} a page, {skip} skipped, newest first: {newest_first}", query.source);
                let (items, sizes) = w.walk(Query { newest_first, ..query.clone().limit(limit).skip(skip) }).await;
                let mut should: Vec<String> = (0..250).map(name).collect();
                if newest_first {
                    should.reverse();
                }
                let should: Vec<_> = should.into_iter().skip(skip).collect();
                w.same(&what, sorts(&items), should.clone());
                // Full pages, a rest, and no empty page after the last item.
                let pages = should.len().div_ceil(limit).max(1);
                w.same(&format!("{what}: pages"), sizes.len(), pages);
                w.holds(&format!("{what}: full pages"), sizes[..pages - 1].iter().all(|size| *size == limit));
            }
        }
    }
}

/// A cursor is a place, not an item: it survives a round trip as text, and the item that it came from.
async fn a_walk_goes_on_where_it_was_though_items_come_and_go(w: World) {
    let name = |n: usize| format!("{n:04}");
    fill(&w, (0..40).step_by(2).map(|n| twin(&name(n))).collect()).await;
    for query in both() {
        let first = w.ok("query", w.store.query(query.clone().limit(5)).await);
        let cursor = first.next.and_then(|next| Cursor::decode(&next.encode()));
        w.same(
            "the cursor",
            cursor.as_ref().map(|next| (next.sort.clone(), next.key.clone())),
            Some((name(8), twin(&name(8)).key)),
        );
        w.ok("delete", w.store.commit(Unit::write(Write::delete(twin(&name(8)).key))).await);
        w.put_all(vec![twin(&name(3)), twin(&name(11))]).await;
        index_has(&w, 21).await;
        let (rest, _) = w.walk(query.limit(5).after(cursor)).await;
        let should: Vec<String> = (10..40).filter(|n| n % 2 == 0 || *n == 11).map(name).collect();
        w.same("the rest", sorts(&rest), should);
        w.put_all(vec![twin(&name(8))]).await;
        w.ok("undo", w.store.write_many([3, 11].map(|n| Write::delete(twin(&name(n)).key)).into()).await);
        index_has(&w, 20).await;
    }
}

/// More than DynamoDB reads at once (1 MB).
async fn big_items_are_walked_too(w: World) {
    let big = |n: usize| Item { doc: doc(json!({"x": "x".repeat(20_000)})), ..twin(&format!("{n:03}")) };
    fill(&w, (0..80).map(big).collect()).await;
    for query in both() {
        let (items, _) = w.walk(query.clone().limit(1000)).await;
        w.same(&format!("{:?}", query.source), items, (0..80).map(big).collect::<Vec<_>>());
        w.same("count", w.ok("count", w.store.count(query.source, Range::All).await), 80);
    }
}

async fn without_documents(w: World) {
    fill(&w, ["a", "b", "c"].map(twin).into()).await;
    let (items, _) = w.walk(Query::table("P").keys_only().limit(2)).await;
    w.same("keys", sorts(&items), vec!["a", "b", "c"]);
    w.holds("no documents", items.iter().all(|item| item.doc.is_empty()));
    let (items, _) = w.walk(Query::index("H").keys_only().limit(2)).await;
    let should = ["a", "b", "c"].map(|sort| Item { doc: doc(json!({})), ..twin(sort) });
    w.same("index entries", items, should.to_vec());
}

async fn equal_places_in_the_index_are_all_found(w: World) {
    let same = |n: usize| {
        item(&Key::new(format!("P{}", n % 3), format!("{n:02}")), json!({"n": n})).indexed("H", format!("{}", n / 10))
    };
    fill(&w, (0..30).map(same).collect()).await;
    for (limit, skip, newest_first) in [(4, 0, false), (4, 0, true), (10, 0, false), (4, 3, false), (100, 12, true)] {
        let (items, _) = w.walk(Query { newest_first, ..Query::index("H").limit(limit).skip(skip) }).await;
        let mut keys: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
        keys.sort();
        keys.dedup();
        w.same(&format!("{limit} a page, {skip} skipped: different items"), keys.len(), 30 - skip);
        let places: Vec<_> = items.iter().filter_map(|item| item.index.as_ref().map(|index| &index.hs)).collect();
        w.holds("in order", if newest_first { places.is_sorted_by(|a, b| a >= b) } else { places.is_sorted() });
    }
}

async fn the_index_follows_its_items(w: World) {
    let key = Key::new("P", "s");
    let index = |h: &str, hs: &str| Some(IndexKey { h: h.into(), hs: hs.into() });
    let plain = item(&key, json!({"n": 1}));
    let steps = [
        (Write::put(plain.clone().indexed("H", "5")), vec!["5"], vec![]),
        (Write::update(key.clone(), Change::default().set("n", 2)), vec!["5"], vec![]),
        (Write::update(key.clone(), Change { index: Some(index("H", "7")), ..Change::default() }), vec!["7"], vec![]),
        (Write::update(key.clone(), Change { index: Some(index("G", "1")), ..Change::default() }), vec![], vec!["1"]),
        (Write::put(plain.clone().indexed("H", "3")), vec!["3"], vec![]),
        (Write::update(key.clone(), Change { index: Some(None), ..Change::default() }), vec![], vec![]),
        (Write::update(key.clone(), Change { index: Some(index("H", "8")), ..Change::default() }), vec!["8"], vec![]),
        (Write::put(plain.clone()), vec![], vec![]),
        (Write::put(plain.indexed("G", "2")), vec![], vec!["2"]),
        (Write::delete(key.clone()), vec![], vec![]),
    ];
    for (write, in_h, in_g) in steps {
        let what = format!("after {:?}", write.op);
        w.ok(&what, w.store.commit(Unit::write(write)).await);
        for (h, should) in [("H", in_h), ("G", in_g)] {
            let places = || async {
                let (items, _) = w.walk(Query::index(h)).await;
                items.into_iter().filter_map(|item| item.index.map(|index| index.hs)).collect::<Vec<_>>()
            };
            w.soon(&format!("{what}: {h}"), should.iter().map(ToString::to_string).collect(), places).await;
            let count = || async { w.ok("count", w.store.count(Source::Index(h.into()), Range::All).await) };
            w.soon(&format!("{what}: count of {h}"), should.len() as u64, count).await;
        }
    }
}

async fn counts_are_exact(w: World) {
    fill(&w, (0..1234).map(|n| twin(&format!("{n:05}"))).collect()).await;
    for source in [Source::Table("P".into()), Source::Index("H".into())] {
        for (range, should) in [
            (Range::All, 1234),
            (Range::Between("00010".into(), "01009".into()), 1000),
            (Range::Prefix("011".into()), 100),
            (Range::Prefix("x".into()), 0),
        ] {
            let count = || async { w.ok("count", w.store.count(source.clone(), range.clone()).await) };
            w.soon(&format!("{range:?} of {source:?}"), should, count).await;
        }
    }
    w.same("count of nothing", w.ok("count", w.store.count(Source::Table("none".into()), Range::All).await), 0);
}
