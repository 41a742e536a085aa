//! A caller that repeats whatever failed temporarily, as a wrapper: so the suite runs unchanged under the chaos layer.

use std::time::Duration;

use async_trait::async_trait;
use shared::{
    error::{Error, Result},
    store::{
        CommitError, Committed, Depth, DynQueues, DynStore, Enqueue, Found, Item, Key, Page, Query, Queue, Queues,
        Range, Read, Receipt, Received, Search, Source, Store, Unit, Write, log::Tail,
    },
};

const ATTEMPTS: usize = 100;

pub(crate) struct Retrying {
    pub(crate) store: DynStore,
    pub(crate) queues: DynQueues,
}

/// Both error types of the traits.
pub(crate) trait Temporary {
    fn is_temporary(&self) -> bool;
}

impl Temporary for Error {
    fn is_temporary(&self) -> bool {
        Error::is_temporary(self)
    }
}

impl Temporary for CommitError {
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_temporary())
    }
}

/// Calls until there is an answer that is not a temporary error.
pub(crate) async fn insist<T, E, F>(mut call: impl FnMut() -> F) -> Result<T, E>
where
    E: Temporary,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.is_temporary() && attempt < ATTEMPTS => attempt += 1,
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[async_trait]
impl Store for Retrying {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        insist(|| self.store.commit(unit.clone())).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        insist(|| self.store.transact(writes.clone())).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<()> {
        insist(|| self.store.write_many(writes.clone())).await
    }

    async fn get(&self, key: &Key, read: Read) -> Result<Option<Item>> {
        insist(|| self.store.get(key, read)).await
    }

    async fn batch_get(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>> {
        insist(|| self.store.batch_get(keys, read)).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        insist(|| self.store.query(query.clone())).await
    }

    async fn count(&self, source: Source, range: Range) -> Result<u64> {
        insist(|| self.store.count(source.clone(), range.clone())).await
    }

    async fn search(&self, search: Search) -> Result<Found> {
        insist(|| self.store.search(search.clone())).await
    }

    async fn tail(&self, log: &str) -> Result<Tail> {
        insist(|| self.store.tail(log)).await
    }

    async fn changed(&self, log: &str, seen: u64, wait: Duration) {
        self.store.changed(log, seen, wait).await;
    }

    async fn ready(&self) -> Result<()> {
        insist(|| Store::ready(&*self.store)).await
    }
}

#[async_trait]
impl Queues for Retrying {
    async fn send(&self, messages: Vec<Enqueue>) -> Result<()> {
        insist(|| self.queues.send(messages.clone())).await
    }

    async fn receive(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>> {
        insist(|| self.queues.receive(queue, max, wait)).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<()> {
        insist(|| self.queues.extend(receipt, visibility)).await
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        insist(|| self.queues.release(receipt, delay)).await
    }

    async fn delete(&self, receipt: &Receipt) -> Result<()> {
        insist(|| self.queues.delete(receipt)).await
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        insist(|| self.queues.depth(queue)).await
    }

    async fn dead_letters(&self, queue: Queue, max: usize) -> Result<Vec<Received>> {
        insist(|| self.queues.dead_letters(queue, max)).await
    }

    async fn bury(&self, receipt: &Receipt) -> Result<()> {
        insist(|| self.queues.bury(receipt)).await
    }

    async fn ready(&self) -> Result<()> {
        insist(|| Queues::ready(&*self.queues)).await
    }
}
