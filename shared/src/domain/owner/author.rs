//! Who writes, and how a step of work is committed so that a repeat completes it instead of doubling it.

use std::sync::Arc;

use super::Owner;
use crate::{
    app::App,
    domain::{event, instance::Instance},
    store::{
        Append, Cause, CommitError, Committed, Item, Key, Receipt, Stamp, Unit, Write,
        log::{NewEntry, Writer},
    },
};

/// What caused a step, and is to be removed once the step is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Settle {
    /// A message of the command queue.
    Queue(Receipt),
    /// The row of a parked send.
    Parked(Key),
    Nothing,
}

/// Somebody who appends to an instance's log: its owner, or on its behalf somebody who does not own it.
pub struct Author<'a> {
    pub(super) app: &'a App,
    pub(super) instance: Arc<Instance>,
    writer: Writer,
    owner: Option<&'a Owner>,
}

/// One step: a gate, what goes with it, and what is told.
pub(super) struct Step {
    /// The condition of this write decides whether the step happens.
    pub(super) gate: Write,
    /// Attribute that the gate leaves behind: the log position of the first entry.
    pub(super) stamp: &'static str,
    /// Idempotent writes before the gate and after it.
    pub(super) before: Vec<Write>,
    pub(super) after: Vec<Write>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) settle: Settle,
}

/// What became of a step.
pub(super) enum Outcome {
    /// It happened.
    Done,
    /// It had happened before, and is complete now.
    Again,
    /// The gate was closed by something else; nothing happened. The item as it was found.
    Refused(Option<Box<Item>>),
}

impl<'a> Author<'a> {
    pub(super) fn owner(owner: &'a Owner) -> Self {
        Self {
            app: &owner.app,
            instance: owner.instance(),
            writer: Writer::Owner { epoch: owner.epoch },
            owner: Some(owner),
        }
    }

    /// An author that does not own the instance and copies the log's fence, for work on its behalf (dead letters).
    pub fn foreign(app: &'a App, instance: Arc<Instance>) -> Self {
        Self { app, instance, writer: Writer::Foreign, owner: None }
    }

    /// Does the step, or completes it if its gate was passed before.
    pub(super) async fn step(&self, step: Step) -> Result<Outcome, CommitError> {
        let Step { gate, stamp, mut before, after, entries, settle } = step;
        let which_gate = before.len();
        let rest: Vec<Write> = before.iter().chain(&after).cloned().collect();
        before.push(gate.stamped(stamp, Stamp::FIRST));
        before.extend(after);
        match self.commit(self.unit(before, &entries, None, settle.clone())).await {
            Ok(_) => Ok(Outcome::Done),
            Err(CommitError::Conflict { which, old }) if which == which_gate => {
                match old.as_ref().and_then(|old| old.u64(stamp)) {
                    Some(from) => {
                        self.commit(self.unit(rest, &entries, Some(from), settle)).await?;
                        Ok(Outcome::Again)
                    }
                    None => Ok(Outcome::Refused(old)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Completes a step whose gate is known to have been passed: appends what is missing from position `from` on.
    pub(super) async fn complete(
        &self,
        writes: Vec<Write>,
        entries: &[NewEntry],
        from: u64,
        settle: Settle,
    ) -> Result<(), CommitError> {
        self.commit(self.unit(writes, entries, Some(from), settle)).await.map(drop)
    }

    /// A unit with these entries and their dispatches.
    pub(super) fn unit(
        &self,
        writes: Vec<Write>,
        entries: &[NewEntry],
        look_from: Option<u64>,
        settle: Settle,
    ) -> Unit {
        let done = match settle {
            Settle::Queue(receipt) => Some(Cause::Message(receipt)),
            Settle::Parked(key) => Some(Cause::Row(key)),
            Settle::Nothing => None,
        };
        Unit {
            writes,
            enqueue: event::dispatches(&self.instance, entries, 0),
            append: vec![Append {
                log: self.instance.id.to_string(),
                writer: self.writer,
                entries: entries.to_vec(),
                look_from,
            }],
            done,
        }
    }

    /// Commits, and keeps the account of what was dispatched.
    pub(super) async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let Some(owner) = self.owner else { return self.app.store.commit(unit).await };
        let start = owner.marks().begin();
        let result = self.app.store.commit(unit).await;
        {
            let mut marks = owner.marks();
            if let Ok(committed) = &result {
                marks.finished(committed.seqs.iter().flatten().copied().max().unwrap_or(0));
            }
            marks.end(start);
        }
        if result.is_ok() {
            owner.save_mark_if_far().await;
        }
        result
    }

    /// Removes what caused the work, where there is nothing else to do.
    pub(super) async fn settle(&self, settle: Settle) -> Result<(), CommitError> {
        match settle {
            Settle::Queue(receipt) => self.app.queues.delete(&receipt).await?,
            Settle::Parked(key) => {
                self.app.store.commit(Unit::write(Write::delete(key))).await?;
            }
            Settle::Nothing => {}
        }
        Ok(())
    }
}
