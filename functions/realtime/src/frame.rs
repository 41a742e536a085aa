//! Frames of seed 004: JSON text `{type, data}`, from clients and to them. No state, no sockets.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Visitor},
};
use serde_json::{Value, json};
use shared::{
    Error, Kind,
    clock::Millis,
    domain::{event::Event, im::chat::Draft},
    edge::body,
    id::{InstanceId, UserId},
    redact::Secret,
};

/// Bytes of a client's frame at the most.
pub(crate) const MAX_FRAME: usize = 64 * 1024;
/// Chats and instances that one `after` names at the most.
const MAX_AFTER: usize = 1000;
/// Users that one `presence` asks for at the most.
const MAX_USERS: usize = 100;

/// What seed 004's clients know a refused credential by.
const REFUSED: &str = "令牌无效或已过期";

/// Where a client stands: chats (peer user id or group id, plain or behind `single:` and `group:`) by the last `messageSeq`
/// seen, instances (plain or behind `instance:`) by the last event's `seq`; `*` stands for all that are not named.
pub(crate) type After = BTreeMap<String, u64>;

/// What a client says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Auth { token: Secret, after: Option<After> },
    Ping,
    Ask(Request),
}

/// What takes more than the protocol to answer.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Message(Box<Draft>),
    Read(MarkRead),
    Presence { users: Option<Vec<String>> },
    Sync(After),
}

impl Request {
    /// The client's id of the message that it is about, for answers.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Message(draft) => Some(&draft.id),
            Self::Read(_) | Self::Presence { .. } | Self::Sync(_) => None,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MarkRead {
    pub(crate) chat_id: String,
    /// `single` or `group`; without it the id decides.
    #[serde(default)]
    pub(crate) chat_type: Option<String>,
    /// The newest without it.
    #[serde(default)]
    pub(crate) message_seq: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct AuthData {
    token: String,
    #[serde(default, deserialize_with = "positions")]
    after: Option<After>,
}

#[derive(Debug, Deserialize)]
struct SyncData {
    #[serde(deserialize_with = "positions")]
    after: Option<After>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresenceData {
    #[serde(default)]
    user_ids: Option<Vec<String>>,
}

/// Something that is no frame of ours; `id` is the message's, if there is one.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) error: Box<Error>,
    pub(crate) id: Option<String>,
}

impl From<Error> for Bad {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), id: None }
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Whole<T> {
    #[serde(deserialize_with = "shared::edge::object::required")]
    data: T,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Maybe<T> {
    #[serde(default, deserialize_with = "shared::edge::object::optional")]
    data: Option<T>,
}

/// Reads a client's frame; a bare `ping` counts as one.
pub(crate) fn parse(text: &str) -> Result<Said, Bad> {
    if text.trim() == "ping" {
        return Ok(Said::Ping);
    }
    let Head { kind } = decode(text)?;
    match kind.as_str() {
        "ping" => Ok(Said::Ping),
        "auth" => {
            let AuthData { token, after } = data(text)?;
            Ok(Said::Auth { token: Secret::new(token), after: bounded(after)? })
        }
        "message" => match data(text) {
            Ok(draft) => Ok(Said::Ask(Request::Message(Box::new(draft)))),
            Err(error) => Err(Bad { error: Box::new(error), id: message_id(text) }),
        },
        "read" => Ok(Said::Ask(Request::Read(data(text)?))),
        "presence" => {
            let Maybe { data } = decode::<Maybe<PresenceData>>(text)?;
            let users = data.unwrap_or_default().user_ids;
            if users.as_ref().is_some_and(|users| users.len() > MAX_USERS) {
                let message = format!("userIds must name at most {MAX_USERS} users");
                return Err(Error::invalid("userIds", message).into());
            }
            Ok(Said::Ask(Request::Presence { users }))
        }
        "sync" => {
            let SyncData { after } = data(text)?;
            let after = bounded(after)?.ok_or_else(|| Error::invalid("after", "after is required"))?;
            Ok(Said::Ask(Request::Sync(after)))
        }
        _ => Err(Error::new(Kind::Invalid, "UNKNOWN_TYPE", "There is no frame of this type").field("type").into()),
    }
}

fn data<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    decode::<Whole<T>>(text).map(|whole| whole.data)
}

/// Decodes a part of the frame; errors name the field as it is called within `data`.
fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    body::decode(text.as_bytes()).map_err(|error| match &error.field {
        Some(field) => {
            let field = field.strip_prefix("data.").unwrap_or(field).to_owned();
            let message = error.message.strip_prefix("data.").unwrap_or(&error.message).to_owned();
            Error::invalid(field, message)
        }
        None => Error::new(Kind::Invalid, "BAD_FRAME", "A frame must be a JSON object {type, data}"),
    })
}

