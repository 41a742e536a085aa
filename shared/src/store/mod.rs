//! The one storage trait, in the shape of DynamoDB, with a unit of work. Domain code is written once over it; SQLite and
//! DynamoDB + SQS implement it and pass one contract suite (`tests/`), also under the chaos layer.
//!
//! What lives here: the vocabulary (keys, items, writes, conditions, units, queries, queues) and what every implementation
//! shares (the log's layout, capacity units, the chaos layer). What must not: a table of the domain; those are in [`keys`].

pub mod chaos;
pub mod keys;
pub mod log;
pub mod meter;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    clock::Millis,
    error::{Error, Result},
};

pub type Doc = Map<String, Value>;

/// Partition and sort key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.pk, self.sk)
    }
}

/// Place of an item in the one sparse, keys-only index `hist`: partition `h`, order `hs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKey {
    pub h: String,
    pub hs: String,
}

/// A stored item: keys, an optional place in the index, an optional expiry, and a JSON document.
///
/// The attribute names `pk`, `sk`, `h`, `hs` and `ttl` are the store's and never appear in `doc`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub key: Key,
    pub index: Option<IndexKey>,
    /// Seconds since 1970. Expired items may still be returned by a store: readers that care check it.
    pub ttl: Option<i64>,
    pub doc: Doc,
}

impl Item {
    /// An item from anything that serialises to a JSON object.
    pub fn new(key: Key, body: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(body)? {
            Value::Object(doc) => Ok(Self { key, index: None, ttl: None, doc }),
            other => Err(Error::internal(format!("item {key} is not an object: {other}"))),
        }
    }

    #[must_use]
    pub fn indexed(mut self, h: impl Into<String>, hs: impl Into<String>) -> Self {
        self.index = Some(IndexKey { h: h.into(), hs: hs.into() });
        self
    }

    #[must_use]
    pub fn expires(mut self, at: Millis) -> Self {
        self.ttl = Some(at.seconds() + 1);
        self
    }

    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(Value::Object(self.doc.clone()))
            .map_err(|error| Error::internal(format!("item {} does not decode: {error}", self.key)))
    }

    /// Like [`Item::decode`], taking the document along.
    pub fn into<T: DeserializeOwned>(self) -> Result<T> {
        let Self { key, doc, .. } = self;
        T::deserialize(Value::Object(doc))
            .map_err(|error| Error::internal(format!("item {key} does not decode: {error}")))
    }

    pub fn u64(&self, attribute: &str) -> Option<u64> {
        self.doc.get(attribute).and_then(Value::as_u64)
    }

    pub fn str(&self, attribute: &str) -> Option<&str> {
        self.doc.get(attribute).and_then(Value::as_str)
    }
}

/// What must hold for a write to happen. Compares top-level attributes of the document with JSON scalars.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cond {
    #[default]
    Always,
    /// No such item. An item past its TTL still counts as there, unless the condition says otherwise.
    Absent,
    Exists,
    Eq(String, Value),
    Ne(String, Value),
    /// The attribute is there and a number lower than this.
    Lt(String, i64),
    Le(String, i64),
    Gt(String, i64),
    Has(String),
    Lacks(String),
    All(Vec<Cond>),
    Any(Vec<Cond>),
}

impl Cond {
    pub fn eq(attribute: &str, value: impl Into<Value>) -> Self {
        Self::Eq(attribute.to_owned(), value.into())
    }

    pub fn ne(attribute: &str, value: impl Into<Value>) -> Self {
        Self::Ne(attribute.to_owned(), value.into())
    }

    pub fn lt(attribute: &str, value: i64) -> Self {
        Self::Lt(attribute.to_owned(), value)
    }

    pub fn has(attribute: &str) -> Self {
        Self::Has(attribute.to_owned())
    }

    pub fn lacks(attribute: &str) -> Self {
        Self::Lacks(attribute.to_owned())
    }

