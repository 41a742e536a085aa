//! Messages that come in, as updates: who wrote, where, and what.

mod media;
mod said;
#[cfg(test)]
mod tests;
mod votes;

use serde_json::Value;
use shared::{
    clock::Millis,
    connector::{Incoming, Update},
    domain::content::Content,
};
use whatsapp_rust::{
    Client, Jid,
    wacore::types::{
        events::{InboundMessage, UnavailableType, UndecryptableMessage},
        message::{MessageCategory, MessageInfo},
    },
    wacore_binary::JidExt as _,
    waproto::whatsapp as wa,
};

use self::said::Said;
use crate::{line::Inner, people};

/// The updates that a message makes. None for what is between devices, and for what happens on `status@broadcast`.
pub(crate) async fn read(inner: &Inner, client: &Client, message: &InboundMessage) -> Vec<Update> {
    let info = &message.info;
    if info.category == MessageCategory::Peer || info.source.chat.is_status_broadcast() {
        return Vec::new();
    }
    let content = match said::said(&message.message) {
        Said::Nothing => return Vec::new(),
        Said::Content(content) => content,
        Said::Poll(content, poll) => {
            inner.store.keep_poll(&info.id, &poll);
            content
        }
        Said::Media(part) => media::content(inner, client, *part).await,
        Said::Vote(vote) => votes::content(inner, client, info, vote).await,
    };
    updates(inner, client, info, Some(&message.message), content).await
}

/// A message that nobody can read here. A view-once photo is only shown on the phone; the rest is asked for again by the crate.
pub(crate) async fn unreadable(inner: &Inner, client: &Client, lost: &UndecryptableMessage) -> Vec<Update> {
    if lost.unavailable_type != UnavailableType::ViewOnce {
        return Vec::new();
    }
    let content = Content::Other { name: "viewOnceMessage".to_owned() };
    updates(inner, client, &lost.info, None, content).await
}

/// What a message says, its media left where they are. `None` for what is between devices, and for votes.
pub(crate) fn left_where_it_is(message: &wa::Message) -> Option<Content> {
    match said::said(message) {
        Said::Content(content) | Said::Poll(content, _) => Some(content),
        Said::Media(part) => Some(media::left(&part)),
        Said::Vote(_) | Said::Nothing => None,
    }
}

/// The id of the message that this one answers.
pub(crate) fn quoted(message: &wa::Message) -> Option<String> {
    said::context(message)?.stanza_id.clone().filter(|id| !id.is_empty())
}

async fn updates(
    inner: &Inner,
    client: &Client,
    info: &MessageInfo,
    message: Option<&wa::Message>,
    content: Content,
) -> Vec<Update> {
    let source = &info.source;
    let alt = if source.is_from_me { source.recipient_alt.as_ref() } else { source.sender_alt.as_ref() };
    let direct = source.chat.is_pn() || source.chat.is_lid();
    let chat = people::who(client, &source.chat, alt.filter(|_| direct)).await;
    let sender = people::who(client, &source.sender, source.sender_alt.as_ref().filter(|_| !source.is_from_me)).await;
    let (Some(chat), Some(sender)) = (chat, sender) else { return Vec::new() };
    let mut facts = serde_json::Map::new();
    let mut quoted = None;
    if let Some(message) = message {
        let context = said::context(message);
        let mentions = mentions(client, context).await;
        facts = said::facts(message, &mentions);
        quoted = self::quoted(message);
    }
    if let Some(lid) = sender.also.as_ref().filter(|_| !source.is_from_me) {
        facts.insert("senderLid".into(), lid.as_str().into());
    }
    let mut updates: Vec<Update> = [inner.pairs.news(&chat), inner.pairs.news(&sender)].into_iter().flatten().collect();
    if !source.is_from_me {
        inner.recent.add(&chat.address, &info.id, &source.chat, &source.sender);
    }
    let verified = info.verified_name.as_ref().and_then(|name| name.name.clone()).unwrap_or_default();
    updates.push(Update::Received(Box::new(Incoming {
        id: info.id.clone(),
        chat: chat.address,
        sender: sender.address,
        from_me: source.is_from_me,
        push_name: if info.push_name.is_empty() { verified } else { info.push_name.clone() },
        is_group: source.is_group,
        content,
        quoted,
        at: Millis(info.timestamp.timestamp_millis()),
        facts: if facts.is_empty() { Value::Null } else { Value::Object(facts) },
    })));
    updates
}

/// Whom a message mentions, by the addresses that stand for them.
async fn mentions(client: &Client, context: Option<&wa::ContextInfo>) -> Vec<String> {
    let Some(context) = context else { return Vec::new() };
    let mut all = Vec::with_capacity(context.mentioned_jid.len());
    for jid in context.mentioned_jid.iter().filter_map(|text| text.parse::<Jid>().ok()).take(256) {
        if let Some(who) = people::who(client, &jid, None).await {
            all.push(who.address);
        }
    }
    all
}
