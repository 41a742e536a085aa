//! A process's way to the store. Requests and answers take their time; some arrive seconds late, some twice, some never. A
//! request that is under way lands, whatever has become of who sent it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    Error, Result,
    store::{
        CommitError, Committed, Depth, Enqueue, Found, Item, Key, Page, Query, Queue, Queues, Range, Read, Receipt,
        Received, Search, Source, Store, Unit, Write, chaos::Dice, log::Tail,
    },
};
use tokio::sync::oneshot;

use super::{
    exec::{Pid, Reactor},
    rules::Rules,
    world::World,
};

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    Bad,
}

/// One process run's connection.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) world: Arc<World>,
    pub(super) reactor: Reactor,
    pub(super) dice: Arc<Mutex<Dice>>,
    pub(super) pid: Pid,
    pub(super) weather: Arc<Mutex<Weather>>,
    /// Nothing gets through.
    pub(super) cut: Arc<AtomicBool>,
    pub(super) rules: Rules,
}

/// What happens to one request.
struct Fate {
    there: Duration,
    back: Duration,
    arrives: bool,
    answered: bool,
    again: Option<Duration>,
    /// The sender is paused at just that moment.
    nap: Option<Duration>,
}

impl Wire {
    fn fate(&self) -> Fate {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let weather = *self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ms = |from: u64, to: u64| Duration::from_millis(from + dice.below(to - from));
        let (mut there, mut back) = (ms(1, 15), ms(1, 15));
        let cut = self.cut.load(Ordering::Relaxed);
        if weather == Weather::Fair && !cut {
            return Fate { there, back, arrives: true, answered: true, again: None, nap: None };
        }
        match dice.below(100) {
            0..3 => there = Duration::from_millis(100 + dice.below(2500)),
            3..5 => there = Duration::from_millis(3000 + dice.below(20_000)),
            5..8 => back = Duration::from_millis(100 + dice.below(4000)),
            _ => {}
        }
        // A cut hits a request on its way, or the answer on its way back.
        let arrives = if cut { dice.chance(0.1) } else { !dice.chance(0.01) };
        let answered = !cut && !dice.chance(0.01);
        let again = dice.chance(0.01).then(|| Duration::from_millis(dice.below(12_000)));
        let nap = dice.chance(0.0015).then(|| Duration::from_millis(dice.below(25_000)));
        Fate { there, back, arrives, answered, again, nap }
    }

    /// Sends a request. Without an answer this never returns: whoever does not want to wait for ever has to say so.
    async fn call<T: Send + 'static>(&self, act: impl Fn(&World, Pid) -> T + Send + 'static) -> T {
        let fate = self.fate();
        if let Some(nap) = fate.nap {
            self.reactor.nap(self.pid, nap);
        }
        let (send, answer) = oneshot::channel();
        let wire = self.clone();
        self.reactor.spawn(None, async move {
            wire.reactor.sleep(fate.there).await;
            if !fate.arrives {
                // Kept, so that the caller does not learn that it is lost.
                return std::future::pending().await;
            }
            let result = act(&wire.world, wire.pid);
            if let Some(again) = fate.again {
                let late = wire.clone();
                wire.reactor.spawn(None, async move {
                    late.reactor.sleep(again).await;
                    drop(act(&late.world, late.pid));
                });
            }
            if !fate.answered {
                return std::future::pending().await;
            }
            wire.reactor.sleep(fate.back).await;
            drop(send.send(result));
        });
        match answer.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The store and the queues of one place for processes; which run it belongs to changes.
#[derive(Default)]
pub(super) struct Place(Mutex<Option<Wire>>);

impl Place {
    pub(super) fn connect(&self, wire: Option<Wire>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wire;
    }

    fn wire(&self) -> Result<Wire> {
        let wire = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wire.ok_or_else(|| Error::internal("this place is not connected"))
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::internal("no part of these runs"))
}

#[async_trait]
impl Store for Place {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let wire = self.wire()?;
        if !wire.rules.lets_through(&unit) {
            return Ok(Committed::default());
        }
        let fenced = wire.rules.fence;
        wire.call(move |world, pid| world.commit(pid, &unit, fenced)).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        self.wire()?.call(move |world, _| world.transact(&writes)).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<()> {
        let unit = Unit { writes, ..Unit::default() };
        Ok(self.wire()?.call(move |world, pid| world.commit(pid, &unit, true)).await.map(drop)?)
    }

    async fn get(&self, key: &Key, _: Read) -> Result<Option<Item>> {
        let key = key.clone();
        Ok(self.wire()?.call(move |world, _| world.get(&key)).await)
    }

    async fn batch_get(&self, keys: &[Key], _: Read) -> Result<Vec<Option<Item>>> {
        let keys = keys.to_vec();
        Ok(self.wire()?.call(move |world, _| keys.iter().map(|key| world.get(key)).collect()).await)
    }

    async fn query(&self, query: Query) -> Result<Page> {
        Ok(self.wire()?.call(move |world, _| world.query(&query)).await)
    }

    async fn count(&self, _: Source, _: Range) -> Result<u64> {
        unused()
    }

    async fn search(&self, _: Search) -> Result<Found> {
        unused()
    }

    async fn tail(&self, log: &str) -> Result<Tail> {
        let log = log.to_owned();
        Ok(self.wire()?.call(move |world, _| world.tail(&log)).await)
    }

    async fn changed(&self, _: &str, _: u64, _: Duration) {}

    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// Nothing is queued in these runs: their instances have no webhooks, and no commands come.
#[async_trait]
impl Queues for Place {
    async fn send(&self, _: Vec<Enqueue>) -> Result<()> {
        Ok(())
    }

    async fn receive(&self, _: Queue, _: usize, _: Duration) -> Result<Vec<Received>> {
        unused()
    }

    async fn extend(&self, _: &Receipt, _: Duration) -> Result<()> {
        unused()
    }

    async fn release(&self, _: &Receipt, _: Duration) -> Result<()> {
        unused()
    }

    async fn delete(&self, _: &Receipt) -> Result<()> {
        unused()
    }

    async fn depth(&self, _: Queue) -> Result<Depth> {
        unused()
    }

    async fn dead_letters(&self, _: Queue, _: usize) -> Result<Vec<Received>> {
        unused()
    }

    async fn bury(&self, _: &Receipt) -> Result<()> {
        unused()
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}
