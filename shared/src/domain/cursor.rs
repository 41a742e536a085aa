//! Cursors of the event log: where who reads it goes on.

use crate::{
    app::App,
    error::{Error, Kind, Result},
    id::InstanceId,
    store::log,
};

/// Where to read on: `after`, or before the oldest entry that is still there.
///
/// Errors: 410 `CURSOR_EXPIRED` when the log no longer reaches back to `after`.
pub async fn start(app: &App, instance: &InstanceId, after: Option<u64>) -> Result<u64> {
    let (store, name) = (app.store.as_ref(), instance.as_str());
    let tail = store.tail(name).await?.seq;
    let after = match after {
        // Ahead of the log: as if at its end, and what comes next is seen.
        Some(after) => after.min(tail),
        None => {
            let mut bucket = 0;
            while bucket * log::BUCKET <= tail {
                let first = log::read(store, name, (bucket * log::BUCKET).saturating_sub(1), 1).await?;
                if let Some(first) = first.first() {
                    return Ok(first.seq - 1);
                }
                bucket += 1;
            }
            return Ok(tail);
        }
    };
    if after < tail && !log::exists(store, name, after + 1).await? {
        return Err(Error::new(Kind::Gone, "CURSOR_EXPIRED", "Events are kept for 30 days: this cursor is older")
            .field("after"));
    }
    Ok(after)
}
