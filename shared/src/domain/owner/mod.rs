//! The owner's side of the domain: what the one process that holds an account's line durably does with it.
//!
//! Every function here builds one unit of work — writes, log entries, dispatches, acknowledgement — and is safe to repeat: the
//! unit's first write is its gate, and a gate that was passed before carries the log position from which to look for what
//! is still missing ([`author`]). What must not live here: sockets, queues' loops, timers; those are the worker's.
//!
//! An [`Owner`] is made by [`Owner::take_over`], which raises the instance's epoch and marks the log with it. From then on no
//! entry, status or session value of an earlier owner can be written (protocol.md §2).

mod arrive;
mod author;
mod change;
mod contacts;
mod delete;
mod happened;
mod history;
mod inbound;
mod line;
mod marks;
mod moving;
mod outcome;
mod receipts;
mod reported;
mod reports;
mod restricted;
mod session;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use self::arrive::{moves_away, turned};
use self::marks::Marks;
pub use self::{
    arrive::Arrival,
    author::{Author, Settle},
    delete::erase,
    line::PAIRING_EXPIRED,
    moving::{SESSION_EXPORTED, SESSION_IMPORT},
    outcome::{OUTCOME_UNKNOWN, Park, ParkedPage, SendRow, parked},
    reported::Report,
    session::FencedSession,
};
use crate::{
    app::{App, AppState},
    connector::Closed,
    domain::{
        endpoint,
        event::{self, Kind},
        instance::{self, Instance, Status},
        stats, watch,
    },
    error::{Error, Result},
    id::{ChatKey, InstanceId},
    store::{
        Append, Change, CommitError, Cond, Read, Unit, Write, keys,
        log::{self, Writer},
    },
};

/// Epochs of one tenure of a shard: its floor is a multiple of this, and instances that are taken over again within it count up
/// from there. So an epoch tells whether it is of this tenure, or of a later one.
pub const TENURE: u64 = 1 << 20;
/// Attempts against a lost race for the epoch before it is somebody else's.
const TAKE_OVER_TRIES: usize = 5;
/// Entries that a take-over reads at once to dispatch them again.
const REDISPATCH_PAGE: usize = 500;
/// The mark in the owner's row is at most that many entries behind …
const SAVE_EVERY: u64 = 64;
/// … or that long behind the first that it does not cover. What a crash leaves uncovered is dispatched again, and met by the
/// records of its deliveries; a shorter time would cost a busy account a write every few seconds.
pub const SAVE_AFTER: Duration = Duration::from_secs(60);
/// How old the noted sign of life of a busy line may be.
const SEEN_EVERY_MS: i64 = 60_000;
/// Statistics are folded after about that many entries.
const FOLD_EVERY: u64 = 256;
/// Chats and contacts to remember, so that they are not written with every message.
const REMEMBERED: usize = 2000;

/// An instance as its owner holds it, under one epoch.
pub struct Owner {
    app: AppState,
    id: InstanceId,
    epoch: u64,
    instance: RwLock<Arc<Instance>>,
    seen: Mutex<Seen>,
    marks: Mutex<Marks>,
    /// Where the statistics were last folded from here.
    folded: AtomicU64,
}

/// What was written lately and need not be written again.
#[derive(Debug, Default)]
struct Seen {
    /// Address → chat, and when its row was last touched (monotonic).
    chats: HashMap<String, (ChatKey, Option<Duration>)>,
    /// Address → name.
    contacts: HashMap<String, String>,
}

