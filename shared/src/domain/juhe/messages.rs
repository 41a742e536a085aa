//! Storing messages: many of one conversation at once, each once.
//!
//! Beside the row that every message has there is an entry in the device's list of all messages, which also carries the text
//! that keywords are looked for in, and, where a message has two ids, one that leads from the second to the row.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;

use super::{
    device::Device,
    marks::{self, Mark},
    said::{Identity, Said, What},
};
use crate::{
    app::App,
    clock::Millis,
    connector::Incoming,
    domain::{
        chat,
        content::Content,
        message::{self, Message},
        owner::{Arrival, Author, moves_away, turned},
    },
    error::Result,
    id::{ChatKey, InstanceId},
    store::{Change, CommitError, Cursor, Item, Key, Query, Read, Write, keys, search},
};

/// Messages in one unit. Their entries share few items of the log, and a unit stays far below a second.
const TOGETHER: usize = 24;
/// Listed messages that are looked through at once.
const PAGE: usize = 500;
/// Ids that are used in keys as they are; others are hashed.
const MAX_PLAIN_ID: usize = 64;

/// A message's place in the list of all of its device.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    v: u32,
    /// Sort key of the message.
    #[serde(rename = "ref")]
    pub(super) message: String,
    pub(super) chat: ChatKey,
    from: String,
    /// The receiver, in private conversations.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    to: String,
    /// The id that it goes by, as keys have it.
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    search: String,
}

/// A message on its way into the store.
struct Coming {
    message: Message,
    order: String,
    /// The id that it goes by, as keys have it.
    known_as: String,
    from: String,
    to: String,
    revoked: bool,
}

/// Stores these messages, and applies what happens to others. Durable when it returns; repeated, it changes nothing.
pub(super) async fn file(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    said: &[(Said, Millis)],
) -> Result<(), CommitError> {
    let mut coming = Vec::new();
    let mut seen = HashSet::new();
    let mut marked = Vec::new();
    for (said, received) in said {
        match &said.what {
            What::Read(target) => {
                let at = said.at.unwrap_or(*received);
                marked.push((safe(app, device.id(), target), Mark::Read(at)));
                continue;
            }
            What::Revoke(targets) => {
                marked.extend(targets.iter().map(|target| (safe(app, device.id(), target), Mark::TakenBack)));
            }
            What::Message { .. } => {}
        }
        let message = build(app, author, device, said, *received)?;
        if seen.insert(message.message.sort()) {
            coming.push(message);
        }
    }
    let coming = past_strays(app, author, device, coming).await?;
    for chunk in coming.chunks(TOGETHER) {
        let arrivals = chunk.iter().map(|one| one.arrival(None, true)).collect::<Result<Vec<_>>>()?;
        if !author.file_together(&arrivals).await? {
            for one in chunk {
                file_one(app, author, one).await?;
            }
        }
        let messages: Vec<(&Message, &str)> = chunk.iter().map(|one| (&one.message, one.known_as.as_str())).collect();
        marks::settle(app, author, device, &messages).await?;
        for one in chunk.iter().filter(|one| one.revoked) {
            // By its id: the message itself may be elsewhere by now.
            marks::note(app, author, device, &one.known_as, Mark::TakenBack).await?;
        }
    }
    for (id, mark) in marked {
        marks::note(app, author, device, &id, mark).await?;
    }
    Ok(())
}

/// One that may be there already: then its place in the list is the one that it has.
async fn file_one(app: &App, author: &Author<'_>, one: &Coming) -> Result<(), CommitError> {
    let known = app.store.get(&one.message.key(), Read::Strong).await?;
    let place = known.as_ref().and_then(|item| item.index.as_ref()).map(|place| place.hs.clone());
    let revoked = known.as_ref().is_some_and(|item| item.doc.contains_key("revoked"));
    author.file(&one.arrival(place, !revoked)?).await.map(drop)
}

