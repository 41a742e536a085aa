//! What clients ask for, done with the domain. No sockets: the AWS home's shell asks the same.

use std::sync::Arc;

use shared::{
    Error, Result,
    app::App,
    domain::{
        access::{Caller, Scope},
        im::{self, ChannelKey, chat, conversation, frames, people},
    },
    id::SocketId,
    realtime::Place,
};

use crate::{
    frame::{self, MarkRead},
    presence::MOST_PEERS,
};

/// What an answer is made of.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) frames: Vec<String>,
    /// Where the message lies that was sent: its sender's connection does not get it again.
    pub(crate) own: Option<Place>,
}

/// Sends a message. The `ack` comes when it is durable.
pub(crate) async fn message(app: &App, caller: &Caller, draft: chat::Draft) -> Result<Answer> {
    app.rate.take(&caller.credential, app.clock.monotonic())?;
    let sent = chat::send(app, caller, draft).await?;
    // What a bot of the caller's writes to the caller is another's message.
    let own = (sent.sender.id == *caller.id())
        .then(|| Place { channel: Arc::from(sent.channel.key.as_str()), seq: sent.posted.seq });
    Ok(Answer { frames: vec![frame::ack(&sent.data())], own })
}

/// Notes how far the caller has read, and tells the others. `socket`: where that came from.
pub(crate) async fn read(app: &App, caller: &Caller, asked: MarkRead, socket: Option<&SocketId>) -> Result<Answer> {
    caller.require_account(Scope::MessagesRead)?;
    app.rate.take(&caller.credential, app.clock.monotonic())?;
    let kind = asked.chat_type.as_deref().map(|text| chat::kind("chatType", text)).transpose()?;
    let channel = im::channel_of_any_kind(app, &caller.user, kind, &asked.chat_id).await;
    let channel = channel.map_err(|error| error.field("chatId"))?;
    frames::mark_read(app, &caller.user, &channel, asked.message_seq, socket).await?;
    Ok(Answer::default())
}

/// Which of these users are there; without names, those of the caller's peers who are. Only of users that the caller has a
/// conversation with.
pub(crate) async fn presence(app: &App, caller: &Caller, users: Option<Vec<String>>) -> Result<Answer> {
    caller.require_account(Scope::MessagesRead)?;
    app.rate.take(&caller.credential, app.clock.monotonic())?;
    let all = users.is_none();
    let users = match users {
        None => conversation::peers(app, caller.id(), MOST_PEERS).await?,
        Some(names) => {
            let mut found = Vec::with_capacity(names.len());
            for (index, name) in names.iter().enumerate() {
                found.push(peer(app, caller, name).await.map_err(|error| error.field(format!("userIds[{index}]")))?);
            }
            found
        }
    };
    let online = app.realtime.online(&users).await?;
    let now = app.clock.now();
    let states = users.iter().zip(online).filter(|(_, online)| *online || !all);
    Ok(Answer { frames: states.map(|(user, online)| frame::presence(user, online, now)).collect(), own: None })
}

async fn peer(app: &App, caller: &Caller, name: &str) -> Result<shared::id::UserId> {
    let user = people::find(app, &caller.user, name).await?.ok_or_else(people::unknown)?;
    if user.id != *caller.id() {
        let channel = ChannelKey::person(caller.id(), &user.id);
        if conversation::find(app, caller.id(), &channel).await?.is_none() {
            return Err(Error::forbidden("You have no conversation with this user").code("NO_CONVERSATION"));
        }
    }
    Ok(user.id)
}
