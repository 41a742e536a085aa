//! What is to be written, gathered: everything that waits goes into one put.
//!
//! A change is *set* and becomes durable with the next flush. Whoever must know that it is durable waits for a flush
//! ([`Journal::flush`]); nobody else does, and what nobody waits for is written at the latest [`LINGER`] after it was set. Those
//! who wait at the same time share a put. Readers see what is set, durable or not.
//!
//! Changes are written in the order in which they were last set, at most 50 in one put, which is all or nothing. So a crash loses
//! a tail of them, never one of the middle.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use shared::{
    Result,
    clock::Millis,
    connector::{SessionChange, SessionStore},
};

use super::pending::Pending;

/// Changes in one put (`SessionStore::write`), and bytes in them.
const PUT_CHANGES: usize = 50;
const PUT_BYTES: usize = 1 << 20;
/// How long a change that nobody waits for may wait for others.
const LINGER: Duration = Duration::from_secs(2);
/// Pause after a put that failed while nobody waited for it.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of values that are kept to be read again, per account.
const KEPT: usize = 96 << 10;

/// A value, or its absence, and until when the store must have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    value: Option<Bytes>,
    until: Option<Millis>,
}

#[derive(Default)]
struct State {
    dirty: HashMap<String, (u64, Change)>,
    /// Keys of `dirty` in the order of their turns.
    order: BTreeMap<u64, String>,
    turn: u64,
    /// In a put whose outcome is not known yet.
    flight: HashMap<String, (u64, Change)>,
    kept: Kept,
    pending: Pending,
    /// A task will flush.
    armed: bool,
}

pub(crate) struct Journal {
    session: Arc<dyn SessionStore>,
    state: Mutex<State>,
    /// Held by whoever writes.
    writing: tokio::sync::Mutex<()>,
}

impl Journal {
    pub(crate) fn new(session: Arc<dyn SessionStore>) -> Arc<Self> {
        Arc::new(Self { session, state: Mutex::default(), writing: tokio::sync::Mutex::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest value under `key`. `keep`: it will be read again soon, and whoever changes it reads it through here first.
    pub(crate) async fn get(&self, key: &str, keep: bool) -> Result<Option<Bytes>> {
        if let Some(known) = self.state().known(key) {
            return Ok(known);
        }
        let found = self.session.get(key).await?.map(Bytes::from);
        let mut state = self.state();
        // Somebody may have set it while the store was asked.
        if let Some(known) = state.known(key) {
            return Ok(known);
        }
        if keep {
            state.kept.keep(key, found.clone());
        }
        Ok(found)
    }

    /// Everything under keys that begin with `prefix`. Flushes first.
    pub(crate) async fn list(self: &Arc<Self>, prefix: &str) -> Result<Vec<(String, Bytes)>> {
        self.flush().await?;
        let mut all: Vec<(String, Bytes)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.clone());
            let page = self.session.list(prefix, after.as_deref(), 1000).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page.into_iter().map(|(key, value)| (key, Bytes::from(value))));
        }
    }

    /// Whether there is anything under keys that begin with `prefix`.
    pub(crate) async fn any(&self, prefix: &str) -> Result<bool> {
        let waiting = {
            let state = self.state();
            let found = |changes: &HashMap<String, (u64, Change)>| {
                changes.iter().any(|(key, (_, change))| key.starts_with(prefix) && change.value.is_some())
            };
            found(&state.dirty) || found(&state.flight)
        };
        if waiting {
            return Ok(true);
        }
        let page = self.session.list(prefix, None, 8).await?;
        let state = self.state();
        Ok(page.iter().any(|(key, _)| !matches!(state.known(key), Some(None))))
    }

    /// Sets a value, or removes it.
    pub(crate) fn set(self: &Arc<Self>, key: String, value: Option<Bytes>, until: Option<Millis>) {
        self.state().set(key, Change { value, until });
        self.arm();
    }

    /// Works with the messages that came in and are not settled yet.
    pub(crate) fn pending<T>(self: &Arc<Self>, work: impl FnOnce(&mut Pending) -> T) -> T {
        let (done, removed) = {
            let mut state = self.state();
            let done = work(&mut state.pending);
            (done, state.remove_bundles())
        };
        if removed {
            self.arm();
        }
        done
    }

