//! The queues and the trait that every implementation of them passes the contract suite with.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Doc, Enqueue};
use crate::{clock::Millis, error::Result};

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

/// The message attribute that carries a group which a queue itself cannot: a standard queue has none, and SQS's are short.
pub const GROUP: &str = "group";

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
