//! Waiting for what must come true: by deadline, never by a bare sleep.

use super::server::on_aws;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything that should happen "soon" may take on a busy machine; in the bundle beside an emulator that is busier still,
/// and with leases and invisible messages to be waited for after a kill.
#[must_use]
pub fn soon() -> Duration {
    Duration::from_secs(if on_aws() { 60 } else { 15 })
}

/// Asks `probe` until it answers `Some`, at most `deadline`.
///
/// # Panics
/// When the deadline passes; `what` says what was waited for.
pub async fn eventually_within<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// [`eventually_within`] with [`soon`].
pub async fn eventually<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    eventually_within(soon(), what, probe).await
}

/// Asserts that `probe` stays true for all of `span`: the test for "nothing more happens".
pub async fn stays<F, Fut>(span: Duration, what: &str, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(probe().await, "did not stay true for {span:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
