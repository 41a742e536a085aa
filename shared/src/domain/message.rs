//! Messages: the row (a head under 1 KB, and a body where it would be larger), its states, how it is found.
//!
//! A platform message id is unique only within (chat, sender): the sort key holds all three. Creating the row under the
//! condition that it is absent is the deduplication.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    address::Platform,
    app::App,
    capability::IdScope,
    clock::Millis,
    crypto::Keyring,
    domain::{content::Content, instance::Instance},
    error::{Error, Result},
    id::{ChatKey, InstanceId, MessageId},
    store::{Doc, Item, Key, Query, Read, Write, keys, log::Delta},
};

/// Longer contents than this (in bytes, of [`Body`] as JSON) go into a row of their own, so that status changes stay cheap.
const HEAD_CONTENT: usize = 630;

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

    /// A status only ever changes to one of higher rank. Failing is for pending ones, and for sent ones that the platform had
    /// taken too early.
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
    /// In the body row when it is long: then only its kind is here.
    pub content: Content,
    /// Digest of the body row, if content and [`Message::as_sent`] are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
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
    /// Stored as a text: neither its depth nor its numbers are ours to judge, and a store may have limits for both.
    #[serde(with = "json_text")]
    pub metadata: Doc,
    /// `type` as the caller wrote it.
    pub kind: String,
    /// `content`, where it is not simply the message's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// A JSON object within a string.
mod json_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use crate::store::Doc;

    pub(super) fn serialize<S: Serializer>(doc: &Doc, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(doc).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Doc, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
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
            Content::Template { name, language, components } => {
                let components: Value = serde_json::from_str(components).unwrap_or_default();
                let template = json!({ "name": name, "language": language, "components": components });
                extra.insert("template".into(), template);
            }
            Content::Edit { target, .. } | Content::Revoke { target } => {
                extra.insert("targetMessageId".into(), target.clone().into());
            }
            Content::Foreign { detail, .. } => {
                extra.extend(detail.as_ref().map(|detail| ("detail".to_owned(), detail.clone())));
            }
            Content::Text { .. } | Content::Other { .. } => {}
        }
        if let Some(quoted) = &self.quoted {
            extra.insert("quotedMessageId".into(), quoted.clone().into());
        }
        (!extra.is_empty()).then_some(extra)
    }

    /// Where the body row is, if there is one.
    pub(crate) fn body_key(&self) -> Option<Key> {
        self.body.as_ref().map(|digest| keys::message_body(&self.key(), digest))
    }

    /// The writes that create the row: the body first where there is one (it is idempotent), then the head, if absent.
    /// `order` is the second part of the history's sort value.
    pub fn creates(&self, order: &str) -> Result<Vec<Write>> {
        let mut writes = Vec::with_capacity(1);
        let mut head = if let Some((digest, body)) = body(&self.key(), &self.content, self.as_sent.as_ref())? {
            writes.push(body);
            let short = Content::Other { name: self.kind.clone() };
            Item::new(self.key(), &Self { content: short, as_sent: None, body: Some(digest), ..self.clone() })?
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

/// What is in a body row.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    content: &'a Content,
    as_sent: Option<&'a AsSent>,
}

/// The digest that names a body row, and what writes it.
pub(crate) type BodyRow = (String, Write);

/// The body row of the message at `head`, and its digest, if this is too long for the head.
pub(crate) fn body(head: &Key, content: &Content, as_sent: Option<&AsSent>) -> Result<Option<BodyRow>> {
    let body = Body { content, as_sent };
    let text = serde_json::to_string(&body)?;
    if text.len() <= HEAD_CONTENT {
        return Ok(None);
    }
    let digest = hex::encode(&Sha256::digest(text)[..8]);
    let row = Item::new(keys::message_body(head, &digest), &body)?;
    Ok(Some((digest, Write::put(row))))
}

/// Public id of an outgoing message: the ULID and the instance, so that it can be found by the id alone.
pub fn public_id(ulid: &str, instance: &InstanceId) -> MessageId {
    MessageId::new(format!("{ulid}{instance}"))
}

/// Public id of a message that has no ULID of ours: time, instance, and the platform's id.
pub fn foreign_public_id(at: Millis, instance: &InstanceId, pmid: &str) -> MessageId {
    without_ulid(at, instance, '-', pmid)
}

/// Public id of a message that came in. Where the platform counts in each chat anew, its id alone would not find the message.
pub fn received_public_id(at: Millis, instance: &Instance, pmid: &str, sort: &str) -> Result<MessageId> {
    Ok(match instance.capability()?.message_id_scope {
        IdScope::Account => foreign_public_id(at, &instance.id, pmid),
        IdScope::Chat => without_ulid(at, &instance.id, '.', sort),
    })
}

fn without_ulid(at: Millis, instance: &InstanceId, mark: char, rest: &str) -> MessageId {
    use base64::Engine as _;
    let time = ulid::Ulid::from_parts(u64::try_from(at.0).unwrap_or(0), 0).to_string().to_ascii_lowercase();
    let rest = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rest);
    MessageId::new(format!("{}{instance}{mark}{rest}", &time[..10]))
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
    /// The row's sort key.
    Row(String),
}