impl Owner {
    /// Takes the instance over: raises its epoch (to at least `floor`, the epoch of the lease), marks the log, and sends
    /// again the dispatches that the owner before may have left undone. `None`: there is no such instance.
    ///
    /// Errors: [`CommitError::Fenced`] if somebody has taken it over in a later tenure than `floor`'s: whoever was asleep between
    /// being given the shard and coming here must not take the instance from its new owner. With `floor` 0 there is no other.
    pub async fn take_over(app: AppState, id: &InstanceId, floor: u64) -> Result<Option<Self>, CommitError> {
        for _ in 0..TAKE_OVER_TRIES {
            let rows = app.store.batch_get(&[keys::instance(id), keys::owner(id)], Read::Strong).await?;
            let mut rows = rows.into_iter();
            let (Some(Some(row)), Some(old)) = (rows.next(), rows.next()) else { return Ok(None) };
            let mut instance: Instance = row.into()?;
            let old_epoch = old.as_ref().and_then(|item| item.u64("epoch")).unwrap_or(0).max(instance.epoch);
            let upto = old.as_ref().and_then(|item| item.u64("dispatchedUpto")).unwrap_or(0);
            if floor > 0 && old_epoch >= floor.saturating_add(TENURE) {
                return Err(CommitError::Fenced { epoch: floor, fence: old_epoch });
            }
            let epoch = floor.max(old_epoch + 1);
            match app.store.commit(take_over_unit(&app, &mut instance, epoch)).await {
                Ok(committed) => {
                    let owner = Self {
                        id: id.clone(),
                        epoch,
                        instance: RwLock::new(Arc::new(instance)),
                        seen: Mutex::default(),
                        marks: Mutex::new(Marks::new(upto)),
                        folded: AtomicU64::new(old.as_ref().and_then(|item| item.u64("foldedUpto")).unwrap_or(0)),
                        app,
                    };
                    owner.redispatch(upto, committed.first()).await?;
                    return Ok(Some(owner));
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::unavailable(format!("instance {id} is being taken over by somebody else")).into())
    }

    pub fn app(&self) -> &AppState {
        &self.app
    }

    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The instance as the owner knows it: settings as of the last [`Owner::reload`], status as it wrote it.
    pub fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.instance.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the settings again. `None`: the row is gone. Sockets that follow the events from now on (`domain::watch`) are told
    /// to read the log: what was appended before this was not told.
    pub async fn reload(&self) -> Result<Option<Arc<Instance>>> {
        let Some(item) = self.app.store.get(&keys::instance(&self.id), Read::Strong).await? else { return Ok(None) };
        let fresh = Arc::new(item.into::<Instance>()?);
        *self.instance.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        if fresh.watched_until.is_some() {
            self.app.queues.send(vec![watch::grown(&self.id, &self.app.ids.ulid(), None)]).await?;
        }
        Ok(Some(fresh))
    }

    /// Session state of the instance, fenced by this owner's epoch.
    pub fn session(&self) -> FencedSession {
        FencedSession::new(Arc::clone(&self.app), self.id.clone(), self.epoch)
    }

    /// Who writes, for the functions that others may call, too.
    pub fn author(&self) -> Author<'_> {
        Author::owner(self)
    }

    fn edit(&self, edit: impl FnOnce(&mut Instance)) {
        let mut slot = self.instance.write().unwrap_or_else(PoisonError::into_inner);
        edit(Arc::make_mut(&mut slot));
    }

    /// Sends the dispatches of all entries behind `upto`, except for the take-over's own (from `own` on: those went out with
    /// it). Repeats are harmless: who gets them looks at the delivery's record first.
    async fn redispatch(&self, upto: u64, own: u64) -> Result<(), CommitError> {
        let tag = format!("epoch-{}", self.epoch);
        let mut after = upto;
        loop {
            let entries = log::read(&*self.app.store, self.id.as_str(), after, REDISPATCH_PAGE).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { break };
            let instance = self.instance();
            let messages: Vec<_> = entries
                .iter()
                .filter(|entry| entry.seq < own)
                .flat_map(|entry| {
                    let wanting = Kind::parse(&entry.body.kind)
                        .map(|kind| endpoint::wanting(&instance, kind, &entry.body.data))
                        .unwrap_or_default();
                    wanting.into_iter().map(|endpoint| {
                        event::dispatch_again(&self.id, &endpoint, entry.body.chat.as_deref(), entry.seq, &tag, None)
                    })
                })
                .collect();
            if !messages.is_empty() {
                tracing::debug!(instance = %self.id, count = messages.len(), "dispatches sent again");
                self.app.queues.send(messages).await?;
            }
            after = last;
            if entries.len() < REDISPATCH_PAGE {
                break;
            }
        }
        self.marks().finished(after);
        Ok(())
    }

    /// Whether the mark in the owner's row is behind what was dispatched.
    pub fn mark_is_behind(&self) -> bool {
        self.marks().behind() > 0
    }

    /// Saves how far dispatching has come. To be called [`SAVE_AFTER`] the first event that it does not cover.
    pub async fn save_mark(&self) -> Result<(), CommitError> {
        let Some(upto) = self.marks().take(1) else { return Ok(()) };
        self.write_mark(upto).await?;
        self.fold_if_far(upto);
        self.alive().await
    }

    /// Notes the sign of life that the last events were, at most once a minute.
    async fn alive(&self) -> Result<(), CommitError> {
        let (instance, now) = (self.instance(), self.app.clock.now());
        let fresh = instance.last_seen_at.is_some_and(|seen| now.0 - seen.0 < SEEN_EVERY_MS);
        if instance.status != Status::Connected || fresh {
            return Ok(());
        }
        let write = instance::owner_write(&self.id, self.epoch, Change::default().set("lastSeenAt", now.0));
        match self.app.store.commit(Unit::write(write)).await {
            Ok(_) => {
                self.edit(|instance| instance.last_seen_at = Some(now));
                Ok(())
            }
            Err(CommitError::Conflict { old, .. }) => Err(self.fenced(old.and_then(|old| old.u64("epoch")))),
            Err(error) => Err(error),
        }
    }

    /// Folds the statistics when enough has happened since the last time. Readers add what is not folded, so this only keeps
    /// their work short, and nobody waits for it.
    fn fold_if_far(&self, upto: u64) {
        let last = self.folded.load(Ordering::Relaxed);
        if upto.saturating_sub(last) < FOLD_EVERY {
            return;
        }
        self.folded.store(upto, Ordering::Relaxed);
        let (app, id) = (self.app.clone(), self.id.clone());
        tokio::spawn(async move {
            if let Err(error) = stats::fold(&app, &id).await {
                tracing::debug!(instance = %id, %error, "statistics were not folded");
            }
        });
    }

    async fn save_mark_if_far(&self) {
        let due = self.marks().take(SAVE_EVERY);
        let Some(upto) = due else { return };
        if let Err(error) = self.write_mark(upto).await {
            // The next one will do: the mark only saves repeats.
            tracing::debug!(instance = %self.id, %error, "the dispatch mark was not saved");
        }
        self.fold_if_far(upto);
    }

    async fn write_mark(&self, upto: u64) -> Result<(), CommitError> {
        let change = Change::default().set("dispatchedUpto", upto);
        let write = Write::update(keys::owner(&self.id), change).only_if(Cond::eq("epoch", self.epoch));
        match self.app.store.commit(Unit::write(write)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { old, .. }) => Err(self.fenced(old.and_then(|old| old.u64("epoch")))),
            Err(error) => Err(error),
        }
    }

