//! A session store in memory that counts, fails when told to, and forgets nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use shared::{
    Error, Result,
    connector::{SessionChange, SessionStore},
};

use crate::store::Store;

#[derive(Default)]
pub(super) struct Bed {
    rows: Mutex<BTreeMap<String, Vec<u8>>>,
    ends: Mutex<BTreeMap<String, i64>>,
    pub(super) puts: AtomicUsize,
    pub(super) changes: AtomicUsize,
    pub(super) gets: AtomicUsize,
    pub(super) broken: AtomicBool,
}

impl Bed {
    pub(super) async fn open(self: &Arc<Self>) -> Arc<Store> {
        let session: Arc<dyn SessionStore> = self.clone();
        Store::open(session).await.expect("opens")
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().expect("no panic").len()
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.rows.lock().expect("no panic").keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// When the row ends, in seconds.
    pub(super) fn end(&self, key: &str) -> Option<i64> {
        self.ends.lock().expect("no panic").get(key).copied()
    }

    pub(super) fn count(counter: &AtomicUsize) -> usize {
        counter.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl SessionStore for Bed {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        Ok(self.rows.lock().expect("no panic").get(key).cloned())
    }

    async fn write(&self, changes: Vec<SessionChange>) -> Result<()> {
        assert!(changes.len() <= 50, "{} changes at once", changes.len());
        tokio::task::yield_now().await;
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::unavailable("broken"));
        }
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes.len(), Ordering::Relaxed);
        let (mut rows, mut ends) = (self.rows.lock().expect("no panic"), self.ends.lock().expect("no panic"));
        for SessionChange { key, value, until } in changes {
            ends.remove(&key);
            if let Some(until) = until {
                ends.insert(key.clone(), until.0 / 1000);
            }
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows.lock().expect("no panic");
        let found =
            rows.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(found.take(limit.min(7)).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn clear(&self) -> Result<()> {
        self.rows.lock().expect("no panic").clear();
        Ok(())
    }
}
