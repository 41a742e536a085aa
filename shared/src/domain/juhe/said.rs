//! What a notification about a message says, the same for both sorts of accounts.

use crate::{clock::Millis, domain::content::Content};

/// A message notification.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// The id within the account; `""` if there is only `appinfo`.
    pub(super) id: String,
    /// The id over all accounts (WeCom); it decides what is the same message.
    pub(super) appinfo: String,
    /// Position in the account's stream; orders messages of one moment.
    pub(super) seq: String,
    /// Who wrote; `""` for the platform itself.
    pub(super) sender: String,
    pub(super) receiver: String,
    /// `""` in a private conversation.
    pub(super) room: String,
    pub(super) at: Option<Millis>,
    /// The sender's name.
    pub(super) name: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Message {
        content: Content,
        quoted: Option<String>,
        /// It comes already taken back.
        revoked: bool,
    },
    /// Takes back what goes by one of these ids.
    Revoke(Vec<String>),
    /// The other side has read what goes by this id.
    Read(String),
}

impl Said {
    /// Messages with the same identity are one.
    pub(super) fn identity(&self) -> Identity<'_> {
        if self.appinfo.is_empty() { Identity::Id(&self.id) } else { Identity::Appinfo(&self.appinfo) }
    }

    /// What keeps the notifications of one conversation in order: the room, or the two who talk, whichever of them is us.
    pub(super) fn conversation(&self) -> String {
        if !self.room.is_empty() {
            return format!("R:{}", self.room);
        }
        let (one, other) =
            if self.sender <= self.receiver { (&self.sender, &self.receiver) } else { (&self.receiver, &self.sender) };
        format!("S:{one}:{other}")
    }

    /// The other side of a private conversation, for the account `own`. While it is not known who that is, whoever wrote.
    pub(super) fn peer(&self, own: Option<&str>) -> &str {
        if own == Some(self.sender.as_str()) { &self.receiver } else { &self.sender }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity<'a> {
    Appinfo(&'a str),
    Id(&'a str),
}
