//! What platforms tell beside messages as they come: things that happen, and messages from before the account was linked.

use serde_json::Value;

use super::Incoming;
use crate::domain::{event::Kind, message::Status};

/// Something that users can be told of, and that changes nothing else here: its event is all that is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub what: What,
    /// The platform's name for it, unique within [`What`]: told of twice, it is one.
    pub id: String,
    /// Address of the chat that it belongs to.
    pub chat: String,
    /// What its event shows beside `chatId`: an object of a few small fields.
    pub data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    CallReceived,
    CallEnded,
    GroupUpdated,
    PresenceUpdated,
}

impl What {
    /// The event that tells of it.
    pub fn event(self) -> Kind {
        match self {
            Self::CallReceived => Kind::CallReceived,
            Self::CallEnded => Kind::CallEnded,
            Self::GroupUpdated => Kind::GroupUpdated,
            Self::PresenceUpdated => Kind::PresenceUpdated,
        }
    }
}

/// Messages from before the account was linked, as many as are stored together.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// Names what the page is a part of. Piece and number name the page: whoever tells of it again tells of the same messages.
    pub piece: String,
    /// From 0 on, in the order in which they are told of.
    pub number: u32,
    /// At most [`HistoryPage::MOST`].
    pub messages: Vec<OldMessage>,
    /// How much of the history the platform has handed over with this piece of it, in percent.
    pub progress: Option<u8>,
    /// The piece ends here.
    pub ends: bool,
}

impl HistoryPage {
    /// Messages of one page: a unit of work holds a write for each, and some more.
    pub const MOST: usize = 100;

    pub fn key(&self) -> String {
        format!("{}/{}", self.piece, self.number)
    }
}

/// A message as history has it.
#[derive(Debug, Clone, PartialEq)]
pub struct OldMessage {
    pub message: Incoming,
    /// What became of it, if it is the account's own; [`Status::Received`] otherwise.
    pub status: Status,
    /// Name of its chat, `""` if unknown.
    pub chat_name: String,
    /// Address (`me` for the account itself) and emoji.
    pub reactions: Vec<(String, String)>,
    /// Its place among messages of the same moment: a higher one is later.
    pub order: u32,
}
