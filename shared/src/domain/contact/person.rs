//! The people that a user knows on a platform, over all of the user's instances there: the contacts of seed 000.
//!
//! Nothing of this is stored. Contacts lie with their instance, and go with it; here they are merged when they are read. Where
//! a user has one instance on the platform, that costs nothing; with more, every contact of a page is looked up in the others.

use std::collections::HashMap;

use serde::Serialize;

use super::{Contact, sync};
use crate::{
    address::{self, Jid, Platform, Server},
    app::App,
    clock::Millis,
    domain::{
        chat,
        instance::{self, Instance},
    },
    error::{Error, Result},
    id::{InstanceId, UserId},
    store::{Cursor, Item, Key, Query, Read, keys},
};

/// Rows that are read at once.
const PAGE: usize = 500;
/// Look-ups in other instances that one answer may cost.
const MAX_LOOKUPS: usize = 25_000;

/// A contact as seed 000 shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Follows from the user, the platform and the address: the same in every answer.
    pub id: String,
    pub platform: Platform,
    /// On WhatsApp and Signal in E.164, if the person has a number to see.
    pub platform_user_id: String,
    /// `""` when unknown; so is `avatar`.
    pub name: String,
    pub avatar: String,
    pub user_id: UserId,
    pub synced_at: String,
}

/// A user on a platform: who asks, and where to look.
pub struct Circle<'a> {
    app: &'a App,
    user: UserId,
    platform: Platform,
    /// Oldest first: what an earlier one knows of a person counts.
    instances: Vec<InstanceId>,
    /// When all of them were last refreshed.
    synced_at: Option<Millis>,
}

impl<'a> Circle<'a> {
    /// `covers`: instances that may be looked at.
    pub async fn of(
        app: &'a App,
        user: &UserId,
        platform: Platform,
        covers: impl Fn(&InstanceId) -> bool,
    ) -> Result<Self> {
        let instances = instances(app, user, platform).await?.into_iter().map(|instance| instance.id);
        Ok(Self {
            app,
            user: user.clone(),
            platform,
            instances: instances.filter(|id| covers(id)).collect(),
            synced_at: sync::last(app, user, platform).await?,
        })
    }

    /// The person with this address, however it is written.
    pub async fn find(&self, text: &str) -> Result<Option<Person>> {
        // Numbers are taken on every platform: people of a sandbox have them.
        let Ok(address) = address::canonical(self.platform, "platformUserId", text, true) else { return Ok(None) };
        let keys: Vec<Key> = self.instances.iter().map(|instance| self.key(instance, &address)).collect();
        let rows = self.app.store.batch_get(&keys, Read::Strong).await?;
        let known = rows.into_iter().flatten().map(Item::into::<Contact>).collect::<Result<Vec<_>>>()?;
        Ok(known.into_iter().filter(|contact| self.is_person(contact)).reduce(merged).map(|one| self.person(one)))
    }

    /// People, in an order that stays the same while nobody is added: at most `limit` after `after`. The cursor leads to the
    /// rest; it may lead to nothing.
    pub async fn page(&self, limit: usize, after: Option<Cursor>) -> Result<(Vec<Person>, Option<Cursor>)> {
        let (mut at, mut after) = match after {
            Some(cursor) => (self.place(&cursor)?, (!cursor.sort.is_empty()).then_some(cursor)),
            None => (0, None),
        };
        let mut people = Vec::new();
        let mut lookups = 0;
        while let Some(instance) = self.instances.get(at) {
            if people.len() >= limit || lookups >= MAX_LOOKUPS {
                return Ok((people, Some(after.unwrap_or_else(|| start_of(instance)))));
            }
            let query =
                Query::table(keys::contacts(instance)).limit(PAGE.min(limit - people.len())).after(after.take());
            let page = self.app.store.query(query).await?;
            let mut found = page.items.into_iter().map(Item::into::<Contact>).collect::<Result<Vec<_>>>()?;
            found.retain(|contact| self.is_person(contact));
            lookups += found.len() * (self.instances.len() - 1);
            people.extend(self.first_seen_in(at, found).await?.into_iter().map(|contact| self.person(contact)));
            after = page.next;
            at += usize::from(after.is_none());
        }
        Ok((people, None))
    }