/// The id of a message that is wrong otherwise.
fn message_id(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value["data"]["id"].as_str().filter(|id| id.len() <= 512).map(str::to_owned)
}

/// Reads an `after` as a query parameter has it: JSON.
pub(crate) fn parse_after(text: &str) -> Result<Option<After>, Error> {
    let wrong = || Error::invalid("after", "after must be a JSON object of numbers by chat or instance");
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let after = positions(&mut deserializer).map_err(|_| wrong())?;
    deserializer.end().map_err(|_| wrong())?;
    bounded(after)
}

fn bounded(after: Option<After>) -> Result<Option<After>, Error> {
    if after.as_ref().is_some_and(|after| after.len() > MAX_AFTER) {
        return Err(Error::invalid("after", format!("after must name at most {MAX_AFTER} chats and instances")));
    }
    Ok(after)
}

/// A sequence number: a number, or the text that cursors are.
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence number")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u64, E> {
                // As far as a signed number goes: what the store can hold.
                match i64::try_from(number) {
                    Ok(_) => Ok(number),
                    Err(_) => Err(E::custom("the number is too large")),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<u64, E> {
                u64::try_from(number).map_err(|_| E::custom("the number must not be negative"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
                text.parse().map_err(E::custom).and_then(|number| self.visit_u64(number))
            }
        }
        deserializer.deserialize_any(Seen).map(Number)
    }
}

fn positions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<After>, D::Error> {
    let map: Option<BTreeMap<String, Number>> = Option::deserialize(deserializer)?;
    Ok(map.map(|map| map.into_iter().map(|(key, Number(seq))| (key, seq)).collect()))
}

fn frame(kind: &str, data: &Value) -> String {
    json!({ "type": kind, "data": data }).to_string()
}

pub(crate) fn auth_success(user: &UserId) -> String {
    frame("auth_success", &json!({ "userId": user }))
}

pub(crate) fn auth_error() -> String {
    frame("auth_error", &json!({ "message": REFUSED }))
}

pub(crate) fn pong(at: Millis) -> String {
    frame("pong", &json!({ "at": at.0 }))
}

/// `data`: what `POST /api/message/send` answers.
pub(crate) fn ack(data: &Value) -> String {
    frame("ack", data)
}

pub(crate) fn presence(user: &UserId, online: bool, at: Millis) -> String {
    frame("presence", &json!({ "userId": user, "online": online, "at": at.0 }))
}

/// Everything up to here was caught up with: what follows is live.
pub(crate) fn synced() -> String {
    frame("synced", &json!({}))
}

/// Why a connection ends, where the gateway that holds it cannot say so itself.
pub(crate) fn closing(code: u16, reason: &str) -> String {
    frame("closing", &json!({ "code": code, "reason": reason }))
}

/// The body of a webhook, and the number that `after` takes.
pub(crate) fn event(instance: &InstanceId, event: &Event) -> String {
    let mut data = event.webhook_body(instance);
    data["seq"] = event.seq.into();
    frame("event", &data)
}