fn build(app: &App, author: &Author<'_>, device: &Device, said: &Said, received: Millis) -> Result<Coming> {
    let id = device.id();
    let own = device.own();
    let (content, quoted, revoked) = match &said.what {
        What::Message { content, quoted, revoked } => (content.clone(), quoted.clone(), *revoked),
        What::Revoke(targets) => {
            (Content::Revoke { target: targets.first().cloned().unwrap_or_default() }, None, false)
        }
        What::Read(target) => (Content::Other { name: target.clone() }, None, false),
    };
    let identity = match said.identity() {
        Identity::Appinfo(appinfo) => format!("a-{}", app.keyring.index2("appinfo", id.as_str(), appinfo)),
        Identity::Id(own_id) => safe(app, id, own_id),
    };
    // A revocation may go by the id of what it takes back.
    let pmid = if content.target().is_some() { format!("r-{identity}") } else { identity };
    let address = match said.room.as_str() {
        "" => format!("S:{}", said.peer(own)),
        room => format!("R:{room}"),
    };
    let incoming = Incoming {
        id: pmid,
        sender: if said.sender.is_empty() { String::new() } else { format!("S:{}", said.sender) },
        from_me: own.is_some_and(|own| own == said.sender),
        push_name: said.name.clone(),
        is_group: !said.room.is_empty(),
        content,
        quoted,
        at: said.at.unwrap_or(received),
        chat: address,
        facts: serde_json::Value::Null,
    };
    let key = chat::derived(app, id, &incoming.chat);
    let shown = if said.id.is_empty() { &said.appinfo } else { &said.id };
    let message = author.arriving(&incoming, &key, Some(shown.clone()))?;
    let known_as = if said.id.is_empty() { message.pmid.clone() } else { safe(app, id, &said.id) };
    let digits = said.seq.len() <= 20 && said.seq.bytes().all(|byte| byte.is_ascii_digit());
    let seq = if digits { said.seq.as_str() } else { "" };
    let order = format!("{seq:0>20}{}", message.pmid);
    let to = if said.room.is_empty() { said.receiver.clone() } else { String::new() };
    Ok(Coming { message, order, known_as, from: said.sender.clone(), to, revoked })
}

/// An id as it is used in keys.
fn safe(app: &App, instance: &InstanceId, id: &str) -> String {
    let plain = id.len() <= MAX_PLAIN_ID
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !id.is_empty();
    if plain { id.to_owned() } else { format!("i-{}", app.keyring.index2("message", instance.as_str(), id)) }
}

impl Coming {
    /// `place`: its sort value in the history, where it has one already. `found`: keywords find it.
    fn arrival(&self, place: Option<String>, found: bool) -> Result<Arrival> {
        let message = self.message.clone();
        let mut with = Vec::new();
        if message.content.is_message() {
            let place = place.unwrap_or_else(|| Arrival::place(&message, &self.order));
            let listed = Listed {
                v: 1,
                message: message.sort(),
                chat: message.chat.clone(),
                from: self.from.clone(),
                to: self.to.clone(),
                id: self.known_as.clone(),
                search: if found { search::fold(message.content.text()) } else { String::new() },
            };
            with.push(Write::put(Item::new(keys::listed_message(&message.instance_id, &place), &listed)?));
            if self.known_as != message.pmid {
                let alias = keys::message_known_as(&message.instance_id, &self.known_as);
                with.push(Write::update(alias, Change::default().set("ref", message.sort())));
            }
        }
        let delta = message.delta();
        Ok(Arrival { message, order: self.order.clone(), with, delta })
    }

    /// Where the message is if it was stored before its sender was known to be the account itself.
    fn stray(&self, app: &App) -> Option<Key> {
        let message = &self.message;
        if !message.from_me || message.is_group || !message.content.is_message() {
            return None;
        }
        let chat = chat::derived(app, &message.instance_id, &message.sender);
        Some(keys::message(&message.instance_id, &message.pmid, &chat, &message.sender_hash))
    }
}

/// Those that are not in a wrong chat already; the others are moved.
async fn past_strays(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    coming: Vec<Coming>,
) -> Result<Vec<Coming>, CommitError> {
    let strays: Vec<(usize, Key)> =
        coming.iter().enumerate().filter_map(|(at, one)| Some((at, one.stray(app)?))).collect();
    if strays.is_empty() {
        return Ok(coming);
    }
    let keys: Vec<Key> = strays.iter().map(|(_, key)| key.clone()).collect();
    let found = app.store.batch_get(&keys, Read::Strong).await?;
    let mut moved = HashSet::new();
    for ((at, _), item) in strays.into_iter().zip(found) {
        let Some(place) = item.and_then(|item| item.index).map(|place| place.hs) else { continue };
        let listed = app.store.get(&keys::listed_message(device.id(), &place), Read::Strong).await?;
        if let (Some(own), Some(listed)) = (device.own(), listed) {
            refile(app, author, device, own, &listed).await?;
            moved.insert(at);
        }
    }
    Ok(coming.into_iter().enumerate().filter(|(at, _)| !moved.contains(at)).map(|(_, one)| one).collect())
}

