//! Applying what was taken in: the jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::json;

use super::{
    device::{self, Device},
    fact::Fact,
    facts::Person,
    intake::{Delivery, device_group},
    messages,
    notice::News,
    people, rooms,
    said::{Said, What},
    status,
};
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::{
        chat,
        job::{self, Work},
        owner::Author,
        stats,
    },
    error::{Error, Result},
    id::InstanceId,
    store::{Change, CommitError, Cond, Cursor, Item, Key, Read, Unit, Write, keys},
};

/// Notifications that nothing could be done with are kept that long.
const KEPT_MS: i64 = 30 * DAY_MS;
/// The time of a chat's last message is written when it is that much later.
const BEHIND_MS: i64 = 10_000;

/// What a batch tells, sorted by whom it is about.
#[derive(Default)]
struct Gathered {
    said: Vec<(Said, Millis)>,
    people: people::Told,
    rooms: rooms::Told,
    /// Address of a conversation → its last message.
    chats: BTreeMap<String, Millis>,
    kept: Vec<Write>,
}

/// Applies deliveries of one group, in order. Durable when it returns; repeated, it changes nothing. An error: try again.
pub async fn run(app: &App, deliveries: &[Delivery]) -> Result<()> {
    let (Some(first), Some(last)) = (deliveries.first(), deliveries.last()) else { return Ok(()) };
    // Deleted meanwhile: so is everything that it was told.
    let Some(mut device) = device::load(app, &first.instance).await? else { return Ok(()) };
    let mut gathered = Gathered::default();
    for delivery in deliveries {
        for (which, notice) in delivery.notices.iter().enumerate() {
            match notice.news() {
                News::Said(said) => gathered.said.push((*said, delivery.received)),
                News::Person(person) => gathered.people.add(&person, delivery.received),
                News::Room(room) => {
                    for person in room.people.iter().filter(|person| **person != bare(&person.id, person.at)) {
                        gathered.people.add(person, delivery.received);
                    }
                    gathered.rooms.add(&room, delivery.received);
                }
                News::Connection => {
                    let author = Author::foreign(app, Arc::clone(&device.instance));
                    status::apply(app, &author, &device, delivery, which, notice).await?;
                    let Some(now) = device::load(app, &first.instance).await? else { return Ok(()) };
                    device = now;
                }
                News::Unknown => {
                    let key = keys::kept_notice(device.id(), &delivery.id, which);
                    let row = json!({ "v": 1, "kind": notice.kind, "data": notice.data.to_string(), "at": delivery.received });
                    gathered
                        .kept
                        .push(Write::put(Item::new(key, &row)?.expires(Millis(delivery.received.0 + KEPT_MS))));
                }
            }
        }
    }
    gathered.meet(&device);
    let author = Author::foreign(app, Arc::clone(&device.instance));
    let Gathered { said, people, rooms, chats, kept } = gathered;
    let heard = !said.is_empty();
    let (filed, people, rooms, noted, kept) = futures_util::join!(
        messages::file(app, &author, &device, &said),
        people::learn_all(app, &device, people),
        rooms::learn_all(app, &device, rooms),
        device::note_last(app, device.id(), last.received),
        app.store.write_many(kept),
    );
    filed?;
    let names = Names { people: people?, rooms: rooms? };
    noted?;
    kept?;
    see(app, &device, &chats, &names).await?;
    if heard {
        status::alive(app, &author, &device, last).await?;
    }
    if device.own().is_none() {
        notice_own(app, &device, &said).await?;
    }
    // Nobody owns a device, so nobody else keeps what readers add up short.
    if let Err(error) = stats::keep_short(app, device.id()).await {
        tracing::debug!(instance = %device.id(), %error, "statistics were not folded");
    }
    Ok(())
}

/// Somebody of whom nothing is told.
fn bare(id: &str, at: Option<Millis>) -> Person {
    Person { id: id.to_owned(), at, ..Person::default() }
}

impl Gathered {
    /// Who writes becomes a contact, the room a room, the conversation a chat.
    fn meet(&mut self, device: &Device) {
        for (said, received) in &self.said {
            if !matches!(said.what, What::Message { .. }) {
                continue;
            }
            let at = said.at.unwrap_or(*received);
            let address = match said.room.as_str() {
                "" => people::address(said.peer(device.own())),
                room => rooms::address(room),
            };
            let last = self.chats.entry(address).or_insert(at);
            *last = at.max(*last);
            if !said.sender.is_empty() {
                let person = Person { name: said.name.clone(), ..bare(&said.sender, Some(at)) };
                self.people.add(&person, *received);
            }
            if said.room.is_empty() {
                self.people.meet(said.peer(device.own()));
            } else {
                self.rooms.meet(&said.room);
            }
        }
    }
}

struct Names {
    people: BTreeMap<String, Fact<String>>,
    rooms: BTreeMap<String, Fact<String>>,
}

