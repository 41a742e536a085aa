//! Sending and syncing messages.

use std::collections::HashMap;

use axum::{extract::State, http::HeaderMap};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::{App, AppState},
    domain::{
        access::{Caller, Scope},
        im::{
            self, Channel, NewMessage, Numbers, Posted,
            message::{self, check_client_no, check_payload},
            people,
        },
        user::User,
    },
    edge::{Allocated, Json, JsonList, envelope, idempotent, query::Params},
};

use crate::{
    Answer,
    target::{Named, Target},
};

/// Messages of a batch at the most.
const MAX_BATCH: usize = 100;
/// Channels of a batch that are written to side by side.
const AT_ONCE: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Send {
    channel_id: Option<String>,
    channel_type: Option<u64>,
    from_uid: Option<String>,
    payload: Option<String>,
    client_msg_no: Option<String>,
}

/// A message that was found in order, and the channel that it goes to.
struct Ready {
    channel: Channel,
    message: NewMessage,
}

/// `POST …/message/send`.
pub(crate) async fn send_im_message(
    State(app): State<AppState>,
    caller: Caller,
    allocated: Allocated,
    headers: HeaderMap,
    Json(body): Json<Send>,
) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    let number = idempotent::key(&headers)?.map(|_| allocated.0);
    let Ready { channel, message } = Directory::new(&app, &caller).ready(body, number).await?;
    let posted = app.im.post(&app, &channel, message).await?;
    Ok(envelope::im_ok(sent(&posted)))
}

/// `POST …/message/sendbatch`: all are checked before any is sent. Those of one channel are sent in order; the answer is in the
/// order of the request.
pub(crate) async fn send_im_messages(
    State(app): State<AppState>,
    caller: Caller,
    allocated: Allocated,
    headers: HeaderMap,
    JsonList(bodies): JsonList<Send>,
) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    if !(1..=MAX_BATCH).contains(&bodies.len()) {
        return Err(Error::invalid("body", format!("The body must hold 1 to {MAX_BATCH} messages")).into());
    }
    let keyed = idempotent::key(&headers)?.is_some();
    let mut directory = Directory::new(&app, &caller);
    let mut by_channel: Vec<(String, Vec<(usize, Ready)>)> = Vec::new();
    for (index, body) in bodies.into_iter().enumerate() {
        let number = keyed.then(|| format!("{}-{index}", allocated.0));
        let ready = directory.ready(body, number).await.map_err(|error| at(index, error))?;
        let key = ready.channel.key.as_str();
        match by_channel.iter_mut().find(|(channel, _)| channel == key) {
            Some((_, messages)) => messages.push((index, ready)),
            None => by_channel.push((key.to_owned(), vec![(index, ready)])),
        }
    }
    let posted: Vec<Vec<(usize, Posted)>> =
        stream::iter(by_channel.into_iter().map(|(_, messages)| in_order(&app, messages)))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
    let mut posted: Vec<(usize, Posted)> = posted.into_iter().flatten().collect();
    posted.sort_by_key(|(index, _)| *index);
    Ok(envelope::im_ok(posted.iter().map(|(_, posted)| sent(posted)).collect::<Vec<_>>()))
}

async fn in_order(app: &App, messages: Vec<(usize, Ready)>) -> Result<Vec<(usize, Posted)>> {
    let mut posted = Vec::with_capacity(messages.len());
    for (index, Ready { channel, message }) in messages {
        posted.push((index, app.im.post(app, &channel, message).await?));
    }
    Ok(posted)
}

/// The error of message `index` of a batch: field and text say which.
fn at(index: usize, mut error: Error) -> Error {
    let field = error.field.take();
    error.message = format!("[{index}]: {}", error.message).into();
    match field {
        Some(field) => error.field(format!("[{index}].{field}")),
        None => error,
    }
}

fn sent(posted: &Posted) -> Value {
    json!({ "messageId": posted.message_id, "messageSeq": posted.seq })
}

/// Looks senders and channels up, each once a request.
struct Directory<'a> {
    app: &'a App,
    caller: &'a Caller,
    senders: HashMap<Option<String>, User>,
    /// By the sender's id, the channel's type and id as they were given.
    channels: HashMap<(String, u8, String), Channel>,
}

impl<'a> Directory<'a> {
    fn new(app: &'a App, caller: &'a Caller) -> Self {
        Self { app, caller, senders: HashMap::new(), channels: HashMap::new() }
    }

    /// Checks a message. `number`: the client number if the message brings none.
    async fn ready(&mut self, body: Send, number: Option<String>) -> Result<Ready> {
        let Send { channel_id, channel_type, from_uid, payload, client_msg_no } = body;
        let to = Target { channel_id, channel_type }.named()?;
        let payload = payload.ok_or_else(|| Error::invalid("payload", "payload is required"))?;
        check_payload("payload", &payload)?;
        // Clients that have no number for a message may send an empty one.
        let client_no = client_msg_no.filter(|number| !number.is_empty());
        if let Some(number) = &client_no {
            check_client_no("clientMsgNo", number)?;
        }
        let sender = self.sender(from_uid).await?;
        let channel = self.channel(&sender, to).await?;
        let message = NewMessage {
            from: sender.id,
            client_no: client_no.or(number),
            numbers: Numbers::OfChannel,
            payload,
            via: None,
        };
        Ok(Ready { channel, message })
    }

    async fn sender(&mut self, from: Option<String>) -> Result<User> {
        if let Some(known) = self.senders.get(&from) {
            return Ok(known.clone());
        }
        let sender = people::sender(self.app, self.caller, "fromUid", from.as_deref()).await?;
        self.senders.insert(from, sender.clone());
        Ok(sender)
    }

    async fn channel(&mut self, sender: &User, to: Named) -> Result<Channel> {
        let key = (sender.id.to_string(), to.kind.number(), to.id);
        if let Some(known) = self.channels.get(&key) {
            return Ok(known.clone());
        }
        let channel = im::channel(self.app, sender, to.kind, &key.2).await;
        let channel = channel.map_err(|error| error.field("channelId"))?;
        self.channels.insert(key, channel.clone());
        Ok(channel)
    }
}

/// `GET …/message/sync`: ascending, after `lastMessageSeq`; without it the newest. A page of large messages is shorter than
/// `limit`; whoever goes on after its last number misses none.
pub(crate) async fn sync_messages(State(app): State<AppState>, caller: Caller, params: Params) -> Answer {
    caller.require_account(Scope::MessagesRead)?;
    let of = Target::of_query(&params)?;
    let limit = params.limit(1000, 50)?;
    let after = params.number("lastMessageSeq", 0..=u64::MAX, u64::MAX)?;
    let channel = im::channel(&app, &caller.user, of.kind, &of.id).await.map_err(|error| error.field("channelId"))?;
    let messages = if params.text("lastMessageSeq").is_some() {
        message::since(&app, &channel.key, after, limit).await?
    } else {
        let (mut newest, _) = message::history(&app, &channel.key, None, limit).await?;
        newest.reverse();
        newest
    };
    let shown: Vec<_> = messages.iter().map(|one| message::synced(one, &channel)).collect();
    Ok(envelope::im_ok(shown))
}
