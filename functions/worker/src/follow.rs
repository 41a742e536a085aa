//! Has a running [`Shard`] for every shard of the lease. Shards end one beside the other: one that takes long holds up neither
//! the others nor the lease.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Context, dead::bury_dead, lease::Hold, shard, supervisor::Ending};

/// Pause before a shard whose task panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

struct Running {
    floor: u64,
    ending: Ending,
}

struct Follower {
    context: Arc<Context>,
    running: BTreeMap<u16, Running>,
    tasks: JoinSet<u16>,
}

/// Follows the lease until `stop`, then ends everything in good order.
pub(crate) async fn follow(context: Arc<Context>, stop: CancellationToken) {
    let mut owned = context.lease.owned();
    let mut bury = tokio::time::interval(context.settings.bury);
    bury.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut follower = Follower { context: Arc::clone(&context), running: BTreeMap::new(), tasks: JoinSet::new() };
    // Looks after dead letters beside the rest: the lease is followed meanwhile.
    let mut burying = JoinSet::new();
    loop {
        let shards = owned.borrow_and_update().clone();
        follower.compare(&shards);
        tokio::select! {
            () = stop.cancelled() => break,
            changed = owned.changed() => {
                if changed.is_err() {
                    // The lease is gone with its last shards: nothing may go on under it.
                    follower.compare(&BTreeMap::new());
                    break;
                }
            }
            Some(ended) = follower.tasks.join_next() => follower.ended(ended),
            Some(_) = burying.join_next() => {}
            _ = bury.tick(), if burying.is_empty() => {
                let (context, shards) = (Arc::clone(&context), context.busy.lately(shards.keys().copied()));
                burying.spawn(async move {
                    if let Err(error) = bury_dead(&context.app, &shards).await {
                        tracing::warn!(%error, "dead commands were not looked at");
                        shards.iter().for_each(|shard| context.busy.heard(*shard));
                    }
                });
            }
        }
    }
    for running in follower.running.values() {
        running.ending.stop.cancel();
    }
    while let Some(ended) = follower.tasks.join_next().await {
        follower.ended(ended);
        // Whatever is lost meanwhile ends at once.
        let shards = owned.borrow_and_update().clone();
        follower.end_lost(&shards);
    }
}

impl Follower {
    /// Starts, stops and drops what the lease says.
    fn compare(&mut self, shards: &BTreeMap<u16, Hold>) {
        self.end_lost(shards);
        for (shard, hold) in shards {
            match self.running.get(shard) {
                Some(running) if hold.leaving => running.ending.stop.cancel(),
                // What is left of an earlier tenure is still ending.
                Some(_) => {}
                None if hold.leaving => self.context.lease.left(*shard),
                None => self.start(*shard, hold.floor, Duration::ZERO),
            }
        }
    }

    fn end_lost(&self, shards: &BTreeMap<u16, Hold>) {
        for (shard, running) in &self.running {
            if shards.get(shard).is_none_or(|hold| hold.floor != running.floor) {
                running.ending.lost.cancel();
                running.ending.stop.cancel();
            }
        }
    }

    fn start(&mut self, shard: u16, floor: u64, after: Duration) {
        let ending = Ending::default();
        let (context, its) = (Arc::clone(&self.context), ending.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = its.stop.cancelled() => return shard,
                () = tokio::time::sleep(after) => {}
            }
            // A task of its own, so that a panic still tells whose it was.
            if let Err(error) = tokio::spawn(shard::run(context, shard, floor, its)).await {
                tracing::error!(shard, %error, "a shard ended badly");
            }
            shard
        });
        self.running.insert(shard, Running { floor, ending });
    }

    fn ended(&mut self, ended: Result<u16, tokio::task::JoinError>) {
        let shard = match ended {
            Ok(shard) => shard,
            Err(error) => {
                tracing::error!(%error, "a shard's keeper ended badly");
                return;
            }
        };
        let Some(running) = self.running.remove(&shard) else { return };
        if running.ending.stop.is_cancelled() {
            self.context.lease.left(shard);
        } else {
            // Nobody asked it to end.
            self.start(shard, running.floor, AFTER_PANIC);
        }
    }
}
