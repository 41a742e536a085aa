//! Media on their way to a platform, shared by the sends that need them: a campaign sends the same picture a thousand times, and an
//! upload that takes longer than an attempt to send may goes on, so that the next attempt finds it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// Uploads that are remembered before those that are done are forgotten.
const REMEMBERED: usize = 256;
/// Uploads of an account at the same time: each may have a file and a thread.
const AT_ONCE: usize = 4;
/// How long an attempt to send waits for its upload: less than an attempt may take, with the sending behind it.
const WAIT: Duration = Duration::from_secs(20);

/// Under way, or done.
type Upload<V, E> = Shared<BoxFuture<'static, Result<V, E>>>;
/// With the time when it was begun.
type Known<K, V, E> = HashMap<K, (Upload<V, E>, Instant)>;

/// The uploads of an account: `K` says of what, `V` is what a message refers to it by, `E` why there is none.
pub struct Uploads<K, V: Clone, E: Clone> {
    all: Mutex<Known<K, V, E>>,
    slots: Arc<Semaphore>,
    reused_for: Duration,
}

impl<K, V, E> Uploads<K, V, E>
where
    K: Eq + Hash,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// `reused_for`: how long the platform certainly keeps what it was given.
    pub fn new(reused_for: Duration) -> Self {
        Self { all: Mutex::default(), slots: Arc::new(Semaphore::new(AT_ONCE)), reused_for }
    }

    /// What the upload under this key has come to; one is made if there is none, or if the last one failed. `None`: it takes its
    /// time, and goes on.
    pub async fn get(&self, key: K, make: impl FnOnce() -> BoxFuture<'static, Result<V, E>>) -> Option<Result<V, E>> {
        let upload = self.begin(key, make);
        timeout(WAIT, upload).await.ok()
    }

    fn begin(&self, key: K, make: impl FnOnce() -> BoxFuture<'static, Result<V, E>>) -> Upload<V, E> {
        let mut all = self.all();
        if let Some((upload, at)) = all.get(&key)
            && at.elapsed() < self.reused_for
            && !matches!(upload.peek(), Some(Err(_)))
        {
            return upload.clone();
        }
        if all.len() >= REMEMBERED {
            all.retain(|_, (upload, _)| upload.peek().is_none());
        }
        let (slots, uploading) = (Arc::clone(&self.slots), make());
        let in_turn = async move {
            let _slot = slots.acquire().await;
            uploading.await
        };
        let upload = in_turn.boxed().shared();
        all.insert(key, (upload.clone(), Instant::now()));
        // Also when nobody waits for it.
        tokio::spawn(upload.clone());
        upload
    }

    /// The platform does not know what it was given: the next use uploads it again.
    pub fn forget(&self, is_gone: impl Fn(&K) -> bool) {
        self.all().retain(|key, _| !is_gone(key));
    }

    fn all(&self) -> MutexGuard<'_, Known<K, V, E>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REUSED_FOR: Duration = Duration::from_secs(60);

    fn takes(seconds: u64, outcome: Result<&'static str, ()>) -> BoxFuture<'static, Result<&'static str, ()>> {
        async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            outcome
        }
        .boxed()
    }

    fn unused() -> BoxFuture<'static, Result<&'static str, ()>> {
        panic!("there is one")
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_shared_goes_on_and_is_used_again_for_a_while() {
        let uploads = Uploads::new(REUSED_FOR);
        assert_eq!(uploads.get("a", || takes(30, Ok("first"))).await, None, "it takes longer than an attempt waits");
        assert_eq!(uploads.get("a", unused).await, Some(Ok("first")));
        assert_eq!(uploads.get("b", || takes(1, Ok("another"))).await, Some(Ok("another")));
        uploads.forget(|key| *key == "b");
        assert_eq!(uploads.get("b", || takes(1, Ok("anew"))).await, Some(Ok("anew")));
        tokio::time::sleep(REUSED_FOR).await;
        assert_eq!(uploads.get("a", || takes(1, Ok("second"))).await, Some(Ok("second")));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_is_made_again() {
        let uploads = Uploads::new(REUSED_FOR);
        assert_eq!(uploads.get("a", || takes(1, Err(()))).await, Some(Err(())));
        assert_eq!(uploads.get("a", || takes(1, Ok("there"))).await, Some(Ok("there")));
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_under_way_at_once() {
        let uploads = Uploads::new(REUSED_FOR);
        let begun = Instant::now();
        let all: Vec<_> = (0..2 * AT_ONCE).map(|key| uploads.get(key, || takes(5, Ok("there")))).collect();
        assert!(futures_util::future::join_all(all).await.into_iter().all(|one| one == Some(Ok("there"))));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }
}
