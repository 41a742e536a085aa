//! What happens behind a message: sockets are pushed to, read positions move, and the `im` instances of the members get their
//! event. Work of the job queue, in order per channel, repeated until it succeeds; every step may be repeated.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ChannelKey, Group, Message, Type, account, content, conversation, frames, group, people};
use crate::{
    app::App,
    connector::Incoming,
    domain::{
        instance::Instance,
        owner::{Author, Settle},
        user::{self, User},
    },
    error::{Error, Result},
    id::UserId,
};

/// Members whose rows are read at once.
const PAGE: usize = 1000;

/// Brings message `seq` of the channel to everybody.
pub async fn run(app: &App, channel: &ChannelKey, seq: u64) -> Result<()> {
    let Some(message) = app.im.after(app, channel, seq.saturating_sub(1), 1).await?.pop() else { return Ok(()) };
    let Some(sender) = user::find(app, &message.body.from).await? else { return Ok(()) };
    match channel.pair() {
        Some((a, b)) => {
            let peer = if a == sender.id { &b } else { &a };
            let to = frames::message(channel, &message, &sender, Type::Person, peer.as_str());
            let both = if a == b { vec![a.clone()] } else { vec![a.clone(), b.clone()] };
            app.realtime.push(&both, &to).await?;
            let here = conversation::arrived(app, &sender.id, peer, channel, &message);
            let there = async {
                if sender.id == *peer {
                    return Ok(());
                }
                conversation::arrived(app, peer, &sender.id, channel, &message).await
            };
            tokio::try_join!(here, there)?;
            instances(app, &both, channel, &message, &sender, |user| {
                // In whose eyes the chat has which name.
                if *user == sender.id { peer.to_string() } else { sender.id.to_string() }
            })
            .await
        }
        None => {
            let Some(group) = group::of_key(app, channel).await? else { return Ok(()) };
            to_group(app, &group, &message, &sender).await
        }
    }
}

async fn to_group(app: &App, group: &Group, message: &Message, sender: &User) -> Result<()> {
    let frame = frames::message(&group.key, message, sender, Type::Group, &group.id);
    let mut cursor = None;
    loop {
        let (members, next) = group::members(app, &group.key, PAGE, cursor).await?;
        app.realtime.push(&members, &frame).await?;
        let chat = format!("{}{}", account::GROUP, group.id);
        instances(app, &members, &group.key, message, sender, |_| chat.clone()).await?;
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let moved = conversation::moved(app, &sender.id, &group.key, Type::Group, &group.id, message.seq);
    let (_, ()) = tokio::try_join!(moved, group::touch(app, &group.key, message.seq, message.at))?;
    Ok(())
}

/// The event of the message on the instances of these members. `chat`: the chat's address as a member sees it.
async fn instances(
    app: &App,
    members: &[UserId],
    channel: &ChannelKey,
    message: &Message,
    sender: &User,
    chat: impl Fn(&UserId) -> String,
) -> Result<()> {
    for (user, instance) in account::of_users(app, members).await? {
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
            is_group: channel.pair().is_none(),
            content: content::gateway(&message.body.payload),
            quoted: Some(content::read(&message.body.payload).reply_to).filter(|id| !id.is_empty()),
            at: message.at,
        };
        tell(app, instance, &incoming, facts(message)).await?;
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

async fn tell(app: &App, instance: Instance, incoming: &Incoming, facts: Value) -> Result<()> {
    let author = Author::foreign(app, Arc::new(instance));
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