/// `id`: the message that it is about.
pub(crate) fn error(error: &Error, id: Option<&str>) -> String {
    let mut data = json!({ "message": error.message, "code": error.code });
    if let Some(field) = &error.field {
        data["field"] = Cow::as_ref(field).into();
    }
    if let Some(id) = id {
        data["id"] = id.into();
    }
    if let Some(wait) = error.retry_after {
        data["retryAfter"] = wait.as_secs_f64().ceil().into();
    }
    frame("error", &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, Option<String>, Option<String>) {
        let Bad { error, id } = parse(text).expect_err(text);
        (error.code.to_string(), error.field.map(Cow::into_owned), id)
    }

    #[test]
    fn every_frame_is_read() {
        assert!(matches!(parse("ping"), Ok(Said::Ping)));
        assert!(matches!(parse(r#"{"type":"ping"}"#), Ok(Said::Ping)));
        assert!(matches!(parse(r#"{"type":"ping","data":null}"#), Ok(Said::Ping)));
        let Ok(Said::Auth { token, after }) = parse(r#"{"type":"auth","data":{"token":"t","after":{"a":7,"i":"9"}}}"#)
        else {
            panic!("not an auth frame")
        };
        assert_eq!(token.reveal(), "t");
        assert_eq!(after, Some(After::from([("a".into(), 7), ("i".into(), 9)])));
        let message = r#"{"type":"message","data":{"id":"1","toId":"b","chatType":"single","content":"x"}}"#;
        assert!(matches!(parse(message), Ok(Said::Ask(Request::Message(_)))));
        assert!(matches!(parse(r#"{"type":"presence"}"#), Ok(Said::Ask(Request::Presence { users: None }))));
        let read = parse(r#"{"type":"read","data":{"chatId":"b"}}"#);
        assert!(matches!(read, Ok(Said::Ask(Request::Read(MarkRead { message_seq: None, .. })))));
        assert!(matches!(parse(r#"{"type":"sync","data":{"after":{}}}"#), Ok(Said::Ask(Request::Sync(_)))));
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let bad = |text: &str| refused(text).0;
        for text in ["", "hello", "[]", "{", "7", "null", "{\"type\":\"ping\"} x"] {
            assert_eq!(bad(text), "BAD_FRAME", "{text}");
        }
        assert_eq!(refused(r#"{"type":"dance"}"#), ("UNKNOWN_TYPE".into(), Some("type".into()), None));
        for (text, field) in [
            ("{}", "type"),
            (r#"{"type":7}"#, "type"),
            (r#"{"type":"auth"}"#, "data"),
            (r#"{"type":"auth","data":[1]}"#, "data"),
            (r#"{"type":"auth","data":{}}"#, "token"),
            (r#"{"type":"auth","data":{"token":7}}"#, "token"),
            (r#"{"type":"auth","data":{"token":"t","after":{"a":-1}}}"#, "after.a"),
            (r#"{"type":"auth","data":{"token":"t","after":{"a":9223372036854775808}}}"#, "after.a"),
            (r#"{"type":"auth","data":{"token":"t","after":[1]}}"#, "after"),
            (r#"{"type":"sync","data":{"after":null}}"#, "after"),
            (r#"{"type":"read","data":{}}"#, "chatId"),
            (r#"{"type":"read","data":{"chatId":"b","messageSeq":"x"}}"#, "messageSeq"),
            (r#"{"type":"presence","data":{"userIds":"all"}}"#, "userIds"),
        ] {
            assert_eq!(refused(text).1.as_deref(), Some(field), "{text}");
        }
        let message = r#"{"type":"message","data":{"id":"m-1","toId":5,"chatType":"single"}}"#;
        assert_eq!(refused(message), ("VALIDATION_ERROR".into(), Some("toId".into()), Some("m-1".into())));
    }

    #[test]
    fn too_many_are_refused() {
        let users: Vec<_> = (0..=MAX_USERS).map(|n| n.to_string()).collect();
        let frame = json!({ "type": "presence", "data": { "userIds": users } }).to_string();
        assert_eq!(refused(&frame).1.as_deref(), Some("userIds"));
        let after: BTreeMap<_, _> = (0..=MAX_AFTER).map(|n| (n.to_string(), 1)).collect();
        let frame = json!({ "type": "sync", "data": { "after": after } }).to_string();
        assert_eq!(refused(&frame).1.as_deref(), Some("after"));
        assert!(parse_after(r#"{"a":1}"#).is_ok() && parse_after("[1]").is_err() && parse_after("{}x").is_err());
    }

    #[test]
    fn errors_say_what_they_are_about() {
        let wrong = Error::invalid("toId", "toId must not be empty");
        let text = error(&wrong, Some("m-1"));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["data"]["field"], "toId");
        assert_eq!((&value["type"], &value["data"]["id"]), (&json!("error"), &json!("m-1")));
    }
}
