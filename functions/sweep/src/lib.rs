//! The sweep: timers that lie too far ahead for a queue wait in rows, and every quarter of an hour those whose time is near
//! become queue messages ([`shared::domain::timer`]). The only periodic work of an idle deployment beside heartbeats.

use std::time::Duration;

use shared::{
    app::{App, AppState},
    clock::{DAY_MS, Millis},
    domain::timer,
};
use tokio_util::sync::CancellationToken;

/// As wide as a bucket of timers, which the sweep relies on.
const INTERVAL: Duration = timer::QUEUE_MAX;
/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);

/// What was put aside in media storage, and uploads that no message took, are gone after that: as the template's bucket has it.
const STALE_MS: i64 = 2 * DAY_MS;

/// Sweeps at once, and then every quarter of an hour until `shutdown`: timers, and the folder of media, which has no rules of its
/// own as a bucket does.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    loop {
        let pause = if sweep(&app).await { INTERVAL } else { PAUSE };
        if let Err(error) = app.media.remove_stale(Millis(app.clock.now().0 - STALE_MS)).await {
            tracing::warn!(%error, "what is stale stays in the folder of media");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sweeps once. `false`: it failed, and is to be repeated soon; what was moved stays moved.
pub async fn sweep(app: &App) -> bool {
    match timer::sweep(app).await {
        Ok(0) => true,
        Ok(moved) => {
            tracing::debug!(moved, "timers came near");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the sweep failed");
            false
        }
    }
}
