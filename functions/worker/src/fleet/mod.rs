//! The lease of a fleet: several workers share the shards of one store (protocol.md §2 and §5).
//!
//! | file | subject |
//! |---|---|
//! | `core`, `steps` | what is decided, without input or output |
//! | `rows` | the rows, and every write to them |
//! | `share` | who gets how many shards |
//! | `timing`, `time` | the durations and their order; the clock |
//!
//! Here the decisions meet the store: [`Fleet::run`] makes the requests, each beside the others, so that nothing that takes long
//! holds up the renewal. It writes to the store only, never to a queue, and runs on every implementation of it.

mod core;
mod rows;
mod share;
mod steps;
mod time;
mod timing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use shared::{
    app::AppState,
    store::{CommitError, DynStore, Item, Unit, Write},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::{
    core::Core,
    steps::{Answer, Note, Step},
};
pub use self::{
    time::{BootTime, Time},
    timing::Timing,
};
use crate::{
    backoff::chance,
    gauges,
    lease::{Hold, Lease, Shards},
};

/// What a fleet's lease needs.
pub struct Setup {
    pub store: DynStore,
    /// How many shards there are; the same for every worker.
    pub shards: u16,
    pub time: Arc<dyn Time>,
    pub timing: Timing,
    /// Makes names that no worker had before.
    pub names: Box<dyn Fn() -> String + Send + Sync>,
    /// Numbers in 0.0..1.0, for what is to happen at different times.
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Setup {
    /// For a worker of the app's deployment.
    pub fn of(app: &AppState) -> Self {
        let names = Arc::clone(app);
        Self {
            store: Arc::clone(&app.store),
            shards: app.config.worker_shards,
            time: Arc::new(BootTime),
            timing: Timing::default(),
            names: Box::new(move || names.ids.ulid()),
            chance: Box::new(chance),
        }
    }
}

/// This worker's place in its fleet.
pub struct Fleet {
    setup: Setup,
    core: Mutex<Core>,
    owned: watch::Sender<Shards>,
    /// Something happened that [`Fleet::run`] does not wait for otherwise.
    bell: Notify,
    over: CancellationToken,
}

impl Fleet {
    /// Nothing happens before [`Fleet::run`].
    pub fn new(setup: Setup) -> Arc<Self> {
        let core = Core::new(setup.timing, setup.shards, (setup.names)(), setup.time.now());
        Arc::new(Self {
            setup,
            core: Mutex::new(core),
            owned: watch::Sender::default(),
            bell: Notify::new(),
            over: CancellationToken::new(),
        })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this worker has renewed its lease recently.
    pub fn is_alive(&self) -> bool {
        let now = self.setup.time.now();
        self.core().is_valid(now)
    }

    /// Gives everything back and deletes this worker's row; returns when that is done. Whoever waits no longer leaves what is left
    /// to the others' watch.
    pub async fn leave(&self) {
        self.core().leave(self.setup.time.now());
        self.bell.notify_one();
        self.over.cancelled().await;
    }

    /// Joins the fleet, renews, takes and gives back, until [`Fleet::leave`] is done.
    pub async fn run(self: Arc<Self>) {
        let mut requests = FuturesUnordered::new();
        loop {
            let (steps, wake) = self.turn();
            for step in steps {
                requests.push(self.request(step));
            }
            let Some(wake) = wake else { break };
            tokio::select! {
                biased;
                Some((step, answer, sent)) = requests.next(), if !requests.is_empty() => {
                    let now = self.setup.time.now();
                    self.core().done(step, answer, sent, now, &self.setup.names);
                }
                () = self.bell.notified() => {}
                () = self.setup.time.sleep_until(wake) => {}
            }
        }
        self.over.cancel();
    }

    /// What is to be requested now, and when to look again; `None` at the end. Tells what has changed.
    fn turn(&self) -> (Vec<Step>, Option<Duration>) {
        let (steps, wake, notes, holds, workers, name) = {
            let mut core = self.core();
            let now = self.setup.time.now();
            let steps = core.poll(now, (self.setup.chance)());
            let wake = (!core.is_over_and_done()).then(|| core.wake_at().unwrap_or(now + self.setup.timing.look));
            (steps, wake, core.notes(), core.holds(), core.workers(now), core.name().to_owned())
        };
        gauges::fleet(holds.len(), workers);
        for note in notes {
            tell(&name, &note);
        }
        self.publish(holds);
        (steps, wake)
    }

    fn publish(&self, holds: BTreeMap<u16, Hold>) {
        self.owned.send_if_modified(|shards| {
            let changes = **shards != holds;
            if changes {
                *shards = Arc::new(holds);
            }
            changes
        });
    }

    /// Makes one request, within its time.
    async fn request(&self, step: Step) -> (Step, Answer, Duration) {
        let sent = self.setup.time.now();
        let answer = tokio::select! {
            biased;
            answer = self.ask(&step) => answer,
            () = self.setup.time.sleep_until(sent + self.setup.timing.patience) => Answer::Unknown,
        };
        (step, answer, sent)
    }

    async fn ask(&self, step: &Step) -> Answer {
        let write = match step {
            Step::Look => {
                return match rows::look(&*self.setup.store).await {
                    Ok(view) => Answer::Seen(view),
                    Err(error) => {
                        tracing::warn!(%error, "the fleet was not looked at");
                        Answer::Unknown
                    }
                };
            }
            Step::Join { worker, counter } => rows::join(worker, *counter),
            Step::Renew { worker, counter, leaving } => rows::renew(worker, *counter, *leaving),
            Step::Bury { worker, counter } => rows::bury(worker, *counter),
            Step::Take { worker, shard, seen, epoch } => rows::take(*shard, seen, worker, *epoch),
            Step::Clear { worker, shard, epoch } => rows::clear(*shard, worker, *epoch),
            Step::Leave { worker } => rows::leave(worker),
        };
        self.write(step, write).await
    }

    async fn write(&self, step: &Step, write: Write) -> Answer {
        match self.setup.store.commit(Unit::write(write)).await {
            Ok(_) => Answer::Done,
            Err(CommitError::Conflict { old, .. }) if happened_before(step, old.as_deref()) => Answer::Done,
            Err(CommitError::Conflict { .. } | CommitError::Fenced { .. }) => Answer::Refused,
            Err(CommitError::Store(error)) => {
                tracing::warn!(?step, %error, "a write of the fleet has failed");
                Answer::Unknown
            }
        }
    }
}

/// Whether a refused write finds what it wanted: an earlier try of it whose answer was lost, or somebody who did the same.
fn happened_before(step: &Step, old: Option<&Item>) -> bool {
    match step {
        Step::Join { counter, .. } | Step::Renew { counter, .. } => {
            old.is_some_and(|old| old.u64("counter") == Some(*counter))
        }
        Step::Bury { .. } | Step::Leave { .. } => old.is_none(),
        Step::Take { .. } | Step::Clear { .. } | Step::Look => false,
    }
}

fn tell(worker: &str, note: &Note) {
    match note {
        Note::Joined => tracing::info!(worker, "joined the fleet"),
        Note::Lost { shards, buried } => {
            gauges::lease_lost();
            tracing::warn!(worker, shards, buried, "the lease is lost");
        }
        Note::Buried { worker: dead } => {
            tracing::warn!(worker, dead, "a worker gave no signs of life, and is counted out")
        }
        Note::Took { shard, epoch, gap } => {
            gauges::lease_gap(*gap);
            let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(worker, shard, epoch, gap_ms, "took a shard");
        }
        Note::GaveBack { shard } => tracing::info!(worker, shard, "gave a shard back"),
    }
}

impl Lease for Fleet {
    fn owned(&self) -> watch::Receiver<Shards> {
        self.owned.subscribe()
    }

    fn valid(&self, shard: u16) -> bool {
        let now = self.setup.time.now();
        self.core().owns(shard, now)
    }

    fn left(&self, shard: u16) {
        self.core().left(shard);
        self.bell.notify_one();
    }
}
