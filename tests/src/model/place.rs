//! Where actors do their work: in memory, or on a real store.

use std::cell::Cell;

use async_trait::async_trait;
use shared::store::log::{Tail, Writer};

/// Why something did not happen, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody with a higher epoch has taken over.
    Fenced,
    /// The answer got lost: it happened, or it did not.
    Lost,
}

/// Who acts, and the tail that it remembers, if it is one of those who remember.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) writer: Writer,
    pub(super) remembers: bool,
    pub(super) tail: Cell<Option<Tail>>,
}

/// An entry, as it is found afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) fence: u64,
    pub(super) key: String,
}

/// A process's way to the store. Each `await` may be the last thing that the process does.
#[async_trait(?Send)]
pub(super) trait Place {
    /// Raises the owner's epoch by one, and tells it.
    async fn take_over(&self) -> Result<u64, Trouble>;

    /// The unit of a job: its row, unless it is there, then these entries, as far as they are absent, then the message that
    /// tells of them. However often it is done, each entry is there once.
    async fn deliver(&self, who: &Who, job: &str, keys: &[String]) -> Result<(), Trouble>;

    /// Ends faults, for the last part of a run.
    fn calm(&self);

    /// Whether a job is acknowledged before its unit. A mutant.
    fn acknowledges_early(&self) -> bool {
        false
    }
}
