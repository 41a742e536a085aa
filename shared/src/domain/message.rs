//! Messages: the row (a head under 1 KB, and a body where it would be larger), its states, how it is found.
//!
//! A platform message id is unique only within (chat, sender): the sort key holds all three. Creating the row under the
//! condition that it is absent is the deduplication.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    address::Platform,
    app::App,
    clock::Millis,
    crypto::Keyring,
    domain::{content::Content, instance::Instance},
    error::{Error, Result},
    id::{ChatKey, InstanceId, MessageId},
    store::{Doc, Item, Key, Query, Read, Write, keys, log::Delta},
};

/// Longer texts than this (in bytes, of the content as JSON) go into a row of their own, so that status changes stay cheap.
pub(crate) const HEAD_CONTENT: usize = 600;

/// Lifetime of a send that could not be made: after that it reads as failed.
pub const DEADLINE_MS: i64 = 86_400_000;

/// States of a message that we sent, in their order. `Received` for those that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pending,
    Sent,
    Delivered,
    Read,
    Failed,
    Received,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Received => "received",
        }
    }

    /// A status only ever changes to one of higher rank; failing is for pending ones only.
    pub fn rank(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Sent => 1,
            Self::Delivered => 2,
            Self::Read => 3,
            Self::Failed | Self::Received => 9,
        }
    }
}

/// A message row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub v: u32,
    pub id: MessageId,
    pub instance_id: InstanceId,
    pub chat: ChatKey,
    /// The part of the sort key that stands for the sender; `me` for ours.
    pub sender_hash: String,
    /// Our id of it where the client chooses, `~{ulid}` until the platform has named it.
    pub pmid: String,
    /// The platform's id, where it differs from `pmid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<String>,
    /// Address of the chat.
    pub remote_jid: String,
    pub from_me: bool,
    pub is_group: bool,
    /// Address of the sender of a received message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sender: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
    /// `Content::kind`.
    pub kind: String,
    /// In the body row when long: then only its kind is here.
    pub content: Content,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub long: bool,
    pub status: Status,
    pub rank: i64,
    pub status_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was written: accepted by us, or sent by the other side.
    pub at: Millis,
    pub updated_at: Millis,
    /// `to` and `from` as the caller of the third-party API wrote them, and the caller's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_sent: Option<AsSent>,
    /// When it is to be sent, if later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Millis>,
    /// Whether it came through `/api/whatsapp/*` and counts as a call there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_call: bool,
    /// Whether the statistics have it already: a log entry of its waiting carried the delta.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
    /// When a connector that cannot name messages itself began its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempting: Option<Millis>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// Sender → emoji.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub reactions: Map<String, Value>,
}

/// What a caller gave, to be given back unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AsSent {
    pub to: String,
    pub from: String,
    pub metadata: Doc,
    /// `type` as the caller wrote it.
    pub kind: String,
    pub content: String,
}

impl Message {
    pub fn sort(&self) -> String {
        keys::message_sort(&self.pmid, &self.chat, &self.sender_hash)
    }

    pub fn key(&self) -> Key {
        keys::message(&self.instance_id, &self.pmid, &self.chat, &self.sender_hash)
    }

    /// The id that the platform knows it by; ours until then.
    pub fn platform_id(&self) -> &str {
        self.platform_id.as_deref().unwrap_or(&self.pmid)
    }

    /// The status as it reads now: a pending send past its deadline has failed, whether or not anybody wrote it down.
    pub fn status_now(&self, now: Millis) -> Status {
        let due = self.send_at.unwrap_or(self.at);
        if self.status == Status::Pending && now.0 > due.0 + DEADLINE_MS { Status::Failed } else { self.status }
    }

    /// Whether it waits for its time to be sent.
    pub fn is_scheduled(&self) -> bool {
        self.status == Status::Pending && self.send_at.is_some()
    }

    pub fn reason_now(&self, now: Millis) -> Option<&str> {
        match (self.status, self.status_now(now)) {
            (Status::Pending, Status::Failed) => Some("expired"),
            _ => self.reason.as_deref(),
        }
    }

    /// `messageType` as the platform's users know it.
    pub fn wire_type(&self, platform: Platform) -> &str {
        match platform {
            Platform::Whatsapp => self.content.whatsapp_type(self.from_me),
            _ => self.content.kind(),
        }
    }

