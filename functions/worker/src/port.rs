//! What the parts of one supervisor share: the owner, the line that can be used now, and the commands in hand.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shared::{
    Result,
    app::AppState,
    connector::Line,
    domain::owner::Owner,
    store::{CommitError, Receipt},
};

use tokio::sync::Semaphore;

use crate::{Context, in_hand::InHand, locks::Locks};

/// Sends of an instance on its line at the same time (protocol.md §3: FIFO group = instance, at most 10 in flight).
const ON_LINE: usize = 10;

pub(crate) struct Port {
    pub(crate) context: Arc<Context>,
    pub(crate) shard: u16,
    pub(crate) owner: Owner,
    pub(crate) in_hand: InHand,
    /// Sends that may be on the line at the same time.
    pub(crate) slots: Semaphore,
    /// Order of the updates within a chat.
    pub(crate) chats: Locks,
    /// The line, from its opening on, and whether it is up.
    line: Mutex<(Option<Arc<dyn Line>>, bool)>,
    fenced: AtomicBool,
}

impl Port {
    pub(crate) fn new(context: Arc<Context>, shard: u16, owner: Owner) -> Self {
        Self {
            context,
            shard,
            owner,
            in_hand: InHand::default(),
            slots: Semaphore::new(ON_LINE),
            chats: Locks::default(),
            line: Mutex::default(),
            fenced: AtomicBool::new(false),
        }
    }

    pub(crate) fn app(&self) -> &AppState {
        &self.context.app
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, (Option<Arc<dyn Line>>, bool)> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line for questions: it need not be up, since pairing is one of them.
    pub(crate) fn line(&self) -> Option<Arc<dyn Line>> {
        self.slot().0.clone()
    }

    /// The line for sends, only while it is up.
    pub(crate) fn line_up(&self) -> Option<Arc<dyn Line>> {
        let slot = self.slot();
        slot.0.clone().filter(|_| slot.1)
    }

    pub(crate) fn set_line(&self, line: Option<Arc<dyn Line>>, up: bool) {
        *self.slot() = (line, up);
    }

    pub(crate) fn set_up(&self) {
        self.slot().1 = true;
    }

    /// The last check before something goes to a socket.
    pub(crate) fn lease_is_valid(&self) -> bool {
        self.context.lease.valid(self.shard) && !self.is_fenced()
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Notes that somebody else owns the instance now; passes the error on.
    pub(crate) fn noticed(&self, error: CommitError) -> CommitError {
        if matches!(error, CommitError::Fenced { .. }) && !self.fenced.swap(true, Ordering::AcqRel) {
            tracing::warn!(instance = %self.owner.id(), %error, "another owner has taken the instance over");
        }
        error
    }

    /// Acknowledges a command that needs nothing else.
    pub(crate) async fn acknowledge(&self, receipt: &Receipt) {
        // Settled either way: what is not acknowledged is no longer extended, comes again, and is found to be done.
        self.in_hand.settled(receipt);
        if let Err(error) = self.app().queues.delete(receipt).await {
            tracing::debug!(instance = %self.owner.id(), %error, "a command was not acknowledged");
        }
    }

    /// Gives a command back.
    pub(crate) async fn release(&self, receipt: &Receipt, after: Duration) {
        self.in_hand.settled(receipt);
        if let Err(error) = self.app().queues.release(receipt, after).await {
            tracing::debug!(instance = %self.owner.id(), %error, "a command was not given back");
        }
    }

    /// Like [`Port::noticed`], for results.
    pub(crate) fn check<T>(&self, result: Result<T, CommitError>) -> Result<T, CommitError> {
        result.map_err(|error| self.noticed(error))
    }
}
