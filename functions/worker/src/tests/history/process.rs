//! A worker process of a run: the real lease, and for each shard that it owns an owner that takes the shard's instance over and
//! writes under it, with the real functions of the domain: log entries, statuses, session values.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use shared::{
    app::AppState,
    connector::{Incoming, SessionStore as _},
    domain::{content::Content, owner::Owner},
    id::InstanceId,
    store::CommitError,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{exec::Reactor, net::Wire, world::instance_of};
use crate::{Fleet, Lease, Setup, Time};

/// How long an owner waits for one step.
const PATIENCE: Duration = Duration::from_secs(6);

/// A clock that goes a little too fast or too slow, from a start of its own.
pub(super) struct Skewed {
    pub(super) reactor: Reactor,
    /// Of the clock's seconds in a second.
    pub(super) rate: f64,
    pub(super) ahead: Duration,
}

impl Time for Skewed {
    fn now(&self) -> Duration {
        self.ahead + self.reactor.now().mul_f64(self.rate)
    }

    fn sleep_until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let span = at.saturating_sub(self.now()).div_f64(self.rate);
        // Timers are not exact.
        Box::pin(self.reactor.sleep(span + Duration::from_millis(1)))
    }
}

/// One run of a process.
pub(super) struct Process {
    pub(super) wire: Wire,
    pub(super) fleet: Arc<Fleet>,
    pub(super) place: usize,
    pub(super) leaving: bool,
}

impl Process {
    /// Starts it: `app` reaches the store by `wire`.
    pub(super) fn start(app: &AppState, shards: u16, place: usize, wire: Wire, clock: Skewed) -> Self {
        let (names, pid) = (AtomicU64::new(0), wire.pid);
        let dice = Arc::clone(&wire.dice);
        let fleet = Fleet::new(Setup {
            store: Arc::clone(&app.store),
            shards,
            time: Arc::new(clock),
            timing: wire.rules.timing(),
            names: Box::new(move || format!("w{pid:03}-{}", names.fetch_add(1, Ordering::Relaxed))),
            chance: Box::new(move || dice.lock().unwrap_or_else(PoisonError::into_inner).below(1000) as f64 / 1000.0),
        });
        wire.reactor.spawn(Some(pid), Arc::clone(&fleet).run());
        wire.reactor.spawn(Some(pid), follow(Arc::clone(app), Arc::clone(&fleet), wire.clone()));
        Self { wire, fleet, place, leaving: false }
    }

    /// SIGTERM.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            let fleet = Arc::clone(&self.fleet);
            self.wire.reactor.spawn(Some(self.wire.pid), async move { fleet.leave().await });
        }
    }
}

/// What runs under one shard.
struct Running {
    floor: u64,
    stop: CancellationToken,
}

/// Shards whose work has ended.
#[derive(Default)]
struct Ended {
    shards: Mutex<Vec<u16>>,
    bell: Notify,
}

/// As the worker does it: starts, stops, and tells what has ended.
async fn follow(app: AppState, fleet: Arc<Fleet>, wire: Wire) {
    let mut owned = fleet.owned();
    let mut running: BTreeMap<u16, Running> = BTreeMap::new();
    let ended: Arc<Ended> = Arc::default();
    loop {
        for shard in std::mem::take(&mut *ended.shards.lock().unwrap_or_else(PoisonError::into_inner)) {
            running.remove(&shard);
            fleet.left(shard);
        }
        let shards = owned.borrow_and_update().clone();
        for (shard, one) in &running {
            if shards.get(shard).is_none_or(|hold| hold.leaving || hold.floor != one.floor) {
                one.stop.cancel();
            }
        }
        for (shard, hold) in shards.iter() {
            if hold.leaving && !running.contains_key(shard) {
                fleet.left(*shard);
            } else if !running.contains_key(shard) {
                let stop = CancellationToken::new();
                let owner = Owning { app: Arc::clone(&app), fleet: Arc::clone(&fleet), wire: wire.clone() };
                let work = owner.run(*shard, hold.floor, stop.clone(), Arc::clone(&ended));
                wire.reactor.spawn(Some(wire.pid), work);
                running.insert(*shard, Running { floor: hold.floor, stop });
            }
        }
        let changed = std::pin::pin!(owned.changed());
        let _first = select(changed, std::pin::pin!(ended.bell.notified())).await;
    }
}

struct Owning {
    app: AppState,
    fleet: Arc<Fleet>,
    wire: Wire,
}

impl Owning {
    async fn run(self, shard: u16, floor: u64, stop: CancellationToken, ended: Arc<Ended>) {
        let work = async {
            self.own(shard, floor).await;
            std::future::pending::<()>().await;
        };
        let _first = select(std::pin::pin!(stop.cancelled()), std::pin::pin!(work)).await;
        // What was under way is dropped by now.
        ended.shards.lock().unwrap_or_else(PoisonError::into_inner).push(shard);
        ended.bell.notify_one();
    }

    /// `None`: no answer in time.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let late = std::pin::pin!(self.wire.reactor.sleep(PATIENCE));
        match select(std::pin::pin!(work), late).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) => None,
        }
    }

    fn below(&self, limit: u64) -> u64 {
        self.wire.dice.lock().unwrap_or_else(PoisonError::into_inner).below(limit)
    }

    async fn own(&self, shard: u16, floor: u64) {
        let id = InstanceId::new(instance_of(shard));
        let owner = loop {
            if !self.fleet.valid(shard) {
                return;
            }
            match self.patiently(Owner::take_over(Arc::clone(&self.app), &id, floor)).await {
                Some(Ok(Some(owner))) => break owner,
                Some(Ok(None) | Err(CommitError::Fenced { .. } | CommitError::Conflict { .. })) => return,
                Some(Err(CommitError::Store(_))) | None => {
                    self.wire.reactor.sleep(Duration::from_millis(200)).await;
                }
            }
        };
        for n in 0_u64.. {
            self.wire.reactor.sleep(Duration::from_millis(300 + self.below(6000))).await;
            if !self.fleet.valid(shard) {
                return;
            }
            let fenced = match self.below(4) {
                0 => self.patiently(owner.qr("a code")).await.is_some_and(|done| is_fenced(&done)),
                1 => {
                    let put = owner.session();
                    let put = self.patiently(put.put(vec![("key".into(), Some(vec![1]))])).await;
                    put.is_some_and(|done| done.is_err_and(|error| error.code == "FENCED"))
                }
                _ => {
                    let incoming = incoming(&format!("{}-{floor}-{n}", self.wire.pid));
                    self.patiently(owner.received(&incoming)).await.is_some_and(|done| is_fenced(&done))
                }
            };
            if fenced {
                return;
            }
        }
    }
}

fn is_fenced<T>(done: &Result<T, CommitError>) -> bool {
    matches!(done, Err(CommitError::Fenced { .. }))
}

fn incoming(id: &str) -> Incoming {
    Incoming {
        id: id.into(),
        chat: "15550100001@s.whatsapp.net".into(),
        sender: "15550100001@s.whatsapp.net".into(),
        from_me: false,
        push_name: "Ada".into(),
        is_group: false,
        content: Content::Text { text: "hello".into() },
        quoted: None,
        at: shared::clock::Millis(1_700_000_000_000),
        facts: serde_json::Value::Null,
    }
}
