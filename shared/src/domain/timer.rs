//! Waking up later: through the timer queue up to 15 minutes ahead, through rows in buckets beyond that, which the sweep
//! turns into queue messages when their time is near.
//!
//! A row is only inserted for a moment more than 15 minutes ahead, that is in a later bucket than the current one. A sweep
//! every 15 minutes empties the current bucket and the next, so the last sweep before a row's moment always sees it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    clock::Millis,
    domain::job::{self, Work},
    error::Result,
    id::InstanceId,
    store::{Enqueue, Item, Key, Query, Queue, Read, Unit, Write, keys},
};

/// The longest delay that a queue carries, and the width of a bucket.
pub const QUEUE_MAX: Duration = Duration::from_secs(15 * 60);
const BUCKET_MS: i64 = 15 * 60 * 1000;
const PARTS: u8 = 8;

/// What to do then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "timer", rename_all = "snake_case")]
pub enum Timer {
    /// Try a blocked chat of an endpoint again.
    Lane { instance: InstanceId, endpoint: String, chat: String, attempt: u32 },
    /// See whether an endpoint that was down answers again.
    Probe { instance: InstanceId, endpoint: String, attempt: u32 },
    /// Queue a message that was to be sent later; `message` is its sort key.
    Send { instance: InstanceId, message: String },
    /// Queue background work. `group`: see [`job::background`].
    Work { group: String, work: Box<Work> },
}

/// Body of a timer message and of a waiting row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub v: u32,
    pub due: Millis,
    #[serde(flatten)]
    pub timer: Timer,
}

/// Adds to `unit` whatever wakes us at `due`: a delayed queue message, or a row for the sweep.
pub fn schedule(app: &App, unit: &mut Unit, due: Millis, timer: Timer) -> Result<()> {
    let now = app.clock.now();
    let waiting = Waiting { v: 1, due, timer };
    let delay = now.until(due);
    if delay <= QUEUE_MAX {
        unit.enqueue.push(message(&waiting, delay)?);
    } else {
        let id = app.ids.ulid();
        let part = id.bytes().last().unwrap_or(0) % PARTS;
        let key = Key::new(keys::due(due.0.div_euclid(BUCKET_MS), part), format!("{}#{id}", due.digits()));
        unit.writes.push(Write::put(Item::new(key, &waiting)?));
    }
    Ok(())
}

fn message(waiting: &Waiting, delay: Duration) -> Result<Enqueue> {
    let serde_json::Value::Object(body) = serde_json::to_value(waiting)? else {
        return Err(crate::Error::internal("a timer is an object"));
    };
    Ok(Enqueue { queue: Queue::Timers, group: String::new(), dedup: String::new(), body, delay, stamp: None })
}

/// Queues background work whose time has come, as part of `unit`. A repeat is done again.
pub fn begin(app: &App, unit: &mut Unit, group: &str, work: &Work) -> Result<()> {
    unit.enqueue.push(job::background(group.to_owned(), format!("{group}/{}", app.ids.ulid()), work.clone())?);
    Ok(())
}

/// Turns the rows of all buckets up to the next one into queue messages, beginning with the bucket that was current at the
/// last sweep (after a pause these are many). Returns how many.
///
/// A crash between the message and the deletion repeats a timer; all timers are idempotent.
pub async fn sweep(app: &App) -> Result<u64> {
    let current = app.clock.now().0.div_euclid(BUCKET_MS);
    let mark = app.store.get(&keys::sweep_mark(), Read::Strong).await?;
    let since = mark.and_then(|item| item.doc.get("bucket")?.as_i64()).unwrap_or(current - 1);
    let mut moved = 0;
    for bucket in since..=current + 1 {
        for part in 0..PARTS {
            loop {
                let page = app.store.query(Query::table(keys::due(bucket, part)).limit(50)).await?;
                if page.items.is_empty() {
                    break;
                }
                for item in page.items {
                    let key = item.key.clone();
                    let waiting: Waiting = item.into()?;
                    let delay = app.clock.now().until(waiting.due).min(QUEUE_MAX);
                    // The message first: the row must outlive it.
                    app.queues.send(vec![message(&waiting, delay)?]).await?;
                    app.store.commit(Unit::write(Write::delete(key))).await?;
                    moved += 1;
                }
                if page.next.is_none() {
                    break;
                }
            }
        }
    }
    let mark = Item::new(keys::sweep_mark(), &serde_json::json!({ "bucket": current }))?;
    app.store.commit(Unit::write(Write::put(mark))).await?;
    Ok(moved)
}