    fn fenced(&self, by: Option<u64>) -> CommitError {
        match by {
            Some(fence) => CommitError::Fenced { epoch: self.epoch, fence },
            None => instance::unknown().into(),
        }
    }

    fn marks(&self) -> std::sync::MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.chats.len() > REMEMBERED {
            seen.chats = HashMap::new();
        }
        if seen.contacts.len() > REMEMBERED {
            seen.contacts = HashMap::new();
        }
        seen
    }
}

/// The instance's row first: a stale owner's status must be refused before the log says that it is stale. A line that was up
/// when the owner before went away is told of as closed by a restart.
fn take_over_unit(app: &App, instance: &mut Instance, epoch: u64) -> Unit {
    let now = app.clock.now();
    let mut change = Change::default();
    let mut entries = vec![event::entry(Kind::OwnerChanged, format!("owner/{epoch}"), now)];
    entries[0].data = serde_json::json!({ "epoch": epoch });
    if instance.is_reported() {
        // Its line is not ours: what was reported of it still holds.
    } else if instance.status == Status::QrReceived {
        // Its code belonged to a line that is no more.
        instance.status = Status::Connecting;
        instance.status_at = now;
        instance.qr = None;
        change = change.set("status", Status::Connecting.name()).set("statusAt", now.0).remove("qr");
    } else if instance.status == Status::Connected {
        instance.status = Status::Connecting;
        instance.status_at = now;
        instance.reason = Some(Closed::Restart.name().to_owned());
        change = change
            .set("status", Status::Connecting.name())
            .set("statusAt", now.0)
            .set("reason", Closed::Restart.name());
        entries.push(line::closed_entry(format!("closed/{epoch}"), now, Closed::Restart, true));
    }
    instance.epoch = epoch;
    let lower = Cond::Any(vec![Cond::lacks("epoch"), Cond::lt("epoch", i64::try_from(epoch).unwrap_or(i64::MAX))]);
    Unit {
        writes: vec![
            instance::owner_write(&instance.id, epoch, change),
            Write::update(keys::owner(&instance.id), Change::default().set("epoch", epoch)).only_if(lower),
        ],
        enqueue: event::dispatches(instance, &entries, 0),
        append: vec![Append {
            log: instance.id.to_string(),
            writer: Writer::Owner { epoch },
            entries,
            look_from: None,
        }],
        done: None,
    }
}
