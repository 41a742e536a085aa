//! A message came in: its row (the creation is the deduplication), its entry, and, behind them, chat and contact.

use std::time::Duration;

use serde_json::Value;

use super::{
    Owner,
    author::{Author, Outcome, Settle, Step},
    change,
    outcome::about,
};
use crate::{
    clock::Millis,
    connector::{ContactInfo, Incoming},
    domain::{
        chat, contact,
        event::Kind,
        message::{self, Message, Status},
    },
    error::{Error, Result},
    id::ChatKey,
    store::{CommitError, Read, keys},
};

/// A chat's row is touched at most that often.
const TOUCH_EVERY: Duration = Duration::from_secs(10);

impl Author<'_> {
    /// Stores a message that came in on a chat of this instance, and tells of it; twice the same: once. Durable when it
    /// returns. `None`: it is the echo of a message that we sent ourselves. `Some(false)`: it was there already.
    pub(super) async fn store_received(
        &self,
        incoming: &Incoming,
        chat: &ChatKey,
        facts: Value,
        settle: Settle,
    ) -> Result<Option<bool>, CommitError> {
        let message = self.received_row(incoming, chat)?;
        if message.content.target().is_some() {
            // Applied before the row exists, so a row that exists has been applied.
            let known = self.app.store.get(&message.key(), Read::Strong).await?;
            if known.is_none() {
                let by = if incoming.from_me { "me" } else { incoming.sender.as_str() };
                self.apply_change(chat, &message.content, by, incoming.at).await?;
            }
        }
        let kind = match change::kind_of(&message.content) {
            Some(kind) => kind,
            None if incoming.from_me => Kind::MessageSent,
            None => Kind::MessageReceived,
        };
        let mut entry = about(kind, format!("recv/{}", message.sort()), self.app.clock.now(), &message);
        entry.delta = message.delta();
        if facts.is_object() {
            entry.data = facts;
        }
        let mut before = message.creates(&self.app.ids.ulid())?;
        let gate = before.pop().ok_or_else(|| Error::internal("a message has a head"))?;
        let step =
            Step { gate, stamp: "recvSeq", before, after: Vec::new(), entries: vec![entry], settle: settle.clone() };
        Ok(match self.step(step).await? {
            Outcome::Done => Some(true),
            Outcome::Again => Some(false),
            Outcome::Refused(_) => {
                self.settle(settle).await?;
                None
            }
        })
    }

    /// A message that came in where nobody holds a line (a callback over HTTP, the embedded IM): what
    /// [`Owner::received`] does, without its memory of chats and contacts. `settle` is removed with the same unit.
    pub async fn received(&self, incoming: &Incoming, settle: Settle) -> Result<bool, CommitError> {
        self.received_with(incoming, incoming.facts.clone(), settle).await
    }

    /// [`Author::received`], with facts that its event shows beside the message's own: an object, or null.
    pub async fn received_with(&self, incoming: &Incoming, facts: Value, settle: Settle) -> Result<bool, CommitError> {
        let chat = chat::key_of(self.app, &self.instance.id, &incoming.chat).await?;
        let Some(new) = self.store_received(incoming, &chat, facts, settle).await? else { return Ok(false) };
        if new {
            let name = if incoming.is_group || incoming.from_me { "" } else { incoming.push_name.as_str() };
            let seen = chat::see(self.app, &self.instance, &chat, &incoming.chat, name, incoming.at).await;
            let met = contact::store(self.app, &self.instance.id, &met(incoming)).await;
            if let Err(error) = seen.and(met) {
                tracing::warn!(instance = %self.instance.id, %error, "a chat or contact was not written");
            }
        }
        Ok(new)
    }

    pub(super) fn received_row(&self, incoming: &Incoming, chat: &ChatKey) -> Result<Message> {
        let status = if incoming.from_me { Status::Sent } else { Status::Received };
        let sender_hash = if incoming.from_me {
            "me".to_owned()
        } else {
            chat::address_hash(self.app, &self.instance.id, &incoming.sender)
        };
        let sort = keys::message_sort(&incoming.id, chat, &sender_hash);
        Ok(Message {
            v: 1,
            id: message::received_public_id(incoming.at, &self.instance, &incoming.id, &sort)?,
            instance_id: self.instance.id.clone(),
            chat: chat.clone(),
            sender_hash,
            pmid: incoming.id.clone(),
            platform_id: None,
            remote_jid: incoming.chat.clone(),
            from_me: incoming.from_me,
            is_group: incoming.is_group,
            sender: incoming.sender.clone(),
            push_name: (!incoming.push_name.is_empty()).then(|| incoming.push_name.clone()),
            quoted: incoming.quoted.clone(),
            kind: incoming.content.kind().to_owned(),
            content: incoming.content.clone(),
            body: None,
            status,
            rank: status.rank(),
            status_at: incoming.at,
            reason: None,
            at: incoming.at,
            updated_at: self.app.clock.now(),
            as_sent: None,
            send_at: None,
            api_call: false,
            counted: false,
            attempting: None,
            edited: false,
            revoked: false,
            reactions: serde_json::Map::new(),
        })
    }
}

