//! Takes the updates of one line. Facts (messages, receipts, contacts) are made durable in the task of whoever emits them, chats
//! at the same time and each in its order; what changes the line's state goes through the supervisor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    Error, Result,
    connector::{Emit, Incoming, Update},
    store::CommitError,
};
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{gauges, port::Port, supervisor::Mail};

/// Tries of a step whose outcome is unknown: every step may be repeated.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a line that goes away waits for its last facts.
const LAST_FACTS: Duration = Duration::from_secs(5);

pub(crate) struct Emitter {
    port: Arc<Port>,
    mail: mpsc::Sender<Mail>,
    /// The line that emits: updates of a line before count for nothing.
    generation: u64,
    detached: CancellationToken,
    /// Held for reading while a fact is being written.
    facts: RwLock<()>,
    /// Milliseconds of the monotonic clock, plus one; 0: no frame yet.
    last_frame: AtomicU64,
    /// Whether the supervisor knows that the dispatch mark is to be saved.
    pub(crate) noted: AtomicBool,
}

impl Emitter {
    pub(crate) fn new(port: Arc<Port>, mail: mpsc::Sender<Mail>, generation: u64) -> Self {
        Self {
            port,
            mail,
            generation,
            detached: CancellationToken::new(),
            facts: RwLock::new(()),
            last_frame: AtomicU64::new(0),
            noted: AtomicBool::new(false),
        }
    }

    /// Takes nothing more; returns when the last fact is written or given up.
    pub(crate) async fn detach(&self) {
        self.detached.cancel();
        if tokio::time::timeout(LAST_FACTS, self.facts.write()).await.is_err() {
            tracing::warn!(instance = %self.port.owner.id(), "a line was closed while it was still telling");
        }
    }

    /// How long the platform has been silent; `None` if it never gives signs of life.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        let last = self.last_frame.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.port.app().clock.monotonic().saturating_sub(Duration::from_millis(last)))
    }

    fn gone() -> Error {
        Error::unavailable("this line is closed")
    }

    async fn fact(&self, update: &Update) -> Result<()> {
        let _writing = self.facts.read().await;
        let _in_order = match update {
            Update::Received(incoming) => Some(self.port.chats.hold(&incoming.chat).await),
            Update::Receipt { chat, .. } => Some(self.port.chats.hold(chat).await),
            Update::Reported(report) => Some(self.port.chats.hold(&report.chat).await),
            Update::Happened(happening) => Some(self.port.chats.hold(&happening.chat).await),
            _ => None,
        };
        let mut tries = 1;
        loop {
            if self.detached.is_cancelled() {
                return Err(Self::gone());
            }
            match self.port.check(self.write(update).await) {
                Ok(()) => break,
                Err(CommitError::Store(error)) if error.is_temporary() && tries < TRIES => {
                    tokio::time::sleep(PAUSE * (1 << tries)).await;
                    tries += 1;
                }
                Err(error) => {
                    if self.port.is_fenced() && self.mail.try_send(Mail::Fenced).is_err() {
                        tracing::debug!(instance = %self.port.owner.id(), "the supervisor will notice by itself");
                    }
                    return Err(error.into());
                }
            }
        }
        if self.port.owner.mark_is_behind() && !self.noted.swap(true, Ordering::AcqRel) {
            self.tell(Mail::Mark, &self.noted);
        }
        Ok(())
    }

    /// Tells the supervisor something that is told again at the next occasion if there is no room now.
    fn tell(&self, mail: Mail, noted: &AtomicBool) {
        if self.mail.try_send(mail).is_err() {
            noted.store(false, Ordering::Release);
        }
    }

    async fn write(&self, update: &Update) -> Result<(), CommitError> {
        let owner = &self.port.owner;
        match update {
            Update::Received(incoming) => self.received(incoming).await,
            Update::Receipt { messages, chat, receipt, at } => owner.receipts(messages, chat, *receipt, *at).await,
            Update::Reported(report) => owner.reported(report).await,
            Update::Contacts(contacts) => owner.contacts(contacts).await,
            Update::SameChat { address, also } => owner.same_chat(address, also).await,
            Update::Happened(happening) => owner.happened(happening).await,
            Update::History(page) => owner.history(page).await.map(drop),
            Update::Restricted { reason, until } => owner.restricted(reason, *until).await,
            Update::Qr { .. }
            | Update::PairingExpired
            | Update::PairingRefused { .. }
            | Update::Opened { .. }
            | Update::Closed { .. }
            | Update::Unauthorized { .. } => Err(Error::internal("not a fact").into()),
        }
    }

    async fn received(&self, incoming: &Incoming) -> Result<(), CommitError> {
        if self.port.owner.received(incoming).await? {
            gauges::received();
        }
        Ok(())
    }

    /// Through the supervisor, which is the only one to change the line's state.
    async fn turn(&self, update: Update) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let mail = Mail::Update { generation: self.generation, update, reply };
        tokio::select! {
            // The answer to `Closed` comes just before the line is detached, and counts.
            biased;
            answer = async {
                self.mail.send(mail).await.map_err(|_| Self::gone())?;
                answer.await.map_err(|_| Self::gone())?
            } => answer,
            () = self.detached.cancelled() => Err(Self::gone()),
        }
    }
}

#[async_trait]
impl Emit for Emitter {
    async fn emit(&self, update: Update) -> Result<()> {
        match update {
            Update::Qr { .. }
            | Update::PairingExpired
            | Update::PairingRefused { .. }
            | Update::Opened { .. }
            | Update::Closed { .. }
            | Update::Unauthorized { .. } => self.turn(update).await,
            Update::Received(_)
            | Update::Receipt { .. }
            | Update::Reported(_)
            | Update::Contacts(_)
            | Update::SameChat { .. }
            | Update::Happened(_)
            | Update::History(_)
            | Update::Restricted { .. } => self.fact(&update).await,
        }
    }

    fn frame(&self) {
        let now = u64::try_from(self.port.app().clock.monotonic().as_millis()).unwrap_or(u64::MAX - 1);
        if self.last_frame.swap(now + 1, Ordering::Relaxed) == 0 && self.mail.try_send(Mail::Watch).is_err() {
            // Asked again by the next frame.
            self.last_frame.store(0, Ordering::Relaxed);
        }
    }
}
