//! What the lease's decisions ask for, what comes of it, and what is told of it.

use std::time::Duration;

use super::rows::{ShardRow, View};

/// A request that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first row.
    Join {
        worker: String,
        counter: u64,
    },
    Renew {
        worker: String,
        counter: u64,
        leaving: bool,
    },
    Look,
    Bury {
        worker: String,
        counter: u64,
    },
    Take {
        worker: String,
        shard: u16,
        seen: ShardRow,
        epoch: u64,
    },
    Clear {
        worker: String,
        shard: u16,
        epoch: u64,
    },
    /// The last write.
    Leave {
        worker: String,
    },
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// What [`Step::Look`] found.
    Seen(View),
    /// The condition does not hold.
    Refused,
    /// It happened, or it did not, or it will.
    Unknown,
}

/// Something worth a line in the log or a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    Joined,
    /// The lease ran out, or the row was deleted.
    Lost {
        shards: usize,
        buried: bool,
    },
    Buried {
        worker: String,
    },
    /// `gap`: how long nobody gave signs of life for the shard, as far as was seen.
    Took {
        shard: u16,
        epoch: u64,
        gap: Duration,
    },
    GaveBack {
        shard: u16,
    },
}
