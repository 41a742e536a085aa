//! The rows of the simulated network, one set an instance: the phone, what arrived there, and what is still to happen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    Error, Result,
    address::Platform,
    capability::{Capability, Ids},
    clock::{Clock, Millis},
    connector::{Incoming, Outgoing, Receipt},
    domain::{content::Content, message},
    id::InstanceId,
    store::{CommitError, DynStore, Item, Key, Query, Read, Store, Unit, Write, keys},
};

use crate::{magic::Behaviour, naming};

/// From sending to `delivered`, and from there to `read`.
const DELIVERED_AFTER: Duration = Duration::from_millis(100);
const READ_AFTER: Duration = Duration::from_millis(300);
/// From sending to the echo.
const ECHO_AFTER: Duration = Duration::from_millis(400);
/// Tries to find a free place in the outbox: another process may still be writing to it.
const PLACE_TRIES: usize = 5;

/// The phone, as the network knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Phone {
    pub(crate) number: Option<String>,
    pub(crate) name: Option<String>,
    /// Secret of the linked device; absent: none is linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// Secret of the device that was removed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<String>,
    /// The line is broken until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down_until: Option<Millis>,
}

/// Something that is going to happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    Delivered {
        id: String,
        chat: String,
    },
    Read {
        id: String,
        chat: String,
    },
    /// Somebody writes.
    Writes {
        id: String,
        chat: String,
        sender: String,
        name: String,
        group: bool,
        content: Content,
    },
}

/// A row of what is going to happen: its key sorts by time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Due {
    pub(crate) key: Key,
    pub(crate) at: Millis,
    pub(crate) event: Event,
}

#[derive(Debug, Serialize, Deserialize)]
struct DueRow {
    at: Millis,
    #[serde(flatten)]
    event: Event,
}

/// A message that the network took.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taken {
    /// The platform's id, where it assigns ids.
    pub(crate) id: Option<String>,
    pub(crate) at: Millis,
    pub(crate) due: Vec<Due>,
}

/// What the network remembers of a message under its sender's id.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    at: Millis,
    /// The platform's id, where it assigns ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// One instance's view of the network.
pub(crate) struct Network {
    pub(crate) store: DynStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) instance: InstanceId,
    pub(crate) capability: Capability,
    /// The newest place in the outbox that we know of.
    place: AtomicU64,
}

impl Network {
    pub(crate) fn new(store: DynStore, clock: Arc<dyn Clock>, instance: InstanceId, capability: Capability) -> Self {
        Self { store, clock, instance, capability, place: AtomicU64::new(0) }
    }

    pub(crate) fn platform(&self) -> Platform {
        self.capability.platform
    }

    fn phone_key(&self) -> Key {
        Key::new(keys::sandbox(&self.instance, "state"), "phone")
    }

    pub(crate) async fn phone(&self) -> Result<Phone> {
        match self.store.get(&self.phone_key(), Read::Strong).await? {
            Some(item) => item.into(),
            None => Ok(Phone::default()),
        }
    }

    pub(crate) async fn set_phone(&self, phone: &Phone) -> Result<()> {
        self.store.commit(Unit::write(Write::put(Item::new(self.phone_key(), phone)?))).await?;
        Ok(())
    }

