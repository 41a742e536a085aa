//! What happens behind a message: sockets are pushed to, read positions move, and the `im` instances of the members get their
//! event. Work of the job queue, in order per channel, repeated until it succeeds; every step may be repeated.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{ChannelKey, Group, Message, Type, account, content, conversation, frames, group, people};
use crate::{
    app::App,
    connector::Incoming,
    domain::{
        instance::Instance,
        owner::{Author, Settle},
        user::User,
    },
    error::{Error, Result},
    id::UserId,
    realtime::Frame,
};

/// Members whose rows are read at once.
const PAGE: usize = 1000;

/// Brings the messages of these numbers to everybody, in order. Several at once cost little more than one.
pub async fn run(app: &App, channel: &ChannelKey, seqs: &[u64]) -> Result<()> {
    let (Some(first), Some(last)) = (seqs.iter().min(), seqs.iter().max()) else { return Ok(()) };
    let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let mut messages = app.im.after(app, channel, first.saturating_sub(1), count).await?;
    messages.retain(|message| seqs.contains(&message.seq));
    let senders = frames::senders(app, &messages).await?;
    messages.retain(|message| senders.contains_key(&message.body.from));
    if messages.is_empty() {
        return Ok(());
    }
    let news = News { channel, messages: &messages, senders: &senders };
    match channel.pair() {
        Some((a, b)) => to_pair(app, news, &a, &b).await,
        None => match group::of_key(app, channel).await? {
            Some(group) => to_group(app, news, &group).await,
            None => Ok(()),
        },
    }
}

/// Messages of one channel, in order, and who wrote them.
#[derive(Clone, Copy)]
struct News<'a> {
    channel: &'a ChannelKey,
    messages: &'a [Message],
    senders: &'a HashMap<UserId, User>,
}

impl<'a> News<'a> {
    fn each(self) -> impl Iterator<Item = (&'a Message, &'a User)> {
        self.messages.iter().filter_map(move |message| Some((message, self.senders.get(&message.body.from)?)))
    }

    fn newest(self) -> Option<&'a Message> {
        self.messages.last()
    }

    fn newest_of(self, user: &UserId) -> Option<&'a Message> {
        self.messages.iter().rev().find(|message| message.body.from == *user)
    }
}

async fn to_pair(app: &App, news: News<'_>, a: &UserId, b: &UserId) -> Result<()> {
    let both = if a == b { vec![a.clone()] } else { vec![a.clone(), b.clone()] };
    for (message, sender) in news.each() {
        let peer = if *a == sender.id { b } else { a };
        let frame = frames::message(news.channel, message, sender, Type::Person, peer.as_str());
        app.realtime.push(&both, &frame).await?;
    }
    let there = async { if a == b { Ok(()) } else { arrived(app, news, b, a).await } };
    tokio::try_join!(arrived(app, news, a, b), there)?;
    // In whose eyes the chat has which name.
    instances(app, &both, news, |user| if user == a { b.to_string() } else { a.to_string() }).await
}

/// The conversation of a pair, as `user` has it.
async fn arrived(app: &App, news: News<'_>, user: &UserId, peer: &UserId) -> Result<()> {
    let Some(newest) = news.newest() else { return Ok(()) };
    conversation::arrived(app, user, peer, news.channel, newest).await?;
    if let Some(own) = news.newest_of(user).filter(|own| own.seq < newest.seq) {
        conversation::moved(app, user, news.channel, Type::Person, peer.as_str(), own.seq).await?;
    }
    Ok(())
}

async fn to_group(app: &App, news: News<'_>, group: &Group) -> Result<()> {
    let frames: Vec<Frame> = news
        .each()
        .map(|(message, sender)| frames::message(&group.key, message, sender, Type::Group, &group.id))
        .collect();
    let chat = format!("{}{}", account::GROUP, group.id);
    let mut cursor = None;
    loop {
        let (members, next) = group::members(app, &group.key, PAGE, cursor).await?;
        for frame in &frames {
            app.realtime.push(&members, frame).await?;
        }
        instances(app, &members, news, |_| chat.clone()).await?;
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    // Who writes has read what was before.
    let moved = news.senders.keys().filter_map(|sender| {
        let newest = news.newest_of(sender)?;
        Some(conversation::moved(app, sender, &group.key, Type::Group, &group.id, newest.seq))
    });
    let touched = async {
        match news.newest() {
            Some(newest) => group::touch(app, &group.key, newest.seq, newest.at).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(try_join_all(moved), touched)?;
    Ok(())
}

/// The events of the messages on the instances of these members. `chat`: the chat's address as a member sees it.
async fn instances(app: &App, members: &[UserId], news: News<'_>, chat: impl Fn(&UserId) -> String) -> Result<()> {
    for (user, instance) in account::of_users(app, members).await? {
        let instance = Arc::new(instance);
        for (message, sender) in news.each() {
            // Sent through this very instance: it has its row and its events.
            if message.body.via.as_ref() == Some(&instance.id) {
                continue;
            }
            let from_me = user == sender.id;
            let incoming = Incoming {
                id: message.body.id.clone(),
                chat: chat(&user),
                sender: sender.id.to_string(),
                from_me,
                push_name: if from_me { String::new() } else { people::display_name(sender) },
                is_group: news.channel.pair().is_none(),
                content: content::gateway(&message.body.payload),
                quoted: Some(content::read(&message.body.payload).reply_to).filter(|id| !id.is_empty()),
                at: message.at,
                facts: serde_json::Value::Null,
            };
            tell(app, Arc::clone(&instance), &incoming, facts(message)).await?;
        }
    }
    Ok(())
}

/// What the event of a message says beside what every platform's says.
fn facts(message: &Message) -> Value {
    json!({
        "messageSeq": message.seq,
        "clientMsgNo": message.body.client_no.as_deref().unwrap_or_default(),
        "fromUid": message.body.from,
        "imageUrl": content::read(&message.body.payload).image_url(),
    })
}

async fn tell(app: &App, instance: Arc<Instance>, incoming: &Incoming, facts: Value) -> Result<()> {
    let author = Author::foreign(app, instance);
    author.received_with(incoming, facts, Settle::Nothing).await.map(drop).map_err(Error::from)
}

/// A message as seed 004's clients get it, on the socket and in histories.
pub fn view(message: &Message, sender: &User, kind: Type, to: &str) -> Value {
    let chat = content::read(&message.body.payload);
    let mut data = json!({
        "id": message.client_id(),
        "messageId": message.body.id,
        "messageSeq": message.seq,
        "fromId": message.body.from,
        "toId": to,
        "chatType": kind.chat_type(),
        "content": chat.content(),
        "timestamp": message.at.0,
        "contentType": chat.content_type(),
        "replyTo": chat.reply_to,
        "imageUrl": chat.image_url(),
    });
    if kind == Type::Group {
        data["from_name"] = people::display_name(sender).into();
        data["from_avatar"] = sender.avatar.as_str().into();
    }
    if chat.said == content::Said::Custom {
        data["payload"] = message.body.payload.as_str().into();
    }
    data
}
