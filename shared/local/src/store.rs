//! The trait [`Store`] on SQLite. A point read takes microseconds and is done where it is asked for; what may take longer
//! goes to a blocking thread.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use shared::{
    Error, Result,
    store::{
        CommitError, Committed, Cond, Found, Item, Key, Page, Query, Range, Read, Search, Source, Store, Unit, Write,
        log,
        meter::{self, Used},
    },
};

use crate::{
    items, query,
    readers::Readers,
    search,
    sqlite::Sqlite,
    tails,
    unit::{Kind, Prepared},
};

/// Items that a query may want to be done in place.
const SHORT: usize = 50;
/// Writes of `write_many` in one unit.
const PORTION: usize = 500;
/// Items in one transaction, as on DynamoDB.
const MAX_TRANSACTION: usize = 100;
/// Keys in one batch of reads, as on DynamoDB.
const MAX_BATCH_GET: usize = 100;
/// How long the writer may take to show that it is alive.
const ALIVE: Duration = Duration::from_secs(5);

impl Sqlite {
    /// Runs a read that may be long.
    async fn long<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _permit = self.long_reads.acquire().await.map_err(Error::unavailable)?;
        let readers: Arc<Readers> = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || read(&*readers.take()?)).await.map_err(Error::unavailable)?
    }
}

fn read_of(item: Option<&Item>, read: Read) -> u64 {
    meter::read_half_units(item.map_or(0, meter::bytes), read == Read::Strong)
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.submit_unit(Prepared::new(unit)?).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        if writes.len() > MAX_TRANSACTION {
            return Err(Error::internal(format!("a transaction of {} writes", writes.len())).into());
        }
        let mut keys: Vec<&Key> = writes.iter().map(Write::key).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::internal(format!("a transaction names {} twice", twice[0])).into());
        }
        self.submit_unit(Prepared::writes(writes, Kind::Transaction)?).await.map(drop)
    }

    async fn write_many(&self, mut writes: Vec<Write>) -> Result<()> {
        if writes.iter().any(|write| write.cond != Cond::Always || write.stamp.is_some()) {
            return Err(Error::internal("write_many takes neither conditions nor stamps"));
        }
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(PORTION));
            let portion = std::mem::replace(&mut writes, rest);
            self.submit_unit(Prepared::writes(portion, Kind::Many)?).await?;
        }
        Ok(())
    }

    async fn get(&self, key: &Key, read: Read) -> Result<Option<Item>> {
        let item = items::get(&*self.readers.take()?, key)?;
        let read_half_units = read_of(item.as_ref(), read);
        self.meter.record("get", Used { requests: 1, read_half_units, write_units: 0 });
        Ok(item)
    }

    async fn batch_get(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>> {
        let get_all = |conn: &rusqlite::Connection, keys: &[Key]| {
            keys.iter().map(|key| items::get(conn, key)).collect::<Result<Vec<_>>>()
        };
        let found = if keys.len() > SHORT {
            let keys = keys.to_vec();
            self.long(move |conn| get_all(conn, &keys)).await?
        } else {
            get_all(&*self.readers.take()?, keys)?
        };
        let read_half_units = found.iter().map(|item| read_of(item.as_ref(), read)).sum();
        let requests = keys.len().div_ceil(MAX_BATCH_GET) as u64;
        self.meter.record("batch_get", Used { requests, read_half_units, write_units: 0 });
        Ok(found)
    }

    async fn query(&self, query: Query) -> Result<Page> {
        let (page, used) = if query.limit > SHORT || query.skip > 0 {
            self.long(move |conn| query::page(conn, &query)).await?
        } else {
            query::page(&*self.readers.take()?, &query)?
        };
        self.meter.record("query", used);
        Ok(page)
    }

    async fn count(&self, source: Source, range: Range) -> Result<u64> {
        let (count, used) = self.long(move |conn| query::count(conn, &source, &range)).await?;
        self.meter.record("count", used);
        Ok(count)
    }

    async fn search(&self, search: Search) -> Result<Found> {
        let (found, used) = self.long(move |conn| search::search(conn, &search)).await?;
        self.meter.record("search", used);
        Ok(found)
    }

    async fn tail(&self, log: &str) -> Result<log::Tail> {
        let used = Used { requests: 1, read_half_units: 2, write_units: 0 };
        self.meter.record("tail", used);
        match self.tails.get(log) {
            Some(tail) => Ok(tail),
            None => tails::read(&*self.readers.take()?, log),
        }
    }

    async fn changed(&self, log: &str, seen: u64, wait: Duration) {
        let watch = self.tails.watch(log);
        let grown = async {
            loop {
                let mut notified = std::pin::pin!(watch.notify.notified());
                // Listen first, then look: what comes between rings.
                notified.as_mut().enable();
                let tail = match self.tails.get(log) {
                    Some(tail) => Ok(tail),
                    None => self.readers.take().and_then(|reader| tails::read(&reader, log)),
                };
                match tail {
                    Ok(tail) if tail.seq > seen => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(log, %error, "a log's tail could not be read; waiting for the next entry")
                    }
                }
                notified.await;
            }
        };
        // Either way the caller reads the log.
        drop(tokio::time::timeout(wait, grown).await);
    }

    async fn ready(&self) -> Result<()> {
        self.readers.take()?.query_row("SELECT 1", [], |_| Ok(())).map_err(crate::sql)?;
        let alive = self.submit_unit(Prepared::new(Unit::default())?);
        tokio::time::timeout(ALIVE, alive).await.map_err(|_| Error::unavailable("the writer is stuck"))??;
        Ok(())
    }
}
