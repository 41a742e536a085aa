//! Faults over the storage traits: what DynamoDB and SQS may do and emulators do not. Domain tests put it between themselves
//! and a real store, to prove that redelivery heals what a crash or a lost answer has torn.
//!
//! ```ignore
//! let chaos = Chaos::new(store, queues, Faults { serial: true, ..Faults::none() }, seed);
//! let (store, queues): (DynStore, DynQueues) = (chaos.clone(), chaos.clone());
//! for k in 0.. {
//!     chaos.stop_after(Some(k)); // the process dies after its k-th change …
//!     let died = work(&store, &queues).await.is_err();
//!     chaos.resume(); // … and another one finds what it has left
//!     …
//! }
//! ```
//!
//! Every decision comes from the seed, in the order of the calls: one caller at a time sees the same faults each time. What
//! must not live here: anything that a store promises. The inner store keeps its promises; this layer only takes away what
//! the traits do not promise.

mod faults;
mod serial;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
pub use faults::{Dice, Fault, Faults};
use tokio::time::Instant;

use super::{
    CommitError, Committed, Cursor, Depth, DynQueues, DynStore, Enqueue, Found, IndexKey, Item, Key, Op, Page, Query,
    Queue, Queues, Range, Read, Receipt, Received, Search, Source, Store, Unit, Write, log,
};
use crate::error::{Error, Result};

#[derive(Debug)]
struct State {
    dice: Dice,
    /// Faults by chance are off (a stop is not by chance).
    calm: bool,
    /// Changes until the stop.
    left: Option<usize>,
    stopped: bool,
    /// Index entries that queries do not see yet, and until when.
    young: HashMap<Key, (IndexKey, Instant)>,
    /// Second deliveries of standard queues.
    again: HashMap<Queue, VecDeque<Received>>,
    /// Handles whose message is no longer the caller's: second deliveries, and messages whose acknowledgement was lost.
    void: HashSet<String>,
    injected: BTreeMap<Fault, u64>,
}

/// Both traits over inner ones, with faults. See the module.
pub struct Chaos {
    store: DynStore,
    queues: DynQueues,
    faults: Faults,
    state: Mutex<State>,
}

impl Chaos {
    pub fn new(store: DynStore, queues: DynQueues, faults: Faults, seed: u64) -> Arc<Self> {
        let state = State {
            dice: Dice::new(seed),
            calm: false,
            left: None,
            stopped: false,
            young: HashMap::new(),
            again: HashMap::new(),
            void: HashSet::new(),
            injected: BTreeMap::new(),
        };
        Arc::new(Self { store, queues, faults, state: Mutex::new(state) })
    }

    /// The process dies after `changes` more changes: the call that made the last one, and all later ones, fail with a
    /// temporary error until [`Chaos::resume`]. A change is a step of a unit in serial mode, otherwise a call that writes.
    /// `Some(0)`: at once. `None`: never.
    pub fn stop_after(&self, changes: Option<usize>) {
        let mut state = self.state();
        state.left = changes;
        state.stopped = changes == Some(0);
    }

    /// Whether the stop was reached. Enumerations end at the first run that did not reach its stop.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// A new process: calls work again, and no stop is set.
    pub fn resume(&self) {
        self.stop_after(None);
    }

    /// Switches faults by chance off or on, for preparations and for the last look.
    pub fn calm(&self, calm: bool) {
        self.state().calm = calm;
    }

    /// How often each fault has happened so far: a test that saw none has proved nothing.
    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.state().injected.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when stopped, or else by chance.
    fn before(&self, fault: Fault) -> Result<()> {
        let probability = match fault {
            Fault::Conflict => self.faults.conflict,
            _ => self.faults.throttle,
        };
        let mut state = self.state();
        if state.stopped {
            return Err(state.inject(Fault::Stopped));
        }
        if !state.calm && state.dice.chance(probability) {
            return Err(state.inject(fault));
        }
        Ok(())
    }

    /// A change has happened: stops, or loses the answer by chance.
    fn after(&self) -> Result<()> {
        let mut state = self.state();
        if let Some(left) = state.left.as_mut() {
            *left = left.saturating_sub(1);
            state.stopped |= state.left == Some(0);
        }
        if state.stopped {
            return Err(state.inject(Fault::Stopped));
        }
        if !state.calm && state.dice.chance(self.faults.applied) {
            return Err(state.inject(Fault::Applied));
        }
        Ok(())
    }