/// Whom such a message makes known: who wrote it, and the group that it was in.
fn met(incoming: &Incoming) -> Vec<ContactInfo> {
    let info = |address: &str, name: &str, is_group| ContactInfo {
        address: address.to_owned(),
        name: name.to_owned(),
        avatar: String::new(),
        is_group,
    };
    let mut met = Vec::with_capacity(2);
    if !incoming.from_me {
        met.push(info(&incoming.sender, &incoming.push_name, false));
    }
    if incoming.is_group {
        met.push(info(&incoming.chat, "", true));
    }
    met
}

impl Owner {
    /// Stores a message that came in and tells of it. Twice the same: once. Durable when it returns.
    /// `false`: it was there already.
    pub async fn received(&self, incoming: &Incoming) -> Result<bool, CommitError> {
        let chat = self.chat_of(&incoming.chat).await?;
        match self.author().store_received(incoming, &chat, incoming.facts.clone(), Settle::Nothing).await? {
            Some(new) => {
                self.remember(incoming, &chat).await;
                Ok(new)
            }
            None => Ok(false),
        }
    }

    /// The chat with this address; remembered, since only this owner merges chats.
    pub(super) async fn chat_of(&self, address: &str) -> Result<ChatKey> {
        if let Some((key, _)) = self.seen().chats.get(address) {
            return Ok(key.clone());
        }
        let key = chat::key_of(&self.app, &self.id, address).await?;
        self.seen().chats.entry(address.to_owned()).or_insert((key.clone(), None));
        Ok(key)
    }

    /// A chat that we wrote to is known from then on, as one that wrote to us is.
    pub async fn wrote_to(&self, message: &Message) {
        self.touch(&message.remote_jid, &message.chat, "", message.at).await;
        if message.is_group {
            self.meet(&message.remote_jid, "", true).await;
        }
    }

    async fn touch(&self, address: &str, key: &ChatKey, name: &str, at: Millis) {
        let now = self.app.clock.monotonic();
        let fresh = self.seen().chats.get(address).and_then(|(_, touched)| *touched);
        if fresh.is_some_and(|touched| now.saturating_sub(touched) < TOUCH_EVERY) {
            return;
        }
        match chat::see(&self.app, &self.instance(), key, address, name, at).await {
            Ok(()) => {
                self.seen().chats.insert(address.to_owned(), (key.clone(), Some(now)));
            }
            Err(error) => tracing::warn!(instance = %self.id, %error, "a chat's row was not written"),
        }
    }

    /// Chat and contact are written behind: they are no facts of the message, so their failure is not the message's.
    async fn remember(&self, incoming: &Incoming, key: &ChatKey) {
        let name = if incoming.is_group || incoming.from_me { "" } else { incoming.push_name.as_str() };
        self.touch(&incoming.chat, key, name, incoming.at).await;
        if !incoming.from_me {
            self.meet(&incoming.sender, &incoming.push_name, false).await;
        }
        if incoming.is_group {
            self.meet(&incoming.chat, "", true).await;
        }
    }

    /// Somebody who wrote becomes a contact, under the newest name; so does the group that it was in.
    async fn meet(&self, address: &str, name: &str, is_group: bool) {
        let known = self.seen().contacts.get(address).is_some_and(|known| name.is_empty() || known == name);
        if known {
            return;
        }
        let info = ContactInfo { address: address.to_owned(), name: name.to_owned(), avatar: String::new(), is_group };
        match contact::store(&self.app, &self.id, std::slice::from_ref(&info)).await {
            Ok(()) => {
                self.seen().contacts.insert(info.address, info.name);
            }
            Err(error) => tracing::warn!(instance = %self.id, %error, "a contact was not written"),
        }
    }
}
