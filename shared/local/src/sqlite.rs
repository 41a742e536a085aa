//! The store as a whole: opening, the way to the writer, and what can be measured.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use shared::{
    Error, Result,
    clock::Clock,
    store::{CommitError, Committed, Depth, Queue, meter::Meter},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    cells::{self, Cells},
    file,
    readers::Readers,
    tails::Tails,
    unit::Prepared,
    upkeep::Upkeep,
    writer::{self, Request, Task, Writer},
};

/// Long queries at a time: they must not take every core from the rest.
const LONG_READS: usize = 4;

/// Store and queues on one file. Implements [`shared::store::Store`] and [`shared::store::Queues`].
///
/// The process must hold the [`crate::DataDirLock`] of the directory: queues are in memory, too. Dropping it finishes what
/// was begun and closes the file.
pub struct Sqlite {
    path: PathBuf,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) long_reads: Semaphore,
    pub(crate) tails: Arc<Tails>,
    pub(crate) cells: Arc<Cells>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Arc<Meter>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens `trunkline.db` in `dir`, creating both if need be, brings the schema up to date, reads the queues, and starts
    /// the writer.
    ///
    /// Errors: `SCHEMA_TOO_NEW` (persistent) for a file of a newer program; unavailable when the file cannot be used.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, meter: Arc<Meter>) -> Result<Arc<Self>> {
        let conn = file::open_writer(dir)?;
        let path = file::path(dir);
        let loaded = cells::load(&conn, &*clock)?;
        let cells = Arc::new(loaded.cells);
        let tails = Arc::new(Tails::default());
        let (sender, receiver) = mpsc::channel(writer::WAITING);
        let work = Writer {
            conn,
            requests: receiver,
            tails: Arc::clone(&tails),
            cells: Arc::clone(&cells),
            dedup: loaded.dedup,
            next_id: loaded.next_id,
            clock: Arc::clone(&clock),
            meter: Arc::clone(&meter),
            upkeep: Upkeep::new(path.clone()),
        };
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| Error::unavailable(format!("the writer has no timer: {error}")))?;
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || work.run(&timer))
            .map_err(|error| Error::unavailable(format!("the writer does not start: {error}")))?;
        Ok(Arc::new(Self {
            readers: Arc::new(Readers::new(path.clone())),
            path,
            requests: Some(sender),
            writer: Some(thread),
            long_reads: Semaphore::new(LONG_READS),
            tails,
            cells,
            clock,
            meter,
        }))
    }

    /// Bytes of the database file.
    pub fn file_bytes(&self) -> u64 {
        file::sizes(&self.path).0
    }

    /// Bytes of the write-ahead log. Normally below 100 MB: more means that a reader keeps an old state open.
    pub fn wal_bytes(&self) -> u64 {
        file::sizes(&self.path).1
    }

    /// Tasks that wait for the writer.
    pub fn backlog(&self) -> usize {
        self.requests.as_ref().map_or(0, |sender| sender.max_capacity() - sender.capacity())
    }

    /// Depth of every queue that was used since the start, or has something in it.
    pub fn depths(&self) -> Vec<(Queue, Depth)> {
        let now = self.clock.monotonic();
        self.cells.all().into_iter().map(|(queue, cell)| (queue, cell.with(|lines| lines.depth(now)))).collect()
    }

    pub(crate) async fn submit(&self, task: Task) -> Result<Committed, CommitError> {
        let gone = || Error::unavailable("the writer has stopped");
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { task, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub(crate) async fn submit_unit(&self, prepared: Prepared) -> Result<Committed, CommitError> {
        self.submit(Task::Unit(Box::new(prepared))).await
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer has panicked");
        }
    }
}