    /// Whether the condition holds for the item as it is now. The reference that every implementation agrees with.
    pub fn holds(&self, old: Option<&Doc>) -> bool {
        let attribute = |name: &String| old.and_then(|doc| doc.get(name));
        let number = |name: &String| attribute(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "numbers in conditions are counters and times, far below 2^53")]
        match self {
            Self::Always => true,
            Self::Absent => old.is_none(),
            Self::Exists => old.is_some(),
            Self::Eq(name, value) => attribute(name) == Some(value),
            // As in DynamoDB: an absent attribute differs from every value.
            Self::Ne(name, value) => attribute(name) != Some(value),
            Self::Lt(name, value) => number(name).is_some_and(|n| n < *value as f64),
            Self::Le(name, value) => number(name).is_some_and(|n| n <= *value as f64),
            Self::Gt(name, value) => number(name).is_some_and(|n| n > *value as f64),
            Self::Has(name) => attribute(name).is_some(),
            Self::Lacks(name) => attribute(name).is_none(),
            Self::All(all) => all.iter().all(|cond| cond.holds(old)),
            Self::Any(any) => any.iter().any(|cond| cond.holds(old)),
        }
    }
}

/// A change of top-level attributes of one item; creates the item if it is not there and `cond` allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    pub set: Vec<(String, Value)>,
    pub remove: Vec<String>,
    /// Atomic addition. Only for counts that may be off by a retry: a repeated attempt adds twice.
    pub add: Vec<(String, i64)>,
    /// `Some(Some(_))` moves the item in the index, `Some(None)` takes it out, `None` leaves it.
    pub index: Option<Option<IndexKey>>,
    pub ttl: Option<i64>,
}

impl Change {
    #[must_use]
    pub fn set(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.set.push((attribute.to_owned(), value.into()));
        self
    }

    /// Sets the attribute, or removes it for `None`.
    #[must_use]
    pub fn set_or_remove(self, attribute: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    #[must_use]
    pub fn remove(mut self, attribute: &str) -> Self {
        self.remove.push(attribute.to_owned());
        self
    }

    #[must_use]
    pub fn add(mut self, attribute: &str, by: i64) -> Self {
        self.add.push((attribute.to_owned(), by));
        self
    }

    /// Applies the change to a document, as every implementation must.
    pub fn apply(&self, doc: &mut Doc) {
        for (name, value) in &self.set {
            doc.insert(name.clone(), value.clone());
        }
        for name in &self.remove {
            doc.remove(name);
        }
        for (name, by) in &self.add {
            let old = doc.get(name).and_then(Value::as_i64).unwrap_or(0);
            doc.insert(name.clone(), Value::from(old + by));
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Put(Item),
    Update(Key, Change),
    Delete(Key),
    /// Only the condition; in [`Store::transact`].
    Check(Key),
}

/// One write under a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub op: Op,
    pub cond: Cond,
    /// Writes the sequence number that entry `entry` of append `append` of the same unit gets (on AWS: is predicted to get)
    /// into this attribute, so that a redelivery knows where to look in the log.
    pub stamp: Option<(String, Stamp)>,
}

impl Write {
    pub fn put(item: Item) -> Self {
        Self { op: Op::Put(item), cond: Cond::Always, stamp: None }
    }

    /// Puts the item if there is none yet.
    pub fn create(item: Item) -> Self {
        Self { op: Op::Put(item), cond: Cond::Absent, stamp: None }
    }

    pub fn update(key: Key, change: Change) -> Self {
        Self { op: Op::Update(key, change), cond: Cond::Always, stamp: None }
    }

    pub fn delete(key: Key) -> Self {
        Self { op: Op::Delete(key), cond: Cond::Always, stamp: None }
    }

    pub fn check(key: Key, cond: Cond) -> Self {
        Self { op: Op::Check(key), cond, stamp: None }
    }

    #[must_use]
    pub fn only_if(mut self, cond: Cond) -> Self {
        self.cond = cond;
        self
    }

    #[must_use]
    pub fn stamped(mut self, attribute: &str, stamp: Stamp) -> Self {
        self.stamp = Some((attribute.to_owned(), stamp));
        self
    }

    pub fn key(&self) -> &Key {
        match &self.op {
            Op::Put(item) => &item.key,
            Op::Update(key, _) | Op::Delete(key) | Op::Check(key) => key,
        }
    }
}

/// Points at an entry of an append of the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub append: usize,
    pub entry: usize,
}

impl Stamp {
    /// The first entry of the first append, which most units mean.
    pub const FIRST: Self = Self { append: 0, entry: 0 };
}

/// Entries for one log. See [`log`] for the layout and the fence.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The log's name: the instance id.
    pub log: String,
    pub writer: log::Writer,
    pub entries: Vec<log::NewEntry>,
    /// Set on redelivery: look for each entry's `key` from this sequence number to the tail, and append only what is absent.
    pub look_from: Option<u64>,
}

