//! What a platform that names messages itself reports of those that we sent.
//!
//! Every report proves the sending: one that finds the attempt unrecorded (its answer is still on its way, or was lost with a
//! process) records it first. Such a report leads to the row by our own id, which the platform gives back.

use serde_json::json;

use super::{
    Owner,
    author::{Author, Settle, Step},
    outcome::{OUTCOME_UNKNOWN, SendRow},
};
use crate::{
    clock::Millis,
    connector::{MessageReport, Reported},
    domain::{
        event::{self, Kind},
        message::{self, Message, Status},
    },
    error::Result,
    store::{Change, CommitError, Cond, Item, Read, Write, keys},
};

/// Our ids begin so where the platform assigns its own (`message::outgoing_pmid`), and are no longer than this.
const OURS: (char, usize) = ('~', 64);

impl Owner {
    /// Notes a report. Repeated, out of order, or of a message that is not ours, it changes nothing.
    pub async fn reported(&self, report: &MessageReport) -> Result<(), CommitError> {
        let Some(mut row) = self.sent_row(report).await? else { return Ok(()) };
        let author = self.author();
        let (status, reason) = (row.message.status, row.message.reason.as_deref());
        if row.is_pending() {
            author.sent(&row, Some(&report.id), report.at, Settle::Nothing).await?;
            row.message.platform_id = Some(report.id.clone());
        } else if status == Status::Failed && reason == Some(OUTCOME_UNKNOWN) {
            // The failure first, if it was not told completely: from the next step on its row shows no more of it.
            author.settled_before(&row, Settle::Nothing).await?;
            author.known_after_all(&row.message, &report.id, report.at).await?;
            row.message.platform_id = Some(report.id.clone());
        } else if row.is_corrected() {
            // By this very report, perhaps, in a try that stopped half-way.
            author.settled_before(&row, Settle::Nothing).await?;
        }
        let (sort, chat) = (row.message.sort(), &row.message.chat);
        match &report.what {
            Reported::Sent => Ok(()),
            Reported::Delivered => author.raise(&sort, chat, Status::Delivered, report.at).await.map(drop),
            Reported::Read => author.raise(&sort, chat, Status::Read, report.at).await.map(drop),
            Reported::Failed { reason } => author.fell_through(&row.message, reason, report.at).await,
        }
    }

    /// The message, with its body: its statistics may still have to be told.
    async fn sent_row(&self, report: &MessageReport) -> Result<Option<SendRow>> {
        let (mark, longest) = OURS;
        let ours = report.ours.as_deref().filter(|ours| ours.starts_with(mark) && ours.len() <= longest);
        for id in ours.into_iter().chain([report.id.as_str()]) {
            let found = message::by_platform_id(&self.app, &self.id, id).await?;
            let Some(message) = found.into_iter().find(|message| message.from_me) else { continue };
            let Some(head) = self.app.store.get(&message.key(), Read::Strong).await? else { continue };
            let mut row = SendRow::of(head, Some(&message.content))?;
            row.message.as_sent = message.as_sent;
            return Ok(Some(row));
        }
        Ok(None)
    }
}

impl Author<'_> {
    /// An attempt whose outcome nobody knew turns out to have succeeded. Its failure was told; now this is.
    async fn known_after_all(&self, message: &Message, platform_id: &str, at: Millis) -> Result<(), CommitError> {
        let change = Change::default()
            .set("status", Status::Sent.name())
            .set("rank", Status::Sent.rank())
            .set("platformId", platform_id)
            .set("statusAt", at.0)
            .set("updatedAt", self.app.clock.now().0)
            .remove("reason");
        let alias = keys::message_alias(&message.instance_id, platform_id, &message.chat);
        let alias = Item::new(alias, &json!({ "ref": message.sort() }))?;
        if message.content.target().is_some() {
            self.apply_change(&message.chat, &message.content, "me", at).await?;
        }
        // The statistics have it since it failed.
        let counted = Message { counted: true, ..message.clone() };
        let step = Step {
            gate: Write::update(message.key(), change).only_if(Cond::eq("reason", OUTCOME_UNKNOWN)),
            stamp: "sentSeq",
            before: Vec::new(),
            after: vec![Write::put(alias)],
            entries: self.sent_entries(&counted),
            settle: Settle::Nothing,
        };
        self.step(step).await.map(drop)
    }

    /// The platform had taken it, and gave it up before it arrived.
    async fn fell_through(&self, message: &Message, reason: &str, at: Millis) -> Result<(), CommitError> {
        let sort = message.sort();
        let change = Change::default()
            .set("status", Status::Failed.name())
            .set("rank", Status::Failed.rank())
            .set("reason", reason)
            .set("statusAt", at.0)
            .set("updatedAt", self.app.clock.now().0);
        // Not the key and the stamp of an attempt that failed: there may have been one that only seemed to.
        let key = format!("status/{sort}/undelivered");
        let mut entry = event::entry(Kind::MessageStatus, key, self.app.clock.now());
        entry.chat = Some(message.chat.to_string());
        entry.message = Some(sort);
        entry.data = json!({ "status": Status::Failed.name(), "reason": reason });
        let step = Step {
            gate: Write::update(message.key(), change).only_if(Cond::eq("rank", Status::Sent.rank())),
            stamp: "undeliveredSeq",
            before: Vec::new(),
            after: vec![self.failure_note(message, reason, at)?],
            entries: vec![entry],
            settle: Settle::Nothing,
        };
        self.step(step).await.map(drop)
    }
}
