//! Single writes, batches of writes, and reading them back.

use futures_util::future::join_all;
use serde_json::json;
use shared::store::{Change, CommitError, Cond, IndexKey, Item, Key, Read, Unit, Write};

use super::{World, contract, doc, item};

contract!(
    documents_come_back_as_they_were,
    an_update_changes_what_it_names,
    an_update_creates_unless_told_otherwise,
    additions_by_many_add_up,
    one_of_many_creators_wins,
    many_writes_in_one_call,
    a_batch_comes_in_the_order_of_its_keys,
);

async fn documents_come_back_as_they_were(w: World) {
    let documents = [
        json!({}),
        json!({"null": null, "yes": true, "no": false, "text": "x", "empty": ""}),
        json!({"zero": 0, "minus": -1, "time": 1_700_000_000_123_i64, "big": 9_007_199_254_740_993_i64, "max": i64::MAX}),
        json!({"half": 0.5, "tiny": -1.25e-7}),
        json!({"list": [], "map": {}, "deep": {"a": [1, {"b": [null, "ü", [true]]}]}}),
        json!({"multi\nline": "a\0b\t\"'\\", "umlauts": "äöü", "han": "张三", "emoji": "👩‍👩‍👧", "rtl": "שלום"}),
        json!({"reserved": {"size": 1}, "name": "x", "status": "y", "data": [1], "key": 1, "value": 2, "with.dot": 1, "#h": 2}),
        json!({"long": "y".repeat(100_000)}),
    ];
    for (n, value) in documents.into_iter().enumerate() {
        let mut full = item(&Key::new("P#ü", format!("s{n}")), value).indexed("H", format!("{n}"));
        full.ttl = (n % 2 == 0).then_some(4_102_444_800);
        w.ok("put", w.store.commit(Unit::write(Write::put(full.clone()))).await);
        w.same("the item", w.get(&full.key).await, Some(full.clone()));
        let key = full.key.clone();
        w.soon("the item, eventually", Some(full), || async { w.ok("get", w.store.get(&key, Read::Eventual).await) })
            .await;
    }
    w.same("no item", w.get(&Key::new("P#ü", "s")).await, None);
}

async fn an_update_changes_what_it_names(w: World) {
    let key = Key::new("P", "s");
    let old = || {
        let mut old = item(&key, json!({"a": 1, "b": "x", "n": 5})).indexed("H", "1");
        old.ttl = Some(4_102_444_800);
        old
    };
    let index = |hs: &str| Some(IndexKey { h: "H".into(), hs: hs.into() });
    type Edit = fn(&mut Item);
    let steps: [(Change, Edit); 9] = [
        (Change::default().set("a", 2), |item| item.doc = doc(json!({"a": 2, "b": "x", "n": 5}))),
        (Change::default().set("c", json!({"d": [1]})), |item| {
            item.doc.insert("c".into(), json!({"d": [1]}));
        }),
        (Change::default().set("c", json!(null)), |item| {
            item.doc.insert("c".into(), json!(null));
        }),
        (Change::default().remove("b").remove("never there"), |item| item.doc = doc(json!({"a": 1, "n": 5}))),
        (Change::default().add("n", 3).add("m", -2), |item| {
            item.doc = doc(json!({"a": 1, "b": "x", "n": 8, "m": -2}));
        }),
        (Change::default().set("a", "y").remove("n").add("k", 1), |item| {
            item.doc = doc(json!({"a": "y", "b": "x", "k": 1}));
        }),
        (Change { index: Some(index("2")), ..Change::default() }, |item| {
            item.index = Some(IndexKey { h: "H".into(), hs: "2".into() });
        }),
        (Change { index: Some(None), ..Change::default() }, |item| item.index = None),
        (Change { ttl: Some(4_102_444_801), ..Change::default() }, |item| item.ttl = Some(4_102_444_801)),
    ];
    for (change, edit) in steps {
        w.ok("put", w.store.commit(Unit::write(Write::put(old()))).await);
        let what = format!("{change:?}");
        w.ok(&what, w.store.commit(Unit::write(Write::update(key.clone(), change))).await);
        let mut should = old();
        edit(&mut should);
        w.same(&what, w.get(&key).await, Some(should));
    }
}

