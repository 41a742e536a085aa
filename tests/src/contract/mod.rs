//! The contract of the storage traits `shared::store::{Cause, Store, Queues}`: what their documentation says, as tests. Every test
//! runs on SQLite and on DynamoDB + SQS, each in fair weather and under the chaos layer.
//!
//! A test is an `async fn(World)` named in a [`contract!`] list. It may use nothing but the traits; where the back ends may
//! differ, it asks [`World::can`]. What must not live here: tests of one back end alone; they stand beside that back end.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{
    clock::Millis,
    store::{
        CommitError, Cond, Doc, DynQueues, DynStore, Enqueue, Item, Key, Query, Queue, Received, Stamp, Write,
        log::{NewEntry, Writer},
        meter::Meter,
    },
};

mod backends;
mod chaos;
mod conditions;
mod dead_letters;
mod logs;
mod metered;
mod queries;
mod queues;
mod reopened;
mod retrying;
mod search;
mod transactions;
mod units;
mod waking;
mod writes;

pub(crate) use backends::{Backend, Home, Weather};

/// Makes a test of each named function on each back end: `contract::queries::sqlite::walks_in_pages`, and so on.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        contract!(@ sqlite, Sqlite, Fair: $($name),+);
        contract!(@ aws, Aws, Fair: $($name),+);
        contract!(@ sqlite_chaos, Sqlite, Chaos: $($name),+);
        contract!(@ aws_chaos, Aws, Chaos: $($name),+);
    };
    (@ $module:ident, $home:ident, $weather:ident: $($name:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    use $crate::contract::{Backend, Home, Weather, World};
                    let backend = Backend::new(Home::$home, Weather::$weather, stringify!($name));
                    super::$name(World::open(backend).await).await;
                }
            )+
        }
    };
}
pub(crate) use contract;

/// What a back end can do beyond, or not as strictly as, the traits say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Can {
    /// A unit happens as a whole or not at all.
    pub(crate) whole_units: bool,
    /// Messages come once, unless somebody gives them back.
    pub(crate) deliver_once: bool,
    /// The meter counts nothing but what the test does.
    pub(crate) exact_meter: bool,
    /// A search may go over any number of items.
    pub(crate) search_all: bool,
    /// Its time is that of [`World::clock`].
    pub(crate) turn_time: bool,
}

/// One fresh store with its queues, and everything that a test asks it with.
pub(crate) struct World {
    pub(crate) store: DynStore,
    pub(crate) queues: DynQueues,
    pub(crate) meter: Arc<Meter>,
    pub(crate) clock: Arc<backends::Shifted>,
    pub(crate) can: Can,
    backend: Backend,
}

impl World {
    pub(crate) async fn open(backend: Backend) -> Self {
        let meter = Arc::new(Meter::default());
        let (store, queues) = backend.open(&meter).await;
        Self { store, queues, meter, clock: backend.clock(), can: backend.can(), backend }
    }

    /// As after a restart: everything that was only in memory is gone.
    pub(crate) async fn reopen(self) -> Self {
        let Self { store, queues, backend, .. } = self;
        drop((store, queues));
        Self::open(backend).await
    }

    /// The same store as another process sees it, with a memory of its own. Not for SQLite, which belongs to one process.
    pub(crate) async fn another_process(&self) -> DynStore {
        self.backend.open_bare(&self.meter).await.0
    }

    /// The one assertion: says which back end (and seed), what was looked at, and both values.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that calls read as `same(what, is, should)`")]
    pub(crate) fn same<A: PartialEq<B> + fmt::Debug, B: fmt::Debug>(&self, what: &str, is: A, should: B) {
        assert!(is == should, "[{}] {what}\n      is: {is:?}\n  should: {should:?}", self.backend);
    }

    #[track_caller]
    pub(crate) fn holds(&self, what: &str, condition: bool) {
        assert!(condition, "[{}] {what}", self.backend);
    }

