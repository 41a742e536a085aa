//! Frames that tell sockets of a channel: its messages, live or read again later, and how far somebody has read.

use std::collections::HashMap;

use serde_json::json;

use super::{Channel, ChannelKey, Message, Type, conversation, fan_out, group};
use crate::{
    app::App,
    domain::user::{self, User},
    error::Result,
    id::{SocketId, UserId},
    realtime::{Frame, Place},
};

/// The `message` frame of seed 004 (facts: `from_name` and `from_avatar` in groups). `to`: the other user, or the group's id.
pub(super) fn message(channel: &ChannelKey, message: &Message, sender: &User, kind: Type, to: &str) -> Frame {
    let data = fan_out::view(message, sender, kind, to);
    let text = json!({ "type": "message", "data": data }).to_string();
    Frame::message(Place { channel: channel.as_str().into(), seq: message.seq }, message.client_id(), &sender.id, text)
}

/// The frames of messages of one channel, in order, as they were pushed when the messages were new. None for a group that is
/// gone, and none for a message whose sender is.
pub async fn messages(app: &App, channel: &ChannelKey, messages: &[Message]) -> Result<Vec<Frame>> {
    let pair = channel.pair();
    let group = match &pair {
        Some(_) => None,
        None => match group::of_key(app, channel).await? {
            Some(group) => Some(group),
            None => return Ok(Vec::new()),
        },
    };
    let senders = senders(app, messages).await?;
    let frames = messages.iter().filter_map(|one| {
        let sender = senders.get(&one.body.from)?;
        let (kind, to) = match (&pair, &group) {
            (Some((a, b)), _) => (Type::Person, if *a == sender.id { b.as_str() } else { a.as_str() }),
            (None, Some(group)) => (Type::Group, group.id.as_str()),
            (None, None) => return None,
        };
        Some(message(channel, one, sender, kind, to))
    });
    Ok(frames.collect())
}

/// Who wrote these messages.
pub(super) async fn senders<'a>(
    app: &App,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Result<HashMap<UserId, User>> {
    let mut ids: Vec<UserId> = messages.into_iter().map(|message| message.body.from.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = user::find_all(app, &ids).await?;
    Ok(found.into_iter().map(|user| (user.id.clone(), user)).collect())
}

/// Notes that `user` has read the channel up to a number, its newest if there is none given, and tells the user's other sockets
/// (all but `except`) and, in a person channel, the peer. Answers the number.
pub async fn mark_read(
    app: &App,
    user: &User,
    channel: &Channel,
    upto: Option<u64>,
    except: Option<&SocketId>,
) -> Result<u64> {
    let tail = app.im.tail(app, &channel.key).await?;
    let upto = upto.map_or(tail, |upto| upto.min(tail));
    if upto == 0 || !conversation::read(app, &user.id, channel, upto).await? {
        return Ok(upto);
    }
    let at = app.clock.now();
    let frame = |chat: &str| {
        let data = json!({
            "chatId": chat,
            "chatType": channel.kind().chat_type(),
            "userId": user.id,
            "messageSeq": upto,
            "at": at.0,
        });
        Frame::new(json!({ "type": "read", "data": data }).to_string())
    };
    app.realtime.push(std::slice::from_ref(&user.id), &frame(channel.id()).except(except)).await?;
    if let super::With::Person(peer) = &channel.with
        && peer.id != user.id
    {
        // The peer knows the chat by the reader's id.
        app.realtime.push(std::slice::from_ref(&peer.id), &frame(user.id.as_str())).await?;
    }
    Ok(upto)
}
