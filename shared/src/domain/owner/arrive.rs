//! Messages that come in where nobody holds a line, many at once, with rows of their source's own beside each.
//!
//! What [`super::inbound`] does for one message of a line, for a batch: creation is the deduplication, every message has its
//! entry, all in one unit. Only where one of them is there already is each done by itself.

use serde_json::json;

use super::{
    author::{Author, Outcome, Settle, Step},
    change,
    outcome::about,
};
use crate::{
    clock::{DAY_MS, Millis},
    connector::Incoming,
    domain::{
        chat,
        event::Kind,
        message::{self, Message, Status},
    },
    error::{Error, Result},
    id::ChatKey,
    store::{Change, CommitError, Cond, Item, Stamp, Unit, Write, log::Delta, log::NewEntry},
};

/// A message to store, and what is written with it.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub(crate) message: Message,
    /// Second part of the history's sort value, behind the time.
    pub(crate) order: String,
    /// Idempotent writes that go with it.
    pub(crate) with: Vec<Write>,
    /// What it adds to the statistics.
    pub(crate) delta: Option<Delta>,
}

impl Arrival {
    /// Where the message is in the history of its chat.
    pub(crate) fn place(message: &Message, order: &str) -> String {
        format!("{}{order}", message.at.digits())
    }

    fn entry(&self, now: Millis) -> NewEntry {
        let kind = match change::kind_of(&self.message.content) {
            Some(kind) => kind,
            None if self.message.from_me => Kind::MessageSent,
            None => Kind::MessageReceived,
        };
        let mut entry = about(kind, format!("recv/{}", self.message.sort()), now, &self.message);
        entry.delta = self.delta;
        entry
    }

    /// Idempotent writes, and the gate: the head, created if it is absent.
    fn writes(&self) -> Result<(Vec<Write>, Write)> {
        let mut before = self.message.creates(&self.order)?;
        let gate = before.pop().ok_or_else(|| Error::internal("a message has a head"))?;
        Ok((before, gate))
    }
}

/// The log position of the entry that tells of a message, on its head.
const STAMP: &str = "recvSeq";

impl Author<'_> {
    /// The row of such a message. Its sender stands in its key even where that is the account itself, so that the key does
    /// not depend on whether that was known.
    pub(crate) fn arriving(&self, incoming: &Incoming, chat: &ChatKey, platform_id: Option<String>) -> Result<Message> {
        let mut message = self.received_row(incoming, chat)?;
        message.sender_hash = chat::address_hash(self.app, &self.instance.id, &incoming.sender);
        message.platform_id = platform_id.filter(|id| *id != message.pmid);
        message.id = message::received_public_id(incoming.at, &self.instance, &incoming.id, &message.sort())?;
        Ok(message)
    }

    /// Stores all of these and tells of them, or none: `false` if one of them is there already. No two may be the same.
    pub(crate) async fn file_together(&self, arrivals: &[Arrival]) -> Result<bool, CommitError> {
        let now = self.app.clock.now();
        let (mut heads, mut rest) = (Vec::with_capacity(arrivals.len()), Vec::new());
        for (entry, arrival) in arrivals.iter().enumerate() {
            let (before, gate) = arrival.writes()?;
            heads.push(gate.stamped(STAMP, Stamp { append: 0, entry }));
            rest.extend(before);
            rest.extend(arrival.with.iter().cloned());
        }
        let entries: Vec<NewEntry> = arrivals.iter().map(|arrival| arrival.entry(now)).collect();
        // The heads first: a refusal leaves nothing of the others behind.
        heads.extend(rest);
        match self.commit(self.unit(heads, &entries, None, Settle::Nothing)).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores one, or completes what an interrupted attempt has left undone. `false`: it was there.
    pub(crate) async fn file(&self, arrival: &Arrival) -> Result<bool, CommitError> {
        let (before, gate) = arrival.writes()?;
        let entries = vec![arrival.entry(self.app.clock.now())];
        let after = arrival.with.clone();
        let step = Step { gate, stamp: STAMP, before, after, entries, settle: Settle::Nothing };
        Ok(matches!(self.step(step).await?, Outcome::Done))
    }

    /// Marks a message as taken back. Its revocation is a message of its own, which is told of by itself.
    pub(crate) async fn taken_back(&self, message: &Message) -> Result<(), CommitError> {
        let change = Change::default().set("revoked", true).set("updatedAt", self.app.clock.now().0);
        let write =
            Write::update(message.key(), change).only_if(Cond::All(vec![Cond::Exists, Cond::ne("revoked", true)]));
        match self.app.store.commit(Unit::write(write)).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The other side has read a message of ours.
    pub(crate) async fn read_by_them(&self, message: &Message, at: Millis) -> Result<(), CommitError> {
        self.raise(&message.sort(), &message.chat, Status::Read, at).await.map(drop)
    }

    /// It turns out that a message that was taken for somebody else's is the account's own, in the same chat.
    pub(crate) async fn turned_out_own(&self, message: &Message) -> Result<(), CommitError> {
        let change = Change::default()
            .set("fromMe", true)
            .set("status", Status::Sent.name())
            .set("rank", Status::Sent.rank())
            .set("updatedAt", self.app.clock.now().0);
        let mut entry = about(Kind::MessageSent, format!("own/{}", message.sort()), self.app.clock.now(), message);
        entry.delta = turned(message);
        let step = Step {
            gate: Write::update(message.key(), change).only_if(Cond::eq("fromMe", false)),
            stamp: "ownSeq",
            before: Vec::new(),
            after: Vec::new(),
            entries: vec![entry],
            settle: Settle::Nothing,
        };
        self.step(step).await.map(drop)
    }
}

/// What the statistics change by when a received message turns out to be a sent one.
pub(crate) fn turned(message: &Message) -> Option<Delta> {
    let was = message.delta()?;
    Some(Delta {
        day: was.day,
        messages_received: -was.messages_received,
        messages_sent: was.messages_received,
        media_received: -was.media_received,
        media_sent: was.media_received,
        ..Delta::default()
    })
}

/// Nobody who still takes a message that was moved for somebody else's has read that longer ago.
const MOVED_MS: i64 = DAY_MS;

/// Takes the rows of a message away, because it is elsewhere now. Where its head was there is something for a while, so that
/// a repeat by somebody who does not know of the move stores nothing there.
pub(crate) fn moves_away(message: &Message, to: &Message, now: Millis) -> Result<Vec<Write>> {
    let moved = Item::new(message.key(), &json!({ "v": 1, "moved": to.sort() }))?;
    let mut writes = vec![Write::put(moved.expires(Millis(now.0 + MOVED_MS)))];
    writes.extend(message.body_key().map(Write::delete));
    Ok(writes)
}
