//! Conversations: a user's channels, how far the user has read in each, and what is unread.
//!
//! A row per user and channel. The rows of a person channel carry its newest number themselves; those of a group find it in
//! the group's row, so that a message to a thousand members is not a thousand writes.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{Channel, ChannelKey, Group, Message, Type, group, people};
use crate::{
    app::App,
    clock::Millis,
    domain::user::User,
    error::Result,
    id::UserId,
    store::{Change, CommitError, Cond, Cursor, Item, Query, Read, Unit, Write, keys},
};

/// Conversations whose newest message is read at the same time.
const AT_ONCE: usize = 16;

/// The row, `keys::im_channel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    pub v: u32,
    pub key: ChannelKey,
    pub kind: Type,
    /// The peer's user id, or the group's id.
    pub id: String,
    /// Person channels: what the user calls the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    #[serde(default)]
    pub read_seq: u64,
    #[serde(default)]
    pub last_seq: u64,
    #[serde(default)]
    pub last_at: Millis,
    /// Hidden by the user, until the next message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

impl Conversation {
    /// A group's, for one who joins at `now`: what was said before is not unread.
    pub(super) fn of_group(group: &Group, now: Millis) -> Self {
        Self {
            v: 1,
            key: group.key.clone(),
            kind: Type::Group,
            id: group.id.clone(),
            name: None,
            avatar: None,
            read_seq: group.last_seq,
            last_seq: group.last_seq,
            last_at: now,
            hidden: false,
        }
    }
}

pub(super) fn item(user: &UserId, conversation: &Conversation) -> Result<Item> {
    Item::new(keys::im_channel(user, conversation.key.as_str()), conversation)
}

/// A change of a conversation that may not have a row yet.
fn upsert(user: &UserId, key: &ChannelKey, kind: Type, id: &str, change: Change) -> Write {
    let change = change.set("v", 1).set("key", key.as_str()).set("kind", kind_name(kind)).set("id", id);
    Write::update(keys::im_channel(user, key.as_str()), change)
}

fn kind_name(kind: Type) -> &'static str {
    match kind {
        Type::Person => "person",
        Type::Group => "group",
    }
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Only forward: an attribute that is absent or lower than this.
fn below(attribute: &str, seq: u64) -> Cond {
    Cond::Any(vec![Cond::lacks(attribute), Cond::lt(attribute, number(seq))])
}