    fn chance(&self, fault: Fault, probability: f64) -> bool {
        let mut state = self.state();
        let happens = !state.calm && state.dice.chance(probability);
        if happens {
            *state.injected.entry(fault).or_default() += 1;
        }
        happens
    }

    /// Hides the index entry that the write makes, for a while. An entry that stays where it was is not hidden.
    async fn lag(&self, write: &Write) -> Result<()> {
        let index = match &write.op {
            Op::Put(item) => item.index.clone(),
            Op::Update(_, change) => change.index.clone().flatten(),
            Op::Delete(_) | Op::Check(_) => None,
        };
        let Some(index) = index.filter(|_| self.faults.index_lag > Duration::ZERO) else { return Ok(()) };
        let old = self.store.get(write.key(), Read::Strong).await?;
        if old.and_then(|item| item.index).as_ref() == Some(&index) {
            return Ok(());
        }
        let mut state = self.state();
        if !state.calm {
            let lag = state.dice.below(u64::try_from(self.faults.index_lag.as_millis()).unwrap_or(u64::MAX));
            state.young.insert(write.key().clone(), (index, Instant::now() + Duration::from_millis(lag)));
            *state.injected.entry(Fault::Lag).or_default() += 1;
        }
        Ok(())
    }

    fn is_young(&self, item: &Item) -> bool {
        self.state().young.get(&item.key).is_some_and(|(index, _)| item.index.as_ref() == Some(index))
    }

    /// Whether the index partition of the source has entries that do not show yet.
    fn has_young(&self, source: &Source) -> bool {
        let Source::Index(h) = source else { return false };
        let now = Instant::now();
        let mut state = self.state();
        state.young.retain(|_, (_, until)| *until > now);
        state.young.values().any(|(index, _)| index.h == *h)
    }

    /// An index query that passes over young entries, and still fills its page.
    async fn query_without_young(&self, query: Query) -> Result<Page> {
        let mut seen = Vec::new();
        let mut inner = Query { skip: 0, limit: 1000, ..query.clone() };
        loop {
            let page = self.store.query(inner.clone()).await?;
            seen.extend(page.items.into_iter().filter(|item| !self.is_young(item)));
            inner.after = page.next;
            if inner.after.is_none() || seen.len() > query.skip + query.limit {
                break;
            }
        }
        let mut items: Vec<Item> = seen.into_iter().skip(query.skip).collect();
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        let next = items
            .last()
            .filter(|_| more)
            .and_then(|item| item.index.as_ref().map(|index| Cursor { sort: index.hs.clone(), key: item.key.clone() }));
        Ok(Page { items, next })
    }

    /// Deletes the message, unless its acknowledgement gets lost.
    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        if self.is_void(receipt) {
            return Ok(());
        }
        if receipt.queue.is_fifo() && self.chance(Fault::Duplicate, self.faults.duplicate) {
            self.state().void.insert(receipt.handle.clone());
            return self.queues.release(receipt, Duration::ZERO).await;
        }
        self.queues.delete(receipt).await
    }

    fn is_void(&self, receipt: &Receipt) -> bool {
        self.state().void.contains(&receipt.handle)
    }

    fn second_deliveries(&self, queue: Queue, max: usize) -> Vec<Received> {
        let mut state = self.state();
        let Some(waiting) = state.again.get_mut(&queue) else { return Vec::new() };
        let count = max.min(waiting.len());
        waiting.drain(..count).collect()
    }

    /// Standard queues: some of the messages will come once more.
    fn copy_some(&self, queue: Queue, received: &[Received]) {
        for message in received.iter().filter(|_| !queue.is_fifo()) {
            if self.chance(Fault::Duplicate, self.faults.duplicate) {
                let mut copy = message.clone();
                copy.receipt.handle = format!("again/{}", message.receipt.handle);
                let mut state = self.state();
                state.void.insert(copy.receipt.handle.clone());
                state.again.entry(queue).or_default().push_back(copy);
            }
        }
    }
}

impl State {
    fn inject(&mut self, fault: Fault) -> Error {
        *self.injected.entry(fault).or_default() += 1;
        Error::unavailable(match fault {
            Fault::Conflict => "chaos: another transaction is in progress",
            Fault::Throttle => "chaos: throttled",
            Fault::Applied => "chaos: applied, then timed out",
            Fault::Stopped => "chaos: stopped",
            Fault::Lag | Fault::Duplicate => "chaos: a fault that is not an error",
        })
    }
}

