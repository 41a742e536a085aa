//! The IM of its own (seeds 002 and 004): users who write to each other and in groups, seen alike through every API.
//!
//! A *channel* is a pair of users or a group. Its messages are a log of the store ([`crate::store::log`]), so they are numbered
//! without gaps, a repeat under the same client number finds the first, and an append that was cut off is completed. One unit
//! makes a message durable: the client number's row (the gate), the entry, and the queue message of its fan-out
//! ([`fan_out`]), which moves read positions, pushes to open sockets, and brings it to the `im` instances of its members.
//!
//! What the messages lie in is behind [`Backend`]: embedded here, or a WuKongIM server. Groups, members, names and
//! conversations are ours with either.

pub mod account;
pub mod backend;
pub mod chat;
pub mod content;
pub mod conversation;
pub mod fan_out;
pub mod frames;
pub mod group;
pub mod message;
pub mod people;
pub mod token;
pub mod views;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    backend::Backend,
    group::Group,
    message::{Message, NewMessage, Numbers, Posted},
};
use crate::{
    app::App,
    domain::user::User,
    error::{Error, Result},
    id::UserId,
};

/// `channelType` of seed 002.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    Person,
    Group,
}

impl Type {
    pub fn number(self) -> u8 {
        match self {
            Self::Person => 1,
            Self::Group => 2,
        }
    }

    pub fn of_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Person),
            2 => Some(Self::Group),
            _ => None,
        }
    }

    /// `chatType` of seed 004.
    pub fn chat_type(self) -> &'static str {
        match self {
            Self::Person => "single",
            Self::Group => "group",
        }
    }
}

/// The opaque name of a channel: what its rows and its log are keyed by. `p{user}@{user}` in order, or `g{hash}-{generation}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelKey(String);

impl ChannelKey {
    pub fn person(a: &UserId, b: &UserId) -> Self {
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        Self(format!("p{first}@{second}"))
    }

    fn group(hash: &str, generation: u64) -> Self {
        Self(format!("g{hash}-{generation}"))
    }

    /// A key as a frame's place names it.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The log that holds the channel's messages. Logs with this prefix do not expire.
    pub fn log(&self) -> String {
        format!("{}{}", crate::store::log::CHANNELS, self.0)
    }

    /// The two users of a person channel.
    pub fn pair(&self) -> Option<(UserId, UserId)> {
        let (a, b) = self.0.strip_prefix('p')?.split_once('@')?;
        Some((UserId::new(a), UserId::new(b)))
    }

    /// The hash of the group's id.
    fn group_hash(&self) -> Option<&str> {
        Some(self.0.strip_prefix('g')?.rsplit_once('-')?.0)
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel, and what it is from one member's side.
#[derive(Debug, Clone)]
pub struct Channel {
    pub key: ChannelKey,
    pub with: With,
}

#[derive(Debug, Clone)]
pub enum With {
    /// The other user of a person channel (oneself, in a channel with oneself).
    Person(Box<User>),
    Group(Box<Group>),
}

impl Channel {
    pub fn kind(&self) -> Type {
        match self.with {
            With::Person(_) => Type::Person,
            With::Group(_) => Type::Group,
        }
    }

    /// `channelId` as its member knows it: the peer's user id, or the group's id.
    pub fn id(&self) -> &str {
        match &self.with {
            With::Person(peer) => peer.id.as_str(),
            With::Group(group) => &group.id,
        }
    }

    /// The id of a group channel's group.
    pub fn group_id(&self) -> Option<&str> {
        match &self.with {
            With::Person(_) => None,
            With::Group(group) => Some(&group.id),
        }
    }

    /// The channel of these two users.
    pub fn person(user: &UserId, peer: User) -> Self {
        Self { key: ChannelKey::person(user, &peer.id), with: With::Person(Box::new(peer)) }
    }

    pub fn of_group(group: Group) -> Self {
        Self { key: group.key.clone(), with: With::Group(Box::new(group)) }
    }
}

/// The channel that `id` means to `user`: a peer (id, username, or the name of one of the user's bots) or a group that it is a
/// member of.
///
/// Errors: 404 `USER_NOT_FOUND` or `GROUP_NOT_FOUND`; 403 `NOT_A_MEMBER`.
pub async fn channel(app: &App, user: &User, kind: Type, id: &str) -> Result<Channel> {
    match kind {
        Type::Person => {
            let peer = people::find(app, user, id).await?.ok_or_else(people::unknown)?;
            Ok(Channel::person(&user.id, peer))
        }
        Type::Group => {
            let group = group::find(app, id).await?.ok_or_else(group::unknown)?;
            if !group::is_member(app, &group.key, &user.id).await? {
                return Err(Error::forbidden("You are not a member of this group").code("NOT_A_MEMBER"));
            }
            Ok(Channel::of_group(group))
        }
    }
}

/// [`channel`], where a client does not say of which kind: a user of this name, else a group.
pub async fn channel_of_any_kind(app: &App, user: &User, kind: Option<Type>, id: &str) -> Result<Channel> {
    match kind {
        Some(kind) => channel(app, user, kind, id).await,
        None => match people::find(app, user, id).await? {
            Some(peer) => Ok(Channel::person(&user.id, peer)),
            None => channel(app, user, Type::Group, id).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_channel() {
        let (a, b) = (UserId::new("01a"), UserId::new("01b"));
        let key = ChannelKey::person(&b, &a);
        assert_eq!(key, ChannelKey::person(&a, &b));
        assert_eq!(key.pair(), Some((a, b)));
        assert_eq!(ChannelKey::group("abc-d", 3).group_hash(), Some("abc-d"));
        assert_eq!(ChannelKey::group("abc", 3).pair(), None);
    }
}
