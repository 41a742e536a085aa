//! The same actors on real stores, whose `commit` is the protocol's implementation: SQLite, SQLite in the order of AWS, and
//! DynamoDB with several processes.

use std::rc::Rc;

use async_trait::async_trait;
use serde_json::json;
use shared::store::{
    Change, CommitError, Cond, DynStore, Enqueue, Key, Op, Queue, Read, Stamp, Unit, Write,
    chaos::{Chaos, Faults},
    log,
};

use super::{
    check,
    place::{Found, Place, Trouble, Who},
    schedule::{Pace, Schedule},
};
use crate::contract::{Backend, Home, Weather, World, append, doc, item, message};

const LOG: &str = "i1";

/// One process's store, under chaos of its own.
struct Real {
    store: DynStore,
    chaos: std::sync::Arc<Chaos>,
}

impl Real {
    fn new(w: &World, store: DynStore, serial: bool, seed: u64) -> Rc<Self> {
        let faults = Faults { throttle: 0.02, applied: 0.04, serial, ..Faults::none() };
        let chaos = Chaos::new(store, w.queues.clone(), faults, seed);
        Rc::new(Self { store: chaos.clone(), chaos })
    }
}

fn trouble(error: &CommitError) -> Trouble {
    match error {
        CommitError::Fenced { .. } => Trouble::Fenced,
        CommitError::Conflict { .. } | CommitError::Store(_) => Trouble::Lost,
    }
}

#[async_trait(?Send)]
impl Place for Real {
    async fn take_over(&self) -> Result<u64, Trouble> {
        let key = Key::new(format!("I#{LOG}"), "owner");
        let old = self.store.get(&key, Read::Strong).await.map_err(|_| Trouble::Lost)?;
        let epoch = old.and_then(|item| item.u64("epoch")).unwrap_or(0) + 1;
        let raised = i64::try_from(epoch).map_err(|_| Trouble::Lost)?;
        let raise = Write::update(key, Change::default().set("epoch", epoch))
            .only_if(Cond::Any(vec![Cond::lacks("epoch"), Cond::lt("epoch", raised)]));
        self.store.commit(Unit::write(raise)).await.map_err(|error| trouble(&error))?;
        Ok(epoch)
    }

    async fn deliver(&self, who: &Who, job: &str, keys: &[String]) -> Result<(), Trouble> {
        let row = item(&Key::new(format!("JOB#{LOG}"), job), json!({}));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let tell = Enqueue { body: doc(json!({ "job": job })), dedup: job.into(), ..message(Queue::Dispatch, LOG, 0) };
        let mut unit = Unit {
            writes: vec![Write { op: Op::Put(row), cond: Cond::Absent, stamp: Some(("seq".into(), Stamp::FIRST)) }],
            append: vec![append(LOG, who.writer, &keys)],
            enqueue: vec![tell],
            done: None,
        };
        match self.store.commit(unit.clone()).await {
            Err(CommitError::Conflict { old: Some(old), .. }) => {
                unit.writes.clear();
                unit.append[0].look_from = old.u64("seq");
                self.store.commit(unit).await.map(|_| ()).map_err(|error| trouble(&error))
            }
            other => other.map(|_| ()).map_err(|error| trouble(&error)),
        }
    }

    fn calm(&self) {
        self.chaos.calm(true);
    }
}

async fn runs(home: Home, serial: bool, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let w = World::open(Backend::new(home, Weather::Fair, "model")).await;
        let mut places = vec![Real::new(&w, w.store.clone(), serial, seed)];
        if home == Home::Aws {
            // Several processes, each with what it remembers. SQLite belongs to one.
            for n in 1..4 {
                places.push(Real::new(&w, w.another_process().await, serial, seed + 1000 * n));
            }
        }
        let jobs = Schedule::new(seed, Pace::default()).run(places).await;
        let entries = w.ok("log::read", log::read(&*w.store, LOG, 0, 10_000).await);
        let entries: Vec<Found> = entries
            .into_iter()
            .map(|entry| Found { seq: entry.seq, fence: entry.fence, key: entry.body.key })
            .collect();
        w.same(&format!("seed {seed}: violations"), check::violations(&jobs, &entries, None), vec![]);
        let told = w.drain(Queue::Dispatch).await;
        for job in jobs {
            let name = json!(job.name);
            w.holds(
                &format!("seed {seed}: {name} was told"),
                told.iter().any(|one| one.body.get("job") == Some(&name)),
            );
        }
    }
}

#[tokio::test]
async fn the_protocol_holds_on_sqlite() {
    runs(Home::Sqlite, false, 0..12).await;
}

#[tokio::test]
async fn the_protocol_holds_on_sqlite_in_the_order_of_aws() {
    runs(Home::Sqlite, true, 0..12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_holds_on_aws() {
    runs(Home::Aws, false, 0..12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_holds_on_aws_step_by_step() {
    runs(Home::Aws, true, 0..12).await;
}