/// Goes through the listed messages from `after` on and makes those of the account itself its own, which they were not
/// before it was known who that is. Returns whom it wrote to and when, and where to go on.
pub(super) async fn claim_own(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    own: &str,
    after: Option<Cursor>,
) -> Result<(Vec<(String, Millis)>, Option<Cursor>), CommitError> {
    let query = Query::table(keys::listed_messages(device.id())).newest_first().limit(PAGE).after(after);
    let page = app.store.query(query).await?;
    let mut peers = Vec::new();
    for listed in page.items.iter().filter(|item| item.str("from") == Some(own)) {
        refile(app, author, device, own, listed).await?;
        let at = listed.key.sk.get(..13).and_then(|digits| digits.parse().ok()).map_or(Millis(0), Millis);
        peers.extend(listed.str("to").filter(|to| !to.is_empty()).map(|to| (to.to_owned(), at)));
    }
    Ok((peers, page.next))
}

/// Makes a message the account's own: in a room it only changes, in a private conversation it moves to that of its receiver.
pub(super) async fn refile(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    own: &str,
    listed: &Item,
) -> Result<(), CommitError> {
    let place = listed.key.sk.clone();
    let row: Listed = listed.decode()?;
    let Some(message) = message::load_many(app, device.id(), &[&row.message]).await?.pop().flatten() else {
        return Ok(());
    };
    if message.from_me || row.from != own {
        return Ok(());
    }
    let address = format!("S:{}", row.to);
    let key = chat::derived(app, device.id(), &address);
    // In a room, and in the chat with oneself, it stays where it is.
    if message.is_group || key == message.chat {
        author.turned_out_own(&message).await?;
        let now = Message { from_me: true, ..message };
        return marks::settle(app, author, device, &[(&now, &row.id)]).await;
    }
    let incoming = Incoming {
        id: message.pmid.clone(),
        chat: address,
        sender: message.sender.clone(),
        from_me: true,
        push_name: message.push_name.clone().unwrap_or_default(),
        is_group: false,
        content: message.content.clone(),
        quoted: message.quoted.clone(),
        at: message.at,
        facts: serde_json::Value::Null,
    };
    let mut moved = author.arriving(&incoming, &key, message.platform_id.clone())?;
    moved.revoked = message.revoked;
    let order = place.get(Millis(0).digits().len()..).unwrap_or_default().to_owned();
    let to_listed = Coming {
        message: moved,
        order,
        known_as: row.id.clone(),
        from: row.from.clone(),
        to: row.to.clone(),
        revoked: message.revoked,
    };
    let mut arrival = to_listed.arrival(Some(place), !message.revoked)?;
    arrival.with.extend(moves_away(&message, &to_listed.message, app.clock.now())?);
    arrival.delta = turned(&message);
    author.file(&arrival).await?;
    marks::settle(app, author, device, &[(&to_listed.message, &row.id)]).await
}

/// The messages among these that `own` wrote, as they are listed.
pub(super) async fn listed_of(app: &App, device: &Device, own: &str, said: &[(Said, Millis)]) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for (said, _) in said.iter().filter(|(said, _)| said.sender == own && matches!(said.what, What::Message { .. })) {
        let identity = match said.identity() {
            Identity::Appinfo(appinfo) => {
                format!("a-{}", app.keyring.index2("appinfo", device.id().as_str(), appinfo))
            }
            Identity::Id(id) => safe(app, device.id(), id),
        };
        for message in message::by_platform_id(app, device.id(), &identity).await? {
            let head = app.store.get(&message.key(), Read::Strong).await?;
            let Some(place) = head.and_then(|head| head.index) else { continue };
            found.extend(app.store.get(&keys::listed_message(device.id(), &place.hs), Read::Strong).await?);
        }
    }
    Ok(found)
}
