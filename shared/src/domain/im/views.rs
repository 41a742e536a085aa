//! Messages as seed 004's clients read them: in the history of a chat, and as the last one of a conversation.

use serde_json::Value;

use super::{ChannelKey, Message, Type, conversation, fan_out, frames};
use crate::{app::App, domain::user::User, error::Result};

/// Messages of one channel, in the order given. `group`: the id of a group channel's group. One whose sender is gone is not
/// shown.
pub async fn messages(
    app: &App,
    channel: &ChannelKey,
    group: Option<&str>,
    messages: &[Message],
) -> Result<Vec<Value>> {
    let senders = frames::senders(app, messages).await?;
    let shown = messages.iter().filter_map(|one| Some(view(channel, group, one, senders.get(&one.body.from)?)));
    Ok(shown.collect())
}

/// The last message of each conversation, `null` where there is none. Without the payload of one that is not understood.
pub async fn last_messages(app: &App, conversations: &[conversation::View]) -> Result<Vec<Value>> {
    let senders = frames::senders(app, conversations.iter().filter_map(|one| one.last.as_ref())).await?;
    let shown = conversations.iter().map(|conversation| {
        let last = conversation.last.as_ref()?;
        let row = &conversation.row;
        let group = (row.kind == Type::Group).then_some(row.id.as_str());
        let mut shown = view(&row.key, group, last, senders.get(&last.body.from)?);
        shown.as_object_mut()?.remove("payload");
        Some(shown)
    });
    Ok(shown.map(|shown| shown.unwrap_or(Value::Null)).collect())
}

fn view(channel: &ChannelKey, group: Option<&str>, message: &Message, sender: &User) -> Value {
    match (channel.pair(), group) {
        (Some((a, b)), _) => {
            let to = if a == sender.id { b } else { a };
            fan_out::view(message, sender, Type::Person, to.as_str())
        }
        (None, group) => fan_out::view(message, sender, Type::Group, group.unwrap_or_default()),
    }
}
