//! The instance log on DynamoDB (protocol.md §2): reading the tail, appending behind it, waiting for it to grow.
//!
//! Every append is one put of the item behind the tail, if that is absent. A tail that this process remembers is only a
//! hint, and a safe one: it was really read or written, so its fence was checked, and the put succeeds only if nobody has
//! appended since, that is, if that fence is still the newest. When it fails, what is found there is the next tail, and the
//! fence is checked again before the next put.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared::{
    Error, Result,
    store::{
        Append, CommitError, Cond, Item, Key, Query, Read,
        log::{self, NewEntry, Tail},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{Aws, pause, write::Refused};

/// How long a remembered tail is believed. Far below the life of an entry: behind a tail whose successors have expired a put
/// would succeed and give out their numbers again.
const MEMORY: Duration = Duration::from_secs(600);
/// Logs remembered at once; beyond, the idle ones are forgotten.
const LOGS: usize = 4096;
/// Entries in doubt remembered per log.
const DOUBTS: usize = 1024;
/// Newest entries remembered per log, by key.
const RECENT: usize = 256;
/// Lost races per append, after which the caller shall try again later.
const RACES: u32 = 64;

/// What this process knows of the logs.
#[derive(Default)]
pub(crate) struct Logs(Mutex<HashMap<String, Arc<Log>>>);

/// What this process knows of one log.
#[derive(Default)]
pub(crate) struct Log {
    /// Held while appending: units of this process on one log queue up here instead of racing on DynamoDB.
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
    grown: Notify,
}

#[derive(Default)]
struct Memory {
    /// The newest tail seen, and when, by the monotonic clock.
    tail: Option<(Tail, Duration)>,
    /// Entries whose unit has not ended well: the sequence number from which to look for each before it is appended again.
    doubts: HashMap<String, u64>,
    /// The newest entries, without a gap, as far as this process wrote or met them: saves reading them for a look-up.
    recent: VecDeque<(u64, String)>,
}

impl Logs {
    fn of(&self, log: &str) -> Arc<Log> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(log) {
            return known.clone();
        }
        if all.len() >= LOGS {
            all.retain(|_, log| Arc::strong_count(log) > 1 || !log.memory().doubts.is_empty());
        }
        all.entry(log.to_owned()).or_default().clone()
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Log {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, now: Duration) -> Option<Tail> {
        self.memory().tail.filter(|(_, read)| now.saturating_sub(*read) < MEMORY).map(|(tail, _)| tail)
    }

    /// Takes note of a tail that was read or written.
    fn saw(&self, tail: Tail, now: Duration) {
        let mut memory = self.memory();
        let before = memory.tail.map_or(0, |(tail, _)| tail.seq);
        if tail.seq >= before {
            memory.tail = Some((tail, now));
        }
        drop(memory);
        if tail.seq > before {
            self.grown.notify_waiters();
        }
    }

    /// Takes note of the entries of an item that was written or met.
    fn met<'a>(&self, first: u64, keys: impl Iterator<Item = &'a str>) {
        let recent = &mut self.memory().recent;
        if recent.back().is_some_and(|(last, _)| last + 1 != first) {
            recent.clear();
        }
        recent.extend((first..).zip(keys.map(str::to_owned)));
        let surplus = recent.len().saturating_sub(RECENT);
        recent.drain(..surplus);
    }

    /// Where the wanted entries are among all entries from `from` to `to`, if all of those are remembered.
    fn recall(&self, from: u64, to: u64, wanted: &[&str]) -> Option<HashMap<String, u64>> {
        let recent = &self.memory().recent;
        let covered = recent.front()?.0 <= from && recent.back()?.0 >= to;
        let hits = recent.iter().filter(|(seq, key)| *seq >= from && wanted.contains(&key.as_str()));
        covered.then(|| hits.map(|(seq, key)| (key.clone(), *seq)).collect())
    }

    fn doubt(&self, entries: &[NewEntry], from: u64) {
        let mut memory = self.memory();
        if memory.doubts.len() + entries.len() > DOUBTS {
            memory.doubts.clear();
        }
        for entry in entries {
            memory.doubts.entry(entry.key.clone()).or_insert(from);
        }
    }

    /// From where to look for entries of this append before appending them: as the caller says, and as this process
    /// remembers of an earlier try that did not end well.
    fn look_from(&self, append: &Append) -> Option<u64> {
        let memory = self.memory();
        let doubts = append.entries.iter().filter_map(|entry| memory.doubts.get(&entry.key).copied());
        doubts.chain(append.look_from).min()
    }
}

