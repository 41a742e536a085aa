//! Chats: an opaque key per chat, given at first sight, with aliases.
//!
//! The key follows from the first address that the chat was seen under, so nobody needs to write anything to know it. Only an
//! address that turns out to belong to a chat with another key gets an alias row. A merge keeps both histories reachable: the
//! chat remembers the keys that were merged into it.

use serde::{Deserialize, Serialize};

use crate::{
    address::Platform,
    app::App,
    clock::Millis,
    domain::instance::Instance,
    error::Result,
    id::{ChatKey, InstanceId},
    store::{Change, CommitError, Cond, Item, Read, Unit, Write, keys},
};

/// A chat's row, written behind: at first sight, and then at most every ten seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    pub v: u32,
    pub key: ChatKey,
    /// Addresses it is known under, the first first.
    pub addresses: Vec<String>,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub is_group: bool,
    #[serde(default)]
    pub last_at: Millis,
    /// Keys of chats that turned out to be this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<ChatKey>,
}

/// Whether an address is one of a group.
pub fn is_group(platform: Platform, address: &str) -> bool {
    match platform {
        Platform::Whatsapp => address.ends_with("@g.us"),
        Platform::Telegram => address.starts_with('-'),
        Platform::Wechat => address.ends_with("@chatroom"),
        Platform::Wecom => address.starts_with("R:"),
        // A group is base64 of 32 bytes; people are numbers or UUIDs.
        Platform::Signal => !address.starts_with('+') && !address.contains('-'),
        Platform::Im => address.starts_with(super::im::account::GROUP),
    }
}

/// The hash that stands for an address of an instance in keys.
pub fn address_hash(app: &App, instance: &InstanceId, address: &str) -> String {
    app.keyring.index2("address", instance.as_str(), address)
}

/// The key that an address has unless an alias says otherwise.
pub(crate) fn derived(app: &App, instance: &InstanceId, address: &str) -> ChatKey {
    ChatKey::new(app.keyring.index2("chat", instance.as_str(), address))
}

/// The key of the chat with this address. One read.
pub async fn key_of(app: &App, instance: &InstanceId, address: &str) -> Result<ChatKey> {
    let alias = keys::chat_alias(instance, &address_hash(app, instance, address));
    Ok(match app.store.get(&alias, Read::Strong).await? {
        Some(item) => ChatKey::new(item.str("chat").unwrap_or_default()),
        None => derived(app, instance, address),
    })
}

/// The chat of an address with everything that was merged into it: what history must read.
pub async fn history_keys(app: &App, instance: &Instance, address: &str) -> Result<Vec<ChatKey>> {
    let key = key_of(app, &instance.id, address).await?;
    let mut all = vec![key.clone()];
    if let Some(item) = app.store.get(&keys::chat(&instance.id, &key), Read::Strong).await? {
        all.extend(item.into::<Chat>()?.merged);
    }
    Ok(all)
}

/// Makes sure that the chat has a row, which says when it was last written in. Cheap when repeated; callers remember what they
/// have seen. One write if the chat is known, as most are; two for a new one.
pub async fn see(app: &App, instance: &Instance, key: &ChatKey, address: &str, name: &str, at: Millis) -> Result<()> {
    let change = Change::default().set("lastAt", at.0);
    let later = Write::update(keys::chat(&instance.id, key), change).only_if(Cond::lt("lastAt", at.0));
    match app.store.commit(Unit::write(later)).await {
        // There, and written in later than this.
        Ok(_) | Err(CommitError::Conflict { old: Some(_), .. }) => return Ok(()),
        Err(CommitError::Conflict { old: None, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let chat = Chat {
        v: 1,
        key: key.clone(),
        addresses: vec![address.to_owned()],
        name: name.to_owned(),
        is_group: is_group(instance.platform, address),
        last_at: at,
        merged: Vec::new(),
    };
    match app.store.commit(Unit::write(Write::create(Item::new(keys::chat(&instance.id, key), &chat)?))).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Learns that two addresses are of one chat: the chat that was seen first stays, the other merges into it.
pub async fn merge(app: &App, instance: &Instance, address: &str, also: &str) -> Result<ChatKey> {
    let (keep, other) = (key_of(app, &instance.id, address).await?, key_of(app, &instance.id, also).await?);
    if keep == other {
        return Ok(keep);
    }
    // Whoever has a row was seen; if both were, the one that `address` names stays.
    let rows =
        app.store.batch_get(&[keys::chat(&instance.id, &keep), keys::chat(&instance.id, &other)], Read::Strong).await?;
    let (keep, other, address, also) = if rows[0].is_none() && rows[1].is_some() {
        (other, keep, also, address)
    } else {
        (keep, other, address, also)
    };
    let mut chat = match app.store.get(&keys::chat(&instance.id, &keep), Read::Strong).await? {
        Some(item) => item.into::<Chat>()?,
        None => Chat {
            v: 1,
            key: keep.clone(),
            addresses: vec![address.to_owned()],
            name: String::new(),
            is_group: is_group(instance.platform, address),
            last_at: app.clock.now(),
            merged: Vec::new(),
        },
    };
    // Everything that led to the other chat leads here from now on, and its history stays reachable.
    let gone = match app.store.get(&keys::chat(&instance.id, &other), Read::Strong).await? {
        Some(item) => Some(item.into::<Chat>()?),
        None => None,
    };
    let mut moved = vec![also.to_owned()];
    moved.extend(gone.iter().flat_map(|gone| gone.addresses.clone()));
    moved.sort();
    moved.dedup();
    let mut writes = Vec::with_capacity(moved.len() + 1);
    for address in moved {
        let alias = keys::chat_alias(&instance.id, &address_hash(app, &instance.id, &address));
        writes.push(Write::put(Item::new(alias, &serde_json::json!({ "chat": keep }))?));
        if !chat.addresses.contains(&address) {
            chat.addresses.push(address);
        }
    }
    for key in std::iter::once(other).chain(gone.into_iter().flat_map(|gone| gone.merged)) {
        if key != keep && !chat.merged.contains(&key) {
            chat.merged.push(key);
        }
    }
    writes.push(Write::put(Item::new(keys::chat(&instance.id, &keep), &chat)?));
    app.store.transact(writes).await.map_err(crate::Error::from)?;
    Ok(keep)
}
