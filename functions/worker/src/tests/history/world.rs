//! The one store of a run, in memory: each request happens at one moment, as a whole. It keeps the history that is checked, and
//! notes what must not happen where it happens.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{
    Result,
    clock::Millis,
    store::{
        Append, CommitError, Committed, Cond, Doc, Item, Key, Op, Page, Query, Range, Source, Unit, Write,
        log::{self, Tail, Writer},
    },
};

use super::exec::Pid;

/// What must never be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Violation {
    /// A log entry, a status or session values under an epoch lower than one in the log.
    Lower { what: &'static str, instance: String, epoch: u64, fence: u64 },
    /// An instance was taken over from who got the shard later.
    TakenBack { instance: String },
    /// Two workers trust a lease on the same shard.
    Double { shard: u16 },
    /// Nobody serves a shard, long after the last misfortune.
    Abandoned { shard: u16 },
    /// A dead or sleeping worker's shard was not taken over in time.
    Late { shard: u16, ms: u128 },
    /// Parts differ by more than one.
    Unfair { parts: Vec<usize> },
}

#[derive(Default)]
struct State {
    items: BTreeMap<Key, Item>,
    tails: HashMap<String, Tail>,
    /// How often a shard was taken, and by whom it was taken as which.
    takes: HashMap<u16, u64>,
    taken: HashMap<(Pid, u16), u64>,
    /// As which taker of the shard its instance was last taken over.
    marked: HashMap<String, u64>,
    violations: BTreeSet<Violation>,
    writes: u64,
}

#[derive(Default)]
pub(super) struct World(Mutex<State>);

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, violation: Violation) {
        self.state().violations.insert(violation);
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.state().violations.iter().cloned().collect()
    }

    /// How many writes were done: a run in which nothing happens proves nothing.
    pub(super) fn writes(&self) -> u64 {
        self.state().writes
    }

    pub(super) fn get(&self, key: &Key) -> Option<Item> {
        self.state().items.get(key).cloned()
    }

    pub(super) fn tail(&self, log: &str) -> Tail {
        self.state().tails.get(log).copied().unwrap_or_default()
    }

    pub(super) fn query(&self, query: &Query) -> Page {
        let Source::Table(pk) = &query.source else { return Page::default() };
        let state = self.state();
        let from = match (&query.range, &query.after) {
            (_, Some(after)) => after.sort.clone(),
            (Range::Between(from, _) | Range::Prefix(from), None) => from.clone(),
            (Range::All, None) => String::new(),
        };
        let all = state.items.range(Key::new(pk.clone(), from)..).take_while(|(key, _)| key.pk == *pk);
        let found = all
            .filter(|(key, _)| query.range.contains(&key.sk))
            .filter(|(key, _)| query.after.as_ref().is_none_or(|after| key.sk > after.sort));
        let mut items: Vec<&Item> = found.map(|(_, item)| item).collect();
        if query.newest_first {
            items.reverse();
        }
        let items = items.into_iter().take(query.limit).cloned().collect();
        Page { items, next: None }
    }

    /// The unit, as a whole. `who` asks for it; `fenced`: the log's fence is looked at.
    pub(super) fn commit(&self, who: Pid, unit: &Unit, fenced: bool) -> Result<Committed, CommitError> {
        let mut state = self.state();
        state.check(&unit.writes)?;
        for append in &unit.append {
            state.fence(append, fenced)?;
        }
        for write in &unit.writes {
            state.watch(who, write);
            state.apply(write);
        }
        let mut committed = Committed::default();
        for append in &unit.append {
            committed.seqs.push(state.append(append, fenced)?);
        }
        Ok(committed)
    }

    pub(super) fn transact(&self, writes: &[Write]) -> Result<(), CommitError> {
        let mut state = self.state();
        state.check(writes)?;
        state.watch_session(writes);
        writes.iter().for_each(|write| state.apply(write));
        Ok(())
    }
}

impl State {
    fn tail(&self, append: &Append) -> Tail {
        self.tails.get(&append.log).copied().unwrap_or_default()
    }

