//! Transactions: all or nothing, and nothing seen in between.

use futures_util::future::join_all;
use serde_json::json;
use shared::store::{Change, CommitError, Cond, Key, Unit, Write};

use super::{World, contract, doc, item, retrying::insist};

contract!(
    a_transaction_does_all_of_it,
    a_transaction_that_conflicts_does_nothing,
    a_hundred_writes_in_one,
    transfers_keep_the_sum,
);

fn account(name: &str) -> Key {
    Key::new(format!("A#{name}"), ".")
}

async fn a_transaction_does_all_of_it(w: World) {
    w.put_all(["upd", "del", "chk"].iter().map(|name| item(&account(name), json!({"n": 1}))).collect()).await;
    let writes = vec![
        Write::create(item(&account("put"), json!({"n": 2})).indexed("H", "1")),
        Write::update(account("upd"), Change::default().set("a", 1).add("n", 1)).only_if(Cond::eq("n", 1)),
        Write::delete(account("del")).only_if(Cond::Exists),
        Write::check(account("chk"), Cond::eq("n", 1)),
        Write::check(account("none"), Cond::Absent),
    ];
    w.ok("transact", w.store.transact(writes).await);
    w.same("put", w.get(&account("put")).await, Some(item(&account("put"), json!({"n": 2})).indexed("H", "1")));
    w.same("updated", w.get(&account("upd")).await.map(|item| item.doc), Some(doc(json!({"n": 2, "a": 1}))));
    w.same("deleted", w.get(&account("del")).await, None);
    w.same("checked", w.get(&account("chk")).await.map(|item| item.doc), Some(doc(json!({"n": 1}))));
    w.ok("an empty transaction", w.store.transact(vec![]).await);
}

async fn a_transaction_that_conflicts_does_nothing(w: World) {
    let old = item(&account("old"), json!({"n": 1, "x": "old"}));
    w.put_all(vec![old.clone()]).await;
    let blockers = [
        Write::create(item(&old.key, json!({}))),
        Write::update(old.key.clone(), Change::default().set("n", 2)).only_if(Cond::eq("n", 2)),
        Write::delete(old.key.clone()).only_if(Cond::lacks("x")),
        Write::check(old.key.clone(), Cond::lt("n", 1)),
    ];
    for blocker in blockers {
        for which in 0..3 {
            let mut writes: Vec<_> =
                (0..2).map(|n| Write::create(item(&account(&format!("{n}")), json!({"n": n})))).collect();
            writes.insert(which, blocker.clone());
            let what = format!("a transaction with {:?} at {which}", blocker.op);
            match w.store.transact(writes).await {
                Err(CommitError::Conflict { which: found, old: Some(item) }) => {
                    w.same(&what, (found, *item), (which, old.clone()));
                }
                other => w.same(&what, format!("{other:?}"), "Conflict with the old item"),
            }
            for n in 0..2 {
                w.same(&what, w.get(&account(&format!("{n}"))).await, None);
            }
        }
    }
    w.same("the old item", w.get(&old.key).await, Some(old));

    let missing = Write::check(account("missing"), Cond::Exists);
    match w.store.transact(vec![missing]).await {
        Err(CommitError::Conflict { which: 0, old: None }) => {}
        other => w.same("a check of nothing", format!("{other:?}"), "Conflict { which: 0, old: None }"),
    }
}

async fn a_hundred_writes_in_one(w: World) {
    let one = |n: usize| item(&Key::new(format!("P{}", n % 9), format!("{n:03}")), json!({"n": n}));
    w.ok("transact", w.store.transact((0..100).map(|n| Write::create(one(n))).collect()).await);
    for n in [0, 1, 50, 99] {
        w.same("one of a hundred", w.get(&one(n).key).await, Some(one(n)));
    }
    let mut again: Vec<_> = (100..199).map(|n| Write::create(one(n))).collect();
    again.push(Write::create(one(99)));
    match w.store.transact(again).await {
        Err(CommitError::Conflict { which: 99, old: Some(old) }) => w.same("what is in the way", *old, one(99)),
        other => w.same("the hundredth conflicts", format!("{other:?}"), "Conflict { which: 99, … }"),
    }
    w.same("nothing of it happened", w.get(&one(100).key).await, None);
}

/// Money moves between four accounts by many hands; a transaction that was half done would change the sum.
async fn transfers_keep_the_sum(w: World) {
    let names = ["a", "b", "c", "d"];
    w.put_all(names.iter().map(|name| item(&account(name), json!({"n": 100}))).collect()).await;
    let transfer = |hand: usize| {
        let (from, to) = (account(names[hand % 4]), account(names[(hand + 1 + hand / 4) % 4]));
        let store = w.store.clone();
        async move {
            if from == to {
                return Ok(());
            }
            let writes = vec![
                Write::update(from, Change::default().add("n", -30)).only_if(Cond::Gt("n".into(), 29)),
                Write::update(to, Change::default().add("n", 30)),
            ];
            // Others in the way are a temporary error: the caller's to repeat.
            insist(|| store.transact(writes.clone())).await
        }
    };
    for result in join_all((0..16).map(transfer)).await {
        match result {
            Ok(()) | Err(CommitError::Conflict { which: 0, .. }) => {}
            other => w.ok("transfer", other),
        }
    }
    let mut sum = 0;
    for name in names {
        let item = w.get(&account(name)).await;
        let n = item.and_then(|item| item.doc.get("n").and_then(serde_json::Value::as_i64)).unwrap_or(-1);
        w.holds(&format!("{name} is not overdrawn: {n}"), n >= 0);
        sum += n;
    }
    w.same("the sum", sum, 400);
    w.ok("a write after all of it", w.store.commit(Unit::write(Write::delete(account("a")))).await);
}
