//! A message as history has it. No I/O: readings of the protocol's own types.

use serde_json::Value;
use shared::{
    clock::Millis,
    connector::{Incoming, OldMessage},
    domain::message::Status,
};
use whatsapp_rust::waproto::whatsapp::{self as wa, web_message_info::Status as Web};

use crate::incoming;

/// Whose something is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum By {
    Me,
    /// The one that the chat is with.
    Chat,
    /// A JID.
    Member(String),
}

/// Who wrote it; `None`: it does not say so.
pub(super) fn author(message: &wa::WebMessageInfo, is_group: bool) -> Option<By> {
    let key = message.key.as_option()?;
    by(key, message.participant.as_ref(), is_group)
}

fn by(key: &wa::MessageKey, participant: Option<&String>, is_group: bool) -> Option<By> {
    if key.from_me == Some(true) {
        return Some(By::Me);
    }
    if !is_group {
        return Some(By::Chat);
    }
    let member = key.participant.as_ref().or(participant).filter(|jid| !jid.is_empty());
    member.cloned().map(By::Member)
}

/// Who reacted, and how.
pub(super) fn reactions(message: &wa::WebMessageInfo, is_group: bool) -> Vec<(By, String)> {
    let read = |reaction: &wa::Reaction| {
        let emoji = reaction.text.clone().filter(|text| !text.is_empty())?;
        Some((by(reaction.key.as_option()?, None, is_group)?, emoji))
    };
    message.reactions.iter().filter_map(read).collect()
}

/// The message; `None` for notices, for what is between devices, and for what the phone has not sent yet: that comes by itself.
pub(super) fn read(
    message: wa::WebMessageInfo,
    chat: &str,
    sender: String,
    chat_name: &str,
    place: u32,
    reactions: Vec<(String, String)>,
) -> Option<OldMessage> {
    let key = message.key.into_option()?;
    let (id, from_me) = (key.id.filter(|id| !id.is_empty())?, key.from_me == Some(true));
    let status = status(from_me, message.status)?;
    let said = message.message.into_option()?;
    let content = incoming::left_where_it_is(&said)?;
    let at = message.message_timestamp.and_then(|at| i64::try_from(at).ok())?;
    Some(OldMessage {
        message: Incoming {
            id,
            chat: chat.to_owned(),
            sender,
            from_me,
            push_name: message.push_name.unwrap_or_default(),
            is_group: chat.ends_with("@g.us"),
            content,
            quoted: incoming::quoted(&said),
            at: Millis(at.saturating_mul(1000)),
            facts: Value::Null,
        },
        status,
        chat_name: chat_name.to_owned(),
        reactions,
        // A conversation is told of from its newest message on.
        order: u32::MAX - place,
    })
}

/// What became of a message. `None`: it is still on the phone.
fn status(from_me: bool, status: Option<Web>) -> Option<Status> {
    if !from_me {
        return Some(Status::Received);
    }
    match status {
        Some(Web::PENDING) => None,
        Some(Web::ERROR) => Some(Status::Failed),
        None | Some(Web::SERVER_ACK) => Some(Status::Sent),
        Some(Web::DELIVERY_ACK) => Some(Status::Delivered),
        Some(Web::READ | Web::PLAYED) => Some(Status::Read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whatsapp_rust::buffa::MessageField;

    fn key(from_me: bool, participant: Option<&str>) -> MessageField<wa::MessageKey> {
        MessageField::some(wa::MessageKey {
            id: Some("A1".into()),
            from_me: Some(from_me),
            participant: participant.map(str::to_owned),
            ..Default::default()
        })
    }

    fn message(from_me: bool, status: Web) -> wa::WebMessageInfo {
        wa::WebMessageInfo {
            key: key(from_me, None),
            message: MessageField::some(wa::Message { conversation: Some("hello".into()), ..Default::default() }),
            message_timestamp: Some(1_700_000_000),
            status: Some(status),
            ..Default::default()
        }
    }

    fn told(message: wa::WebMessageInfo) -> Option<OldMessage> {
        read(message, "1555@s.whatsapp.net", "1555@s.whatsapp.net".into(), "Bob", 3, Vec::new())
    }

    #[test]
    fn status_and_time_are_those_of_the_phone() {
        let received = told(message(false, Web::SERVER_ACK)).expect("a message");
        assert_eq!((received.status, received.message.at), (Status::Received, Millis(1_700_000_000_000)));
        let of = |status| told(message(true, status)).map(|old| old.status);
        assert_eq!(of(Web::PLAYED), Some(Status::Read));
        assert_eq!(of(Web::DELIVERY_ACK), Some(Status::Delivered));
        assert_eq!(of(Web::PENDING), None, "it comes when it goes out");
    }

    #[test]
    fn notices_are_no_messages() {
        let mut notice = message(false, Web::SERVER_ACK);
        notice.message = MessageField::none();
        assert!(told(notice).is_none());
    }

    #[test]
    fn a_member_of_a_group_is_named() {
        let mut one = message(false, Web::SERVER_ACK);
        assert_eq!(author(&one, false), Some(By::Chat));
        assert_eq!(author(&one, true), None);
        one.participant = Some("1@s.whatsapp.net".into());
        assert_eq!(author(&one, true), Some(By::Member("1@s.whatsapp.net".into())));
        one.key = key(true, Some("2@s.whatsapp.net"));
        assert_eq!(author(&one, true), Some(By::Me));
    }

    #[test]
    fn reactions_say_whose_they_are() {
        let reaction = |key, text: &str| wa::Reaction { key, text: Some(text.into()), ..Default::default() };
        let mut one = message(true, Web::READ);
        one.reactions = vec![
            reaction(key(true, None), "👍"),
            reaction(key(false, Some("1@s.whatsapp.net")), "🎉"),
            reaction(key(false, None), ""),
        ];
        assert_eq!(
            reactions(&one, true),
            [(By::Me, "👍".to_owned()), (By::Member("1@s.whatsapp.net".into()), "🎉".to_owned())]
        );
        assert_eq!(reactions(&one, false)[1].0, By::Chat);
    }
}
