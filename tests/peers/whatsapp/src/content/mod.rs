//! Message contents between JSON and the protocol: [`describe`] for what arrives, [`build`] for what a phone writes, votes and
//! other things that need the message they refer to.

mod build;
mod describe;
mod vote;

pub(crate) use build::{Spec, build};
pub(crate) use describe::{describe, media_of};
pub(crate) use vote::open_vote;

use waproto::whatsapp as wa;

use crate::phone::Phone;

/// An earlier message of a chat, as one phone knows it.
pub(crate) struct Known<'a> {
    pub(crate) message: &'a wa::Message,
    /// Phone number of the author.
    pub(crate) author: &'a str,
}

/// Looks for a message that the phone wrote or that arrived at it.
pub(crate) fn known<'a>(phone: &'a Phone, id: &str) -> Option<Known<'a>> {
    if let Some(sent) = phone.sent.iter().rev().find(|sent| sent.id == id) {
        return Some(Known { message: &sent.message, author: &phone.pn });
    }
    phone
        .inbox
        .iter()
        .rev()
        .find(|received| received.id == id)
        .map(|received| Known { message: &received.message, author: &received.from })
}

/// The secret that additions to a message (votes) are encrypted with.
pub(crate) fn secret_of(message: &wa::Message) -> Option<&[u8]> {
    message.message_context_info.as_option()?.message_secret.as_deref()
}

/// The poll in a message, whichever of its fields it is in.
pub(crate) fn poll_of(message: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
    ]
    .into_iter()
    .find_map(|field| field.as_option())
}