/// A queue message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueue {
    pub queue: Queue,
    /// Order is kept within a group. Ignored by standard queues.
    pub group: String,
    /// The same id within five minutes is sent once. Ignored by standard queues. With `stamp`, `/{seq}` is appended.
    pub dedup: String,
    pub body: Doc,
    /// At most 15 minutes; standard queues only.
    pub delay: Duration,
    /// Writes the entry's sequence number into `body.seq`.
    pub stamp: Option<Stamp>,
}

/// Writes, then appends, then queue messages, then the acknowledgement of the message that caused it all.
///
/// On SQLite one transaction. On AWS this order, each step idempotent: a unit that stopped half-way is redone by whoever
/// holds `done` unacknowledged. So the first write is the gate; the others must be idempotent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    pub writes: Vec<Write>,
    pub append: Vec<Append>,
    pub enqueue: Vec<Enqueue>,
    pub done: Option<Receipt>,
}

impl Unit {
    pub fn write(write: Write) -> Self {
        Self { writes: vec![write], ..Self::default() }
    }
}

/// Sequence numbers of the appended entries: one list an append, in order. Entries that a look-up found already there have
/// the number that they were found under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    pub seqs: Vec<Vec<u64>>,
}

impl Committed {
    pub fn first(&self) -> u64 {
        self.seqs.first().and_then(|seqs| seqs.first()).copied().unwrap_or(0)
    }
}

/// Why a unit or transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Condition `which` does not hold; `old` is the item as it was found. On SQLite nothing of the unit happened; on AWS
    /// nothing after write `which`.
    #[error("write {which} conflicts with what is stored")]
    Conflict { which: usize, old: Option<Box<Item>> },
    /// The log has seen a higher owner epoch: the writer is no longer the owner. Nothing was appended.
    #[error("fenced: epoch {epoch} is behind {fence}")]
    Fenced { epoch: u64, fence: u64 },
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<CommitError> for Error {
    /// For callers that expect neither: a conflict is then a lost race (try again), a fence likewise.
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => error,
            other => Self::unavailable(other.to_string()),
        }
    }
}

/// Consistency of a read. Locally all reads are strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Strong,
    Eventual,
}

/// Part of a partition, by sort key, both ends inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Range {
    #[default]
    All,
    Prefix(String),
    /// From, to.
    Between(String, String),
}

impl Range {
    pub fn contains(&self, sort: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => sort.starts_with(prefix.as_str()),
            Self::Between(from, to) => from.as_str() <= sort && sort <= to.as_str(),
        }
    }
}

/// What a query reads: a partition of the table, or of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Items by `sk`.
    Table(String),
    /// Items by `hs`. Eventually consistent on AWS.
    Index(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub source: Source,
    pub range: Range,
    pub newest_first: bool,
    /// 1..=1000 items a page.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// Items to pass over, counted after `after`.
    pub skip: usize,
    /// Without documents: on the index that is all it holds. With: documents are fetched (strongly) for each index entry.
    pub keys_only: bool,
    pub read: Read,
}

impl Query {
    pub fn table(pk: impl Into<String>) -> Self {
        Self::of(Source::Table(pk.into()))
    }

    pub fn index(h: impl Into<String>) -> Self {
        Self::of(Source::Index(h.into()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            range: Range::All,
            newest_first: false,
            limit: 100,
            after: None,
            skip: 0,
            keys_only: false,
            read: Read::Strong,
        }
    }

    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.range = Range::Prefix(prefix.into());
        self
    }