    fn check(&self, writes: &[Write]) -> Result<(), CommitError> {
        for (which, write) in writes.iter().enumerate() {
            let old = self.items.get(write.key());
            if !write.cond.holds(old.map(|item| &item.doc)) {
                return Err(CommitError::Conflict { which, old: old.cloned().map(Box::new) });
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: &Write) {
        self.writes += 1;
        match &write.op {
            Op::Put(item) => {
                self.items.insert(item.key.clone(), item.clone());
            }
            Op::Update(key, change) => {
                let empty = || Item { key: key.clone(), index: None, ttl: None, doc: Doc::new() };
                change.apply(&mut self.items.entry(key.clone()).or_insert_with(empty).doc);
            }
            Op::Delete(key) => {
                self.items.remove(key);
            }
            Op::Check(_) => {}
        }
    }

    fn fence(&self, append: &Append, fenced: bool) -> Result<u64, CommitError> {
        match (log::fence(self.tail(append), append.writer), append.writer) {
            (Err(_), Writer::Owner { epoch }) if !fenced => Ok(epoch),
            (fence, _) => fence.map_err(|fence| CommitError::Fenced { epoch: 0, fence }),
        }
    }

    fn append(&mut self, append: &Append, fenced: bool) -> Result<Vec<u64>, CommitError> {
        let tail = self.tail(append);
        let fence = self.fence(append, fenced)?;
        self.lower("log entry", &append.log, fence);
        let there: HashMap<String, u64> = match append.look_from {
            None => HashMap::new(),
            Some(from) => {
                let mut found = HashMap::new();
                // Here every entry has an item of its own.
                let items = self.items.range(log::key(&append.log, from)..=log::key(&append.log, log::BUCKET - 1));
                for entry in items.map(|(_, item)| log::entries(item.clone())).collect::<Result<Vec<_>>>()?.concat() {
                    found.insert(entry.body.key, entry.seq);
                }
                found
            }
        };
        let mut at = tail.seq;
        let mut seqs = Vec::new();
        for entry in &append.entries {
            if let Some(seq) = there.get(&entry.key) {
                seqs.push(*seq);
                continue;
            }
            at += 1;
            seqs.push(at);
            let item = log::item(&append.log, at, fence, std::slice::from_ref(entry), Millis(0))?;
            self.items.insert(item.key.clone(), item);
            self.tails.insert(append.log.clone(), Tail { seq: at, fence });
        }
        Ok(seqs)
    }

    fn lower(&mut self, what: &'static str, instance: &str, epoch: u64) {
        let fence = self.tails.get(instance).copied().unwrap_or_default().fence;
        if epoch < fence {
            self.violations.insert(Violation::Lower { what, instance: instance.to_owned(), epoch, fence });
        }
    }

    /// Statuses, take-overs, and who takes which shard.
    fn watch(&mut self, who: Pid, write: &Write) {
        let Op::Update(key, change) = &write.op else { return };
        let set = |name: &str| change.set.iter().find(|(set, _)| set == name).map(|(_, value)| value);
        let epoch = set("epoch").and_then(serde_json::Value::as_u64);
        match (key.pk.strip_prefix("I#"), key.sk.as_str(), epoch) {
            (Some(instance), "meta", Some(epoch)) => self.lower("status", instance, epoch),
            (Some(instance), "owner", Some(_)) => {
                let order = shard_of(instance).and_then(|shard| self.taken.get(&(who, shard))).copied().unwrap_or(0);
                let last = self.marked.entry(instance.to_owned()).or_default();
                if order < *last {
                    self.violations.insert(Violation::TakenBack { instance: instance.to_owned() });
                }
                *last = order.max(*last);
            }
            (None, shard, Some(_)) if key.pk == shared::store::keys::SHARDS && set("owner").is_some() => {
                let Ok(shard) = shard.parse() else { return };
                let takes = self.takes.entry(shard).or_default();
                *takes += 1;
                self.taken.insert((who, shard), *takes);
            }
            _ => {}
        }
    }

    fn watch_session(&mut self, writes: &[Write]) {
        for write in writes {
            let (Op::Check(key), Cond::Eq(_, epoch)) = (&write.op, &write.cond) else { continue };
            if let (Some(instance), Some(epoch)) = (key.pk.strip_prefix("I#"), epoch.as_u64()) {
                self.lower("session", instance, epoch);
            }
        }
    }
}

/// Every shard has one instance.
pub(super) fn instance_of(shard: u16) -> String {
    format!("instance-of-{shard}")
}

fn shard_of(instance: &str) -> Option<u16> {
    instance.strip_prefix("instance-of-").and_then(|shard| shard.parse().ok())
}

/// A time span for people.
pub(super) fn ms(span: Duration) -> u128 {
    span.as_millis()
}
