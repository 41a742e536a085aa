//! Groups: their row, their members, who may change them.
//!
//! A group's id is its users' choice and unique in the deployment. A deleted group leaves its row behind, so that a group of
//! the same id that is made later is another channel and shows nothing of the first.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{ChannelKey, conversation, conversation::Conversation, people};
use crate::{
    app::App,
    clock::Millis,
    domain::{
        job::{self, Work},
        user::User,
    },
    error::{Error, Result},
    id::UserId,
    store::{Change, CommitError, Cond, Cursor, Item, Query, Read, Source, Unit, Write, keys},
};

/// Members that one request adds or removes at the most.
pub const MAX_SUBSCRIBERS: usize = 1000;
/// Membership changes that run side by side.
const AT_ONCE: usize = 32;

/// A group's row, `keys::im_group`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    pub v: u32,
    /// As its creator spelled it.
    pub id: String,
    pub key: ChannelKey,
    /// How many groups of this id there have been.
    pub generation: u64,
    pub owner: UserId,
    pub name: String,
    pub avatar: String,
    pub created_at: Millis,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Newest message, written behind it.
    #[serde(default)]
    pub last_seq: u64,
    #[serde(default)]
    pub last_at: Millis,
}

/// What a lookup says when there is no such group.
pub fn unknown() -> Error {
    Error::not_found("Group not found").code("GROUP_NOT_FOUND")
}

fn hash(app: &App, id: &str) -> String {
    app.keyring.index("im-group", id)
}