    /// The value, or a failure that names the back end.
    #[track_caller]
    pub(crate) fn ok<T, E: fmt::Debug>(&self, what: &str, result: Result<T, E>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => panic!("[{}] {what}: {error:?}", self.backend),
        }
    }

    /// For what the contract only promises after a while (indexes, depths): asks for five seconds until it is as it should.
    pub(crate) async fn soon<T, F>(&self, what: &str, should: T, mut ask: impl FnMut() -> F)
    where
        T: PartialEq + fmt::Debug,
        F: Future<Output = T>,
    {
        let start = Instant::now();
        loop {
            let is = ask().await;
            if is == should || start.elapsed() > Duration::from_secs(5) {
                return self.same(what, is, should);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn get(&self, key: &Key) -> Option<Item> {
        self.ok("get", self.store.get(key, shared::store::Read::Strong).await)
    }

    pub(crate) async fn put_all(&self, items: Vec<Item>) {
        self.ok("write_many", self.store.write_many(items.into_iter().map(Write::put).collect()).await);
    }

    /// All items of a query, page by page, and the sizes of the pages.
    pub(crate) async fn walk(&self, mut query: Query) -> (Vec<Item>, Vec<usize>) {
        let (mut items, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = self.ok("query", self.store.query(query.clone()).await);
            sizes.push(page.items.len());
            items.extend(page.items);
            query.skip = 0;
            query.after = page.next;
            if query.after.is_none() {
                return (items, sizes);
            }
            self.holds("a walk ends", sizes.len() < 2000);
        }
    }

    /// Takes and acknowledges messages until the queue has been empty for a moment. Second deliveries are left out.
    pub(crate) async fn drain(&self, queue: Queue) -> Vec<Received> {
        let mut all: Vec<Received> = Vec::new();
        let mut empty = 0;
        while empty < 3 {
            let batch = self.ok("receive", self.queues.receive(queue, 10, Duration::from_millis(100)).await);
            empty = if batch.is_empty() { empty + 1 } else { 0 };
            for message in batch {
                self.ok("delete", self.queues.delete(&message.receipt).await);
                if self.can.deliver_once || !all.iter().any(|known| known.body == message.body) {
                    all.push(message);
                }
            }
        }
        all
    }

    /// The keys of a log's entries, in order, after checking that their numbers have no gap.
    pub(crate) async fn log_keys(&self, log: &str) -> Vec<String> {
        let entries = self.ok("log::read", shared::store::log::read(&*self.store, log, 0, 100_000).await);
        for (expected, entry) in (1..).zip(&entries) {
            self.same("the numbers of a log", entry.seq, expected);
        }
        entries.into_iter().map(|entry| entry.body.key).collect()
    }
}

/// `{…}` as a document.
pub(crate) fn doc(value: Value) -> Doc {
    match value {
        Value::Object(doc) => doc,
        other => panic!("not an object: {other}"),
    }
}

pub(crate) fn item(key: &Key, value: Value) -> Item {
    Item { key: key.clone(), index: None, ttl: None, doc: doc(value) }
}

pub(crate) fn entry(key: impl Into<String>) -> NewEntry {
    NewEntry {
        key: key.into(),
        kind: "test".into(),
        at: Millis(1_700_000_000_000),
        chat: Some("c1".into()),
        message: None,
        data: json!({"x": 1}),
        delta: None,
        history: Vec::new(),
    }
}

pub(crate) fn append(log: &str, writer: Writer, keys: &[&str]) -> shared::store::Append {
    let entries = keys.iter().map(|key| entry(*key)).collect();
    shared::store::Append { log: log.into(), writer, entries, look_from: None }
}

/// A message with `{"n": n}` whose deduplication id is its own.
pub(crate) fn message(queue: Queue, group: &str, n: u64) -> Enqueue {
    Enqueue {
        queue,
        group: group.into(),
        dedup: format!("{group}/{n}"),
        body: doc(json!({"n": n})),
        delay: Duration::ZERO,
        stamp: None,
    }
}

/// The `n` of a message that [`message`] made.
pub(crate) fn number(received: &Received) -> u64 {
    received.body.get("n").and_then(Value::as_u64).expect("made by message()")
}

/// What every consumer does with a job that must leave one row, one log entry and one message, however often it comes: the
/// gate is a create that is stamped with the entry's number; who finds it there looks in the log from that number.
pub(crate) async fn deliver(
    store: &DynStore,
    log: &str,
    job: &str,
    writer: Writer,
    done: Option<shared::store::Receipt>,
) -> Result<u64, CommitError> {
    let gate = Write {
        op: shared::store::Op::Put(item(&Key::new(format!("JOB#{log}"), job), json!({"job": job}))),
        cond: Cond::Absent,
        stamp: Some(("seq".into(), Stamp::FIRST)),
    };
    let enqueue = Enqueue { stamp: Some(Stamp::FIRST), ..message(Queue::Dispatch, log, 0) };
    let enqueue = Enqueue { dedup: job.into(), body: doc(json!({"job": job})), ..enqueue };
    let mut unit = shared::store::Unit {
        writes: vec![gate],
        append: vec![append(log, writer, &[job])],
        enqueue: vec![enqueue],
        done: done.map(shared::store::Cause::Message),
    };
    match store.commit(unit.clone()).await {
        Err(CommitError::Conflict { which: 0, old: Some(old) }) => {
            unit.writes.clear();
            unit.append[0].look_from = old.u64("seq");
            Ok(store.commit(unit).await?.first())
        }
        other => Ok(other?.first()),
    }
}
