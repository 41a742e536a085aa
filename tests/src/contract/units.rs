//! The unit of work: its order, its stamps, what a conflict or a fence leaves, and that redoing it does nothing twice.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use shared::store::{
    Cause, Change, CommitError, Cond, Enqueue, Key, Queue, Receipt, Stamp, Unit, Write,
    log::{Tail, Writer},
};

use super::{World, append, contract, deliver, doc, item, message, number};

contract!(
    a_unit_does_all_of_it,
    stamps_point_at_any_entry,
    stamps_make_messages_different,
    a_conflict_ends_the_unit_at_that_write,
    a_fenced_unit_appends_sends_and_acknowledges_nothing,
    a_job_that_comes_again_changes_nothing,
    a_job_that_comes_many_times_at_once_has_one_entry,
    an_empty_unit_is_fine,
);

const OWNER: Writer = Writer::Owner { epoch: 1 };

/// A message in `Jobs`, received.
async fn some_job(w: &World) -> Receipt {
    w.ok("send", w.queues.send(vec![message(Queue::Jobs, "g", 1)]).await);
    let mut received = w.ok("receive", w.queues.receive(Queue::Jobs, 1, Duration::from_secs(5)).await);
    w.same("messages received", received.len(), 1);
    received.remove(0).receipt
}

async fn a_unit_does_all_of_it(w: World) {
    let [a, b, c] = ["a", "b", "c"].map(|sk| Key::new("P", sk));
    w.put_all(vec![item(&b, json!({"n": 1})), item(&c, json!({}))]).await;
    let unit = Unit {
        writes: vec![
            Write::create(item(&a, json!({"x": 1}))).stamped("seq", Stamp::FIRST),
            Write::update(b.clone(), Change::default().set("n", 2))
                .only_if(Cond::eq("n", 1))
                .stamped("at", Stamp::FIRST),
            Write::delete(c.clone()),
        ],
        append: vec![append("i1", OWNER, &["e1", "e2"])],
        enqueue: vec![Enqueue { stamp: Some(Stamp { append: 0, entry: 1 }), ..message(Queue::Dispatch, "g", 7) }],
        done: Some(Cause::Message(some_job(&w).await)),
    };
    let committed = w.ok("commit", w.store.commit(unit).await);
    w.same("numbers", committed.seqs, vec![vec![1, 2]]);
    w.same("created", w.get(&a).await.map(|item| item.doc), Some(doc(json!({"x": 1, "seq": 1}))));
    w.same("updated", w.get(&b).await.map(|item| item.doc), Some(doc(json!({"n": 2, "at": 1}))));
    w.same("deleted", w.get(&c).await, None);
    w.same("the log", w.log_keys("i1").await, vec!["e1", "e2"]);
    w.same("the tail", w.ok("tail", w.store.tail("i1").await), Tail { seq: 2, fence: 1 });
    let sent = w.drain(Queue::Dispatch).await;
    w.same(
        "sent",
        sent.iter().map(|message| message.body.clone()).collect::<Vec<_>>(),
        vec![doc(json!({"n": 7, "seq": 2}))],
    );
    if w.can.deliver_once {
        w.same("the job", w.drain(Queue::Jobs).await, vec![]);
        let depth = w.ok("depth", w.queues.depth(Queue::Jobs).await);
        w.same("what the job has left", (depth.in_flight, depth.dead), (0, 0));
    }
}

async fn stamps_point_at_any_entry(w: World) {
    for (log, keys) in [("i1", vec!["x"; 0]), ("i2", vec!["p", "q", "r"])] {
        if !keys.is_empty() {
            let unit = Unit { append: vec![append(log, OWNER, &keys)], ..Unit::default() };
            w.ok("append", w.store.commit(unit).await);
        }
    }
    let key = |sk: &str| Key::new("P", sk);
    let stamps = [(0, 0, 1), (0, 2, 3), (1, 0, 4), (1, 1, 5)];
    let unit = Unit {
        writes: stamps
            .iter()
            .map(|(append, entry, _)| {
                let stamp = Stamp { append: *append, entry: *entry };
                Write::create(item(&key(&format!("{append}{entry}")), json!({}))).stamped("at", stamp)
            })
            .collect(),
        append: vec![append("i1", OWNER, &["a", "b", "c"]), append("i2", Writer::Foreign, &["d", "e"])],
        ..Unit::default()
    };
    let committed = w.ok("commit", w.store.commit(unit).await);
    w.same("numbers", committed.seqs, vec![vec![1, 2, 3], vec![4, 5]]);
    for (append, entry, seq) in stamps {
        let stamped = w.get(&key(&format!("{append}{entry}"))).await;
        w.same("a stamp", stamped.map(|item| item.doc), Some(doc(json!({"at": seq}))));
    }
}

/// The sequence number becomes part of the deduplication id, so the same text under two numbers is two messages.
async fn stamps_make_messages_different(w: World) {
    for key in ["e1", "e2"] {
        let message = Enqueue { stamp: Some(Stamp::FIRST), ..message(Queue::Dispatch, "g", 1) };
        let unit = Unit { append: vec![append("i1", OWNER, &[key])], enqueue: vec![message], ..Unit::default() };
        w.ok("commit", w.store.commit(unit).await);
    }
    let mut plain = message(Queue::Dispatch, "g", 3);
    plain.dedup = "g/1/2".into();
    w.ok("send what the second one's id is", w.queues.send(vec![plain]).await);
    let bodies: Vec<_> = w.drain(Queue::Dispatch).await.into_iter().map(|message| message.body).collect();
    w.same("messages", bodies, vec![doc(json!({"n": 1, "seq": 1})), doc(json!({"n": 1, "seq": 2}))]);
}