    /// The instance that a cursor of ours points into.
    fn place(&self, cursor: &Cursor) -> Result<usize> {
        let place = self.instances.iter().position(|instance| keys::contacts(instance) == cursor.key.pk);
        place.ok_or_else(|| Error::invalid("cursor", "cursor is not valid"))
    }

    /// Those of instance `at` that no earlier instance has, with what later ones know of them.
    async fn first_seen_in(&self, at: usize, found: Vec<Contact>) -> Result<Vec<Contact>> {
        if self.instances.len() == 1 {
            return Ok(found);
        }
        let (mut keys, mut whose) = (Vec::new(), Vec::new());
        for (which, contact) in found.iter().enumerate() {
            for (other, instance) in self.instances.iter().enumerate().filter(|(other, _)| *other != at) {
                keys.push(self.key(instance, &contact.address));
                whose.push((which, other));
            }
        }
        let rows = self.app.store.batch_get(&keys, Read::Eventual).await?;
        let mut known: HashMap<usize, Option<Contact>> = HashMap::new();
        for (row, (which, other)) in rows.into_iter().zip(whose) {
            let Some(row) = row else { continue };
            let seen = known.entry(which).or_insert_with(|| Some(found[which].clone()));
            // An earlier instance has shown the person already.
            *seen = match seen.take().filter(|_| other > at) {
                Some(contact) => Some(merged(contact, row.into()?)),
                None => None,
            };
        }
        let one = |(which, contact)| known.remove(&which).unwrap_or(Some(contact));
        Ok(found.clone().into_iter().enumerate().filter_map(one).collect())
    }

    fn key(&self, instance: &InstanceId, address: &str) -> Key {
        keys::contact(instance, &chat::address_hash(self.app, instance, address))
    }

    /// Neither a group nor a channel.
    fn is_person(&self, contact: &Contact) -> bool {
        let jid = || Jid::parse("address", &contact.address).is_ok_and(|jid| is_somebody(&jid));
        !contact.is_group && (self.platform != Platform::Whatsapp || jid())
    }

    fn person(&self, contact: Contact) -> Person {
        let number = match self.platform {
            Platform::Whatsapp => Jid::parse("address", &contact.address).ok().and_then(|jid| jid.e164()),
            _ => None,
        };
        let circle = format!("{}/{}", self.user, self.platform);
        Person {
            id: self.app.keyring.index2("person", &circle, &contact.address),
            platform: self.platform,
            platform_user_id: number.unwrap_or(contact.address),
            name: contact.name,
            avatar: contact.avatar,
            user_id: self.user.clone(),
            synced_at: self.synced_at.map_or(contact.synced_at, |at| at.max(contact.synced_at)).iso(),
        }
    }
}

fn is_somebody(jid: &Jid) -> bool {
    matches!(jid.server(), Server::Person | Server::Lid)
}

/// A cursor to the first contact of an instance.
fn start_of(instance: &InstanceId) -> Cursor {
    Cursor { sort: String::new(), key: Key::new(keys::contacts(instance), "") }
}

/// What the first does not know, the second may.
fn merged(first: Contact, second: Contact) -> Contact {
    let pick = |one: String, other: String| if one.is_empty() { other } else { one };
    Contact {
        name: pick(first.name, second.name),
        avatar: pick(first.avatar, second.avatar),
        synced_at: first.synced_at.max(second.synced_at),
        ..first
    }
}

/// The instances of a user on a platform, oldest first.
pub(super) async fn instances(app: &App, user: &UserId, platform: Platform) -> Result<Vec<Instance>> {
    let mut all = instance::all_of_user(app, user).await?;
    all.retain(|instance| instance.platform == platform);
    Ok(all)
}
