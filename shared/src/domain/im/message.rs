//! Messages of a channel: posting one, and reading them by their numbers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ChannelKey;
use crate::{
    app::App,
    clock::Millis,
    domain::job::{self, Work},
    error::{Error, Kind, Result},
    id::{InstanceId, UserId},
    store::{
        Append, CommitError, Cond, Item, Stamp, Unit, Write, keys,
        log::{self, Entry, NewEntry, Writer},
    },
};

/// Bytes of a payload at the most, before base64.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes of payloads that a page of messages comes to at the most, one chunk aside: answers stay below 5 MB.
const PAGE_BYTES: usize = 512 * 1024;
/// Messages that are read at once.
const CHUNK: usize = 40;
/// Characters of a client number at the most.
pub const MAX_CLIENT_NO: usize = 128;

/// Within what a sender's number means one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Seed 002: within the channel.
    OfChannel,
    /// Seed 004: within all that the sender writes, so it cannot be used for a second channel.
    OfSender,
}

/// A message to post.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub from: UserId,
    /// The client's own number: the same one again, from the same sender, is the same message.
    pub client_no: Option<String>,
    pub numbers: Numbers,
    /// Base64 (standard alphabet) of at most [`MAX_PAYLOAD`] bytes; WuKongIM's content JSON by convention.
    pub payload: String,
    /// The instance that it was sent through, which knows of it already.
    pub via: Option<InstanceId>,
}

/// Where a message came to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Decimal digits of an int64.
    pub message_id: String,
    /// 1 for the first message of the channel, and no gaps.
    pub seq: u64,
    pub at: Millis,
}

/// A message as it lies in its channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub seq: u64,
    pub at: Millis,
    pub body: Body,
}

/// What the log's entry says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Body {
    pub id: String,
    pub from: UserId,
    pub client_no: Option<String>,
    /// Base64.
    pub payload: String,
    pub via: Option<InstanceId>,
}

/// [`Body`] in the log. A payload that is text lies there as text: that is shorter, and SQL can read it.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "f")]
    from: UserId,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    client_no: Option<String>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Base64 of what is no text.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    via: Option<InstanceId>,
}

impl From<Body> for Stored {
    fn from(body: Body) -> Self {
        let Body { id, from, client_no, payload, via } = body;
        let (text, bytes) = match text_of(&payload) {
            Some(text) => (Some(text), None),
            None => (None, Some(payload)),
        };
        Self { id, from, client_no, text, bytes, via }
    }
}

impl From<Stored> for Body {
    fn from(stored: Stored) -> Self {
        let Stored { id, from, client_no, text, bytes, via } = stored;
        let payload = text.map(|text| STANDARD.encode(text)).or(bytes).unwrap_or_default();
        Self { id, from, client_no, payload, via }
    }
}

/// What a payload says, if it is text. Control characters would make it long as JSON, so with them it is none.
fn text_of(payload: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(payload).ok()?).ok()?;
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(plain).then_some(text)
}

impl Message {
    fn of(entry: Entry) -> Result<Self> {
        Ok(Self { seq: entry.seq, at: entry.body.at, body: serde_json::from_value(entry.body.data)? })
    }

    /// The id that seed 004's clients know it by: their own, if they gave one.
    pub fn client_id(&self) -> &str {
        self.body.client_no.as_deref().unwrap_or(&self.body.id)
    }
}

/// What the row of a client number remembers of the first message under it.
#[derive(Debug, Serialize, Deserialize)]
struct Numbered {
    v: u32,
    id: String,
    at: Millis,
}

/// Checks a client number as a request gave it.
pub fn check_client_no(field: &'static str, number: &str) -> Result<()> {
    let count = number.chars().count();
    if count == 0 || count > MAX_CLIENT_NO || number.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("{field} must have 1 to {MAX_CLIENT_NO} characters")));
    }
    Ok(())
}