impl Aws {
    /// Appends what is not there yet; gives the sequence number of each entry.
    ///
    /// `predicted` are the numbers that [`Aws::predict`] gave before the unit's writes. Whoever redoes the unit has seen those
    /// writes, so their entries cannot stand below; but from there on they may, if this caller was slow.
    pub(crate) async fn append(&self, append: &Append, predicted: Option<&[u64]>) -> Result<Vec<u64>, CommitError> {
        let log = self.logs.of(&append.log);
        let _turn = log.turn.lock().await;
        let mut tail = self.tail_hint(&append.log, &log).await?;
        let mut seqs: Vec<Option<u64>> = vec![None; append.entries.len()];
        // Every entry up to this one has been looked at, or is known not to be one of these.
        let predicted = predicted.and_then(|seqs| seqs.first().copied());
        let mut looked =
            log.look_from(append).into_iter().chain(predicted).min().map_or(tail.seq, |from| from.saturating_sub(1));
        let mut races = 0;
        loop {
            if looked < tail.seq {
                self.look_up(append, &log, looked + 1, tail.seq, &mut seqs).await?;
                looked = tail.seq;
            }
            let missing: Vec<usize> = (0..seqs.len()).filter(|at| seqs[*at].is_none()).collect();
            if missing.is_empty() {
                return Ok(seqs.into_iter().flatten().collect());
            }
            let fence = log::fence(tail, append.writer).map_err(|fence| fenced(append, fence))?;
            let first = tail.seq + 1;
            let entries: Vec<NewEntry> = missing.iter().map(|at| append.entries[*at].clone()).collect();
            let entries = &entries[..log::fitting(first, &entries)];
            let item = log::item(&append.log, first, fence, entries, self.clock.now())?;
            // Before the put, since this future may be dropped during it; taken back when the unit has ended well.
            log.doubt(entries, first);
            match self.put(&item, &Cond::Absent, "log.append").await {
                Ok(()) => {
                    for (seq, at) in (first..).zip(&missing[..entries.len()]) {
                        seqs[*at] = Some(seq);
                    }
                    log.met(first, entries.iter().map(|entry| entry.key.as_str()));
                    tail = Tail { seq: first + entries.len() as u64 - 1, fence };
                    looked = tail.seq;
                    races = 0;
                }
                // Somebody else was faster. What is there is the next tail, and may even be what we are about to append.
                Err(Refused::Condition(Some(next))) if races < 2 => {
                    races += 1;
                    tail = log::tail_of(&next);
                    let found = log::entries(*next)?;
                    log.met(first, found.iter().map(|entry| entry.body.key.as_str()));
                }
                // Far behind: read where the tail is rather than follow it put by put.
                Err(Refused::Condition(_)) if races < RACES => {
                    races += 1;
                    pause(races.min(3)).await;
                    tail = self.read_tail(&append.log, Read::Strong).await?;
                }
                Err(Refused::Condition(_)) => {
                    return Err(Error::unavailable(format!("log {}: lost too many races", append.log)).into());
                }
                Err(Refused::Failed(error)) => return Err(error.into()),
            }
            log.saw(tail, self.clock.monotonic());
        }
    }

    /// The unit has ended well: its entries are no longer in doubt.
    pub(crate) fn settle(&self, appends: &[Append]) {
        for append in appends {
            let log = self.logs.of(&append.log);
            let mut memory = log.memory();
            for entry in &append.entries {
                memory.doubts.remove(&entry.key);
            }
        }
    }

    /// Fails if a remembered tail already shows that the writer is stale. Saves the unit's writes; proves nothing otherwise.
    pub(crate) fn check_fence(&self, append: &Append) -> Result<(), CommitError> {
        let known = self.logs.of(&append.log).remembered(self.clock.monotonic()).unwrap_or_default();
        log::fence(known, append.writer).map(|_| ()).map_err(|fence| fenced(append, fence))
    }

