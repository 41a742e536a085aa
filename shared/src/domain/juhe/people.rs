//! Who a device's account knows: rows of the instance's contacts, with what the service tells beyond names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    device::Device,
    fact::{Fact, learn, told, value},
    facts::Person,
};
use crate::{
    app::App,
    clock::Millis,
    domain::chat,
    error::{Error, Result},
    id::InstanceId,
    store::{CommitError, Cond, Item, Key, Read, Unit, Write, keys, search},
};

/// Between the texts that keywords are looked for in: nobody types it, so that none is found across two of them.
const BETWEEN: &str = "\u{241F}";
/// Tries against others who learn about the same person.
const TRIES: usize = 20;

/// A contact's row: what every contact has (`domain::contact`), and when which part of it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contact {
    pub(super) v: u32,
    /// `S:` and the id.
    pub(super) address: String,
    pub(super) name: String,
    pub(super) avatar: String,
    pub(super) is_group: bool,
    pub(super) synced_at: Millis,
    #[serde(default)]
    pub(super) remark: String,
    #[serde(default)]
    facts: Facts,
    /// Raised by every change.
    #[serde(default)]
    rev: u64,
    /// What keywords are looked for in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    search: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corp: Option<Fact<String>>,
}

impl Facts {
    fn of(person: &Person, at: Millis) -> Self {
        let at = person.at.unwrap_or(at);
        Self {
            name: told(person.name.clone(), at),
            remark: told(person.remark.clone(), at),
            avatar: told(person.avatar.clone(), at),
            corp: told(person.corp.clone(), at),
        }
    }

    fn merge(&mut self, other: &Self) -> bool {
        let name = learn(&mut self.name, other.name.as_ref());
        let remark = learn(&mut self.remark, other.remark.as_ref());
        let avatar = learn(&mut self.avatar, other.avatar.as_ref());
        let corp = learn(&mut self.corp, other.corp.as_ref());
        name || remark || avatar || corp
    }
}

impl Contact {
    /// The company, `""` if unknown.
    pub(super) fn corp(&self) -> &str {
        value(self.facts.corp.as_ref())
    }

    pub(super) fn id(&self) -> &str {
        self.address.strip_prefix("S:").unwrap_or(&self.address)
    }

    fn settle(&mut self, now: Millis) {
        value(self.facts.name.as_ref()).clone_into(&mut self.name);
        value(self.facts.remark.as_ref()).clone_into(&mut self.remark);
        value(self.facts.avatar.as_ref()).clone_into(&mut self.avatar);
        self.search =
            [search::fold(&self.name), search::fold(&self.remark)].join(BETWEEN).trim_matches('\u{241F}').to_owned();
        self.synced_at = now;
        self.rev += 1;
    }
}

/// What was told about people, together.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<String, Facts>);

impl Told {
    pub(super) fn add(&mut self, person: &Person, received: Millis) {
        self.0.entry(person.id.clone()).or_default().merge(&Facts::of(person, received));
    }

    /// That somebody is there.
    pub(super) fn meet(&mut self, id: &str) {
        self.0.entry(id.to_owned()).or_default();
    }
}

pub(super) fn address(id: &str) -> String {
    format!("S:{id}")
}

fn key(app: &App, instance: &InstanceId, id: &str) -> Key {
    keys::contact(instance, &chat::address_hash(app, instance, &address(id)))
}

/// Merges what was told into the contacts. The account itself is none. Returns the names: id → name and when it was told.
pub(super) async fn learn_all(
    app: &App,
    device: &Device,
    mut told: Told,
) -> Result<BTreeMap<String, Fact<String>>, CommitError> {
    told.0.retain(|id, _| device.own() != Some(id) && !id.is_empty());
    let mut names = BTreeMap::new();
    let mut left: Vec<(String, Facts)> = told.0.into_iter().collect();
    for _ in 0..TRIES {
        let keys: Vec<Key> = left.iter().map(|(id, _)| key(app, device.id(), id)).collect();
        let rows = app.store.batch_get(&keys, Read::Strong).await?;
        let mut writes = Vec::new();
        for (((id, facts), key), row) in left.into_iter().zip(keys).zip(rows) {
            let old: Option<Contact> = row.map(Item::into).transpose()?;
            let before = old.as_ref().map(|old| old.rev);
            let mut contact = old.unwrap_or_else(|| Contact {
                v: 1,
                address: address(&id),
                name: String::new(),
                avatar: String::new(),
                is_group: false,
                synced_at: app.clock.now(),
                remark: String::new(),
                facts: Facts::default(),
                rev: 0,
                search: String::new(),
            });
            let news = contact.facts.merge(&facts);
            if let Some(name) = &contact.facts.name {
                names.insert(id.clone(), name.clone());
            }
            if news || before.is_none() {
                contact.settle(app.clock.now());
                let cond = before.map_or(Cond::Absent, |rev| Cond::eq("rev", Value::from(rev)));
                writes.push(((id, facts), Write::put(Item::new(key, &contact)?).only_if(cond)));
            }
        }
        left = refused(app, writes).await?;
        if left.is_empty() {
            return Ok(names);
        }
    }
    Err(Error::unavailable("contacts are changed by many at once").into())
}

/// Does all of these side by side; gives back what somebody else was faster with.
pub(super) async fn refused<T>(app: &App, writes: Vec<(T, Write)>) -> Result<Vec<T>, CommitError> {
    let all = writes.into_iter().map(|(what, write)| async move {
        match app.store.commit(Unit::write(write)).await {
            Ok(_) => Ok(None),
            Err(CommitError::Conflict { .. }) => Ok(Some(what)),
            Err(error) => Err(error),
        }
    });
    let done = futures_util::future::join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(done.into_iter().flatten().collect())
}

/// The account itself was taken for somebody else before it was known who it is.
pub(super) async fn forget_own(app: &App, device: &Device, own: &str) -> Result<(), CommitError> {
    let own_chat = chat::derived(app, device.id(), &address(own));
    let writes = vec![Write::delete(key(app, device.id(), own)), Write::delete(keys::chat(device.id(), &own_chat))];
    Ok(app.store.write_many(writes).await?)
}
