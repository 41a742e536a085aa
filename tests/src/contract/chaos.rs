//! The chaos layer itself: its faults happen, come from the seed, and tear nothing that redelivery does not mend.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use shared::store::{
    CommitError, DynQueues, DynStore, Enqueue, Key, Query, Queue, Range, Source, Unit, Write,
    chaos::{Chaos, Fault, Faults},
    log::Writer,
};

use super::{Backend, Home, Weather, World, deliver, doc, item, message};

/// A SQLite world, and chaos over it.
async fn world(test: &str, faults: Faults) -> (World, Arc<Chaos>) {
    let w = World::open(Backend::new(Home::Sqlite, Weather::Fair, test)).await;
    let chaos = Chaos::new(w.store.clone(), w.queues.clone(), faults, w.backend.seed());
    (w, chaos)
}

fn both(chaos: &Arc<Chaos>) -> (DynStore, DynQueues) {
    (chaos.clone(), chaos.clone())
}

/// Takes the job, if it is there, and does it.
async fn consume(store: &DynStore, queues: &DynQueues) -> Result<(), CommitError> {
    let received = queues.receive(Queue::Jobs, 1, Duration::from_millis(50)).await?;
    for job in received {
        deliver(store, "i1", "job", Writer::Foreign, Some(job.receipt.clone())).await?;
    }
    Ok(())
}

/// A process that dies after each of its changes in turn leaves what the next one completes: one row, one entry, one message.
async fn every_stop_heals(faults: Faults, changes: usize) {
    for k in 0.. {
        let (w, chaos) = world("every_stop_heals", faults.clone()).await;
        let (store, queues) = both(&chaos);
        w.ok("send", queues.send(vec![message(Queue::Jobs, "g", 1)]).await);
        chaos.stop_after(Some(k));
        let first = consume(&store, &queues).await;
        let stopped = chaos.is_stopped();
        w.same(&format!("stopped after {k}: an error"), first.is_err(), stopped);
        chaos.resume();
        // The dead process's message becomes visible again.
        w.clock.advance(Queue::Jobs.visibility() + Duration::from_secs(1));
        w.ok("the next process", consume(&store, &queues).await);
        w.same(&format!("stopped after {k}: the log"), w.log_keys("i1").await, vec!["job"]);
        w.holds("the row", w.get(&Key::new("JOB#i1", "job")).await.is_some_and(|row| row.u64("seq") == Some(1)));
        w.same(&format!("stopped after {k}: messages"), w.drain(Queue::Dispatch).await.len(), 1);
        w.same(&format!("stopped after {k}: jobs left"), w.drain(Queue::Jobs).await.len(), 0);
        if !stopped {
            return w.same("stops that were tried", k, changes + 1);
        }
    }
}

#[tokio::test]
async fn every_stop_of_a_serial_unit_heals() {
    every_stop_heals(Faults { serial: true, ..Faults::none() }, 4).await;
}

#[tokio::test]
async fn every_stop_of_a_whole_unit_heals() {
    every_stop_heals(Faults::none(), 1).await;
}

#[tokio::test]
async fn after_a_stop_nothing_works_until_the_resume() {
    let (w, chaos) = world("after_a_stop", Faults::none()).await;
    let (store, queues) = both(&chaos);
    chaos.stop_after(Some(1));
    let put = || store.commit(Unit::write(Write::put(item(&Key::new("P", "s"), json!({})))));
    w.holds("the answer of the last change is lost", put().await.is_err());
    w.holds(
        "no reads",
        store.tail("i1").await.is_err() && store.get(&Key::new("P", "s"), shared::store::Read::Strong).await.is_err(),
    );
    w.holds(
        "no queues",
        queues.receive(Queue::Jobs, 1, Duration::ZERO).await.is_err() && queues.depth(Queue::Jobs).await.is_err(),
    );
    w.holds("the change itself happened", w.get(&Key::new("P", "s")).await.is_some());
    chaos.resume();
    w.ok("after the resume", put().await);
    w.same("counted", chaos.injected().get(&Fault::Stopped), Some(&5));
}

