//! Receipts: a message that we sent was delivered, or read.
//!
//! A status only rises. A receipt that overtakes the record of the sending proves the sending, so that is recorded first. Only
//! where a crash came between the row of a sending and its log entry (which one transaction holds together on SQLite) may a
//! receipt be told before the sending is.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{
    Owner,
    author::{Author, Outcome, Settle, Step},
    outcome::SendRow,
};
use crate::{
    capability::Ids,
    clock::Millis,
    config::StoreKind,
    connector::Receipt,
    domain::{
        event::{self, Kind},
        message::{self, Message, Status},
    },
    error::Result,
    id::ChatKey,
    store::{Change, CommitError, Cond, Item, Write, keys},
};

/// Pauses between the looks for a message that the platform is just naming, in milliseconds.
const NAMED_WITHIN: [u64; 6] = [20, 50, 100, 200, 400, 800];

impl Owner {
    /// Notes a receipt for each of the messages, given by the platform's ids. Unknown ones are ignored.
    pub async fn receipts(
        &self,
        messages: &[String],
        chat: &str,
        receipt: Receipt,
        at: Millis,
    ) -> Result<(), CommitError> {
        let chat = self.chat_of(chat).await?;
        let status = match receipt {
            Receipt::Delivered => Status::Delivered,
            Receipt::Read => Status::Read,
        };
        // Where a unit is more than one transaction, its dispatches leave after its entries are in the log: the next unit of the
        // chat has to wait for that, or is told before.
        if self.app.config.store != StoreKind::Sqlite {
            for id in messages {
                self.receipt(id, &chat, status, at).await?;
            }
            return Ok(());
        }
        // Together, so that the store can batch them.
        for done in join_all(messages.iter().map(|id| self.receipt(id, &chat, status, at))).await {
            done?;
        }
        Ok(())
    }

    async fn receipt(&self, pmid: &str, chat: &ChatKey, status: Status, at: Millis) -> Result<(), CommitError> {
        // Where the sender names messages, the key follows from the id: no look-up.
        let sort = keys::message_sort(pmid, chat, "me");
        let old = match self.author().raise(&sort, chat, status, at).await? {
            Outcome::Done | Outcome::Again => return Ok(()),
            Outcome::Refused(old) => old,
        };
        let (sort, old) = match old {
            Some(old) => (sort, *old),
            None => {
                // Named by the platform, or known under another address of the chat.
                let Some(ours) = self.ours(pmid, chat).await? else { return Ok(()) };
                match self.author().raise(&ours.sort(), &ours.chat, status, at).await? {
                    Outcome::Refused(Some(old)) => (ours.sort(), *old),
                    Outcome::Done | Outcome::Again | Outcome::Refused(None) => return Ok(()),
                }
            }
        };
        self.overtaken(&sort, old, status, at).await
    }

    /// Our message with this id of the platform's. Where the platform names messages, the name may still be on its way into the
    /// row when the first receipt comes: that is waited for, and the chat with it.
    async fn ours(&self, pmid: &str, chat: &ChatKey) -> Result<Option<Message>> {
        let may_come = self.instance().capability()?.message_ids == Ids::Platform;
        let mut pauses = NAMED_WITHIN.iter();
        loop {
            let found = message::by_platform_id(&self.app, &self.id, pmid).await?;
            let ours = found.into_iter().filter(|message| message.from_me).max_by_key(|message| message.chat == *chat);
            match pauses.next().filter(|_| ours.is_none() && may_come) {
                Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                None => return Ok(ours),
            }
        }
    }

    /// The status did not rise: either it is higher already, or the sending was not recorded yet.
    async fn overtaken(&self, sort: &str, old: Item, status: Status, at: Millis) -> Result<(), CommitError> {
        let mut row = SendRow::of(old, None)?;
        if !row.is_pending() {
            return Ok(());
        }
        // With its body: the statistics want to know of its media.
        if let Some(whole) = message::load_many(&self.app, &self.id, &[sort]).await?.pop().flatten() {
            row.message = whole;
        }
        self.author().sent(&row, None, at, Settle::Nothing).await?;
        self.author().raise(sort, &row.message.chat, status, at).await.map(drop)
    }
}

impl Author<'_> {
    /// Raises the status and tells of it, once.
    pub(super) async fn raise(
        &self,
        sort: &str,
        chat: &ChatKey,
        status: Status,
        at: Millis,
    ) -> Result<Outcome, CommitError> {
        let change = Change::default()
            .set("status", status.name())
            .set("rank", status.rank())
            .set("statusAt", at.0)
            .set("updatedAt", self.app.clock.now().0);
        let rises = Cond::All(vec![Cond::Gt("rank".into(), Status::Pending.rank()), Cond::lt("rank", status.rank())]);
        let mut entry =
            event::entry(Kind::MessageStatus, format!("status/{sort}/{}", status.name()), self.app.clock.now());
        entry.chat = Some(chat.to_string());
        entry.message = Some(sort.to_owned());
        entry.data = json!({ "status": status.name() });
        let stamp = if status == Status::Read { "readSeq" } else { "deliveredSeq" };
        let gate = Write::update(keys::message_by_sort(&self.instance.id, sort), change).only_if(rises);
        let (before, after) = (Vec::new(), Vec::new());
        let step = Step { gate, stamp, before, after, entries: vec![entry], settle: Settle::Nothing };
        self.step(step).await
    }
}
