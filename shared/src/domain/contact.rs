//! Contacts: who the account knows, as its platform tells of them and as they were seen in messages.

pub mod person;
pub mod sync;

use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    clock::Millis,
    connector::ContactInfo,
    domain::chat,
    error::Result,
    id::InstanceId,
    store::{Cursor, Item, Query, Read, Write, keys},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    pub v: u32,
    /// Address on the platform, canonical.
    pub address: String,
    pub name: String,
    pub avatar: String,
    pub is_group: bool,
    pub synced_at: Millis,
}

impl Contact {
    /// The part before `@`: the number, on WhatsApp.
    pub fn number(&self) -> &str {
        self.address.split('@').next().unwrap_or(&self.address)
    }
}

/// Stores what the platform told. A contact whose name is unknown this time keeps the one that it had.
pub async fn store(app: &App, instance: &InstanceId, contacts: &[ContactInfo]) -> Result<()> {
    let keys: Vec<_> =
        contacts.iter().map(|c| keys::contact(instance, &chat::address_hash(app, instance, &c.address))).collect();
    let known = app.store.batch_get(&keys, Read::Strong).await?;
    let now = app.clock.now();
    let mut writes = Vec::new();
    for ((info, key), old) in contacts.iter().zip(keys).zip(known) {
        let old = old.map(Item::into::<Contact>).transpose()?;
        let pick =
            |new: &str, old: Option<&str>| if new.is_empty() { old.unwrap_or("").to_owned() } else { new.to_owned() };
        let contact = Contact {
            v: 1,
            address: info.address.clone(),
            name: pick(&info.name, old.as_ref().map(|c| c.name.as_str())),
            avatar: pick(&info.avatar, old.as_ref().map(|c| c.avatar.as_str())),
            is_group: info.is_group,
            synced_at: now,
        };
        if old.is_none_or(|old| old.name != contact.name || old.avatar != contact.avatar) {
            writes.push(Write::put(Item::new(key, &contact)?));
        }
    }
    app.store.write_many(writes).await
}

/// A page of contacts, in no order that means anything.
pub async fn list(
    app: &App,
    instance: &InstanceId,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<(Vec<Contact>, Option<Cursor>)> {
    let page = app.store.query(Query::table(keys::contacts(instance)).limit(limit).after(cursor)).await?;
    Ok((page.items.into_iter().map(Item::into).collect::<Result<_>>()?, page.next))
}

pub async fn get(app: &App, instance: &InstanceId, address: &str) -> Result<Option<Contact>> {
    let key = keys::contact(instance, &chat::address_hash(app, instance, address));
    app.store.get(&key, Read::Strong).await?.map(Item::into).transpose()
}