    /// What it adds to the statistics of its day.
    pub fn delta(&self) -> Option<Delta> {
        if !self.content.is_message() {
            let calls = i64::from(self.api_call);
            return (calls > 0).then(|| Delta { day: self.at.day(), api_calls: calls, ..Delta::default() });
        }
        let media = i64::from(self.content.media().is_some());
        let size = self.content.media().map_or(0, |media| i64::try_from(media.size).unwrap_or(i64::MAX));
        let mut delta = Delta { day: self.at.day(), total_media_size: size, ..Delta::default() };
        if self.from_me {
            delta.messages_sent = 1;
            delta.media_sent = media;
            delta.api_calls = i64::from(self.api_call);
        } else {
            delta.messages_received = 1;
            delta.media_received = media;
        }
        Some(delta)
    }

    /// Media, location and the like, as history and webhooks show them beside seed 001's fields.
    pub fn extra(&self, _instance: &Instance) -> Option<Doc> {
        let mut extra = Doc::new();
        match &self.content {
            Content::Media { media, .. } => {
                extra.insert(
                    "media".into(),
                    json!({
                        "id": media.media_id,
                        "mimetype": media.mime,
                        "size": media.size,
                        "filename": media.filename,
                        "url": format!("/api/media/{}/{}", self.instance_id, media.media_id),
                    }),
                );
            }
            Content::Location { latitude, longitude, name, address } => {
                extra.insert(
                    "location".into(),
                    json!({ "latitude": latitude, "longitude": longitude, "name": name, "address": address }),
                );
            }
            Content::Contact { name, phone } => {
                extra.insert("contact".into(), json!({ "name": name, "phone": phone }));
            }
            Content::Poll { question, options, multiple } => {
                extra.insert("poll".into(), json!({ "question": question, "options": options, "multiple": multiple }));
            }
            Content::Reaction { target, emoji } => {
                extra.insert("reaction".into(), json!({ "messageId": target, "emoji": emoji }));
            }
            Content::Edit { target, .. } | Content::Revoke { target } => {
                extra.insert("targetMessageId".into(), target.clone().into());
            }
            Content::Text { .. } | Content::Other { .. } => {}
        }
        if let Some(quoted) = &self.quoted {
            extra.insert("quotedMessageId".into(), quoted.clone().into());
        }
        (!extra.is_empty()).then_some(extra)
    }

    /// The writes that create the row: the body first where there is one (it is idempotent), then the head, if absent.
    /// `order` is the second part of the history's sort value.
    pub fn creates(&self, order: &str) -> Result<Vec<Write>> {
        let mut writes = Vec::with_capacity(1);
        let content = serde_json::to_string(&self.content)?;
        let mut head = if content.len() > HEAD_CONTENT {
            writes.push(Write::put(Item::new(keys::message_body(&self.key()), &json!({ "content": self.content }))?));
            let short = Content::Other { name: self.kind.clone() };
            Item::new(self.key(), &Self { content: short, long: true, ..self.clone() })?
        } else {
            Item::new(self.key(), self)?
        };
        if self.content.is_message() {
            head = head.indexed(keys::history(&self.instance_id, &self.chat), format!("{}{order}", self.at.digits()));
        }
        writes.push(Write::create(head));
        Ok(writes)
    }
}

/// Public id of an outgoing message: the ULID and the instance, so that it can be found by the id alone.
pub fn public_id(ulid: &str, instance: &InstanceId) -> MessageId {
    MessageId::new(format!("{ulid}{instance}"))
}

/// Public id of a message that has no ULID of ours: time, instance, and the platform's id.
pub fn foreign_public_id(at: Millis, instance: &InstanceId, pmid: &str) -> MessageId {
    use base64::Engine as _;
    let time = ulid::Ulid::from_parts(u64::try_from(at.0).unwrap_or(0), 0).to_string().to_ascii_lowercase();
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(pmid);
    MessageId::new(format!("{}{instance}-{id}", &time[..10]))
}

/// What a public id says: the instance, and how to find the message in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub instance: InstanceId,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A ULID of ours.
    Ulid(String),
    /// `pmid`.
    PlatformId(String),
}

/// Reads a public id; `None` for anything else.
pub fn locate(id: &str) -> Option<Located> {
    use base64::Engine as _;
    if !id.is_ascii() {
        return None;
    }
    if let Some((head, tail)) = id.split_once('-')
        && head.len() == 26
    {
        let pmid = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(tail).ok()?;
        return Some(Located {
            instance: InstanceId::new(&head[10..]),
            by: By::PlatformId(String::from_utf8(pmid).ok()?),
        });
    }
    let (ulid, instance) = id.split_at_checked(26)?;
    (instance.len() == 16).then(|| Located { instance: InstanceId::new(instance), by: By::Ulid(ulid.to_owned()) })
}

