//! What a worker owns, and whether it still does.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// One owned shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The lowest epoch that the shard's instances may be taken over with. Another one means another tenure: what ran under the
    /// one before is over.
    pub floor: u64,
    /// To be ended in good order, for somebody else to take; [`Lease::left`] says when that is done.
    pub leaving: bool,
}

impl Hold {
    pub fn new(floor: u64) -> Self {
        Self { floor, leaving: false }
    }
}

/// The shards that are owned, those that are being given back included. A shard that is gone from here is lost: its sockets
/// close at once.
pub type Shards = Arc<BTreeMap<u16, Hold>>;

/// A lease on shards.
pub trait Lease: Send + Sync + 'static {
    /// The shards that are owned now, and every change of that.
    fn owned(&self) -> watch::Receiver<Shards>;

    /// Whether the lease on the shard certainly holds at this moment: its deadline, by the worker's own monotonic clock, is
    /// not past. Asked before every write to a socket, which no fence protects.
    fn valid(&self, shard: u16) -> bool;

    /// Nothing runs any more under a shard that was lost, or was to be given back. It is not owned again before.
    fn left(&self, shard: u16);
}

/// The lease of the local home: the lock on `DATA_DIR`, which the process holds for as long as it lives. Every start takes all
/// instances over, so no floor is needed.
pub struct LocalLease {
    owned: watch::Sender<Shards>,
}

impl LocalLease {
    /// Owns shards 0 to `shards` - 1.
    pub fn new(shards: u16) -> Self {
        let all = (0..shards).map(|shard| (shard, Hold::new(0))).collect();
        Self { owned: watch::Sender::new(Arc::new(all)) }
    }
}

impl Lease for LocalLease {
    fn owned(&self) -> watch::Receiver<Shards> {
        self.owned.subscribe()
    }

    fn valid(&self, _shard: u16) -> bool {
        true
    }

    fn left(&self, _shard: u16) {}
}
