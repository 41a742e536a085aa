//! Error 463: WhatsApp does not let the account write to strangers for a while, and every further try makes that longer. So whoever
//! was refused is not written to again before it is over, or before they have written themselves.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{clock::Millis, connector::Update};
use tokio::time::{Instant, timeout};
use whatsapp_rust::{Client, wacore::time::now_millis};

use crate::{hook::tell, line::Inner};

/// What messages fail with, and what the account's restriction is called.
pub(crate) const REASON: &str = "reachout_timelock";
/// How long it is taken to last where WhatsApp does not say.
const GUESS: Duration = Duration::from_secs(3600);
/// How long WhatsApp may take to say.
const ANSWER: Duration = Duration::from_secs(20);
/// Strangers that are remembered. Those beyond WhatsApp refuses by itself.
const REMEMBERED: usize = 1000;

#[derive(Default)]
pub(crate) struct TimeLock(Mutex<Option<Lock>>);

struct Lock {
    until: Instant,
    refused: HashSet<String>,
}

impl TimeLock {
    /// Whether a message to this address would be refused.
    pub(crate) fn refuses(&self, address: &str) -> bool {
        self.lock().as_ref().is_some_and(|lock| lock.refused.contains(address))
    }

    /// WhatsApp has refused a message to this address. Whether that is the first it says of a lock.
    fn add(&self, address: &str) -> bool {
        let mut lock = self.lock();
        let is_new = lock.is_none();
        let lock = lock.get_or_insert_with(|| Lock { until: Instant::now() + GUESS, refused: HashSet::new() });
        if lock.refused.len() < REMEMBERED {
            lock.refused.insert(address.to_owned());
        }
        is_new
    }

    fn lasts(&self, left: Duration) {
        if let Some(lock) = &mut *self.lock() {
            lock.until = Instant::now() + left;
        }
    }

    /// They have written: no stranger any more.
    pub(crate) fn met(&self, address: &str) {
        if let Some(lock) = &mut *self.lock() {
            lock.refused.remove(address);
        }
    }

    /// As it is now.
    fn lock(&self) -> MutexGuard<'_, Option<Lock>> {
        let mut lock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.as_ref().is_some_and(|lock| lock.until <= Instant::now()) {
            *lock = None;
        }
        lock
    }
}

/// A message was refused with 463. The first time it is asked how long that lasts, and told of.
pub(crate) fn refused(inner: &Arc<Inner>, client: &Arc<Client>, address: &str) {
    if !inner.account.time_lock.add(address) {
        return;
    }
    let (inner, client) = (Arc::clone(inner), Arc::clone(client));
    tokio::spawn(async move {
        let until = ends(&inner, &client).await;
        if let Some(left) = until.and_then(|until| u64::try_from(until.0 - now_millis()).ok()) {
            inner.account.time_lock.lasts(Duration::from_millis(left));
        }
        if let Err(error) = tell(&inner, Update::Restricted { reason: REASON, until }).await {
            tracing::warn!(instance = %inner.instance, %error, "a time-lock was not told of");
        }
    });
}

/// When WhatsApp says that the lock is over.
async fn ends(inner: &Inner, client: &Client) -> Option<Millis> {
    match timeout(ANSWER, client.mex().fetch_reachout_timelock()).await {
        Ok(Ok(lock)) => lock.time_enforcement_ends.and_then(|at| at.parse::<i64>().ok()).map(|at| Millis(at * 1000)),
        Ok(Err(error)) => {
            tracing::debug!(instance = %inner.instance, %error, "WhatsApp does not say how long a time-lock lasts");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_waits_until_it_is_over_or_has_written() {
        let lock = TimeLock::default();
        assert!(!lock.refuses("a"));
        assert!(lock.add("a"), "the first");
        assert!(!lock.add("b"));
        assert!(lock.refuses("a") && lock.refuses("b") && !lock.refuses("c"));
        lock.met("b");
        assert!(!lock.refuses("b"));
        lock.lasts(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(!lock.refuses("a"));
        assert!(lock.add("a"), "another one");
    }
}
