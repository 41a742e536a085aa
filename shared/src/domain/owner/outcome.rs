//! What became of a send: attempted, sent, failed, or parked until the instance can send again.
//!
//! The message's row is the gate. It keeps the log position of each outcome (`sentSeq`, `failedSeq`, `parkedSeq`), so a command
//! that is delivered twice completes the first delivery's work instead of doing it again.

use serde_json::json;

use super::author::{Author, Outcome, Settle, Step};
use crate::{
    app::App,
    clock::Millis,
    connector::Command,
    domain::{
        activity::{self, Action as Note},
        content::Content,
        event::{self, Kind},
        message::{Message, Status},
    },
    error::{Error, Result},
    id::InstanceId,
    store::{Change, CommitError, Cond, Cursor, Item, Key, Query, Read, Stamp, Write, keys, log::NewEntry},
};

/// `reason` of a send whose outcome nobody knows.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// The row of a message that we send, with what is known of its way through the log.
#[derive(Debug, Clone)]
pub struct SendRow {
    pub message: Message,
    sent_seq: Option<u64>,
    failed_seq: Option<u64>,
    parked_seq: Option<u64>,
}

impl SendRow {
    /// Reads the row. The content comes from the command, since the head of a long message does not hold it.
    pub async fn load(app: &App, instance: &InstanceId, sort: &str, content: Option<&Content>) -> Result<Option<Self>> {
        let item = app.store.get(&keys::message_by_sort(instance, sort), Read::Strong).await?;
        item.map(|item| Self::of(item, content)).transpose()
    }

    /// Reads several rows, in order. Each with the content from its command.
    pub async fn load_many(app: &App, instance: &InstanceId, wanted: &[(&str, &Content)]) -> Result<Vec<Option<Self>>> {
        let keys: Vec<Key> = wanted.iter().map(|(sort, _)| keys::message_by_sort(instance, sort)).collect();
        let items = app.store.batch_get(&keys, Read::Strong).await?;
        let of = |(item, (_, content)): (Option<Item>, &(&str, &Content))| {
            item.map(|item| Self::of(item, Some(content))).transpose()
        };
        items.into_iter().zip(wanted).map(of).collect()
    }

    pub(super) fn of(item: Item, content: Option<&Content>) -> Result<Self> {
        let (sent_seq, failed_seq, parked_seq) = (item.u64("sentSeq"), item.u64("failedSeq"), item.u64(PARKED));
        let mut message: Message = item.into()?;
        if let Some(content) = content {
            message.content = content.clone();
        }
        Ok(Self { message, sent_seq, failed_seq, parked_seq })
    }

    pub fn is_pending(&self) -> bool {
        self.message.status == Status::Pending
    }

    /// Whether it failed, and is known to have been sent after all.
    pub(super) fn is_corrected(&self) -> bool {
        self.sent_seq.is_some() && self.failed_seq.is_some()
    }

    /// Whether it was parked, perhaps not completely.
    pub fn was_parked(&self) -> bool {
        self.parked_seq.is_some()
    }

    /// The row as [`Author::parked`] leaves it: the statistics have it, so its outcome does not count it again.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.message.counted = true;
        self
    }

    /// The condition of an outcome: the message is pending, and whether the statistics have it is as this row says. So what
    /// a lost answer hides is never counted twice.
    fn still_pending(&self) -> Cond {
        let pending = Cond::lt("rank", Status::Sent.rank());
        if self.message.counted { pending } else { Cond::All(vec![pending, Cond::lacks("counted")]) }
    }
}

