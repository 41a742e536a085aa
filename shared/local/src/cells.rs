//! The queues in memory, one cell each: lines under a lock, and a bell. And how they come back from the table at start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use shared::{
    Error, Result,
    clock::{Clock, Millis},
    store::Queue,
};
use tokio::sync::Notify;

use crate::{
    dedup::{Dedup, WINDOW_MS},
    lines::{Cache, Lines, Message},
    sql,
};

#[derive(Debug)]
pub(crate) struct Cell {
    lines: Mutex<Lines>,
    /// Rings when something has become visible, or will earlier than was thought.
    pub(crate) bell: Notify,
}

impl Cell {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Lines) -> T) -> T {
        act(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Like [`Cell::with`], for what receivers may be waiting for.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut Lines) -> T) -> T {
        let result = self.with(act);
        self.bell.notify_waiters();
        result
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cells {
    cells: Mutex<HashMap<Queue, Arc<Cell>>>,
    pub(crate) cache: Cache,
}

impl Cells {
    pub(crate) fn get(&self, queue: Queue) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Cell { lines: Mutex::new(Lines::new(queue)), bell: Notify::new() });
        Arc::clone(cells.entry(queue).or_insert_with(new))
    }

    /// Every queue that was used, in order.
    pub(crate) fn all(&self) -> Vec<(Queue, Arc<Cell>)> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = cells.iter().map(|(queue, cell)| (*queue, Arc::clone(cell))).collect();
        all.sort_by_key(|(queue, _)| *queue);
        all
    }
}

/// What the table told at start.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) cells: Cells,
    pub(crate) dedup: Dedup,
    pub(crate) next_id: i64,
}

/// Reads the table: whatever was in flight before is visible again.
pub(crate) fn load(conn: &Connection, clock: &dyn Clock) -> Result<Loaded> {
    read_all(conn, clock).map_err(sql)
}

fn read_all(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<Loaded> {
    let (now, monotonic) = (clock.now(), clock.monotonic());
    let cells = Cells::default();
    let mut dedup = Dedup::default();
    let mut last = 0;
    let mut groups = HashMap::<String, Arc<str>>::new();
    let mut statement = conn.prepare(
        "SELECT id, queue, grp, dedup, sent_at, visible_at, receives, body IS NOT NULL FROM queue ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        last = id;
        let name: String = row.get(1)?;
        let (queue, is_dead) = match name.strip_suffix(".dead") {
            Some(name) => (named(name), true),
            None => (named(&name), false),
        };
        let Some(queue) = queue else {
            tracing::warn!(queue = name, id, "a message is in a queue that this program does not know");
            continue;
        };
        let sent_at = Millis(row.get(4)?);
        if queue.is_fifo() && now.0 - sent_at.0 < WINDOW_MS {
            let mark = dedup.mark(queue, row.get_ref(3)?.as_str()?);
            dedup.insert(mark, sent_at);
        }
        let has_body: bool = row.get(7)?;
        if !has_body {
            continue;
        }
        if is_dead {
            cells.get(queue).with(|lines| lines.push_dead(id));
            continue;
        }
        let group: String = row.get(2)?;
        let visible_at = Millis(row.get(5)?);
        let receives = row.get(6)?;
        let message = Message {
            id,
            group: Arc::clone(groups.entry(group).or_insert_with_key(|group| group.as_str().into())),
            sent_at,
            receives,
            stored: receives,
            due: (visible_at > now).then(|| monotonic + now.until(visible_at)),
            body: None,
        };
        cells.get(queue).with(|lines| lines.push(message));
    }
    Ok(Loaded { cells, dedup, next_id: last + 1 })
}

/// The inverse of [`Queue::name`].
fn named(name: &str) -> Option<Queue> {
    match name {
        "dispatch" => Some(Queue::Dispatch),
        "jobs" => Some(Queue::Jobs),
        "timers" => Some(Queue::Timers),
        _ => name.strip_prefix("commands-").and_then(|shard| shard.parse().ok()).map(Queue::Commands),
    }
}

/// What a receipt's handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    /// A delivery: the message, and which delivery of it.
    Message {
        id: i64,
        receives: u32,
    },
    Dead {
        id: i64,
    },
}

impl Handle {
    pub(crate) fn encode(self) -> String {
        match self {
            Self::Message { id, receives } => format!("{id}.{receives}"),
            Self::Dead { id } => format!("dead.{id}"),
        }
    }

    /// `None` for what this implementation has not made.
    pub(crate) fn parse(handle: &str) -> Option<Self> {
        let (left, right) = handle.split_once('.')?;
        if left == "dead" {
            return Some(Self::Dead { id: right.parse().ok()? });
        }
        Some(Self::Message { id: left.parse().ok()?, receives: right.parse().ok()? })
    }

    /// The delivery that a handle means.
    pub(crate) fn delivery(handle: &str) -> Result<(i64, u32)> {
        match Self::parse(handle) {
            Some(Self::Message { id, receives }) => Ok((id, receives)),
            _ => Err(Error::internal(format!("no receipt of a delivery: {handle}"))),
        }
    }
}
