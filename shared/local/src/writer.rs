//! The one thread that writes. It takes what is waiting into one transaction, commits, makes the effects known to the rest of
//! the process, and answers everybody. A commit that fails answers everybody "unavailable": nothing of it happened.

use std::{collections::HashMap, error::Error as _, fmt::Write as _, sync::Arc};

use rusqlite::Connection;
use shared::{
    Error, Result,
    clock::{Clock, Millis},
    store::{CommitError, Committed, Doc, Queue, log::Tail, meter::Meter},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

use crate::{
    bill::Bill,
    cells::{Cell, Cells},
    dedup::Dedup,
    lines::Message,
    sql,
    tails::Tails,
    unit::{Batch, Done, Prepared},
    upkeep::Upkeep,
};

/// Tasks in one transaction at the most.
const BATCH: usize = 512;
/// Tasks that may wait; beyond, callers wait to get in.
pub(crate) const WAITING: usize = 4 * BATCH;

/// What the writer can do.
#[derive(Debug)]
pub(crate) enum Task {
    Unit(Box<Prepared>),
    /// See [`Batch::release`].
    Release {
        id: i64,
        receives: u32,
        visible_at: Millis,
    },
    /// See [`Batch::note_receives`].
    NoteReceives(Vec<(i64, u32)>),
    /// See [`Batch::retire`].
    Retire(Queue, Vec<(i64, u32)>),
    /// See [`Batch::bury`].
    Bury(Queue, i64),
}

pub(crate) type Answer = Result<Committed, CommitError>;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) task: Task,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) cells: Arc<Cells>,
    pub(crate) dedup: Dedup,
    pub(crate) next_id: i64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) upkeep: Upkeep,
}

/// Why a transaction did not happen.
enum Fault {
    /// One of its units failed half-way: the others deserve another attempt without it.
    Unit,
    All(Error),
}

/// What a transaction did.
struct Outcome {
    /// One a request.
    done: Vec<Result<Done, CommitError>>,
    moved: HashMap<String, Option<Tail>>,
    bill: Bill,
}

impl Writer {
    /// Works until every sender is gone. `timer` only serves to wait with a limit.
    pub(crate) fn run(mut self, timer: &Runtime) {
        loop {
            let patience = self.upkeep.patience();
            match timer.block_on(async { tokio::time::timeout(patience, self.requests.recv()).await }) {
                Ok(Some(first)) => {
                    self.turn(first);
                    self.upkeep.between(&self.conn, self.clock.now());
                }
                Ok(None) => return self.close(),
                Err(_) => self.upkeep.idle(&self.conn, self.clock.now()),
            }
        }
    }

    /// Nobody is left. Deliveries that had no answer count after the restart, too.
    fn close(&mut self) {
        let notes = self.cells.all().into_iter().flat_map(|(_, cell)| cell.with(|lines| lines.unrecorded())).collect();
        let (answer, answered) = oneshot::channel();
        drop(answered);
        self.turn(Request { task: Task::NoteReceives(notes), answer });
    }

    fn turn(&mut self, first: Request) {
        let mut requests = vec![first];
        let outcome = match self.attempt(&mut requests, false) {
            Err(Fault::Unit) => self.attempt(&mut requests, true),
            outcome => outcome,
        };
        match outcome {
            Ok(outcome) => self.publish(requests, outcome),
            Err(Fault::Unit) => refuse(requests, "a unit failed again"),
            Err(Fault::All(error)) => {
                let reason = chain(&error);
                tracing::error!(
                    reason,
                    units = requests.len(),
                    "a transaction failed; its callers were told to try again"
                );
                refuse(requests, &reason);
            }
        }
    }

    /// One transaction over the requests, and over those that come in meanwhile. `careful`: a savepoint for each.
    fn attempt(&mut self, requests: &mut Vec<Request>, careful: bool) -> Result<Outcome, Fault> {
        let conn = &self.conn;
        execute(conn, "BEGIN IMMEDIATE").map_err(Fault::All)?;
        let mut batch = Batch {
            conn,
            tails: &self.tails,
            cells: &self.cells,
            dedup: &mut self.dedup,
            now: self.clock.now(),
            next_id: &mut self.next_id,
            moved: HashMap::new(),
            bill: Bill::default(),
        };
        let mut done = Vec::with_capacity(requests.len());
        let result = loop {
            let Some(request) = requests.get(done.len()) else {
                if !careful
                    && requests.len() < BATCH
                    && let Ok(next) = self.requests.try_recv()
                {
                    requests.push(next);
                    continue;
                }
                break execute(conn, "COMMIT").map_err(Fault::All);
            };
            match perform(&mut batch, &request.task, careful) {
                Ok(outcome) => done.push(outcome),
                Err(fault) => break Err(fault),
            }
        };
        if let Err(fault) = result {
            for done in done.iter().flatten() {
                batch.forget(done);
            }
            // Some errors have ended the transaction already.
            if !conn.is_autocommit()
                && let Err(error) = execute(conn, "ROLLBACK")
            {
                tracing::error!(reason = chain(&error), "a transaction could not be rolled back");
            }
            return Err(fault);
        }
        Ok(Outcome { done, moved: batch.moved, bill: batch.bill })
    }