    /// Returns when everything that was set before is durable.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<()> {
        let upto = self.state().turn;
        let _writing = self.writing.lock().await;
        // Of a flush that nobody waited for to the end.
        self.state().take_back();
        loop {
            let Some(changes) = self.state().next_put(upto) else { return Ok(()) };
            tracing::trace!(changes = changes.len(), "session state is written");
            let written = self.session.write(changes).await;
            let removed = match &written {
                Ok(()) => self.state().landed(),
                Err(_) => self.state().take_back(),
            };
            if removed {
                self.arm();
            }
            written?;
        }
    }

    /// Sees to it that what was set is written, even if nobody waits.
    fn arm(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state().armed, true) {
            return;
        }
        let journal = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            while let Some(journal) = journal.upgrade() {
                journal.state().armed = false;
                match journal.flush().await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "session state is written later"),
                }
                if std::mem::replace(&mut journal.state().armed, true) {
                    return;
                }
                drop(journal);
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
}

impl State {
    /// What is known of a key without asking the store.
    fn known(&self, key: &str) -> Option<Option<Bytes>> {
        let change = self.dirty.get(key).or_else(|| self.flight.get(key));
        match change {
            Some((_, change)) => Some(change.value.clone()),
            None => self.kept.get(key),
        }
    }

    fn set(&mut self, key: String, change: Change) {
        self.turn += 1;
        self.kept.renew(&key, &change.value);
        self.order.insert(self.turn, key.clone());
        if let Some((before, _)) = self.dirty.insert(key, (self.turn, change)) {
            self.order.remove(&before);
        }
    }

    /// The next changes to write, at least if one of them was set at `upto` or before.
    fn next_put(&mut self, upto: u64) -> Option<Vec<SessionChange>> {
        self.order.first_key_value().filter(|(turn, _)| **turn <= upto)?;
        let mut bytes = 0;
        // Before everything else: a ratchet that has moved on must not be durable before what it decrypted is.
        for (key, value, until) in self.pending.bundles() {
            bytes += value.len();
            self.flight.insert(key, (0, Change { value: Some(value), until: Some(until) }));
        }
        while self.flight.len() < PUT_CHANGES
            && let Some(first) = self.order.first_entry()
        {
            let size = self.dirty.get(first.get()).and_then(|(_, c)| c.value.as_ref()).map_or(0, Bytes::len);
            if bytes > 0 && bytes + size > PUT_BYTES {
                break;
            }
            bytes += size;
            let key = first.remove();
            if let Some(change) = self.dirty.remove(&key) {
                self.flight.insert(key, change);
            }
        }
        let changes = self.flight.iter().map(|(key, (_, change))| SessionChange {
            key: key.clone(),
            value: change.value.as_ref().map(|value| value.to_vec()),
            until: change.until,
        });
        Some(changes.collect())
    }

    /// The put succeeded. Whether there is more to write by it.
    fn landed(&mut self) -> bool {
        self.flight.clear();
        self.pending.landed();
        self.remove_bundles()
    }

    fn remove_bundles(&mut self) -> bool {
        let removed = self.pending.emptied();
        for key in &removed {
            self.set(key.clone(), Change { value: None, until: None });
        }
        !removed.is_empty()
    }

    /// A put did not succeed, or was given up: what it held is to be written, in its old turn unless it changed meanwhile.
    fn take_back(&mut self) -> bool {
        for (key, (turn, change)) in std::mem::take(&mut self.flight) {
            // Bundles are made anew.
            if turn > 0 && !self.dirty.contains_key(&key) {
                self.order.insert(turn, key.clone());
                self.dirty.insert(key, (turn, change));
            }
        }
        self.pending.take_back();
        self.remove_bundles()
    }
}

/// Values that are kept to be read again, the ones used last.
#[derive(Default)]
struct Kept {
    values: HashMap<String, (u64, Option<Bytes>)>,
    used: u64,
    bytes: usize,
}

impl Kept {
    fn size(key: &str, value: Option<&Bytes>) -> usize {
        key.len() + value.map_or(0, Bytes::len) + 64
    }

    fn get(&self, key: &str) -> Option<Option<Bytes>> {
        self.values.get(key).map(|(_, value)| value.clone())
    }

    fn keep(&mut self, key: &str, value: Option<Bytes>) {
        self.used += 1;
        self.bytes += Self::size(key, value.as_ref());
        if let Some((_, old)) = self.values.insert(key.to_owned(), (self.used, value)) {
            self.bytes -= Self::size(key, old.as_ref());
        }
        while self.bytes > KEPT
            && let Some(oldest) = self.values.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone())
            && let Some((_, old)) = self.values.remove(&oldest)
        {
            self.bytes -= Self::size(&oldest, old.as_ref());
        }
    }

    /// A new value, where the old one was kept.
    fn renew(&mut self, key: &str, value: &Option<Bytes>) {
        if self.values.contains_key(key) {
            self.keep(key, value.clone());
        }
    }
}
