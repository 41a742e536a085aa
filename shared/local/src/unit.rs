//! Doing a unit inside the writer's transaction.
//!
//! The usual unit has one condition, on its first write. It is done without a savepoint (which would copy every page that it
//! touches): everything that can refuse it is looked at before anything is written. Other units get a savepoint.

use std::collections::HashMap;

use rusqlite::Connection;
use serde_json::Value;
use shared::{
    Error, Result,
    clock::Millis,
    store::{
        Cause, CommitError, Committed, Cond, Doc, Enqueue, Item, Key, Op, Queue, Stamp, Unit, Write, log::Tail, meter,
    },
};

use crate::{
    append::{self, Plan},
    bill::Bill,
    cells::Cells,
    dedup::{Dedup, Mark},
    items::{self, Encoded},
    search, sql,
    tails::{self, Tails},
};

/// A unit with its documents already encoded, by the caller's thread and not the writer's.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) unit: Unit,
    /// Per write: the document of a put that carries no stamp.
    docs: Vec<Option<String>>,
    /// Per message: the body, unless it carries a stamp.
    pub(crate) bodies: Vec<Option<String>>,
    kind: Kind,
}

/// What was asked for: only the bill differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unit,
    /// Costs twice on DynamoDB.
    Transaction,
    Many,
}

impl Prepared {
    pub(crate) fn new(mut unit: Unit) -> Result<Self> {
        // In one transaction it makes no difference when it goes.
        if let Some(Cause::Row(key)) = unit.done.take_if(|cause| matches!(cause, Cause::Row(_))) {
            unit.writes.push(Write::delete(key));
        }
        let doc = |write: &Write| match &write.op {
            Op::Put(item) if write.stamp.is_none() => items::encode(&item.doc).map(Some),
            _ => Ok(None),
        };
        let body = |message: &Enqueue| message.stamp.is_none().then(|| items::encode(&message.body)).transpose();
        Ok(Self {
            docs: unit.writes.iter().map(doc).collect::<Result<_>>()?,
            bodies: unit.enqueue.iter().map(body).collect::<Result<_>>()?,
            unit,
            kind: Kind::Unit,
        })
    }

    /// Only writes.
    pub(crate) fn writes(writes: Vec<Write>, kind: Kind) -> Result<Self> {
        let prepared = Self::new(Unit { writes, ..Unit::default() })?;
        Ok(Self { kind, ..prepared })
    }

    /// Whether a refusal can come after something was written.
    pub(crate) fn wants_savepoint(&self) -> bool {
        self.unit.writes.iter().skip(1).any(|write| write.cond != Cond::Always)
    }
}

/// A message that a unit has put into the table.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Which of the unit's messages.
    pub(crate) which: usize,
    pub(crate) id: i64,
    pub(crate) sent_at: Millis,
    pub(crate) visible_at: Millis,
    pub(crate) seq: Option<u64>,
    /// Of the body as JSON.
    pub(crate) bytes: usize,
    pub(crate) mark: Option<Mark>,
}

/// What a task did; becomes known to the rest of the process after the commit.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) committed: Committed,
    pub(crate) sent: Vec<Sent>,
    pub(crate) removed: Option<(Queue, i64)>,
    pub(crate) buried: Option<(Queue, i64)>,
}

/// What the units of one transaction share.
pub(crate) struct Batch<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) tails: &'a Tails,
    pub(crate) cells: &'a Cells,
    pub(crate) dedup: &'a mut Dedup,
    pub(crate) now: Millis,
    /// The id of the next message.
    pub(crate) next_id: &'a mut i64,
    /// Tails as this transaction has them; `None`: read it from the items.
    pub(crate) moved: HashMap<String, Option<Tail>>,
    pub(crate) bill: Bill,
}

