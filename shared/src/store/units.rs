//! The unit of work: writes, appends to logs, queue messages and an acknowledgement, and why one did not happen.

use std::time::Duration;

use super::{Doc, Item, Key, Queue, Receipt, Stamp, Write, log};
use crate::error::Error;

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

/// Writes, then appends, then queue messages, then the end of what caused it all.
///
/// On SQLite one transaction. On AWS this order, each step idempotent: a unit that stopped half-way is redone by whoever
/// finds `done` still there. So the first write is the gate; the others must be idempotent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    pub writes: Vec<Write>,
    pub append: Vec<Append>,
    pub enqueue: Vec<Enqueue>,
    pub done: Option<Cause>,
}

/// What caused a unit, and would cause it again: removed when everything else of the unit is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    Message(Receipt),
    /// The item under this key, whatever is in it.
    Row(Key),
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