/// Reads a public id; `None` for anything else.
pub fn locate(id: &str) -> Option<Located> {
    use base64::Engine as _;
    if !id.is_ascii() {
        return None;
    }
    let (head, tail) = id.split_at_checked(26)?;
    let decoded = |text: &str| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
        String::from_utf8(bytes).ok()
    };
    let (instance, by) = match tail.as_bytes().first()? {
        b'-' => (&head[10..], By::PlatformId(decoded(&tail[1..])?)),
        b'.' => (&head[10..], By::Row(decoded(&tail[1..])?)),
        _ if tail.len() == 16 => (tail, By::Ulid(head.to_owned())),
        _ => return None,
    };
    Some(Located { instance: InstanceId::new(instance), by })
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
    // Where a message was moved away there is something else for a while.
    with_bodies(app, items.into_iter().map(|item| item.filter(is_head)).collect()).await
}

/// Whether this is a message, and not what is known of one or where it went.
fn is_head(item: &Item) -> bool {
    item.doc.contains_key("pmid")
}

/// Decodes heads and fetches the bodies of those that are long.
pub async fn with_bodies(app: &App, items: Vec<Option<Item>>) -> Result<Vec<Option<Message>>> {
    let mut messages =
        items.into_iter().map(|item| item.map(Item::into::<Message>).transpose()).collect::<Result<Vec<_>>>()?;
    let bodies =
        messages.iter().enumerate().filter_map(|(index, message)| Some((index, message.as_ref()?.body_key()?)));
    let (long, keys): (Vec<usize>, Vec<Key>) = bodies.unzip();
    if !long.is_empty() {
        for (index, body) in long.into_iter().zip(app.store.batch_get(&keys, Read::Strong).await?) {
            if let (Some(message), Some(body)) = (messages[index].as_mut(), body)
                && let Some(content) = body.doc.get("content")
            {
                message.content = serde_json::from_value(content.clone())?;
                if let Some(as_sent) = body.doc.get("asSent").filter(|as_sent| !as_sent.is_null()) {
                    message.as_sent = Some(serde_json::from_value(as_sent.clone())?);
                }
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
                heads.push(app.store.get(&keys::message_by_sort(instance, sort), Read::Strong).await?.filter(is_head));
            }
            None if is_head(&item) => heads.push(Some(item)),
            // What is known of a message that is yet to come.
            None => {}
        }
    }
    Ok(with_bodies(app, heads).await?.into_iter().flatten().collect())
}

/// Finds a message of an instance by its public id or by the platform's. Of several with one platform id, in different chats,
/// the newest.
pub async fn find(app: &App, instance: &Instance, id: &str) -> Result<Option<Message>> {
    // Keys are bounded, and no id of ours or of a platform is that long.
    if id.len() > MAX_ID {
        return Ok(None);
    }
    let pmid = match locate(id) {
        Some(Located { instance: of, by }) if of == instance.id => match by {
            By::Ulid(ulid) => outgoing_pmid(&app.keyring, instance, &ulid)?,
            By::PlatformId(pmid) => pmid,
            By::Row(sort) if sort.ends_with("#alias") => return Ok(None),
            By::Row(sort) => {
                let found = load_many(app, &instance.id, &[&sort]).await?.pop().flatten();
                return Ok(found.filter(|message| message.id.as_str() == id));
            }
        },
        _ => id.to_owned(),
    };
    let found = by_platform_id(app, &instance.id, &pmid).await?;
    Ok(found.into_iter().max_by_key(|message| (message.id.as_str() == id, message.at)))
}

/// Bytes of an id that is looked up, at the most.
const MAX_ID: usize = 700;

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
        let row = without_ulid(Millis(1_672_574_400_000), &instance, '.', "7#chat#sender");
        assert_eq!(locate(row.as_str()).map(|l| l.by), Some(By::Row("7#chat#sender".into())));
        for junk in ["", "x", "ü", "-", "01k0000000abcdef01k0000000abcdef-***", "01k0000000abcdef0123456789.***"] {
            assert_eq!(locate(junk), None, "{junk}");
        }
    }
}
