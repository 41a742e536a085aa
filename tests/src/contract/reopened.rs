//! What a restart finds: everything that was acknowledged.

use std::time::Duration;

use serde_json::json;
use shared::store::{
    Enqueue, Key, Query, Queue, Unit, Write,
    log::{Tail, Writer},
};

use super::{
    World, append, contract, item, message, number,
    queues::{next, send},
};

contract!(items_and_logs_are_there_again, messages_are_there_again, ids_are_remembered_over_a_restart);

async fn items_and_logs_are_there_again(w: World) {
    let one = |n: usize| item(&Key::new("P", format!("{n}")), json!({"n": n})).indexed("H", format!("{n}"));
    w.put_all((0..5).map(one).collect()).await;
    w.ok("delete", w.store.commit(Unit::write(Write::delete(one(0).key))).await);
    let unit = Unit { append: vec![append("i1", Writer::Owner { epoch: 3 }, &["a", "b"])], ..Unit::default() };
    w.ok("append", w.store.commit(unit).await);

    let w = w.reopen().await;
    let should: Vec<_> = (1..5).map(one).collect();
    w.same("the table", w.walk(Query::table("P")).await.0, should.clone());
    w.soon("the index", should, || async { w.walk(Query::index("H")).await.0 }).await;
    w.same("the tail", w.ok("tail", w.store.tail("i1").await), Tail { seq: 2, fence: 3 });
    let stale = Unit { append: vec![append("i1", Writer::Owner { epoch: 2 }, &["x"])], ..Unit::default() };
    w.holds("the fence holds", w.store.commit(stale).await.is_err());
    let next = Unit { append: vec![append("i1", Writer::Foreign, &["c"])], ..Unit::default() };
    w.same("the next number", w.ok("append", w.store.commit(next).await).first(), 3);
    w.same("the log", w.log_keys("i1").await, vec!["a", "b", "c"]);
}

async fn messages_are_there_again(w: World) {
    send(&w, (1..=4).map(|n| message(Queue::Jobs, "g", n))).await;
    send(&w, [Enqueue { delay: Duration::from_secs(2), ..message(Queue::Timers, "g", 1) }]).await;
    let first = next(&w, Queue::Jobs).await;
    w.ok("delete", w.queues.delete(&first.receipt).await);
    let second = next(&w, Queue::Jobs).await;
    // In flight at the end; on AWS it would stay invisible for two minutes.
    w.ok("extend", w.queues.extend(&second.receipt, Duration::from_secs(1)).await);

    let w = w.reopen().await;
    let again = next(&w, Queue::Jobs).await;
    if w.can.deliver_once {
        w.same("what was in flight", (number(&again), again.receives), (2, 2));
    }
    w.ok("release", w.queues.release(&again.receipt, Duration::ZERO).await);
    let rest: Vec<u64> = w.drain(Queue::Jobs).await.iter().map(number).filter(|n| *n > 1).collect();
    w.same("the rest", rest, vec![2, 3, 4]);
    w.same("the delayed one", number(&next(&w, Queue::Timers).await), 1);
}

async fn ids_are_remembered_over_a_restart(w: World) {
    send(&w, [message(Queue::Dispatch, "g", 1)]).await;
    w.same("messages", w.drain(Queue::Dispatch).await.len(), 1);
    let w = w.reopen().await;
    send(&w, [message(Queue::Dispatch, "g", 1), message(Queue::Dispatch, "g", 2)]).await;
    w.same("messages", w.drain(Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![2]);
}