#[tokio::test]
async fn the_index_lags_and_catches_up() {
    let faults = Faults { index_lag: Duration::from_millis(400), ..Faults::none() };
    let (w, chaos) = world("the_index_lags", faults).await;
    let (store, _) = both(&chaos);
    let one = |n: u64| item(&Key::new("P", format!("{n:02}")), json!({"n": n})).indexed("H", format!("{n:02}"));
    for n in 0..40 {
        w.ok("put", store.commit(Unit::write(Write::put(one(n)))).await);
    }
    let seen = || async { w.ok("query", store.query(Query::index("H").limit(100)).await).items.len() };
    let at_once = seen().await;
    w.holds(&format!("{at_once} of 40 are seen at once"), at_once < 40);
    let count = w.ok("count", store.count(Source::Index("H".into()), Range::All).await);
    w.holds(&format!("{count} of 40 are counted"), count < 40);
    w.same("the table does not lag", w.ok("query", store.query(Query::table("P")).await).items.len(), 40);
    let page = w.ok("query", store.query(Query::index("H").limit(5)).await);
    w.holds("a page is full, or the last one", page.items.len() == 5 || page.next.is_none());
    w.soon("caught up", 40, seen).await;
    w.ok("put", store.commit(Unit::write(Write::put(one(7)))).await);
    w.same("what was there does not vanish", seen().await, 40);
}

#[tokio::test]
async fn the_same_seed_has_the_same_faults() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let (w, _) = world("the_same_seed", Faults::none()).await;
        let chaos = Chaos::new(w.store.clone(), w.queues.clone(), Faults::all(), seed);
        let mut outcomes = Vec::new();
        for n in 0..200 {
            let put = Write::put(item(&Key::new("P", format!("{n}")), json!({})));
            outcomes.push(both(&chaos).0.commit(Unit::write(put)).await.is_ok());
        }
        runs.push((outcomes, chaos.injected()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

/// Lost answers, throttles, duplicates, all at once: who repeats as the trait says ends with one of each.
#[tokio::test]
async fn everything_at_once_heals() {
    let (w, chaos) = world("everything_at_once", Faults { applied: 0.2, ..Faults::all() }).await;
    let (store, _) = both(&chaos);
    for round in 0..150 {
        let job = format!("job{}", round % 40);
        let mut attempts = 0;
        while let Err(error) = deliver(&store, "i1", &job, Writer::Foreign, None).await {
            w.holds(
                &format!("{error:?} is temporary"),
                matches!(&error, CommitError::Store(error) if error.is_temporary()),
            );
            attempts += 1;
            w.holds("it ends", attempts < 100);
        }
    }
    let keys = w.log_keys("i1").await;
    w.same("entries", keys, (0..40).map(|n| format!("job{n}")).collect::<Vec<_>>());
    w.same("messages", w.drain(Queue::Dispatch).await.len(), 40);
    for fault in [Fault::Throttle, Fault::Applied] {
        w.holds(&format!("{fault:?} happened"), chaos.injected().contains_key(&fault));
    }
}

#[tokio::test]
async fn messages_come_twice_and_acknowledgements_get_lost() {
    let (w, chaos) = world("messages_come_twice", Faults { duplicate: 0.5, ..Faults::none() }).await;
    let (_, queues) = both(&chaos);
    for queue in [Queue::Timers, Queue::Jobs] {
        let all = (0..30).map(|n| Enqueue { body: doc(json!({"n": n})), ..message(queue, "g", n) });
        w.ok("send", queues.send(all.collect()).await);
        let mut deliveries = 0;
        loop {
            let batch = w.ok("receive", queues.receive(queue, 10, Duration::from_millis(50)).await);
            if batch.is_empty() {
                break;
            }
            deliveries += batch.len();
            for received in batch {
                w.ok("delete", queues.delete(&received.receipt).await);
            }
        }
        w.holds(&format!("{queue:?}: {deliveries} deliveries of 30"), deliveries > 30);
        w.same("nothing is left", w.ok("depth", queues.depth(queue).await), shared::store::Depth::default());
    }
}

/// The layer costs nothing when it does nothing.
#[tokio::test]
async fn without_faults_it_is_transparent() {
    let (w, chaos) = world("without_faults", Faults::none()).await;
    let meter = Arc::clone(&w.meter);
    let (store, _) = both(&chaos);
    meter.reset();
    w.ok(
        "commit",
        store.commit(Unit::write(Write::create(item(&Key::new("P", "s"), json!({})).indexed("H", "1")))).await,
    );
    w.same("write units", meter.total().write_units, 2);
    w.same("reads", meter.total().read_half_units, 0);
    w.same("faults", chaos.injected().len(), 0);
}
