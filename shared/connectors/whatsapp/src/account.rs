//! What is known of an account beyond one login: a socket that breaks must not give it a new pace, nor end what somebody asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use shared::{config::Pace, id::InstanceId};
use tokio::time::Instant;

use crate::{
    outgoing::{Uploads, no_uploads},
    pacing::Pacing,
    timelock::TimeLock,
    watched::Watched,
};

/// Accounts that are remembered before those without a line are forgotten.
const REMEMBERED: usize = 2048;

pub(crate) struct OfAccount {
    pub(crate) pacing: Pacing,
    /// When numbers may be looked up again.
    pub(crate) next_check: tokio::sync::Mutex<Option<Instant>>,
    pub(crate) watched: Watched,
    /// Sends that failed in themselves, by message.
    pub(crate) failures: Mutex<HashMap<String, u32>>,
    pub(crate) uploads: Uploads,
    pub(crate) time_lock: TimeLock,
}

impl OfAccount {
    /// Another number, or none: what was known of the one before does not hold for it.
    pub(crate) fn forget(&self) {
        self.watched.forget();
        self.time_lock.lift();
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The accounts of a worker.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<InstanceId, Arc<OfAccount>>>);

impl Accounts {
    pub(crate) fn of(&self, instance: &InstanceId, pace: Option<Pace>) -> Arc<OfAccount> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let new = || {
            Arc::new(OfAccount {
                pacing: Pacing::new(pace),
                next_check: tokio::sync::Mutex::default(),
                watched: Watched::default(),
                failures: Mutex::default(),
                uploads: no_uploads(),
                time_lock: TimeLock::default(),
            })
        };
        Arc::clone(all.entry(instance.clone()).or_insert_with(new))
    }
}