    /// The numbers that the entries of these appends get if nobody else appends meanwhile. Never above the real ones, so that
    /// a look-up from them finds the entries.
    pub(crate) async fn predict(&self, appends: &[Append]) -> Result<Vec<Vec<u64>>> {
        let mut next: HashMap<&str, u64> = HashMap::new();
        let mut predicted = Vec::with_capacity(appends.len());
        for append in appends {
            let log = self.logs.of(&append.log);
            let first = match next.get(append.log.as_str()) {
                Some(first) => *first,
                None => self.tail_hint(&append.log, &log).await?.seq + 1,
            };
            let count = append.entries.len();
            let (seqs, after) = match log.look_from(append) {
                // Each may be found anywhere from there on, so that the next append cannot count on their room.
                Some(from) => (vec![from.min(first); count], first),
                None => ((first..).take(count).collect(), first + count as u64),
            };
            next.insert(&append.log, after);
            predicted.push(seqs);
        }
        Ok(predicted)
    }

    async fn tail_hint(&self, name: &str, log: &Log) -> Result<Tail> {
        match log.remembered(self.clock.monotonic()) {
            Some(tail) => Ok(tail),
            None => self.read_tail(name, Read::Strong).await,
        }
    }

    /// Reads where the log ends: the newest item of the bucket that the best hint points at, and on while a bucket is
    /// complete. The hint is a number that the log has certainly reached; it stands in for entries that have expired.
    pub(crate) async fn read_tail(&self, name: &str, read: Read) -> Result<Tail> {
        let log = self.logs.of(name);
        let mut tail = match log.remembered(self.clock.monotonic()) {
            Some(tail) => tail,
            None => self.reached(name, &log).await?,
        };
        let mut bucket = tail.seq / log::BUCKET;
        loop {
            let mut query: Query = log::newest_in(name, bucket);
            query.read = read;
            let newest: Option<Item> = self.read_page(query).await?.items.pop();
            if let Some(found) = newest.as_ref().map(log::tail_of)
                && found.seq >= tail.seq
            {
                tail = found;
            }
            let next = (tail.seq + 1) / log::BUCKET;
            if next == bucket {
                log.saw(tail, self.clock.monotonic());
                return Ok(tail);
            }
            bucket = next;
        }
    }

    /// A number that the log has reached, from what was dispatched and folded of it, with the owner's epoch as its fence.
    async fn reached(&self, name: &str, log: &Log) -> Result<Tail> {
        let old = log.memory().tail.map(|(tail, _)| tail).unwrap_or_default();
        let owner = self.get_item(&Key::new(format!("I#{name}"), "owner"), Read::Strong).await?;
        let Some(owner) = owner else { return Ok(old) };
        let seq = owner.u64("dispatchedUpto").max(owner.u64("foldedUpto")).unwrap_or(0);
        Ok(if seq > old.seq { Tail { seq, fence: owner.u64("epoch").unwrap_or(0) } } else { old })
    }

    /// Finds missing entries among those from `from` to `to`, the tail.
    async fn look_up(&self, append: &Append, log: &Log, from: u64, to: u64, seqs: &mut [Option<u64>]) -> Result<()> {
        let missing = append.entries.iter().zip(&*seqs).filter(|(_, seq)| seq.is_none());
        let wanted: Vec<&str> = missing.map(|(entry, _)| entry.key.as_str()).collect();
        let found = match log.recall(from, to, &wanted) {
            Some(found) => found,
            None => log::find(self, &append.log, from, &wanted).await?,
        };
        for (entry, seq) in append.entries.iter().zip(seqs) {
            *seq = seq.or_else(|| found.get(&entry.key).copied());
        }
        Ok(())
    }

    pub(crate) async fn wait_for_growth(&self, name: &str, seen: u64, wait: Duration) {
        let log = self.logs.of(name);
        let end = Instant::now() + wait;
        let mut interval = Duration::from_millis(100);
        loop {
            // Taken before the look, so that an append between look and wait is not missed.
            let grown = log.grown.notified();
            if log.remembered(self.clock.monotonic()).is_some_and(|tail| tail.seq > seen) {
                return;
            }
            // A failed read says nothing; the next one may.
            if self.read_tail(name, Read::Eventual).await.is_ok_and(|tail| tail.seq > seen) {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Other processes do not wake us, so look again now and then.
            if timeout(interval.min(left), grown).await.is_err() {
                interval = (interval * 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn fenced(append: &Append, fence: u64) -> CommitError {
    let epoch = match append.writer {
        log::Writer::Owner { epoch } => epoch,
        log::Writer::Foreign => 0,
    };
    CommitError::Fenced { epoch, fence }
}
