//! Conditions: every variant, on every kind of old item, with every kind of write, agrees with [`Cond::holds`].

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use shared::store::{Change, CommitError, Cond, Item, Key, Op, Unit, Write};

use super::{World, contract, doc, item};

contract!(every_condition_agrees_with_the_reference, a_condition_sees_no_other_item);

/// The old item's document; `None`: there is none.
fn old_documents() -> Vec<Option<Value>> {
    vec![
        None,
        Some(json!({})),
        Some(json!({"b": 1})),
        Some(json!({"a": 5})),
        Some(json!({"a": 7, "b": 1})),
        Some(json!({"a": -3})),
        Some(json!({"a": 5.5})),
        Some(json!({"a": 1_700_000_000_123_i64})),
        Some(json!({"a": "x"})),
        Some(json!({"a": ""})),
        Some(json!({"a": "5"})),
        Some(json!({"a": true})),
        Some(json!({"a": false})),
        Some(json!({"a": null})),
        Some(json!({"a": {"b": 1}})),
        Some(json!({"a": [1]})),
    ]
}

fn conditions() -> Vec<Cond> {
    let scalars =
        [json!(5), json!(7), json!(-3), json!(5.5), json!("x"), json!(""), json!("5"), json!(true), json!(null)];
    let numbers = [5, 6, 0, -3, 1_700_000_000_123];
    let mut all = vec![Cond::Always, Cond::Absent, Cond::Exists, Cond::has("a"), Cond::lacks("a"), Cond::has("b")];
    all.extend(scalars.iter().flat_map(|value| [Cond::eq("a", value.clone()), Cond::ne("a", value.clone())]));
    all.extend(
        numbers.iter().flat_map(|n| [Cond::Lt("a".into(), *n), Cond::Le("a".into(), *n), Cond::Gt("a".into(), *n)]),
    );
    all.extend([
        Cond::All(vec![Cond::Exists, Cond::has("a"), Cond::has("b")]),
        Cond::All(vec![Cond::Exists, Cond::ne("a", 5)]),
        Cond::Any(vec![Cond::Absent, Cond::lt("a", 6)]),
        Cond::Any(vec![Cond::lacks("a"), Cond::eq("a", "x"), Cond::Gt("a".into(), 6)]),
        Cond::All(vec![Cond::Exists, Cond::Any(vec![Cond::eq("a", 7), Cond::lacks("b")])]),
        Cond::Any(vec![Cond::All(vec![Cond::has("a"), Cond::has("b")]), Cond::Absent]),
        Cond::All(vec![]),
        Cond::Any(vec![]),
    ]);
    all
}

/// One of four kinds of writes, and what it leaves.
fn kind_of_write(kind: usize, key: &Key, old: Option<&Item>) -> (Write, Option<Item>) {
    let put = item(key, json!({"new": true}));
    let change = Change::default().set("new", true).remove("b");
    let mut changed = old.cloned().unwrap_or_else(|| item(key, json!({})));
    change.apply(&mut changed.doc);
    match kind {
        0 => (Write::put(put.clone()), Some(put)),
        1 => (Write::update(key.clone(), change), Some(changed)),
        2 => (Write::delete(key.clone()), None),
        _ => (Write { op: Op::Check(key.clone()), cond: Cond::Always, stamp: None }, old.cloned()),
    }
}

async fn every_condition_agrees_with_the_reference(w: World) {
    let mut cases = Vec::new();
    for (o, old) in old_documents().into_iter().enumerate() {
        for (c, cond) in conditions().into_iter().enumerate() {
            let key = Key::new(format!("P{}", o % 4), format!("{o:02}/{c:02}"));
            // Each condition meets each kind of write, on different old items.
            cases.push((key.clone(), old.clone().map(|old| item(&key, old)), cond, (o + c) % 4));
        }
    }
    w.put_all(cases.iter().filter_map(|(_, old, ..)| old.clone()).collect()).await;
    stream::iter(cases).for_each_concurrent(8, |case| one_condition(&w, case)).await;
}

async fn one_condition(w: &World, (key, old, cond, kind): (Key, Option<Item>, Cond, usize)) {
    let (write, after) = kind_of_write(kind, &key, old.as_ref());
    let write = write.only_if(cond.clone());
    let what = format!("{:?} if {cond:?} on {:?}", write.op, old.as_ref().map(|item| &item.doc));
    let result = match write.op {
        Op::Check(_) => w.store.transact(vec![write]).await,
        _ => w.store.commit(Unit::write(write)).await.map(|_| ()),
    };
    let should = cond.holds(old.as_ref().map(|item| &item.doc));
    match result {
        Ok(()) => w.holds(&format!("{what} must conflict"), should),
        Err(CommitError::Conflict { which, old: found }) => {
            w.holds(&format!("{what} must not conflict"), !should);
            w.same(&what, (which, found.map(|item| *item)), (0, old.clone()));
        }
        Err(other) => w.ok(&what, Err(other)),
    }
    w.same(&format!("{what}: the item afterwards"), w.get(&key).await, if should { after } else { old });
}

/// Same partition with another sort key, and the other way round.
async fn a_condition_sees_no_other_item(w: World) {
    let there = Key::new("P", "s");
    w.put_all(vec![item(&there, json!({"a": 1}))]).await;
    for key in [Key::new("P", "s2"), Key::new("P", "S"), Key::new("P2", "s"), Key::new("p", "s")] {
        let create = Write::create(item(&key, json!({"a": 2})));
        w.ok(&format!("create {key}"), w.store.commit(Unit::write(create)).await);
    }
    w.same("the first item", w.get(&there).await.map(|item| item.doc), Some(doc(json!({"a": 1}))));
}