async fn settle(app: &App, write: Write) -> Result<bool> {
    match app.store.commit(Unit::write(write)).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A message came to the channel: moves what `user`'s row says, and its own read position if `user` wrote it.
pub(super) async fn arrived(
    app: &App,
    user: &UserId,
    peer: &UserId,
    key: &ChannelKey,
    message: &Message,
) -> Result<()> {
    let mut change = Change::default().set("lastSeq", message.seq).set("lastAt", message.at.0).remove("hidden");
    if *user == message.body.from {
        change = change.set("readSeq", message.seq);
    }
    let write = upsert(user, key, Type::Person, peer.as_str(), change).only_if(below("lastSeq", message.seq));
    settle(app, write).await.map(drop)
}

/// Moves the read position of a user forward; `true` if it was behind. In a group the user has a row, or is no member.
pub async fn read(app: &App, user: &UserId, channel: &Channel, upto: u64) -> Result<bool> {
    moved(app, user, &channel.key, channel.kind(), channel.id(), upto).await
}

/// The writer of a group message has read it.
pub(super) async fn moved(app: &App, user: &UserId, key: &ChannelKey, kind: Type, id: &str, upto: u64) -> Result<bool> {
    let write = upsert(user, key, kind, id, Change::default().set("readSeq", upto)).only_if(below("readSeq", upto));
    settle(app, write).await
}

/// Names the peer of a person channel, for this user only. What is `None` stays.
pub async fn rename(
    app: &App,
    user: &UserId,
    channel: &Channel,
    name: Option<&str>,
    avatar: Option<&str>,
) -> Result<()> {
    let mut change = Change::default().remove("hidden");
    if let Some(name) = name {
        change = change.set("name", name);
    }
    if let Some(avatar) = avatar {
        change = change.set("avatar", avatar);
    }
    settle(app, upsert(user, &channel.key, channel.kind(), channel.id(), change)).await.map(drop)
}

/// Hides a conversation from its user, until the next message.
pub async fn hide(app: &App, user: &UserId, channel: &Channel) -> Result<()> {
    let change = Change::default().set("hidden", true);
    let write = Write::update(keys::im_channel(user, channel.key.as_str()), change).only_if(Cond::Exists);
    settle(app, write).await.map(drop)
}

pub async fn find(app: &App, user: &UserId, channel: &ChannelKey) -> Result<Option<Conversation>> {
    app.store.get(&keys::im_channel(user, channel.as_str()), Read::Strong).await?.map(Item::into).transpose()
}

/// A page of the keys of a user's channels, hidden ones included.
pub async fn channels(
    app: &App,
    user: &UserId,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<(Vec<ChannelKey>, Option<Cursor>)> {
    let query = Query::table(keys::im_channels(user)).limit(limit).after(cursor).keys_only();
    let page = app.store.query(query).await?;
    Ok((page.items.into_iter().map(|item| ChannelKey(item.key.sk)).collect(), page.next))
}

/// Users that `user` has a conversation with, `limit` at most: those who signed up first.
pub async fn peers(app: &App, user: &UserId, limit: usize) -> Result<Vec<UserId>> {
    let query = Query::table(keys::im_channels(user)).prefix("p").limit(limit).keys_only();
    let page = app.store.query(query).await?;
    let pairs = page.items.into_iter().filter_map(|item| ChannelKey(item.key.sk).pair());
    Ok(pairs.map(|(a, b)| if a == *user { b } else { a }).filter(|peer| peer != user).collect())
}

/// A conversation as its user sees it.
#[derive(Debug, Clone)]
pub struct View {
    pub row: Conversation,
    pub name: String,
    pub avatar: String,
    pub unread: u64,
    pub last_seq: u64,
    pub last: Option<Message>,
}

/// A page of a user's conversations, in no order that means anything; those of deleted groups and hidden ones are not shown.
pub async fn list(app: &App, user: &User, limit: usize, cursor: Option<Cursor>) -> Result<(Vec<View>, Option<Cursor>)> {
    let page = app.store.query(Query::table(keys::im_channels(&user.id)).limit(limit).after(cursor)).await?;
    let rows = page.items.into_iter().map(Item::into::<Conversation>).collect::<Result<Vec<_>>>()?;
    let (groups, people): (Vec<_>, Vec<_>) =
        rows.into_iter().filter(|row| !row.hidden).partition(|row| row.kind == Type::Group);
    let found = group::of_keys(app, &groups.iter().map(|row| &row.key).collect::<Vec<_>>()).await?;
    let mut views: Vec<View> = Vec::with_capacity(groups.len() + people.len());
    for (row, group) in groups.into_iter().zip(found) {
        let Some(group) = group else { continue };
        views.push(view(row, group.name, group.avatar, group.last_seq));
    }
    let keys: Vec<_> = people.iter().map(|row| keys::user(&UserId::new(row.id.as_str()))).collect();
    for (row, peer) in people.into_iter().zip(app.store.batch_get(&keys, Read::Eventual).await?) {
        let peer = peer.map(Item::into::<User>).transpose()?;
        let name = row.name.clone().or_else(|| peer.as_ref().map(people::display_name)).unwrap_or_default();
        let avatar = row.avatar.clone().or_else(|| peer.map(|peer| peer.avatar)).unwrap_or_default();
        let last = row.last_seq;
        views.push(view(row, name, avatar, last));
    }
    let views = stream::iter(views)
        .map(|mut view| async move {
            if view.last_seq > 0 {
                view.last = app.im.after(app, &view.row.key, view.last_seq - 1, 1).await?.pop();
            }
            Ok::<_, crate::Error>(view)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok((views, page.next))
}

fn view(row: Conversation, name: String, avatar: String, last_seq: u64) -> View {
    View { unread: last_seq.saturating_sub(row.read_seq), name, avatar, last_seq, last: None, row }
}
