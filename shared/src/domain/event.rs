//! Events: what a user can be told of, as the log has it and as webhooks, sockets and cursors show it.
//!
//! An entry of the log holds small facts and refers to the message that it is about; [`materialise`] makes of it the event
//! that users see, with the message's contents.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::App,
    clock::Millis,
    domain::{
        endpoint,
        instance::Instance,
        message::{self, Message},
        watch,
    },
    error::Result,
    id::InstanceId,
    store::{
        Doc, Enqueue, Queue, Stamp,
        log::{Entry, NewEntry},
    },
};

/// Event names. The first six are seed 001's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    MessageReceived,
    MessageSent,
    MessageStatus,
    ConnectionOpened,
    ConnectionClosed,
    QrReceived,
    /// A quota is used up.
    LimitExceeded,
    /// A send waits for its instance to come back.
    MessageQueued,
    MessageEdited,
    MessageRevoked,
    MessageReaction,
    ContactsUpdated,
    /// Somebody calls the account.
    CallReceived,
    /// Such a call is over; `outcome` says how.
    CallEnded,
    /// Members or settings of a group have changed; `action` says what.
    GroupUpdated,
    /// Somebody who is watched came, went, or writes.
    PresenceUpdated,
    /// Messages from before the account was linked were stored: a page of them. Never sent to webhooks.
    HistorySynced,
    /// The platform lets the account do less than others for a while: `reason`, and `until` when.
    AccountRestricted,
    /// Another worker, or the same one after a restart, has taken the instance over.
    OwnerChanged,
    JobFinished,
    /// Somebody handed a message over to be forwarded (`POST /api/webhook/wechat`). Such a message is stored nowhere else:
    /// its entry holds sender and text, and `endpoint`, which it is for.
    ForwardedMessage,
}

impl Kind {
    pub const ALL: &[Self] = &[
        Self::MessageReceived,
        Self::MessageSent,
        Self::MessageStatus,
        Self::ConnectionOpened,
        Self::ConnectionClosed,
        Self::QrReceived,
        Self::LimitExceeded,
        Self::MessageQueued,
        Self::MessageEdited,
        Self::MessageRevoked,
        Self::MessageReaction,
        Self::ContactsUpdated,
        Self::CallReceived,
        Self::CallEnded,
        Self::GroupUpdated,
        Self::PresenceUpdated,
        Self::HistorySynced,
        Self::AccountRestricted,
        Self::OwnerChanged,
        Self::JobFinished,
        Self::ForwardedMessage,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MessageReceived => "message_received",
            Self::MessageSent => "message_sent",
            Self::MessageStatus => "message_status",
            Self::ConnectionOpened => "connection_opened",
            Self::ConnectionClosed => "connection_closed",
            Self::QrReceived => "qr_received",
            Self::LimitExceeded => "limit_exceeded",
            Self::MessageQueued => "message_queued",
            Self::MessageEdited => "message_edited",
            Self::MessageRevoked => "message_revoked",
            Self::MessageReaction => "message_reaction",
            Self::ContactsUpdated => "contacts_updated",
            Self::CallReceived => "call_received",
            Self::CallEnded => "call_ended",
            Self::GroupUpdated => "group_updated",
            Self::PresenceUpdated => "presence_updated",
            Self::HistorySynced => "history_synced",
            Self::AccountRestricted => "account_restricted",
            Self::OwnerChanged => "owner_changed",
            Self::JobFinished => "job_finished",
            Self::ForwardedMessage => "forwarded_message",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether a webhook without a filter of its own gets it: what seed 001 promises, and quotas.
    pub fn in_seed(self) -> bool {
        matches!(
            self,
            Self::MessageReceived
                | Self::MessageSent
                | Self::MessageStatus
                | Self::ConnectionOpened
                | Self::ConnectionClosed
                | Self::QrReceived
                | Self::LimitExceeded
        )
    }
}

/// An event as users see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Stable over retries and restarts: `{instance}-{seq}`.
    pub id: String,
    pub seq: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub timestamp: String,
    pub data: Value,
}

impl Event {
    /// Takes out what pairs a phone: not for those who may only read.
    pub fn hide_codes(&mut self) {
        if let Some(data) = self.data.as_object_mut() {
            data.remove("qrCode");
        }
    }

    /// The body of a webhook (seed 001, with `id` and `instanceId` at the top).
    pub fn webhook_body(&self, instance: &InstanceId) -> Value {
        json!({
            "id": self.id,
            "event": self.kind,
            "instanceId": instance,
            "data": self.data,
            "timestamp": self.timestamp,
        })
    }
}

pub fn event_id(instance: &InstanceId, seq: u64) -> String {
    format!("{instance}-{seq:012}")
}

/// A new log entry. `key` is unique within the log.
pub fn entry(kind: Kind, key: String, at: Millis) -> NewEntry {
    NewEntry {
        key,
        kind: kind.name().into(),
        at,
        chat: None,
        message: None,
        data: Value::Null,
        delta: None,
        history: Vec::new(),
    }
}

/// Body of a dispatch message: one event for one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    pub v: u32,
    pub instance: InstanceId,
    pub endpoint: String,
    /// The chat, or `-` for events without one: order is kept within it.
    pub chat: String,
    pub seq: u64,
    /// Sent once more (take-over, recovery, replay): the record of the delivery says whether anything is left to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Sent by this recovery of an endpoint that was down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
}