/// The row id of an outgoing message with this ULID: final where the client chooses it.
pub fn outgoing_pmid(keyring: &Keyring, instance: &Instance, ulid: &str) -> Result<String> {
    Ok(match (instance.capability()?.message_ids, instance.platform) {
        (crate::capability::Ids::Platform, _) => format!("~{ulid}"),
        (crate::capability::Ids::Client, Platform::Whatsapp) => {
            format!("3EB0{}", keyring.message_id_tail(instance.id.as_str(), ulid))
        }
        (crate::capability::Ids::Client, _) => ulid.to_owned(),
    })
}

/// Reads messages by their sort keys, with their bodies, in order.
pub async fn load_many(app: &App, instance: &InstanceId, sorts: &[&str]) -> Result<Vec<Option<Message>>> {
    if sorts.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Key> = sorts.iter().map(|sort| keys::message_by_sort(instance, sort)).collect();
    let items = app.store.batch_get(&keys, Read::Strong).await?;
    with_bodies(app, items).await
}

/// Decodes heads and fetches the bodies of those that are long.
pub async fn with_bodies(app: &App, items: Vec<Option<Item>>) -> Result<Vec<Option<Message>>> {
    let mut messages =
        items.into_iter().map(|item| item.map(Item::into::<Message>).transpose()).collect::<Result<Vec<_>>>()?;
    let long: Vec<usize> =
        messages.iter().enumerate().filter(|(_, m)| m.as_ref().is_some_and(|m| m.long)).map(|(i, _)| i).collect();
    if !long.is_empty() {
        let keys: Vec<Key> =
            long.iter().filter_map(|i| messages[*i].as_ref()).map(|m| keys::message_body(&m.key())).collect();
        for (index, body) in long.into_iter().zip(app.store.batch_get(&keys, Read::Strong).await?) {
            if let (Some(message), Some(body)) = (messages[index].as_mut(), body)
                && let Some(content) = body.doc.get("content")
            {
                message.content = serde_json::from_value(content.clone())?;
            }
        }
    }
    Ok(messages)
}

/// Finds a message by the platform's id (or ours of the row): all rows under it, whoever sent them.
pub async fn by_platform_id(app: &App, instance: &InstanceId, pmid: &str) -> Result<Vec<Message>> {
    let query = Query::table(keys::messages(instance, pmid)).prefix(format!("{pmid}#")).limit(20);
    let page = app.store.query(query).await?;
    let mut heads = Vec::new();
    for item in page.items {
        match item.str("ref") {
            // An alias: the platform named a message that we had stored under an id of ours.
            Some(sort) => {
                heads.push(app.store.get(&keys::message_by_sort(instance, sort), Read::Strong).await?);
            }
            None => heads.push(Some(item)),
        }
    }
    Ok(with_bodies(app, heads).await?.into_iter().flatten().collect())
}

/// Finds a message of an instance by its public id or by the platform's.
pub async fn find(app: &App, instance: &Instance, id: &str) -> Result<Option<Message>> {
    let pmid = match locate(id) {
        Some(Located { instance: of, by }) if of == instance.id => match by {
            By::Ulid(ulid) => outgoing_pmid(&app.keyring, instance, &ulid)?,
            By::PlatformId(pmid) => pmid,
        },
        _ => id.to_owned(),
    };
    Ok(by_platform_id(app, &instance.id, &pmid).await?.into_iter().next())
}

/// What [`find`] says when there is none.
pub fn unknown() -> Error {
    Error::not_found("Message not found").code("MESSAGE_NOT_FOUND")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_ids_lead_back() {
        let instance = InstanceId::new("01k0000000abcdef");
        let own = public_id("01k00000000000000000000000", &instance);
        let located = locate(own.as_str()).expect("ours");
        assert_eq!(located, Located { instance: instance.clone(), by: By::Ulid("01k00000000000000000000000".into()) });
        let foreign = foreign_public_id(Millis(1_672_574_400_000), &instance, "3EB0/+#ü");
        assert_eq!(locate(foreign.as_str()).map(|l| l.by), Some(By::PlatformId("3EB0/+#ü".into())));
        for junk in ["", "x", "ü", "-", "01k0000000abcdef01k0000000abcdef-***"] {
            assert_eq!(locate(junk), None, "{junk}");
        }
    }
}