#[async_trait]
impl Store for Chaos {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.before(Fault::Throttle)?;
        if self.faults.serial {
            return self.serial(unit).await;
        }
        for write in &unit.writes {
            self.lag(write).await?;
        }
        let committed = self.store.commit(unit).await?;
        self.after()?;
        Ok(committed)
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        self.before(Fault::Conflict)?;
        for write in &writes {
            self.lag(write).await?;
        }
        self.store.transact(writes).await?;
        Ok(self.after()?)
    }

    /// Not atomic: a stop may come after each write.
    async fn write_many(&self, writes: Vec<Write>) -> Result<()> {
        self.before(Fault::Throttle)?;
        for write in &writes {
            self.lag(write).await?;
        }
        if self.state().left.is_none() {
            self.store.write_many(writes).await?;
            return self.after();
        }
        for write in writes {
            self.store.write_many(vec![write]).await?;
            self.after()?;
        }
        Ok(())
    }

    async fn get(&self, key: &Key, read: Read) -> Result<Option<Item>> {
        self.before(Fault::Throttle)?;
        self.store.get(key, read).await
    }

    async fn batch_get(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>> {
        self.before(Fault::Throttle)?;
        self.store.batch_get(keys, read).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        self.before(Fault::Throttle)?;
        if self.has_young(&query.source) {
            return self.query_without_young(query).await;
        }
        self.store.query(query).await
    }

    async fn count(&self, source: Source, range: Range) -> Result<u64> {
        self.before(Fault::Throttle)?;
        if !self.has_young(&source) {
            return self.store.count(source, range).await;
        }
        let Source::Index(h) = source else { return Ok(0) };
        let mut query = Query::index(h).keys_only().limit(1000);
        query.range = range;
        let mut count = 0;
        loop {
            let page = self.store.query(query.clone()).await?;
            count += page.items.iter().filter(|item| !self.is_young(item)).count() as u64;
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(count),
            }
        }
    }

    async fn search(&self, search: Search) -> Result<Found> {
        self.before(Fault::Throttle)?;
        self.store.search(search).await
    }

    async fn tail(&self, log: &str) -> Result<log::Tail> {
        self.before(Fault::Throttle)?;
        self.store.tail(log).await
    }

    async fn changed(&self, log: &str, seen: u64, wait: Duration) {
        self.store.changed(log, seen, wait).await;
    }

    async fn ready(&self) -> Result<()> {
        self.before(Fault::Throttle)?;
        Store::ready(&*self.store).await
    }
}

#[async_trait]
impl Queues for Chaos {
    async fn send(&self, messages: Vec<Enqueue>) -> Result<()> {
        self.before(Fault::Throttle)?;
        self.queues.send(messages).await?;
        self.after()
    }

    async fn receive(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>> {
        self.before(Fault::Throttle)?;
        let again = self.second_deliveries(queue, max);
        if !again.is_empty() {
            return Ok(again);
        }
        let received = self.queues.receive(queue, max, wait).await?;
        self.copy_some(queue, &received);
        Ok(received)
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<()> {
        self.before(Fault::Throttle)?;
        if self.is_void(receipt) {
            return Ok(());
        }
        self.queues.extend(receipt, visibility).await
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        self.before(Fault::Throttle)?;
        if self.is_void(receipt) {
            return Ok(());
        }
        self.queues.release(receipt, delay).await
    }

    async fn delete(&self, receipt: &Receipt) -> Result<()> {
        self.before(Fault::Throttle)?;
        self.acknowledge(receipt).await?;
        self.after()
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        self.before(Fault::Throttle)?;
        self.queues.depth(queue).await
    }

    async fn dead_letters(&self, queue: Queue, max: usize) -> Result<Vec<Received>> {
        self.before(Fault::Throttle)?;
        self.queues.dead_letters(queue, max).await
    }

    async fn bury(&self, receipt: &Receipt) -> Result<()> {
        self.before(Fault::Throttle)?;
        self.queues.bury(receipt).await
    }

    async fn ready(&self) -> Result<()> {
        self.before(Fault::Throttle)?;
        Queues::ready(&*self.queues).await
    }
}