/// Checks that a payload is base64 of an acceptable size.
pub fn check_payload(field: &'static str, payload: &str) -> Result<()> {
    if payload.len() / 4 * 3 > MAX_PAYLOAD + 3 {
        return Err(Error::invalid(field, format!("{field} must hold at most {MAX_PAYLOAD} bytes")));
    }
    match STANDARD.decode(payload) {
        Ok(bytes) if bytes.len() > MAX_PAYLOAD => {
            Err(Error::invalid(field, format!("{field} must hold at most {MAX_PAYLOAD} bytes")))
        }
        Ok(bytes) if bytes.is_empty() => Err(Error::invalid(field, format!("{field} must not be empty"))),
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(field, format!("{field} must be base64"))),
    }
}

/// Puts a message into a channel of the embedded IM. Durable when it returns. A repeat of (channel, sender, client number)
/// answers what the first did, and completes it if it was cut off.
///
/// Errors: 422 `CLIENT_MESSAGE_ID_REUSED` for a number of the sender's that means a message to somebody else.
pub(super) async fn post(app: &App, channel: &ChannelKey, new: NewMessage) -> Result<Posted> {
    let NewMessage { from, client_no, numbers, payload, via } = new;
    let at = app.clock.now();
    let id = app.ids.snowflake().to_string();
    let number = client_no.as_deref().map(|number| app.keyring.index2("im-number", channel.as_str(), number));
    let place = match (&client_no, numbers) {
        (Some(number), Numbers::OfSender) => Some(place(app, &from, number, channel)?),
        _ => None,
    };
    let key = format!("{from}/{}", number.as_deref().unwrap_or(&id));
    let body = Body { id: id.clone(), from: from.clone(), client_no, payload, via };
    let gate = match &number {
        Some(hash) => {
            let row = Numbered { v: 1, id: id.clone(), at };
            let row = Item::new(keys::im_client_number(channel.as_str(), &from, hash), &row)?;
            Some(Write::create(row).stamped("seq", Stamp::FIRST))
        }
        None => None,
    };
    let which_gate = usize::from(place.is_some());
    let unit = unit(channel, entry(&key, at, &body)?, place.into_iter().chain(gate).collect(), None)?;
    match app.store.commit(unit).await {
        Ok(committed) => Ok(Posted { message_id: id, seq: committed.first(), at }),
        Err(CommitError::Conflict { which, .. }) if which < which_gate => {
            let text = "This id was used for a message to another chat";
            Err(Error::new(Kind::Unprocessable, "CLIENT_MESSAGE_ID_REUSED", text).field("id"))
        }
        Err(CommitError::Conflict { old: Some(old), .. }) => {
            let from_seq = old.u64("seq").unwrap_or(1);
            let first: Numbered = (*old).into()?;
            let body = Body { id: first.id.clone(), ..body };
            let unit = self::unit(channel, entry(&key, first.at, &body)?, Vec::new(), Some(from_seq))?;
            let committed = app.store.commit(unit).await.map_err(Error::from)?;
            Ok(Posted { message_id: first.id, seq: committed.first(), at: first.at })
        }
        Err(error) => Err(error.into()),
    }
}

fn entry(key: &str, at: Millis, body: &Body) -> Result<NewEntry> {
    let data = serde_json::to_value(body)?;
    Ok(NewEntry {
        key: key.to_owned(),
        kind: "im".into(),
        at,
        chat: None,
        message: None,
        data,
        delta: None,
        history: Vec::new(),
    })
}

/// Binds a sender's number to the channel that it was used for first. Repeatable.
fn place(app: &App, from: &UserId, number: &str, channel: &ChannelKey) -> Result<Write> {
    let hash = app.keyring.index2("im-number", from.as_str(), number);
    let row = Item::new(keys::im_client_number(from.as_str(), from, &hash), &json!({ "channel": channel }))?;
    let here = Cond::Any(vec![Cond::Absent, Cond::eq("channel", channel.as_str())]);
    Ok(Write::put(row).only_if(here))
}

fn unit(channel: &ChannelKey, entry: NewEntry, writes: Vec<Write>, look_from: Option<u64>) -> Result<Unit> {
    let group = format!("im/{channel}");
    let mut fan_out = job::background(group.clone(), group, Work::ImFanOut { channel: channel.clone(), seq: 0 })?;
    fan_out.stamp = Some(Stamp::FIRST);
    Ok(Unit {
        writes,
        append: vec![Append { log: channel.log(), writer: Writer::Foreign, entries: vec![entry], look_from }],
        enqueue: vec![fan_out],
        done: None,
    })
}