/// Events without a chat keep order per instance.
pub const NO_CHAT: &str = "-";

/// The dispatch messages that the entries of append `append` give rise to.
pub fn dispatches(instance: &Instance, entries: &[NewEntry], append: usize) -> Vec<Enqueue> {
    let mut out = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Some(kind) = Kind::parse(&entry.kind) else { continue };
        for endpoint in endpoint::wanting(instance, kind, &entry.data) {
            let stamp = Some(Stamp { append, entry: index });
            out.push(dispatch(&instance.id, &endpoint, entry.chat.as_deref(), 0, stamp));
        }
    }
    if instance.watched_until.is_some() && !entries.is_empty() {
        // One for all of them: sockets read on to the log's end.
        let stamp = Some(Stamp { append, entry: entries.len() - 1 });
        out.push(watch::grown(&instance.id, "", stamp));
    }
    out
}

/// One dispatch message; `stamp` fills in the sequence number.
pub fn dispatch(instance: &InstanceId, endpoint: &str, chat: Option<&str>, seq: u64, stamp: Option<Stamp>) -> Enqueue {
    let chat = chat.unwrap_or(NO_CHAT);
    let mut body = Doc::new();
    body.insert("v".into(), 1.into());
    body.insert("instance".into(), instance.as_str().into());
    body.insert("endpoint".into(), endpoint.into());
    body.insert("chat".into(), chat.into());
    body.insert("seq".into(), seq.into());
    let dedup = format!("{instance}/{endpoint}");
    Enqueue {
        queue: Queue::Dispatch,
        group: format!("{instance}/{endpoint}/{chat}"),
        dedup: if stamp.is_some() { dedup } else { format!("{dedup}/{seq}") },
        body,
        delay: std::time::Duration::ZERO,
        stamp,
    }
}

/// A dispatch message for an event that was dispatched before. Queues drop a repeated id within five minutes: `tag` tells
/// this time from the others. `round`: see [`Dispatch`].
pub fn dispatch_again(
    instance: &InstanceId,
    endpoint: &str,
    chat: Option<&str>,
    seq: u64,
    tag: &str,
    round: Option<u64>,
) -> Enqueue {
    let mut message = dispatch(instance, endpoint, chat, seq, None);
    message.dedup = format!("{}/{tag}", message.dedup);
    message.body.insert("again".into(), true.into());
    if let Some(round) = round {
        message.body.insert("round".into(), round.into());
    }
    message
}

/// Makes events of log entries; reads the messages that they are about in one go. Entries whose message is gone keep the
/// facts of their own.
pub async fn materialise(app: &App, instance: &Instance, entries: &[Entry]) -> Result<Vec<Event>> {
    let sorts: Vec<&str> = {
        let mut sorts: Vec<&str> = entries.iter().filter_map(|entry| entry.body.message.as_deref()).collect();
        sorts.sort_unstable();
        sorts.dedup();
        sorts
    };
    let messages: HashMap<&str, Message> = sorts
        .iter()
        .copied()
        .zip(message::load_many(app, &instance.id, &sorts).await?)
        .filter_map(|(sort, message)| Some((sort, message?)))
        .collect();
    Ok(entries
        .iter()
        .map(|entry| {
            let message = entry.body.message.as_deref().and_then(|sort| messages.get(sort));
            Event {
                id: event_id(&instance.id, entry.seq),
                seq: entry.seq,
                kind: entry.body.kind.clone(),
                timestamp: entry.body.at.iso(),
                data: data(instance, &entry.body, message),
            }
        })
        .collect())
}

fn data(instance: &Instance, entry: &NewEntry, message: Option<&Message>) -> Value {
    let mut data = match &entry.data {
        Value::Object(facts) => facts.clone(),
        _ => Doc::new(),
    };
    data.insert("instanceId".into(), instance.id.as_str().into());
    let Some(message) = message else { return data.into() };
    data.insert("messageId".into(), message.platform_id().into());
    match Kind::parse(&entry.kind) {
        Some(Kind::MessageStatus) => {
            data.insert("from".into(), message.remote_jid.clone().into());
            data.insert("fromMe".into(), message.from_me.into());
        }
        Some(Kind::MessageSent | Kind::MessageQueued) => {
            data.insert("to".into(), message.remote_jid.clone().into());
            contents(&mut data, instance, message);
        }
        _ => {
            data.insert("from".into(), message.remote_jid.clone().into());
            data.insert("pushName".into(), message.push_name.clone().unwrap_or_default().into());
            if message.is_group {
                data.insert("participant".into(), message.sender.clone().into());
            }
            data.insert("isGroup".into(), message.is_group.into());
            contents(&mut data, instance, message);
        }
    }
    data.into()
}

fn contents(data: &mut Doc, instance: &Instance, message: &Message) {
    data.insert("id".into(), message.id.as_str().into());
    data.insert("body".into(), message.content.text().into());
    data.insert("platform".into(), instance.platform.as_str().into());
    data.insert("type".into(), message.wire_type(instance.platform).into());
    // The same word on every platform; `type` is seed 001's.
    data.insert("contentType".into(), message.content.kind().into());
    data.insert("timestamp".into(), message.at.seconds().into());
    data.insert("hasMedia".into(), message.content.media().is_some().into());
    if let Some(extra) = message.extra(instance) {
        for (name, value) in extra {
            data.insert(name, value);
        }
    }
}