impl Author<'_> {
    /// The platform has the message; `platform_id` where it has named it.
    pub async fn sent(
        &self,
        row: &SendRow,
        platform_id: Option<&str>,
        at: Millis,
        settle: Settle,
    ) -> Result<(), CommitError> {
        let message = &row.message;
        if message.content.target().is_some() && row.is_pending() {
            self.apply_change(&message.chat, &message.content, "me", at).await?;
        }
        let change = Change::default()
            .set("status", Status::Sent.name())
            .set("rank", Status::Sent.rank())
            .set("statusAt", at.0)
            .set("updatedAt", self.app.clock.now().0);
        let (change, after) = match platform_id.filter(|id| *id != message.pmid) {
            Some(id) => {
                let alias = keys::message_alias(&message.instance_id, id, &message.chat);
                let alias = Item::new(alias, &json!({ "ref": message.sort() }))?;
                (change.set("platformId", id), vec![Write::put(alias)])
            }
            None => (change, Vec::new()),
        };
        let step = Step {
            gate: Write::update(message.key(), change).only_if(row.still_pending()),
            stamp: "sentSeq",
            before: Vec::new(),
            after,
            entries: self.sent_entries(message),
            settle: settle.clone(),
        };
        match self.step(step).await? {
            Outcome::Done | Outcome::Again => Ok(()),
            Outcome::Refused(old) => self.refused(row, old, settle).await,
        }
    }

    /// An outcome that was not written. Counted meanwhile, by a step whose answer was lost: the row is to be read again. Ended
    /// meanwhile: a true status is not overwritten, and as nobody else may come for it, what that end has left undone is done
    /// here. Gone: there is nothing to tell.
    async fn refused(&self, row: &SendRow, old: Option<Box<Item>>, settle: Settle) -> Result<(), CommitError> {
        let Some(old) = old else { return self.settle(settle).await };
        let now = SendRow::of(*old, Some(&row.message.content))?;
        if now.is_pending() {
            return Err(Error::unavailable("a send was counted meanwhile").into());
        }
        self.settled_before(&now, settle).await
    }

    pub(super) fn sent_entries(&self, message: &Message) -> Vec<NewEntry> {
        let (sort, now) = (message.sort(), self.app.clock.now());
        let mut entries = vec![about(Kind::MessageSent, format!("sent/{sort}"), now, message)];
        if !message.counted {
            entries[0].delta = message.delta();
        }
        let mut status = about(Kind::MessageStatus, format!("status/{sort}/sent"), now, message);
        status.data = json!({ "status": Status::Sent.name() });
        entries.push(status);
        if let Some(kind) = super::change::kind_of(&message.content) {
            entries.push(about(kind, format!("change/{sort}"), now, message));
        }
        entries
    }

    /// The message will not be sent, or nobody can know whether it was. A message that is no longer pending keeps its status.
    pub async fn failed(&self, row: &SendRow, reason: &str, settle: Settle) -> Result<(), CommitError> {
        let (message, now) = (&row.message, self.app.clock.now());
        let change = Change::default()
            .set("status", Status::Failed.name())
            .set("rank", Status::Failed.rank())
            .set("reason", reason)
            .set("statusAt", now.0)
            .set("updatedAt", now.0);
        let step = Step {
            gate: Write::update(message.key(), change).only_if(row.still_pending()),
            stamp: "failedSeq",
            before: Vec::new(),
            after: vec![self.failure_note(message, reason, now)?],
            entries: failed_entries(message, reason, now),
            settle: settle.clone(),
        };
        match self.step(step).await? {
            Outcome::Done | Outcome::Again => Ok(()),
            Outcome::Refused(old) => self.refused(row, old, settle).await,
        }
    }

    /// Under the message's id, so that a repeat notes it in the same place.
    pub(super) fn failure_note(&self, message: &Message, reason: &str, at: Millis) -> Result<Write> {
        let details = json!({ "messageId": message.platform_id(), "id": message.id, "reason": reason });
        activity::note_as(&self.instance.id, Note::MessageFailed, details, message.id.as_str(), at)
    }

    /// It is not sent at once (there is no line, or the attempt takes long, or others are before it): the command waits in a
    /// row of its own instead of the queue, and the statistics have it from now on.
    pub async fn parked(
        &self,
        row: &SendRow,
        command: &Command,
        accepted: Millis,
        settle: Settle,
    ) -> Result<(), CommitError> {
        let message = &row.message;
        let step = Step {
            gate: parking_gate(message),
            stamp: PARKED,
            before: Vec::new(),
            after: vec![parked_row(message, command, accepted)?],
            entries: self.parked_entries(message),
            settle: settle.clone(),
        };
        match self.step(step).await? {
            Outcome::Done | Outcome::Again => Ok(()),
            Outcome::Refused(_) => self.settle(settle).await,
        }
    }

    /// [`Author::parked`] for several messages in one unit, without their acknowledgements. `false`: one of them was begun
    /// before, or is not pending; then each has to be parked by itself, which completes what may have been done of this.
    pub async fn parked_together(&self, all: &[Park]) -> Result<bool, CommitError> {
        let mut writes = Vec::with_capacity(2 * all.len());
        let mut entries = Vec::with_capacity(all.len());
        for Park { row, command, accepted } in all {
            let stamp = Stamp { append: 0, entry: entries.len() };
            writes.push(parking_gate(&row.message).stamped(PARKED, stamp));
            writes.push(parked_row(&row.message, command, *accepted)?);
            entries.extend(self.parked_entries(&row.message));
        }
        match self.commit(self.unit(writes, &entries, None, Settle::Nothing)).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `counted` belongs to this very step, so it says nothing about the delta here.
    fn parked_entries(&self, message: &Message) -> Vec<NewEntry> {
        let key = format!("queued/{}", message.sort());
        let mut entry = about(Kind::MessageQueued, key, self.app.clock.now(), message);
        // What was to be sent later was counted when it was accepted.
        entry.delta = if message.send_at.is_some() { None } else { message.delta() };
        vec![entry]
    }

    /// Notes that an attempt begins, where a repeated one could double the message.
    pub async fn attempting(&self, row: &SendRow) -> Result<(), CommitError> {
        let change = Change::default().set("attempting", self.app.clock.now().0);
        self.attempt(row, change).await
    }

    /// The attempt certainly did not send anything: another one may follow.
    pub async fn not_attempted(&self, row: &SendRow) -> Result<(), CommitError> {
        self.attempt(row, Change::default().remove("attempting")).await
    }

    async fn attempt(&self, row: &SendRow, change: Change) -> Result<(), CommitError> {
        let write = Write::update(row.message.key(), change).only_if(Cond::lt("rank", Status::Sent.rank()));
        match self.app.store.commit(crate::store::Unit::write(write)).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A command whose row is not pending any more: completes what its first delivery may have left undone.
    pub async fn settled_before(&self, row: &SendRow, settle: Settle) -> Result<(), CommitError> {
        let message = &row.message;
        // It was parked before: the entry that counts it may be missing, too.
        let (mut entries, look_from) = match row.parked_seq {
            Some(from) => (self.parked_entries(message), from),
            None => (Vec::new(), u64::MAX),
        };
        match (row.sent_seq, row.failed_seq) {
            (Some(from), _) => {
                let mut writes = Vec::new();
                if let Some(id) = &message.platform_id {
                    let alias = keys::message_alias(&message.instance_id, id, &message.chat);
                    writes.push(Write::put(Item::new(alias, &json!({ "ref": message.sort() }))?));
                }
                // One that failed before was counted then.
                let counted = row.is_corrected().then(|| Message { counted: true, ..message.clone() });
                entries.extend(self.sent_entries(counted.as_ref().unwrap_or(message)));
                self.complete(writes, &entries, from.min(look_from), settle).await
            }
            (None, Some(from)) => {
                let (reason, at) = (message.reason.as_deref().unwrap_or("unknown"), message.status_at);
                let writes = vec![self.failure_note(message, reason, at)?];
                entries.extend(failed_entries(message, reason, at));
                self.complete(writes, &entries, from.min(look_from), settle).await
            }
            // Refused at its acceptance: nobody was told that it would be sent.
            (None, None) => self.settle(settle).await,
        }
    }
}

/// An entry about a message.
pub(super) fn about(kind: Kind, key: String, at: Millis, message: &Message) -> NewEntry {
    let mut entry = event::entry(kind, key, at);
    entry.chat = Some(message.chat.to_string());
    entry.message = Some(message.sort());
    entry
}

fn failed_entries(message: &Message, reason: &str, at: Millis) -> Vec<NewEntry> {
    let key = format!("status/{}/failed", message.sort());
    let mut entry = about(Kind::MessageStatus, key, at, message);
    entry.data = json!({ "status": Status::Failed.name(), "reason": reason });
    if !message.counted {
        entry.delta = message.delta();
    }
    vec![entry]
}

/// A send that is to be parked.
#[derive(Debug, Clone)]
pub struct Park {
    pub row: SendRow,
    pub command: Command,
    pub accepted: Millis,
}

/// Attribute of a message's row: where in the log it was told that the message waits.
const PARKED: &str = "parkedSeq";

fn parking_gate(message: &Message) -> Write {
    let waiting = Cond::All(vec![Cond::lt("rank", Status::Sent.rank()), Cond::lacks(PARKED)]);
    Write::update(message.key(), Change::default().set("counted", true)).only_if(waiting)
}

fn parked_row(message: &Message, command: &Command, accepted: Millis) -> Result<Write> {
    Ok(Write::put(Item::new(keys::parked(&message.instance_id, accepted, &message.id), command)?))
}

/// A page of an instance's parked sends.
#[derive(Debug, Default)]
pub struct ParkedPage {
    /// Oldest first: the row's key, and the command.
    pub sends: Vec<(Key, Command)>,
    /// Where the next page begins; `None`: these were all.
    pub next: Option<Cursor>,
}

/// Parked sends of an instance, at most `limit` behind `after`.
pub async fn parked(app: &App, instance: &InstanceId, after: Option<Cursor>, limit: usize) -> Result<ParkedPage> {
    let page = app.store.query(Query::table(keys::parked_of(instance)).limit(limit).after(after)).await?;
    let mut sends = Vec::with_capacity(page.items.len());
    for item in page.items {
        let key = item.key.clone();
        match item.into::<Command>() {
            Ok(command) => sends.push((key, command)),
            // One row that nobody can read must not hold up the others.
            Err(error) => tracing::error!(%instance, %error, "a parked send cannot be read"),
        }
    }
    Ok(ParkedPage { sends, next: page.next })
}