    /// The network's answer to a message: it is in the outbox once, however often it is sent under the same id.
    pub(crate) async fn take(&self, outgoing: &Outgoing, behaviour: Behaviour) -> Result<Taken> {
        let at = self.clock.now();
        let id = match self.capability.message_ids {
            Ids::Platform => Some(naming::name(self, &outgoing.id, &outgoing.to, "me", at).await?),
            Ids::Client => None,
        };
        let echo = if behaviour == Behaviour::Echo && outgoing.content.is_message() {
            let given = format!("ECHO{}", outgoing.id);
            Some(naming::name(self, &given, &outgoing.to, &outgoing.to, at.plus(ECHO_AFTER)).await?)
        } else {
            None
        };
        for _ in 0..PLACE_TRIES {
            let seq = self.next_place().await?;
            let due = self.due_after(outgoing, id.as_deref(), seq, at, behaviour, echo.as_deref());
            let known = Item::new(self.known_key(&outgoing.id), &Known { at, id: id.clone() })?;
            let row = Item::new(self.place_key(seq), &self.outbox_row(outgoing, id.as_deref(), seq, at))?;
            let mut writes = vec![Write::create(known), Write::create(row)];
            for due in &due {
                writes.push(Write::put(Item::new(due.key.clone(), &DueRow { at: due.at, event: due.event.clone() })?));
            }
            match self.store.transact(writes).await {
                Ok(()) => return Ok(Taken { id, at, due }),
                Err(CommitError::Conflict { which: 0, old }) => {
                    let old = match old {
                        Some(old) => Some(*old),
                        None => self.store.get(&self.known_key(&outgoing.id), Read::Strong).await?,
                    };
                    let known: Known = old.ok_or_else(|| Error::unavailable("a lost race"))?.into()?;
                    // Whoever sent it before may not have heard of its success, and so knows nothing of what follows.
                    return Ok(Taken { id: known.id, at: known.at, due: self.all_waiting().await? });
                }
                // The place is taken: look where the end is now.
                Err(CommitError::Conflict { .. }) => self.place.store(0, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable("no free place in the outbox"))
    }

    fn known_key(&self, id: &str) -> Key {
        Key::new(keys::sandbox(&self.instance, "outbox"), format!("id#{id}"))
    }

    fn place_key(&self, seq: u64) -> Key {
        Key::new(keys::sandbox(&self.instance, "outbox"), format!("m#{seq:012}"))
    }

    async fn next_place(&self) -> Result<u64> {
        if self.place.load(Ordering::Relaxed) == 0 {
            let query = Query::table(keys::sandbox(&self.instance, "outbox")).prefix("m#").newest_first().limit(1);
            let page = self.store.query(query).await?;
            let newest = page.items.first().and_then(|item| item.u64("seq")).unwrap_or(0);
            self.place.fetch_max(newest, Ordering::Relaxed);
        }
        Ok(self.place.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// What a message leads to.
    fn due_after(
        &self,
        outgoing: &Outgoing,
        id: Option<&str>,
        seq: u64,
        at: Millis,
        behaviour: Behaviour,
        echo: Option<&str>,
    ) -> Vec<Due> {
        let id = id.unwrap_or(&outgoing.id).to_owned();
        let chat = outgoing.to.clone();
        let (delivered, read) = (at.plus(DELIVERED_AFTER), at.plus(DELIVERED_AFTER + READ_AFTER));
        let tells = |name: &str| self.capability.receipts.contains(&name);
        let mut due = Vec::new();
        if behaviour != Behaviour::NeverDelivered && outgoing.content.is_message() {
            if tells("delivered") {
                due.push((delivered, 0, Event::Delivered { id: id.clone(), chat: chat.clone() }));
            }
            if tells("read") && behaviour != Behaviour::NeverRead {
                due.push((read, 1, Event::Read { id: id.clone(), chat: chat.clone() }));
            }
        }
        if let Some(echo) = echo {
            let event = Event::Writes {
                id: echo.to_owned(),
                sender: chat.clone(),
                chat,
                name: "Echo".into(),
                group: false,
                content: outgoing.content.clone(),
            };
            due.push((at.plus(ECHO_AFTER), 2, event));
        }
        due.into_iter().map(|(at, step, event)| self.due(at, &format!("{seq:012}.{step}"), event)).collect()
    }

    fn due(&self, at: Millis, name: &str, event: Event) -> Due {
        let key = Key::new(keys::sandbox(&self.instance, "due"), format!("{}#{name}", at.digits()));
        Due { key, at, event }
    }

    /// Somebody writes; it waits in a row until the line has told of it.
    pub(crate) async fn keep(&self, incoming: &Incoming) -> Result<()> {
        let due = self.arrival(incoming);
        let item = Item::new(due.key, &DueRow { at: due.at, event: due.event })?;
        self.store.commit(Unit::write(Write::put(item))).await?;
        Ok(())
    }

    /// Somebody writes, as something that is still to happen.
    pub(crate) fn arrival(&self, incoming: &Incoming) -> Due {
        let event = Event::Writes {
            id: incoming.id.clone(),
            chat: incoming.chat.clone(),
            sender: incoming.sender.clone(),
            name: incoming.push_name.clone(),
            group: incoming.is_group,
            content: incoming.content.clone(),
        };
        self.due(incoming.at, &format!("in.{}", incoming.id), event)
    }

    /// All that is still to happen.
    pub(crate) async fn all_waiting(&self) -> Result<Vec<Due>> {
        let mut query = Query::table(keys::sandbox(&self.instance, "due")).limit(500);
        let mut all = Vec::new();
        loop {
            let page = self.store.query(query.clone()).await?;
            for item in page.items {
                let key = item.key.clone();
                let DueRow { at, event } = item.into()?;
                all.push(Due { key, at, event });
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(crate) async fn happened(&self, due: Vec<Key>) -> Result<()> {
        self.store.write_many(due.into_iter().map(Write::delete).collect()).await
    }

    /// As `GET …/sandbox/outbox` shows it.
    fn outbox_row(&self, outgoing: &Outgoing, id: Option<&str>, seq: u64, at: Millis) -> Value {
        let platform_id = id.unwrap_or(&outgoing.id);
        let mut row = json!({
            "seq": seq,
            "id": self.shown_id(&outgoing.id),
            "messageId": platform_id,
            "to": outgoing.to,
            "type": outgoing.content.kind(),
            "text": outgoing.content.text(),
            "timestamp": at.iso(),
        });
        match &outgoing.content {
            Content::Media { media, .. } => {
                row["media"] = json!({
                    "id": media.media_id,
                    "mimetype": media.mime,
                    "size": media.size,
                    "filename": media.filename,
                    "caption": media.caption,
                    "url": format!("/api/media/{}/{}", self.instance, media.media_id),
                });
            }
            Content::Location { latitude, longitude, name, address } => {
                row["location"] =
                    json!({ "latitude": latitude, "longitude": longitude, "name": name, "address": address });
            }
            Content::Contact { name, phone } => row["contact"] = json!({ "name": name, "phone": phone }),
            Content::Poll { question, options, multiple } => {
                row["poll"] = json!({ "question": question, "options": options, "multiple": multiple });
            }
            Content::Reaction { target, emoji } => {
                row["reaction"] = json!({ "messageId": target, "emoji": emoji });
            }
            Content::Template { name, language, .. } => {
                row["template"] = json!({ "name": name, "language": language });
            }
            Content::Edit { target, .. } | Content::Revoke { target } => row["targetMessageId"] = json!(target),
            Content::Text { .. } | Content::Other { .. } | Content::Foreign { .. } => {}
        }
        if let Some(quoted) = &outgoing.quoted {
            row["quotedMessageId"] = json!(quoted);
        }
        if !outgoing.mentions.is_empty() {
            row["mentions"] = json!(outgoing.mentions);
        }
        if outgoing.view_once {
            row["viewOnce"] = json!(true);
        }
        row
    }

    /// The id that the sender was answered with: WhatsApp's own there, elsewhere the public one.
    fn shown_id(&self, pmid: &str) -> String {
        let ulid = pmid.strip_prefix('~').unwrap_or(pmid);
        match self.platform() {
            Platform::Whatsapp if !pmid.starts_with('~') => pmid.to_owned(),
            _ if ulid.len() == 26 => message::public_id(ulid, &self.instance).as_str().to_owned(),
            _ => pmid.to_owned(),
        }
    }
}

impl Event {
    /// The receipt that it is, with the message and its chat.
    pub(crate) fn receipt(&self) -> Option<(Receipt, &str, &str)> {
        match self {
            Self::Delivered { id, chat } => Some((Receipt::Delivered, id, chat)),
            Self::Read { id, chat } => Some((Receipt::Read, id, chat)),
            Self::Writes { .. } => None,
        }
    }
}

/// Everything that arrived at the simulated network from this instance, oldest first: `{seq, id, messageId, to, type, text,
/// timestamp, …}`, `id` as the send returned it. At most `limit` (1..=1000) entries with `seq > after`.
pub async fn outbox(store: &dyn Store, instance: &InstanceId, limit: usize, after: u64) -> Result<Vec<Value>> {
    let query = Query::table(keys::sandbox(instance, "outbox"))
        .between(format!("m#{:012}", after + 1), "m#~")
        .limit(limit.clamp(1, 1000));
    let page = store.query(query).await?;
    Ok(page.items.into_iter().map(|item| Value::Object(item.doc)).collect())
}
