//! The trait [`Queues`] on SQLite. Receiving and extending are matters of memory; what changes a message goes through the
//! writer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};
use shared::{
    Error, Result,
    clock::Millis,
    error::Kind,
    store::{Cause, Depth, Doc, Enqueue, Queue, Queues, Receipt, Received, Unit, meter::Used},
};
use tokio::time::Instant;

use crate::{
    cells::{Cell, Handle},
    items,
    lines::{Handed, Taken},
    sql,
    sqlite::Sqlite,
    unit::Prepared,
    writer::Task,
};

/// While something has a time, look at the clock at least this often: it may be turned, and the timer's stand still.
const GLANCE: Duration = Duration::from_secs(1);

impl Sqlite {
    fn requested(&self, operation: &'static str) {
        self.meter.record(operation, Used { requests: 1, ..Used::default() });
    }

    /// Fills in the bodies. A message whose row is gone (somebody else has written into the table) is dropped.
    async fn deliver(&self, queue: Queue, cell: &Cell, taken: Taken) -> Result<Vec<Received>> {
        if !taken.dead.is_empty() {
            tracing::warn!(queue = queue.name(), ids = ?taken.dead, "messages were received too often: dead letters");
            self.submit(Task::Retire(queue, taken.dead)).await?;
        }
        let notes: Vec<_> = taken.messages.iter().filter(|m| m.unrecorded).map(|m| (m.id, m.receives - 1)).collect();
        if !notes.is_empty() {
            self.submit(Task::NoteReceives(notes)).await?;
        }
        let mut received = Vec::with_capacity(taken.messages.len());
        for message in taken.messages {
            let Handed { id, group, sent_at, receives, body, .. } = message;
            let body = match body {
                Some(body) => body,
                None => match self.body(id)? {
                    Some(body) => body,
                    None => {
                        tracing::error!(queue = queue.name(), id, "a message has vanished from the table");
                        cell.change(|lines| lines.remove(id));
                        continue;
                    }
                },
            };
            let receipt = Receipt { queue, handle: Handle::Message { id, receives }.encode() };
            received.push(Received { receipt, body, group: group.to_string(), receives, sent_at });
        }
        Ok(received)
    }

    fn body(&self, id: i64) -> Result<Option<Doc>> {
        let reader = self.readers.take()?;
        let text: Option<Option<String>> = reader
            .prepare_cached("SELECT body FROM queue WHERE id = ?1")
            .and_then(|mut statement| statement.query_row(params![id], |row| row.get(0)).optional())
            .map_err(sql)?;
        text.flatten().map(|text| items::parse(&text)).transpose()
    }
}

#[async_trait]
impl Queues for Sqlite {
    async fn send(&self, messages: Vec<Enqueue>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let unit = Unit { enqueue: messages, ..Unit::default() };
        self.submit_unit(Prepared::new(unit)?).await?;
        Ok(())
    }

    async fn receive(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>> {
        self.requested("sqs.receive");
        let cell: Arc<Cell> = self.cells.get(queue);
        let start = Instant::now();
        loop {
            let mut rung = std::pin::pin!(cell.bell.notified());
            // Listen first, then look: what comes between rings.
            rung.as_mut().enable();
            let now = self.clock.monotonic();
            let mut taken = cell.with(|lines| lines.take(max.max(1), now));
            let next = taken.next.take();
            if !taken.messages.is_empty() || !taken.dead.is_empty() {
                let handed: Vec<_> = taken.messages.iter().map(|message| (message.id, message.receives)).collect();
                let received = self.deliver(queue, &cell, taken).await.inspect_err(|_| {
                    // Nobody has them: they need not wait until their time is over.
                    cell.change(|lines| {
                        for (id, receives) in &handed {
                            lines.release(*id, *receives, now, now);
                        }
                    });
                })?;
                if !received.is_empty() {
                    return Ok(received);
                }
                continue;
            }
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let sleep = next.map_or(left, |next| left.min(next.saturating_sub(now).min(GLANCE)));
            // Whether it rang or the time has come: look again.
            drop(tokio::time::timeout(sleep, rung).await);
        }
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<()> {
        self.requested("sqs.visibility");
        let (id, receives) = Handle::delivery(&receipt.handle)?;
        let now = self.clock.monotonic();
        if self.cells.get(receipt.queue).change(|lines| lines.extend(id, receives, now, now + visibility)) {
            Ok(())
        } else {
            Err(Error::new(Kind::Conflict, "RECEIPT_EXPIRED", "The message is visible again or was deleted"))
        }
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        self.requested("sqs.visibility");
        let (id, receives) = Handle::delivery(&receipt.handle)?;
        let cell = self.cells.get(receipt.queue);
        // A stale receipt has nothing to give back, and must not disturb the delivery that followed.
        if !cell.with(|lines| lines.is_current(id, receives)) {
            return Ok(());
        }
        let visible_at: Millis = self.clock.now().plus(delay);
        self.submit(Task::Release { id, receives, visible_at }).await?;
        let now = self.clock.monotonic();
        cell.change(|lines| lines.release(id, receives, now, now + delay));
        Ok(())
    }

    async fn delete(&self, receipt: &Receipt) -> Result<()> {
        let unit = Unit { done: Some(Cause::Message(receipt.clone())), ..Unit::default() };
        self.submit_unit(Prepared::new(unit)?).await?;
        Ok(())
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        self.requested("sqs.depth");
        let now = self.clock.monotonic();
        Ok(self.cells.get(queue).with(|lines| lines.depth(now)))
    }

    async fn dead_letters(&self, queue: Queue, max: usize) -> Result<Vec<Received>> {
        self.requested("sqs.receive");
        let reader = self.readers.take()?;
        let mut found = Vec::new();
        for id in self.cells.get(queue).with(|lines| lines.dead(max)) {
            let row: Option<(String, i64, u32, Option<String>)> = reader
                .prepare_cached("SELECT grp, sent_at, receives, body FROM queue WHERE id = ?1")
                .and_then(|mut statement| {
                    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
                    statement.query_row(params![id], read).optional()
                })
                .map_err(sql)?;
            if let Some((group, sent_at, receives, Some(body))) = row {
                let receipt = Receipt { queue, handle: Handle::Dead { id }.encode() };
                let body = items::parse(&body)?;
                found.push(Received { receipt, body, group, receives, sent_at: Millis(sent_at) });
            }
        }
        Ok(found)
    }

    async fn bury(&self, receipt: &Receipt) -> Result<()> {
        self.requested("sqs.delete");
        let Some(Handle::Dead { id }) = Handle::parse(&receipt.handle) else {
            return Err(Error::internal(format!("no receipt of a dead letter: {}", receipt.handle)));
        };
        self.submit(Task::Bury(receipt.queue, id)).await?;
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        shared::store::Store::ready(self).await
    }
}