async fn a_conflict_ends_the_unit_at_that_write(w: World) {
    let receipt = some_job(&w).await;
    for at in 0..4 {
        let key = |n: usize| Key::new(format!("P{at}"), format!("{n}"));
        let old = item(&key(at), json!({"old": true}));
        w.put_all(vec![old.clone()]).await;
        let unit = Unit {
            writes: (0..4).map(|n| Write::create(item(&key(n), json!({"n": n})))).collect(),
            append: vec![append("i1", OWNER, &["e"])],
            enqueue: vec![message(Queue::Dispatch, "g", 1)],
            done: Some(Cause::Message(receipt.clone())),
        };
        match w.store.commit(unit).await {
            Err(CommitError::Conflict { which, old: Some(found) }) => {
                w.same("the conflict", (which, *found), (at, old.clone()));
            }
            other => w.same("a unit with a conflict", format!("{other:?}"), format!("Conflict at {at}")),
        }
        for n in (0..4).filter(|n| *n != at) {
            let should = n < at && !w.can.whole_units;
            w.same(&format!("write {n} beside a conflict at {at}"), w.get(&key(n)).await.is_some(), should);
        }
        w.same("the old item", w.get(&key(at)).await, Some(old));
    }
    w.same("the log", w.log_keys("i1").await, Vec::<String>::new());
    w.same("messages", w.drain(Queue::Dispatch).await, vec![]);
    w.ok("release", w.queues.release(&receipt, Duration::ZERO).await);
    w.same("the job is still there", w.drain(Queue::Jobs).await.iter().map(number).collect::<Vec<_>>(), vec![1]);
}

async fn a_fenced_unit_appends_sends_and_acknowledges_nothing(w: World) {
    let owner = |epoch| Writer::Owner { epoch };
    let unit = Unit { append: vec![append("i1", owner(5), &["e5"])], ..Unit::default() };
    w.ok("the owner appends", w.store.commit(unit).await);
    let receipt = some_job(&w).await;
    let key = Key::new("P", "s");
    let unit = Unit {
        writes: vec![Write::create(item(&key, json!({}))).stamped("seq", Stamp::FIRST)],
        append: vec![append("i1", owner(4), &["e4"])],
        enqueue: vec![message(Queue::Dispatch, "g", 1)],
        done: Some(Cause::Message(receipt.clone())),
    };
    match w.store.commit(unit).await {
        Err(CommitError::Fenced { epoch: 4, fence: 5 }) => {}
        other => w.same("a stale owner's unit", format!("{other:?}"), "Fenced { epoch: 4, fence: 5 }"),
    }
    if w.can.whole_units {
        w.same("its write", w.get(&key).await, None);
    }
    w.same("the log", w.log_keys("i1").await, vec!["e5"]);
    w.same("messages", w.drain(Queue::Dispatch).await, vec![]);
    w.ok("release", w.queues.release(&receipt, Duration::ZERO).await);
    w.same("the job is still there", w.drain(Queue::Jobs).await.len(), 1);
}

async fn a_job_that_comes_again_changes_nothing(w: World) {
    for job in ["a", "b", "a", "c", "a", "b"] {
        w.ok("deliver", deliver(&w.store, "i1", job, OWNER, None).await);
    }
    w.same("the log", w.log_keys("i1").await, vec!["a", "b", "c"]);
    w.same("the number", w.ok("deliver", deliver(&w.store, "i1", "b", Writer::Foreign, None).await), 2);
    let mut sent = w.drain(Queue::Dispatch).await;
    sent.dedup_by(|later, earlier| later.body == earlier.body);
    w.same("messages", sent.len(), 3);
}

/// A consumer that hangs between the gate and the append, while another one redoes the job: only one of them may append.
async fn a_job_that_comes_many_times_at_once_has_one_entry(w: World) {
    for round in 0..8 {
        let log = format!("i{round}");
        let tasks = (0..24).map(|n| {
            let (store, log) = (w.store.clone(), log.clone());
            // Four jobs, six times each; every third time by the owner.
            let (job, writer) = (format!("job{}", n % 4), if n % 3 == 0 { OWNER } else { Writer::Foreign });
            tokio::spawn(async move { deliver(&store, &log, &job, writer, None).await.map(|seq| (job, seq)) })
        });
        let results = join_all(tasks).await;
        let mut keys = w.log_keys(&log).await;
        for result in results {
            let (job, seq) = w.ok("deliver", result.expect("no panic"));
            w.same("what has the number", keys.get(usize::try_from(seq).expect("small") - 1), Some(&job));
        }
        keys.sort_unstable();
        w.same("entries", keys, vec!["job0", "job1", "job2", "job3"]);
    }
}

async fn an_empty_unit_is_fine(w: World) {
    let committed = w.ok("commit", w.store.commit(Unit::default()).await);
    w.same("nothing", committed.seqs, Vec::<Vec<u64>>::new());
    let unit = Unit { append: vec![append("i1", OWNER, &[])], ..Unit::default() };
    w.same("no entries", w.ok("commit", w.store.commit(unit).await).seqs, vec![Vec::<u64>::new()]);
    w.same("the tail", w.ok("tail", w.store.tail("i1").await), Tail::default());
}
