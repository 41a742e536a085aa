//! The one storage trait, in the shape of DynamoDB, with a unit of work. Domain code is written once over it; SQLite and
//! DynamoDB + SQS implement it and pass one contract suite (`tests/`), also under the chaos layer.
//!
//! What lives here: the vocabulary (keys, items, writes, conditions, units, queries, queues) and what every implementation
//! shares (the log's layout, capacity units, the chaos layer). What must not: a table of the domain; those are in [`keys`].

pub mod chaos;
mod items;
pub mod keys;
pub mod log;
pub mod meter;
mod queues;
mod reads;
pub mod search;
mod units;
mod writes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::{
    items::*,
    queues::*,
    reads::*,
    search::{Found, Search},
    units::*,
    writes::*,
};
use crate::error::Result;

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Does the unit (see [`Unit`]).
    ///
    /// Errors: [`CommitError::Conflict`] with the old item when a condition fails, [`CommitError::Fenced`] for a stale owner,
    /// a temporary `Store` error when the outcome may be unknown: the same unit can then be tried again.
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError>;

    /// All writes or none; at most 100, each of another item.
    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError>;

    /// Unconditional writes in no order, not atomic together.
    async fn write_many(&self, writes: Vec<Write>) -> Result<()>;

    async fn get(&self, key: &Key, read: Read) -> Result<Option<Item>>;

    /// In the order of the keys.
    async fn batch_get(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>>;

    async fn query(&self, query: Query) -> Result<Page>;

    /// Exact number of items in the range (eventually, on an index on AWS).
    async fn count(&self, source: Source, range: Range) -> Result<u64>;

    /// Items of a partition whose attribute [`search::ATTRIBUTE`] contains the keyword, page by page, and how many there are.
    ///
    /// SQLite answers from an index, at any size. DynamoDB has none: it reads the range (eventually consistent: what was
    /// stored within the last second may be missing), and refuses when that is more than 10 MB.
    ///
    /// Errors: invalid for a blank keyword; invalid with the code `SEARCH_TOO_BROAD` for a range that is too large to read.
    async fn search(&self, search: Search) -> Result<Found>;

    /// The newest entry of a log, read strongly: (seq, fence). (0, 0) for an empty log.
    async fn tail(&self, log: &str) -> Result<log::Tail>;

    /// Returns when the log may have grown beyond `seen`, or after `wait`.
    async fn changed(&self, log: &str, seen: u64, wait: Duration);

    /// Whether the store answers.
    async fn ready(&self) -> Result<()>;
}

pub type DynStore = Arc<dyn Store>;
pub type DynQueues = Arc<dyn Queues>;
