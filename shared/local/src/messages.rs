//! Rows of the table `queue`: what the writer does with them.

use rusqlite::params;
use serde_json::Value;
use shared::{
    Result,
    clock::Millis,
    store::{Cause, Enqueue, Queue, Receipt},
};

use crate::{
    append::Plan,
    cells::Handle,
    dedup::WINDOW_MS,
    items, sql,
    unit::{Batch, Done, Prepared, Sent, number},
};

/// Name under which the dead letters of a queue are.
pub(crate) fn dead_name(queue: Queue) -> String {
    format!("{}.dead", queue.name())
}

/// Messages that one request to SQS takes.
const SQS_BATCH: usize = 10;

impl Batch<'_> {
    /// The unit's messages and its acknowledgement.
    pub(crate) fn messages(&mut self, prepared: &Prepared, plan: &Plan, done: &mut Done) -> Result<()> {
        let unit = &prepared.unit;
        for (which, message) in unit.enqueue.iter().enumerate() {
            done.sent.extend(self.enqueue(which, message, prepared, plan)?);
        }
        if !unit.enqueue.is_empty() {
            self.bill.requests("sqs.send", requests(&unit.enqueue));
        }
        if let Some(Cause::Message(receipt)) = &unit.done {
            done.removed = self.delete(receipt)?;
            self.bill.requests("sqs.delete", 1);
        }
        Ok(())
    }

    /// `None` for a duplicate.
    fn enqueue(&mut self, which: usize, message: &Enqueue, prepared: &Prepared, plan: &Plan) -> Result<Option<Sent>> {
        let seq = message.stamp.map(|stamp| number(plan, stamp)).transpose()?;
        let stamped = seq.map(|seq| {
            let mut body = message.body.clone();
            body.insert("seq".into(), Value::from(seq));
            (format!("{}/{seq}", message.dedup), items::encode(&body))
        });
        let encoded;
        let (dedup, body) = match (stamped, &prepared.bodies[which]) {
            (None, Some(body)) => (message.dedup.as_str(), body.as_str()),
            (Some((dedup, body)), _) => {
                encoded = (dedup, body?);
                (encoded.0.as_str(), encoded.1.as_str())
            }
            (None, None) => {
                encoded = (message.dedup.clone(), items::encode(&message.body)?);
                (encoded.0.as_str(), encoded.1.as_str())
            }
        };
        let mark = message.queue.is_fifo().then(|| self.dedup.mark(message.queue, dedup));
        if mark.is_some_and(|mark| !self.dedup.insert(mark, self.now)) {
            return Ok(None);
        }
        let visible_at = if message.queue.is_fifo() { self.now } else { self.now.plus(message.delay) };
        let id = *self.next_id;
        *self.next_id += 1;
        let inserted = self
            .conn
            .prepare_cached(
                "INSERT INTO queue (id, queue, grp, dedup, sent_at, visible_at, receives, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
            )
            .and_then(|mut statement| {
                let name = message.queue.name();
                statement.execute(params![id, name, message.group, dedup, self.now.0, visible_at.0, body])
            });
        if let Err(error) = inserted {
            if let Some(mark) = mark {
                self.dedup.forget(mark);
            }
            return Err(sql(error));
        }
        Ok(Some(Sent { which, id, sent_at: self.now, visible_at, seq, bytes: body.len(), mark }))
    }

    /// Deletes a received message; `None` when the receipt is no longer good. The row stays, without its body, while the
    /// deduplication wants it.
    fn delete(&mut self, receipt: &Receipt) -> Result<Option<(Queue, i64)>> {
        let Some(Handle::Message { id, receives }) = Handle::parse(&receipt.handle) else { return Ok(None) };
        let sent_at = self
            .cells
            .get(receipt.queue)
            .with(|lines| if lines.is_current(id, receives) { lines.sent_at(id) } else { None });
        let Some(sent_at) = sent_at else { return Ok(None) };
        let counts = receipt.queue.is_fifo() && self.now.0 - sent_at.0 < WINDOW_MS;
        let statement = if counts {
            "UPDATE queue SET grp = '', body = NULL WHERE id = ?1"
        } else {
            "DELETE FROM queue WHERE id = ?1"
        };
        self.execute(statement, params![id])?;
        Ok(Some((receipt.queue, id)))
    }

    /// Notes the deliveries so far and when the message shall be visible again, for after a restart.
    pub(crate) fn release(&mut self, id: i64, receives: u32, visible_at: Millis) -> Result<()> {
        self.execute(
            "UPDATE queue SET receives = ?2, visible_at = ?3 WHERE id = ?1 AND body IS NOT NULL",
            params![id, receives, visible_at.0],
        )
    }

    /// Notes deliveries that ended without an answer.
    pub(crate) fn note_receives(&mut self, notes: &[(i64, u32)]) -> Result<()> {
        for (id, receives) in notes {
            self.execute("UPDATE queue SET receives = ?2 WHERE id = ?1 AND body IS NOT NULL", params![id, receives])?;
        }
        Ok(())
    }

    /// Moves messages to the dead letters.
    pub(crate) fn retire(&mut self, queue: Queue, dead: &[(i64, u32)]) -> Result<()> {
        for (id, receives) in dead {
            self.execute(
                "UPDATE queue SET queue = ?2, receives = ?3 WHERE id = ?1 AND body IS NOT NULL",
                params![id, dead_name(queue), receives],
            )?;
        }
        Ok(())
    }

    /// Removes a dead letter.
    pub(crate) fn bury(&mut self, queue: Queue, id: i64) -> Result<()> {
        self.execute("DELETE FROM queue WHERE id = ?1 AND queue = ?2", params![id, dead_name(queue)])
    }

    fn execute(&self, statement: &str, params: impl rusqlite::Params) -> Result<()> {
        self.conn.prepare_cached(statement).and_then(|mut statement| statement.execute(params)).map(|_| ()).map_err(sql)
    }
}

/// Requests to SQS that these messages take: batches per queue.
fn requests(messages: &[Enqueue]) -> u64 {
    let mut count: Vec<(Queue, usize)> = Vec::new();
    for message in messages {
        match count.iter_mut().find(|(queue, _)| *queue == message.queue) {
            Some((_, n)) => *n += 1,
            None => count.push((message.queue, 1)),
        }
    }
    count.iter().map(|(_, n)| n.div_ceil(SQS_BATCH) as u64).sum()
}