impl Batch<'_> {
    /// Does the unit. After an error the caller rolls back what was written: to the savepoint, or everything. A conflict or
    /// a fence without a savepoint has written nothing.
    pub(crate) fn run(&mut self, prepared: &Prepared) -> Result<Done, CommitError> {
        let unit = &prepared.unit;
        let plan = match append::plan(self.conn, &unit.append, self.now, |log| self.tail(log)) {
            Ok(plan) => plan,
            // In the order of the unit, a failing condition comes before the fence.
            Err(fenced @ CommitError::Fenced { .. }) => {
                for (which, write) in unit.writes.iter().enumerate() {
                    self.check(which, write)?;
                }
                return Err(fenced);
            }
            Err(error) => return Err(error),
        };
        for (which, write) in unit.writes.iter().enumerate() {
            self.write(which, write, prepared, &plan)?;
        }
        for item in &plan.items {
            let doc = items::encode(&item.doc)?;
            if !items::create(self.conn, encoded(item, &doc)).map_err(sql)? {
                // Only another program that writes into the file gets us here.
                self.touched(&item.key);
                return Err(Error::unavailable(format!("log item {} is there beyond the tail", item.key)).into());
            }
            self.bill.write("commit.append", meter::write_units(None, Some(item)));
        }
        let mut done = Done::default();
        if let Err(error) = self.messages(prepared, &plan, &mut done) {
            self.forget(&done);
            return Err(error.into());
        }
        self.moved.extend(plan.tails.into_iter().map(|(log, tail)| (log, Some(tail))));
        done.committed = Committed { seqs: plan.seqs };
        Ok(done)
    }

    /// Takes back what a unit left in memory: its transaction did not happen.
    pub(crate) fn forget(&mut self, done: &Done) {
        for mark in done.sent.iter().filter_map(|sent| sent.mark) {
            self.dedup.forget(mark);
        }
    }

    fn tail(&self, log: &str) -> Result<Tail> {
        let known = match self.moved.get(log) {
            Some(moved) => *moved,
            None => self.tails.get(log),
        };
        known.map_or_else(|| tails::read(self.conn, log), Ok)
    }

    /// Somebody writes items of a log past the log: what is remembered of it may be wrong.
    fn touched(&mut self, key: &Key) {
        if let Some(log) = tails::log_of(&key.pk) {
            self.moved.insert(log.to_owned(), None);
        }
    }

    /// The old item, if the condition holds for it.
    fn check(&mut self, which: usize, write: &Write) -> Result<Option<Item>, CommitError> {
        let old = items::get(self.conn, write.key())?;
        if write.cond.holds(old.as_ref().map(|item| &item.doc)) { Ok(old) } else { Err(self.conflict(which, old)) }
    }

    /// A refused write is charged by the size of what is there.
    fn conflict(&mut self, which: usize, old: Option<Item>) -> CommitError {
        self.bill.write("commit.conflict", meter::write_units(old.as_ref(), old.as_ref()));
        CommitError::Conflict { which, old: old.map(Box::new) }
    }

    fn write(&mut self, which: usize, write: &Write, prepared: &Prepared, plan: &Plan) -> Result<(), CommitError> {
        self.touched(write.key());
        let stamp = match &write.stamp {
            Some((attribute, stamp)) => Some((attribute, number(plan, *stamp)?)),
            None => None,
        };
        let (operation, units) = match &write.op {
            Op::Put(item) => {
                let units = match (stamp, &prepared.docs[which]) {
                    (None, Some(doc)) => self.put(which, write, item, doc)?,
                    (stamp, _) => {
                        let mut item = item.clone();
                        item.doc.extend(stamp.map(|(attribute, seq)| (attribute.clone(), Value::from(seq))));
                        let doc = items::encode(&item.doc)?;
                        self.put(which, write, &item, &doc)?
                    }
                };
                ("commit.put", units)
            }
            Op::Update(key, change) => {
                let old = self.check(which, write)?;
                let mut new =
                    old.clone().unwrap_or_else(|| Item { key: key.clone(), index: None, ttl: None, doc: Doc::new() });
                change.apply(&mut new.doc);
                new.doc.extend(stamp.map(|(attribute, seq)| (attribute.clone(), Value::from(seq))));
                if let Some(index) = &change.index {
                    new.index.clone_from(index);
                }
                new.ttl = change.ttl.or(new.ttl);
                let doc = items::encode(&new.doc)?;
                items::put(self.conn, encoded(&new, &doc)).map_err(sql)?;
                self.searchable(old.as_ref(), Some(&new), key)?;
                ("commit.update", meter::write_units(old.as_ref(), Some(&new)))
            }
            Op::Delete(key) => {
                let old = self.check(which, write)?;
                items::delete(self.conn, key).map_err(sql)?;
                self.searchable(old.as_ref(), None, key)?;
                ("commit.delete", meter::write_units(old.as_ref(), None))
            }
            Op::Check(_) => {
                let old = self.check(which, write)?;
                ("commit.check", meter::write_units(old.as_ref(), old.as_ref()))
            }
        };
        match prepared.kind {
            Kind::Unit => self.bill.write(operation, units),
            Kind::Transaction => self.bill.write("transact", 2 * units),
            Kind::Many => self.bill.write("write_many", units),
        }
        Ok(())
    }

    /// Puts under the write's condition; returns the write units. A new item, the usual case, is one insert.
    fn put(&mut self, which: usize, write: &Write, item: &Item, doc: &str) -> Result<u64, CommitError> {
        let may_be_new = matches!(write.cond, Cond::Always | Cond::Absent);
        if may_be_new && items::create(self.conn, encoded(item, doc)).map_err(sql)? {
            self.searchable(None, Some(item), &item.key)?;
            return Ok(meter::write_units(None, Some(item)));
        }
        let old = self.check(which, write)?;
        items::put(self.conn, encoded(item, doc)).map_err(sql)?;
        self.searchable(old.as_ref(), Some(item), &item.key)?;
        Ok(meter::write_units(old.as_ref(), Some(item)))
    }

    /// Keeps the search index beside an item that has changed.
    fn searchable(&self, old: Option<&Item>, new: Option<&Item>, key: &Key) -> Result<()> {
        search::changed(self.conn, key, search::text(old), search::text(new)).map_err(sql)
    }
}

fn encoded<'a>(item: &'a Item, doc: &'a str) -> Encoded<'a> {
    Encoded { key: &item.key, index: item.index.as_ref(), ttl: item.ttl, doc }
}

/// The number that the stamped entry gets.
pub(crate) fn number(plan: &Plan, stamp: Stamp) -> Result<u64> {
    plan.seqs
        .get(stamp.append)
        .and_then(|seqs| seqs.get(stamp.entry))
        .copied()
        .ok_or_else(|| Error::internal(format!("a stamp points at no entry: {stamp:?}")))
}
