//! Order within a chat while chats are handled at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A lock a name; fair, so whoever asks first goes first. Names that nobody holds take no room.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<AsyncMutex<()>>>>);

pub(crate) struct Held<'a> {
    locks: &'a Locks,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    pub(crate) async fn hold(&self, name: &str) -> Held<'_> {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name.to_owned()).or_default())
        };
        let mut held = Held { locks: self, name: name.to_owned(), guard: None };
        held.guard = Some(lock.lock_owned().await);
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut all = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            all.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_left_behind_in_the_map() {
        let locks = Locks::default();
        let first = locks.hold("a").await;
        let mut second = Box::pin(locks.hold("a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        let third = Box::pin(locks.hold("b"));
        drop(third.await);
        assert!(locks.0.lock().expect("not poisoned").is_empty());
    }
}