/// Brings the chats' rows up to date: when the last message was (as everywhere, up to [`BEHIND_MS`] behind), and the newest
/// name.
async fn see(app: &App, device: &Device, chats: &BTreeMap<String, Millis>, names: &Names) -> Result<(), CommitError> {
    let people = names.people.iter().map(|(id, name)| (people::address(id), name));
    let rooms = names.rooms.iter().map(|(id, name)| (rooms::address(id), name));
    let names: BTreeMap<String, &Fact<String>> = people.chain(rooms).collect();
    let addresses: BTreeSet<&String> = chats.keys().chain(names.keys()).collect();
    let key = |address: &str| keys::chat(device.id(), &chat::derived(app, device.id(), address));
    let keys: Vec<Key> = addresses.iter().map(|address| key(address)).collect();
    let rows = app.store.batch_get(&keys, Read::Strong).await?;
    let mut writes = Vec::new();
    for ((address, key), row) in addresses.into_iter().zip(keys).zip(rows) {
        let Some(row) = row else {
            // Who has not said anything has no chat.
            if let Some(at) = chats.get(address) {
                let chat = json!({
                    "v": 1,
                    "key": chat::derived(app, device.id(), address),
                    "addresses": [address],
                    "isGroup": address.starts_with("R:"),
                    "lastAt": at,
                    "name": names.get(address).map_or("", |name| name.value.as_str()),
                    "nameAt": names.get(address).map_or(Millis(0), |name| name.at),
                });
                writes.push(((), Write::create(Item::new(key, &chat)?)));
            }
            continue;
        };
        let number = |name: &str| row.doc.get(name).and_then(serde_json::Value::as_i64).unwrap_or(0);
        if let Some(at) = chats.get(address).filter(|at| number("lastAt") + BEHIND_MS < at.0) {
            let write = Write::update(key.clone(), Change::default().set("lastAt", at.0));
            writes.push(((), write.only_if(Cond::lt("lastAt", at.0))));
        }
        if let Some(name) = names.get(address).filter(|name| row.str("name") != Some(name.value.as_str())) {
            let change = Change::default().set("name", name.value.as_str()).set("nameAt", name.at.0);
            writes.push(((), Write::update(key, change).only_if(Cond::Le("nameAt".into(), name.at.0))));
        }
    }
    // What somebody else was faster with is as new, or newer.
    people::refused(app, writes).await.map(drop)
}

/// These messages were stored while nobody knew whose account it is. If that was told meanwhile, whoever was told may have
/// looked for such messages before these were there.
async fn notice_own(app: &App, device: &Device, said: &[(Said, Millis)]) -> Result<(), CommitError> {
    let Some(now) = device::load(app, device.id()).await? else { return Ok(()) };
    let Some(own) = now.own().map(str::to_owned) else { return Ok(()) };
    let author = Author::foreign(app, Arc::clone(&now.instance));
    for listed in messages::listed_of(app, &now, &own, said).await? {
        messages::refile(app, &author, &now, &own, &listed).await?;
    }
    meet_peers(app, &now, said).await?;
    people::forget_own(app, &now, &own).await
}

/// Those that the account wrote to are met in their own right.
async fn meet_peers(app: &App, device: &Device, said: &[(Said, Millis)]) -> Result<(), CommitError> {
    let mut gathered = Gathered { said: said.to_vec(), ..Gathered::default() };
    gathered.meet(device);
    let people = people::learn_all(app, device, gathered.people).await?;
    see(app, device, &gathered.chats, &Names { people, rooms: BTreeMap::new() }).await
}

/// Makes the messages that the account wrote before it was known its own, a part of them; the rest in a job of its own.
pub async fn claim_own(app: &App, instance: &InstanceId, own: &str, after: Option<Cursor>) -> Result<()> {
    let Some(device) = device::load(app, instance).await? else { return Ok(()) };
    match device.own() {
        Some(known) if known == own => {}
        // The report that this came with is not through yet.
        None => return Err(Error::unavailable("the account's address is not written yet")),
        // Another account by now: what that one wrote is looked for by itself.
        Some(_) => return Ok(()),
    }
    let author = Author::foreign(app, Arc::clone(&device.instance));
    let (peers, next) = messages::claim_own(app, &author, &device, own, after).await?;
    // Those that the account wrote to are met in their own right.
    let (mut people, mut chats) = (people::Told::default(), BTreeMap::new());
    for (peer, at) in peers {
        people.meet(&peer);
        let last = chats.entry(people::address(&peer)).or_insert(at);
        *last = at.max(*last);
    }
    let people = people::learn_all(app, &device, people).await?;
    see(app, &device, &chats, &Names { people, rooms: BTreeMap::new() }).await?;
    match next {
        Some(next) => {
            let dedup = format!("{instance}/own/{}", next.encode());
            let work = Work::JuheOwn { instance: instance.clone(), own: own.to_owned(), after: Some(next) };
            let enqueue = vec![job::background(device_group(instance), dedup, work)?];
            app.store.commit(Unit { enqueue, ..Unit::default() }).await?;
        }
        None => people::forget_own(app, &device, own).await?,
    }
    Ok(())
}