/// Up to `limit` messages after number `after`, in order.
pub(super) async fn after(app: &App, channel: &ChannelKey, after: u64, limit: usize) -> Result<Vec<Message>> {
    let entries = log::read(app.store.as_ref(), &channel.log(), after, limit).await?;
    entries.into_iter().map(Message::of).collect()
}

/// The number of the newest message; 0 in an empty channel.
pub(super) async fn tail(app: &App, channel: &ChannelKey) -> Result<u64> {
    Ok(app.store.tail(&channel.log()).await?.seq)
}

/// Up to `limit` messages below number `before` (from the newest without it), newest first, and the number to go on below. A page
/// of large messages is shorter.
pub async fn history(
    app: &App,
    channel: &ChannelKey,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<Message>, Option<u64>)> {
    // A number beyond the newest means the newest.
    let newest = app.im.tail(app, channel).await?;
    let mut end = before.map_or(newest + 1, |before| before.min(newest + 1));
    let (mut found, mut bytes) = (Vec::new(), 0);
    while end > 1 && found.len() < limit && bytes < PAGE_BYTES {
        let count = CHUNK.min(limit - found.len());
        let start = end.saturating_sub(count as u64).max(1);
        let mut some = app.im.after(app, channel, start - 1, count).await?;
        some.retain(|message| message.seq < end);
        bytes += size(&some);
        found.extend(some.into_iter().rev());
        end = start;
    }
    Ok((found, (end > 1).then_some(end)))
}

/// Up to `limit` messages after number `after`, in order; fewer, where they are large.
pub async fn since(app: &App, channel: &ChannelKey, after: u64, limit: usize) -> Result<Vec<Message>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut last = after;
    while found.len() < limit && bytes < PAGE_BYTES {
        let count = CHUNK.min(limit - found.len());
        let some = app.im.after(app, channel, last, count).await?;
        let over = some.len() < count;
        last = some.last().map_or(last, |message| message.seq);
        bytes += size(&some);
        found.extend(some);
        if over {
            break;
        }
    }
    Ok(found)
}

fn size(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.body.payload.len()).sum()
}

/// A message as seed 002's `message/sync` shows it to `user`: `channelId` is the other side, as that user knows it.
pub fn synced(message: &Message, channel: &super::Channel) -> serde_json::Value {
    json!({
        "messageId": message.body.id,
        "messageSeq": message.seq,
        "channelId": channel.id(),
        "channelType": channel.kind().number(),
        "fromUid": message.body.from,
        "payload": message.body.payload,
        "timestamp": message.at.0,
        "clientMsgNo": message.body.client_no.as_deref().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8]) -> Body {
        let payload = STANDARD.encode(bytes);
        Body { id: "1".into(), from: UserId::new("u"), client_no: None, payload, via: None }
    }

    #[test]
    fn payloads_come_back_as_they_were() {
        for (bytes, name) in [
            (&b"{\"type\":1,\"content\":\"hi\"}"[..], "u"),
            ("你好\n".as_bytes(), "u"),
            (b"\xff\xfe", "p"),
            (b"a\0b", "p"),
        ] {
            let stored = serde_json::to_value(body(bytes)).expect("encodes");
            assert!(stored.get(name).is_some(), "{stored}");
            assert_eq!(serde_json::from_value::<Body>(stored).expect("decodes"), body(bytes));
        }
    }

    #[test]
    fn payloads_are_checked() {
        let ok = |payload: &str| check_payload("payload", payload).is_ok();
        assert!(ok("aGk=") && ok(&STANDARD.encode(vec![7; MAX_PAYLOAD])));
        for bad in ["", "aGk", "aGl=", "a Gk=", "***", &STANDARD.encode(vec![7; MAX_PAYLOAD + 1])] {
            assert!(!ok(bad), "{bad:.20}");
        }
    }
}
