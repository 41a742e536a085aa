//! What a worker owns, and whether it still does.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// Shard → the lowest epoch that its instances may be taken over with.
pub type Shards = Arc<BTreeMap<u16, u64>>;

/// A lease on shards. Losing a shard closes its sockets.
pub trait Lease: Send + Sync + 'static {
    /// The shards that are owned now, and every change of that.
    fn owned(&self) -> watch::Receiver<Shards>;

    /// Whether the lease on the shard certainly holds at this moment: its deadline, by the worker's own monotonic clock, is
    /// not past. Asked before every write to a socket, which no fence protects.
    fn valid(&self, shard: u16) -> bool;
}

/// The lease of the local home: the lock on `DATA_DIR`, which the process holds for as long as it lives. Every start takes all
/// instances over, so no floor is needed.
pub struct LocalLease {
    owned: watch::Sender<Shards>,
}

impl LocalLease {
    /// Owns shards 0 to `shards` - 1.
    pub fn new(shards: u16) -> Self {
        Self { owned: watch::Sender::new(Arc::new((0..shards).map(|shard| (shard, 0)).collect())) }
    }
}

impl Lease for LocalLease {
    fn owned(&self) -> watch::Receiver<Shards> {
        self.owned.subscribe()
    }

    fn valid(&self, _shard: u16) -> bool {
        true
    }
}
