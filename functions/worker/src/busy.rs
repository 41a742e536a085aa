//! Which shards have had commands lately: dead letters come of nothing else, so an idle deployment need not look for any.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A command becomes a dead letter at a receive that hands out nothing: after its last one at the latest when its visibility, which
/// may have been extended, is over, and others before it in its group are done.
const LATELY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<BTreeMap<u16, Instant>>);

impl Busy {
    /// The shard begins, or has received commands, or could not be looked at.
    pub(crate) fn heard(&self, shard: u16) {
        self.heard_at(shard, Instant::now());
    }

    fn heard_at(&self, shard: u16, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, at);
    }

    /// Those of the shards that were heard of lately.
    pub(crate) fn lately(&self, shards: impl Iterator<Item = u16>) -> Vec<u16> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|_, at| at.elapsed() < LATELY);
        shards.filter(|shard| heard.contains_key(shard)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_forgotten_when_it_is_idle() {
        let busy = Busy::default();
        busy.heard(1);
        assert_eq!(busy.lately(0..3), [1]);
        let Some(before) = Instant::now().checked_sub(LATELY) else { return };
        busy.heard_at(1, before);
        assert!(busy.lately(0..3).is_empty());
    }
}