/// 1–64 characters, none of `@ # &` or control characters.
pub fn check_id(field: &'static str, id: &str) -> Result<()> {
    let bad = |c: char| matches!(c, '@' | '#' | '&') || c.is_control();
    if id.is_empty() || id.chars().count() > 64 || id.chars().any(bad) || id.trim() != id {
        let message = format!("{field} must have 1 to 64 characters, without @, # and &");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

pub async fn find(app: &App, id: &str) -> Result<Option<Group>> {
    if check_id("id", id).is_err() {
        return Ok(None);
    }
    let group = stored(app, &hash(app, id)).await?;
    Ok(group.filter(|group| !group.deleted))
}

async fn stored(app: &App, hash: &str) -> Result<Option<Group>> {
    app.store.get(&keys::im_group(hash), Read::Strong).await?.map(Item::into).transpose()
}

/// The living group of a channel.
pub(super) async fn of_key(app: &App, key: &ChannelKey) -> Result<Option<Group>> {
    let Some(hash) = key.group_hash() else { return Ok(None) };
    Ok(stored(app, hash).await?.filter(|group| !group.deleted && group.key == *key))
}

/// The living groups of these channels, in order.
pub(super) async fn of_keys(app: &App, channels: &[&ChannelKey]) -> Result<Vec<Option<Group>>> {
    let keys: Vec<_> = channels.iter().map(|key| keys::im_group(key.group_hash().unwrap_or_default())).collect();
    let items = app.store.batch_get(&keys, Read::Strong).await?;
    items
        .into_iter()
        .zip(channels)
        .map(|(item, key)| {
            let group = item.map(Item::into::<Group>).transpose()?;
            Ok(group.filter(|group| !group.deleted && group.key == **key))
        })
        .collect()
}

/// All groups, oldest first.
pub async fn list(app: &App, limit: usize, cursor: Option<Cursor>) -> Result<(Vec<Group>, Option<Cursor>)> {
    let page = app.store.query(Query::index(keys::ALL_GROUPS).limit(limit).after(cursor)).await?;
    Ok((page.items.into_iter().map(Item::into).collect::<Result<_>>()?, page.next))
}

/// Whose group it is, and whether `user` may change it.
///
/// Errors: 403 unless `user` is the owner, or an administrator (`admin`).
pub fn require_owner(group: &Group, user: &UserId, admin: bool) -> Result<()> {
    if group.owner == *user || admin {
        return Ok(());
    }
    Err(Error::forbidden("Only the owner of the group or an administrator may do that").code("NOT_THE_OWNER"))
}

/// Makes a group, or gives the owner's group of this id another name and avatar (those that are given). The owner is a member.
/// `true`: it is new.
///
/// Errors: `GROUP_EXISTS` (409) if it is another user's.
pub async fn save(
    app: &App,
    owner: &User,
    id: &str,
    name: Option<&str>,
    avatar: Option<&str>,
) -> Result<(Group, bool)> {
    check_id("channelId", id)?;
    let hash = hash(app, id);
    let old = stored(app, &hash).await?;
    let generation = match &old {
        Some(group) if !group.deleted => return Ok((change(app, owner, &hash, group, name, avatar).await?, false)),
        Some(group) => group.generation + 1,
        None => 1,
    };
    let group = Group {
        v: 1,
        id: id.to_owned(),
        key: ChannelKey::group(&hash, generation),
        generation,
        owner: owner.id.clone(),
        name: name.unwrap_or_default().to_owned(),
        avatar: avatar.unwrap_or_default().to_owned(),
        created_at: app.clock.now(),
        deleted: false,
        last_seq: 0,
        last_at: Millis(0),
    };
    let row = Item::new(keys::im_group(&hash), &group)?
        .indexed(keys::ALL_GROUPS, format!("{}{hash}", group.created_at.digits()));
    let cond = if old.is_some() { Cond::eq("deleted", true) } else { Cond::Absent };
    let mut writes = vec![Write::put(row).only_if(cond)];
    writes.extend(joins(app, &group, &owner.id)?);
    match app.store.transact(writes).await {
        Ok(()) => {
            app.im.group_saved(app, &group).await?;
            Ok((group, true))
        }
        // Somebody was faster: then it is a change, or another's.
        Err(CommitError::Conflict { .. }) => match stored(app, &hash).await? {
            Some(group) if !group.deleted => Ok((change(app, owner, &hash, &group, name, avatar).await?, false)),
            _ => Err(Error::unavailable("the group is being changed by another request")),
        },
        Err(error) => Err(error.into()),
    }
}

async fn change(
    app: &App,
    owner: &User,
    hash: &str,
    group: &Group,
    name: Option<&str>,
    avatar: Option<&str>,
) -> Result<Group> {
    if group.owner != owner.id {
        return Err(Error::conflict("GROUP_EXISTS", "A group with this id exists and belongs to somebody else"));
    }
    let mut group = group.clone();
    let mut change = Change::default();
    if let Some(name) = name {
        change = change.set("name", name);
        name.clone_into(&mut group.name);
    }
    if let Some(avatar) = avatar {
        change = change.set("avatar", avatar);
        avatar.clone_into(&mut group.avatar);
    }
    if !change.set.is_empty() {
        alive(app, hash, &group, change).await?;
        app.im.group_saved(app, &group).await?;
    }
    Ok(group)
}

/// A change of a group that is still this one.
async fn alive(app: &App, hash: &str, group: &Group, change: Change) -> Result<()> {
    let cond = Cond::All(vec![Cond::eq("key", group.key.as_str()), Cond::lacks("deleted")]);
    match app.store.commit(Unit::write(Write::update(keys::im_group(hash), change).only_if(cond))).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { .. }) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the group: it is gone at once; its members' rows follow in the background.
pub async fn delete(app: &App, group: &Group) -> Result<()> {
    let hash = hash(app, &group.id);
    let change = Change { index: Some(None), ..Change::default().set("deleted", true) };
    let cond = Cond::All(vec![Cond::eq("key", group.key.as_str()), Cond::lacks("deleted")]);
    let name = format!("im/{}", group.key);
    let disband =
        job::background(name.clone(), format!("{name}/disband"), Work::ImDisband { channel: group.key.clone() })?;
    let unit = Unit {
        writes: vec![Write::update(keys::im_group(&hash), change).only_if(cond)],
        enqueue: vec![disband],
        ..Unit::default()
    };
    match app.store.commit(unit).await {
        Ok(_) => app.im.group_deleted(app, group).await,
        Err(CommitError::Conflict { .. }) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a deleted group's members have of it. Repeatable.
pub async fn disband(app: &App, channel: &ChannelKey) -> Result<()> {
    loop {
        let page = app.store.query(Query::table(keys::im_members(channel.as_str())).limit(500).keys_only()).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::with_capacity(page.items.len() * 2);
        for item in page.items {
            let user = UserId::new(item.key.sk.as_str());
            writes.push(Write::delete(keys::im_channel(&user, channel.as_str())));
            writes.push(Write::delete(item.key));
        }
        app.store.write_many(writes).await?;
    }
}

/// The rows of a new member: its membership, and the channel in its list.
fn joins(app: &App, group: &Group, user: &UserId) -> Result<Vec<Write>> {
    let now = app.clock.now();
    let member = serde_json::json!({ "v": 1, "user": user, "at": now });
    Ok(vec![
        Write::create(Item::new(keys::im_member(group.key.as_str(), user), &member)?),
        Write::put(conversation::item(user, &Conversation::of_group(group, now))?),
    ])
}

/// Makes sure that a member has the group in its list.
async fn listed(app: &App, group: &Group, user: &UserId) -> Result<()> {
    let row = Write::create(conversation::item(user, &Conversation::of_group(group, app.clock.now()))?);
    match app.store.commit(Unit::write(row)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub async fn is_member(app: &App, channel: &ChannelKey, user: &UserId) -> Result<bool> {
    Ok(app.store.get(&keys::im_member(channel.as_str(), user), Read::Strong).await?.is_some())
}

/// A page of members, by id.
pub async fn members(
    app: &App,
    channel: &ChannelKey,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<(Vec<UserId>, Option<Cursor>)> {
    let query = Query::table(keys::im_members(channel.as_str())).limit(limit).after(cursor).keys_only();
    let page = app.store.query(query).await?;
    Ok((page.items.into_iter().map(|item| UserId::new(item.key.sk)).collect(), page.next))
}

pub async fn member_count(app: &App, channel: &ChannelKey) -> Result<u64> {
    app.store.count(Source::Table(keys::im_members(channel.as_str())), crate::store::Range::All).await
}

/// The users that these names mean to `user`, each once.
///
/// Errors: 400 for none or too many; 404 `USER_NOT_FOUND` that names the unknown one. Then nothing has changed.
pub async fn resolve(app: &App, user: &User, field: &'static str, names: &[String]) -> Result<Vec<UserId>> {
    if names.is_empty() || names.len() > MAX_SUBSCRIBERS {
        return Err(Error::invalid(field, format!("{field} must name 1 to {MAX_SUBSCRIBERS} users")));
    }
    let found: Vec<UserId> = stream::iter(names.to_vec())
        .map(|name| async move {
            match people::find(app, user, &name).await? {
                Some(found) => Ok(found.id),
                None => Err(people::unknown().field(field)),
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut each = Vec::with_capacity(found.len());
    for id in found {
        if !each.contains(&id) {
            each.push(id);
        }
    }
    Ok(each)
}

/// Adds members; answers how many were none before.
pub async fn add(app: &App, group: &Group, users: &[UserId]) -> Result<usize> {
    let added: Vec<UserId> = stream::iter(users.to_vec())
        .map(|user| async move {
            let unit = Unit { writes: joins(app, group, &user)?, ..Unit::default() };
            match app.store.commit(unit).await {
                Ok(_) => Ok::<_, Error>(Some(user)),
                // A member already; whoever made it one may have stopped before its row in the list.
                Err(CommitError::Conflict { .. }) => listed(app, group, &user).await.map(|()| None),
                Err(error) => Err(error.into()),
            }
        })
        .buffered(AT_ONCE)
        .try_filter_map(async |added| Ok(added))
        .try_collect()
        .await?;
    if !added.is_empty() {
        app.im.members_added(app, group, &added).await?;
    }
    Ok(added.len())
}

/// Removes members; answers how many were some.
pub async fn remove(app: &App, group: &Group, users: &[UserId]) -> Result<usize> {
    let removed: Vec<UserId> = stream::iter(users.to_vec())
        .map(|user| async move {
            let row = Write::delete(keys::im_channel(&user, group.key.as_str()));
            let writes =
                vec![Write::delete(keys::im_member(group.key.as_str(), &user)).only_if(Cond::Exists), row.clone()];
            match app.store.commit(Unit { writes, ..Unit::default() }).await {
                Ok(_) => Ok::<_, Error>(Some(user)),
                // No member; whoever removed it may have stopped before its row in the list.
                Err(CommitError::Conflict { .. }) => {
                    app.store.commit(Unit::write(row)).await?;
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
        .buffered(AT_ONCE)
        .try_filter_map(async |removed| Ok(removed))
        .try_collect()
        .await?;
    if !removed.is_empty() {
        app.im.members_removed(app, group, &removed).await?;
    }
    Ok(removed.len())
}

/// Notes the newest message, behind it.
pub(super) async fn touch(app: &App, key: &ChannelKey, seq: u64, at: Millis) -> Result<()> {
    let Some(hash) = key.group_hash() else { return Ok(()) };
    let newer =
        Cond::All(vec![Cond::eq("key", key.as_str()), Cond::lt("lastSeq", i64::try_from(seq).unwrap_or(i64::MAX))]);
    let change = Change::default().set("lastSeq", seq).set("lastAt", at.0);
    match app.store.commit(Unit::write(Write::update(keys::im_group(hash), change).only_if(newer))).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
