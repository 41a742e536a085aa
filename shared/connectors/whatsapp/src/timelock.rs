//! Error 463: WhatsApp does not let the account write to strangers for a while, and every further try makes that longer. So whoever
//! was refused is not written to again before it is over, or before they have written themselves.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{
    clock::{DAY_MS, Millis},
    connector::Update,
};
use tokio::time::{Instant, timeout};
use whatsapp_rust::{Client, wacore::time::now_millis};

use crate::{hook::tell, line::Inner};

/// What messages fail with, and what the account's restriction is called.
pub(crate) const REASON: &str = "reachout_timelock";
/// How long it is taken to last where WhatsApp does not say.
const GUESS_MS: i64 = 3_600_000;
/// No restriction is taken to last longer.
const LONGEST_MS: i64 = 366 * DAY_MS;
/// How long WhatsApp may take to say. A new lock counts in any case until it has.
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
        let lock = lock.get_or_insert_with(|| Lock { until: Instant::now() + 2 * ANSWER, refused: HashSet::new() });
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

    /// There is none.
    pub(crate) fn lift(&self) {
        *self.lock() = None;
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
        let now = now_millis();
        let Some(until) = ends(&inner, &client, now).await else { return inner.account.time_lock.lift() };
        inner.account.time_lock.lasts(Millis(now).until(until));
        if let Err(error) = tell(&inner, Update::Restricted { reason: REASON, until }).await {
            tracing::warn!(instance = %inner.instance, %error, "a time-lock was not told of");
        }
    });
}

/// When the lock is over, or that there is none: a single message may be refused without one.
async fn ends(inner: &Inner, client: &Client, now: i64) -> Option<Millis> {
    let guess = Some(within_reason(now, GUESS_MS));
    let lock = match timeout(ANSWER, client.mex().fetch_reachout_timelock()).await {
        Ok(Ok(lock)) => lock,
        Ok(Err(error)) => {
            tracing::debug!(instance = %inner.instance, %error, "WhatsApp does not say how long a time-lock lasts");
            return guess;
        }
        Err(_) => return guess,
    };
    if lock.is_active == Some(false) {
        return None;
    }
    let Some(ends) = lock.time_enforcement_ends.and_then(|at| at.parse::<i64>().ok()) else { return guess };
    let left = ends.saturating_mul(1000).saturating_sub(now);
    (left > 0).then(|| within_reason(now, left))
}

/// The end of a restriction that lasts that many milliseconds from now. What WhatsApp says is a number like any other.
pub(crate) fn within_reason(now: i64, left: i64) -> Millis {
    Millis(now + left.clamp(0, LONGEST_MS))
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

    #[test]
    fn an_end_is_within_reason_whatever_is_said() {
        assert_eq!(within_reason(7, 5), Millis(12));
        assert_eq!(within_reason(7, -5), Millis(7));
        assert_eq!(within_reason(7, i64::MAX), Millis(7 + LONGEST_MS));
    }
}