    #[must_use]
    pub fn between(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.range = Range::Between(from.into(), to.into());
        self
    }

    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    #[must_use]
    pub fn skip(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

/// Where a page ended: the last item's sort value and key. Opaque to users (base64url of its JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// `sk` on the table, `hs` on the index.
    #[serde(rename = "s")]
    pub sort: String,
    #[serde(rename = "k")]
    pub key: Key,
}

impl Cursor {
    pub fn encode(&self) -> String {
        use base64::Engine as _;
        let json = serde_json::to_vec(self).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }

    /// `None` for anything that `encode` did not make.
    pub fn decode(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Item>,
    /// `None` when there is nothing more.
    pub next: Option<Cursor>,
}

/// The queues. FIFO ones keep order within a group and drop duplicates; standard ones can delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// What a worker shall do; group = instance. One queue a shard. FIFO.
    Commands(u16),
    /// Webhook dispatch; group = endpoint and chat. FIFO.
    Dispatch,
    /// Background work; group = whatever must stay in order. FIFO.
    Jobs,
    /// Wake me later: webhook retries, scheduled sends. Standard.
    Timers,
}

impl Queue {
    pub fn is_fifo(self) -> bool {
        self != Self::Timers
    }

    /// Name without prefix; FIFO suffixes are the implementation's business.
    pub fn name(self) -> String {
        match self {
            Self::Commands(shard) => format!("commands-{shard}"),
            Self::Dispatch => "dispatch".into(),
            Self::Jobs => "jobs".into(),
            Self::Timers => "timers".into(),
        }
    }

    /// After that many receives without an acknowledgement a message goes to the dead letters.
    pub fn max_receives(self) -> u32 {
        match self {
            Self::Commands(_) => 50,
            Self::Dispatch | Self::Jobs | Self::Timers => 20,
        }
    }

    /// How long a received message stays invisible unless it is extended.
    pub fn visibility(self) -> Duration {
        match self {
            Self::Commands(_) => Duration::from_secs(20),
            Self::Dispatch | Self::Timers => Duration::from_secs(60),
            Self::Jobs => Duration::from_secs(120),
        }
    }
}

/// Acknowledges, extends or gives back one received message. Opaque outside the implementation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub queue: Queue,
    pub handle: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub receipt: Receipt,
    pub body: Doc,
    pub group: String,
    /// 1 at the first delivery.
    pub receives: u32,
    pub sent_at: Millis,
}

impl Received {
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(T::deserialize(Value::Object(self.body.clone()))?)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    pub delayed: u64,
    pub in_flight: u64,
    pub dead: u64,
}

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

    /// The newest entry of a log, read strongly: (seq, fence). (0, 0) for an empty log.
    async fn tail(&self, log: &str) -> Result<log::Tail>;

    /// Returns when the log may have grown beyond `seen`, or after `wait`.
    async fn changed(&self, log: &str, seen: u64, wait: Duration);

    /// Whether the store answers.
    async fn ready(&self) -> Result<()>;
}

#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// Sends outside a unit. FIFO duplicates are dropped.
    async fn send(&self, messages: Vec<Enqueue>) -> Result<()>;

    /// Waits up to `wait` for messages, at most `max` (1..=10 on SQS). FIFO: in order within a group, and no group has
    /// messages with two receivers at once.
    async fn receive(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>>;

    /// Keeps the message invisible for that long from now.
    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<()>;

    /// Gives the message back; it is visible again after `delay`. FIFO: give back all later ones of the group, too.
    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()>;

    async fn delete(&self, receipt: &Receipt) -> Result<()>;

    async fn depth(&self, queue: Queue) -> Result<Depth>;

    /// Messages that were received too often, oldest first, without taking them out.
    async fn dead_letters(&self, queue: Queue, max: usize) -> Result<Vec<Received>>;

    /// Removes a dead letter for good.
    async fn bury(&self, receipt: &Receipt) -> Result<()>;

    async fn ready(&self) -> Result<()>;
}

pub type DynStore = Arc<dyn Store>;
pub type DynQueues = Arc<dyn Queues>;
