//! Capacity units: the same on both homes, and those that DynamoDB's documentation gives for the operation.

use serde_json::json;
use shared::store::{
    Change, CommitError, Cond, IndexKey, Item, Key, Query, Range, Read, Source, Stamp, Unit, Write, log::Writer,
    meter::bytes,
};

use super::{World, append, contract, item};

contract!(writes_cost_what_they_should, reads_cost_what_they_should, a_unit_costs_what_its_steps_do);

/// An item of just that many bytes, as DynamoDB counts them.
fn sized(sk: &str, size: usize) -> Item {
    let empty = item(&Key::new("P", sk), json!({"x": ""}));
    let text = "x".repeat(size - bytes(&empty));
    item(&empty.key, json!({ "x": text }))
}

/// What was used since the last call: (write units, half-units of reading). Nothing under chaos, which repeats.
async fn used(w: &World, what: &str, write_units: u64, read_half_units: u64) {
    let (details, total) = (w.meter.snapshot(), w.meter.total());
    w.meter.reset();
    if w.can.exact_meter {
        w.same(
            &format!("{what} {details:?}"),
            (total.write_units, total.read_half_units),
            (write_units, read_half_units),
        );
    }
}

async fn writes_cost_what_they_should(w: World) {
    let commit = |write: Write| async { w.store.commit(Unit::write(write)).await };
    let index = |hs: &str| Some(Some(IndexKey { h: "H".into(), hs: hs.into() }));
    let update = |sk: &str, change: Change| Write::update(Key::new("P", sk), change);
    w.put_all(vec![sized("3k", 3000)]).await;
    w.meter.reset();
    let steps = [
        ("a small put", Write::put(sized("a", 100)), 1),
        ("a create of 1024 bytes", Write::create(sized("b", 1024)), 1),
        ("a create of 1025 bytes", Write::create(sized("c", 1025)), 2),
        ("a create with an index entry", Write::create(sized("d", 500).indexed("H", "1")), 2),
        ("an update that leaves the index", update("d", Change::default().set("n", 1)), 1),
        ("an update that moves it", update("d", Change { index: index("2"), ..Change::default() }), 3),
        ("a put that takes it out", Write::put(sized("d", 500)), 2),
        ("a small change of 3 kB", update("3k", Change::default().set("n", 1)), 3),
        ("a small item instead of 3 kB", Write::put(sized("3k", 100)), 3),
        ("a delete of 2 kB", Write::delete(Key::new("P", "c")), 2),
        ("a delete of nothing", Write::delete(Key::new("P", "none")), 1),
        ("an update that creates", update("new", Change::default().add("n", 1)), 1),
    ];
    for (what, write, units) in steps {
        w.ok(what, commit(write).await);
        used(&w, what, units, 0).await;
    }
    w.put_all(vec![sized("x", 100), sized("y", 1500), sized("z", 100).indexed("H", "3")]).await;
    used(&w, "write_many of 1 + 2 + 2", 5, 0).await;

    let conflict = commit(Write::create(sized("y", 100))).await;
    w.holds("a create of what is there", matches!(conflict, Err(CommitError::Conflict { .. })));
    used(&w, "a refused create, beside an old item of 1.5 kB", 2, 0).await;

    let writes = vec![
        Write::put(sized("t", 100)),
        Write::update(Key::new("P", "y"), Change::default().set("n", 1)),
        Write::check(Key::new("P", "x"), Cond::Exists),
    ];
    w.ok("transact", w.store.transact(writes).await);
    used(&w, "a transaction costs twice: 1 + 2 + a check of 1", 8, 0).await;
}

async fn reads_cost_what_they_should(w: World) {
    let key = |sk: &str| Key::new("P", sk);
    w.put_all(vec![sized("4k", 4096), sized("5k", 5000), sized("s", 100)]).await;
    let row = |n: usize| Item { key: Key::new("Q", format!("{n:03}")), ..sized("-", 500) };
    w.put_all((0..100).map(row).collect()).await;
    w.meter.reset();
    for (sk, strong, eventual) in [("4k", 2, 1), ("5k", 4, 2), ("s", 2, 1), ("none", 2, 1)] {
        w.ok("get", w.store.get(&key(sk), Read::Strong).await);
        used(&w, &format!("a strong get of {sk}"), 0, strong).await;
        w.ok("get", w.store.get(&key(sk), Read::Eventual).await);
        used(&w, &format!("an eventual get of {sk}"), 0, eventual).await;
    }
    let keys = ["4k", "5k", "s", "none"].map(key);
    w.ok("batch_get", w.store.batch_get(&keys, Read::Strong).await);
    used(&w, "a batch costs as its gets", 0, 2 + 4 + 2 + 2).await;

    // A page is counted as a whole: 20 items of 502 bytes, and perhaps a look at the one behind them.
    w.ok("query", w.store.query(Query::table("Q").limit(20)).await);
    used(&w, "a page of 10 kB", 0, 6).await;
    w.ok("query", w.store.query(Query::table("none")).await);
    used(&w, "an empty page", 0, 2).await;
    w.ok("count", w.store.count(Source::Table("none".into()), Range::All).await);
    let count_of_nothing = w.meter.total();
    w.holds(
        &format!("a count of nothing: {count_of_nothing:?}"),
        !w.can.exact_meter || (1..=2).contains(&count_of_nothing.read_half_units),
    );
}

/// Sending costs 2 (message with index) + 1 (log): protocol.md's table.
async fn a_unit_costs_what_its_steps_do(w: World) {
    let owner = Writer::Owner { epoch: 1 };
    let unit = |n: u64| Unit {
        writes: vec![Write::create(sized(&format!("{n}"), 600).indexed("H", "1")).stamped("seq", Stamp::FIRST)],
        append: vec![append("i1", owner, &[&format!("e{n}")])],
        ..Unit::default()
    };
    w.ok("the first one reads the tail", w.store.commit(unit(0)).await);
    w.meter.reset();
    for n in 1..4 {
        w.ok("commit", w.store.commit(unit(n)).await);
        used(&w, "create with index and append", 3, 0).await;
    }
    let many: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
    let many = append("i1", owner, &many.iter().map(String::as_str).collect::<Vec<_>>());
    w.ok("commit", w.store.commit(Unit { append: vec![many], ..Unit::default() }).await);
    used(&w, "eight small entries in one item", 1, 0).await;
}