async fn an_update_creates_unless_told_otherwise(w: World) {
    let key = Key::new("P", "new");
    let change = Change {
        index: Some(Some(IndexKey { h: "H".into(), hs: "1".into() })),
        ttl: Some(4_102_444_800),
        ..Change::default()
    };
    let update = Write::update(key.clone(), change.set("a", 1).add("n", 1));
    match w.store.commit(Unit::write(update.clone().only_if(Cond::Exists))).await {
        Err(CommitError::Conflict { which: 0, old: None }) => {}
        other => w.same("an update of nothing, if it exists", format!("{other:?}"), "Conflict { which: 0, old: None }"),
    }
    w.same("nothing was made", w.get(&key).await, None);
    w.ok("update", w.store.commit(Unit::write(update)).await);
    let mut should = item(&key, json!({"a": 1, "n": 1})).indexed("H", "1");
    should.ttl = Some(4_102_444_800);
    w.same("what the update made", w.get(&key).await, Some(should));

    for _ in 0..2 {
        w.ok("delete, also of nothing", w.store.commit(Unit::write(Write::delete(key.clone()))).await);
        w.same("after the delete", w.get(&key).await, None);
    }
}

async fn additions_by_many_add_up(w: World) {
    let key = Key::new("P", "sum");
    let add = || w.store.commit(Unit::write(Write::update(key.clone(), Change::default().add("n", 1))));
    for result in join_all((0..32).map(|_| add())).await {
        w.ok("add", result);
    }
    w.same("the sum", w.get(&key).await.and_then(|item| item.u64("n")), Some(32));
}

async fn one_of_many_creators_wins(w: World) {
    for round in 0..4 {
        let key = Key::new("P", format!("{round}"));
        let create = |n: u64| w.store.commit(Unit::write(Write::create(item(&key, json!({"n": n})))));
        let results = join_all((0..16).map(create)).await;
        let winner = w.get(&key).await;
        let number = winner.as_ref().and_then(|item| item.u64("n"));
        let mut winners = Vec::new();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(_) => winners.push(n),
                Err(CommitError::Conflict { which, old }) => {
                    w.same("what a loser finds", (which, old.map(|old| *old)), (0, winner.clone()));
                }
                Err(other) => w.ok("create", Err(other)),
            }
        }
        w.same("who was told to have won", winners, Vec::from_iter(number));
    }
}

async fn many_writes_in_one_call(w: World) {
    let old = |n: usize| item(&Key::new(format!("P{}", n % 7), format!("{n:03}")), json!({"n": n}));
    w.put_all((0..40).map(old).collect()).await;
    w.put_all(vec![]).await;
    let new = |n: usize| Item { doc: doc(json!({"new": n})), ..old(n) }.indexed("H", format!("{n:03}"));
    let writes = (0..20).map(|n| Write::delete(old(n).key)).chain((20..120).map(|n| Write::put(new(n)))).collect();
    w.ok("120 writes", w.store.write_many(writes).await);
    for n in 0..120 {
        w.same("an item of 120", w.get(&old(n).key).await, (n >= 20).then(|| new(n)));
    }
}

async fn a_batch_comes_in_the_order_of_its_keys(w: World) {
    let some = |n: usize| item(&Key::new(format!("P{}", n % 3), format!("{n:03}")), json!({"n": n}));
    w.put_all((0..150).filter(|n| n % 5 != 0).map(some).collect()).await;
    let numbers: Vec<usize> = (0..150).rev().chain([7, 7, 0, 149]).collect();
    let keys: Vec<Key> = numbers.iter().map(|n| some(*n).key).collect();
    let should: Vec<_> = numbers.iter().map(|n| (n % 5 != 0).then(|| some(*n))).collect();
    w.same("a strong batch", w.ok("batch_get", w.store.batch_get(&keys, Read::Strong).await), should.clone());
    w.soon("an eventual batch", should, || async { w.ok("batch_get", w.store.batch_get(&keys, Read::Eventual).await) })
        .await;
    w.same("an empty batch", w.ok("batch_get", w.store.batch_get(&[], Read::Strong).await), vec![]);

    // 40 × 30 kB is more than one answer of DynamoDB's may hold in places; none may be lost.
    let big = |n: usize| item(&Key::new("BIG", format!("{n}")), json!({"x": "z".repeat(30_000)}));
    w.put_all((0..40).map(big).collect()).await;
    let keys: Vec<Key> = (0..40).map(|n| big(n).key).collect();
    let found = w.ok("batch_get", w.store.batch_get(&keys, Read::Strong).await);
    w.same("big items found", found.iter().flatten().count(), 40);
    w.ok("ready", w.store.ready().await);
}