    /// After the commit: everybody learns of it, then the callers.
    fn publish(&mut self, requests: Vec<Request>, outcome: Outcome) {
        self.tails.publish(outcome.moved);
        outcome.bill.settle(&self.meter);
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mut rung: Vec<(Queue, Arc<Cell>)> = Vec::new();
        let mut cell = |queue: Queue| match rung.iter().find(|(known, _)| *known == queue) {
            Some((_, cell)) => Arc::clone(cell),
            None => {
                let cell = self.cells.get(queue);
                rung.push((queue, Arc::clone(&cell)));
                cell
            }
        };
        let mut answers = Vec::with_capacity(requests.len());
        for (request, done) in requests.into_iter().zip(outcome.done) {
            let Request { mut task, answer } = request;
            let done = match done {
                Ok(done) => done,
                Err(error) => {
                    answers.push((answer, Err(error)));
                    continue;
                }
            };
            if let Task::Unit(prepared) = &mut task {
                for sent in done.sent {
                    let message = &mut prepared.unit.enqueue[sent.which];
                    let mut doc: Doc = std::mem::take(&mut message.body);
                    doc.extend(sent.seq.map(|seq| ("seq".to_owned(), seq.into())));
                    let message = (
                        message.queue,
                        Message {
                            id: sent.id,
                            group: message.group.as_str().into(),
                            sent_at: sent.sent_at,
                            receives: 0,
                            stored: 0,
                            due: (sent.visible_at > now).then(|| monotonic + now.until(sent.visible_at)),
                            body: self.cells.cache.keep(doc, sent.bytes),
                        },
                    );
                    cell(message.0).with(|lines| lines.push(message.1));
                }
            }
            if let Some((queue, id)) = done.removed {
                cell(queue).with(|lines| lines.remove(id));
            }
            if let Some((queue, id)) = done.buried {
                cell(queue).with(|lines| lines.remove_dead(id));
            }
            answers.push((answer, Ok(done.committed)));
        }
        for (_, cell) in rung {
            cell.bell.notify_waiters();
        }
        for (sender, answer) in answers {
            give(sender, answer);
        }
    }
}

/// Does a task; the inner error is the task's own, and it has left nothing in the transaction.
fn perform(batch: &mut Batch<'_>, task: &Task, careful: bool) -> Result<Result<Done, CommitError>, Fault> {
    let conn = batch.conn;
    if !careful && !matches!(task, Task::Unit(prepared) if prepared.wants_savepoint()) {
        return match once(batch, task) {
            Err(CommitError::Store(_)) => Err(Fault::Unit),
            result => Ok(result),
        };
    }
    execute(conn, "SAVEPOINT unit").map_err(Fault::All)?;
    let result = once(batch, task);
    if let Err(error) = &result {
        if let CommitError::Store(error) = error
            && conn.is_autocommit()
        {
            return Err(Fault::All(Error::unavailable(chain(error))));
        }
        execute(conn, "ROLLBACK TO unit").map_err(Fault::All)?;
    }
    execute(conn, "RELEASE unit").map_err(Fault::All)?;
    Ok(result)
}

fn once(batch: &mut Batch<'_>, task: &Task) -> Result<Done, CommitError> {
    match task {
        Task::Unit(prepared) => return batch.run(prepared),
        Task::Release { id, receives, visible_at } => batch.release(*id, *receives, *visible_at)?,
        Task::NoteReceives(notes) => batch.note_receives(notes)?,
        Task::Retire(queue, dead) => batch.retire(*queue, dead)?,
        Task::Bury(queue, id) => {
            batch.bury(*queue, *id)?;
            return Ok(Done { buried: Some((*queue, *id)), ..Done::default() });
        }
    }
    Ok(Done::default())
}

fn execute(conn: &Connection, statement: &str) -> Result<()> {
    conn.prepare_cached(statement).and_then(|mut statement| statement.execute([])).map(|_| ()).map_err(sql)
}

fn refuse(requests: Vec<Request>, reason: &str) {
    for request in requests {
        give(request.answer, Err(Error::unavailable(reason.to_owned()).into()));
    }
}

/// Nobody listens any more when the caller was cancelled; the work stands.
fn give(sender: oneshot::Sender<Answer>, answer: Answer) {
    drop(sender.send(answer));
}

/// The error with its sources, for a log.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _infallible = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
