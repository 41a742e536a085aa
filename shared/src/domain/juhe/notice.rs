//! A callback: whose it is, and the notifications in it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    facts::{Person, RoomNews},
    personal,
    said::Said,
    wecom, wire,
};
use crate::error::{Error, Result};

/// The longest GUID that is taken, in bytes.
const MAX_GUID: usize = 200;
/// How deep notifications may be wrapped in notifications.
const MAX_DEPTH: u8 = 3;

/// Names of the notification types that mean something to us (facts of the service; all others are kept as they came).
pub(super) mod kind {
    pub(crate) const ROOM_NAME: i64 = 1001;
    pub(crate) const MEMBERS_ADDED: i64 = 1002;
    pub(crate) const MEMBERS_REMOVED: i64 = 1003;
    pub(crate) const KICKED: i64 = 1004;
    pub(crate) const LEFT: i64 = 1005;
    pub(crate) const ROOM_CREATED: i64 = 1006;
    pub(crate) const ROOM_DISMISSED: i64 = 1023;
    pub(crate) const CONTACT_CONFIRMED: i64 = 1029;
    pub(crate) const ROOM_INFO: i64 = 2118;
    pub(crate) const FRIEND_CHANGED: i64 = 2131;
    pub(crate) const READY: i64 = 11001;
    pub(crate) const QR: i64 = 11002;
    pub(crate) const LOGIN: i64 = 11003;
    pub(crate) const LOGOUT: i64 = 11004;
    pub(crate) const INITIALISED: i64 = 11005;
    pub(crate) const HEARTBEAT_LOST: i64 = 11006;
    pub(crate) const SESSION_OVER: i64 = 11007;
    pub(crate) const LOGIN_FAILED: i64 = 11008;
    pub(crate) const CONTACTS_SYNCED: i64 = 11009;
    pub(crate) const MESSAGE: i64 = 11010;
    pub(crate) const REPLACED: i64 = 11011;
    pub(crate) const VERIFICATION: i64 = 11012;
    pub(crate) const MESSAGES: i64 = 11013;
}

/// A request of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    pub guid: String,
    pub notices: Vec<Notice>,
}

/// One notification, as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `None`: none that can be read.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<i64>,
    #[serde(rename = "d")]
    pub data: Value,
}

/// What a notification means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    Said(Box<Said>),
    Person(Box<Person>),
    Room(Box<RoomNews>),
    /// The state of the connection; which one is the notice's own kind.
    Connection,
    /// Nothing that we know what to do with: it is kept.
    Unknown,
}

impl Callback {
    /// Reads a body. Errors: `INVALID_PARAMS` `Invalid GUID` if it is no JSON object with a GUID; everything else is taken.
    pub fn read(body: &[u8]) -> Result<Self> {
        let Ok(Value::Object(mut envelope)) = serde_json::from_slice::<Value>(body) else { return Err(invalid_guid()) };
        let guid = guid(envelope.get("guid").and_then(Value::as_str).unwrap_or_default())?;
        let kind = envelope.get("notify_type").and_then(wire::number);
        let data = match envelope.remove("data") {
            Some(data) => data,
            // Personal WeChat comes without a wrapping, too.
            None => {
                envelope.remove("guid");
                envelope.remove("notify_type");
                if envelope.is_empty() { Value::Null } else { Value::Object(envelope) }
            }
        };
        let mut notices = Vec::new();
        unwrap(kind, data, 0, &mut notices);
        if notices.is_empty() {
            notices.push(Notice { kind, data: Value::Null });
        }
        Ok(Self { guid, notices })
    }
}

/// A GUID as callbacks and queries give it. Errors: `INVALID_PARAMS` `Invalid GUID`.
pub(super) fn guid(text: &str) -> Result<String> {
    let guid = text.trim();
    let valid = (1..=MAX_GUID).contains(&guid.len()) && !guid.chars().any(char::is_control);
    if valid { Ok(guid.to_owned()) } else { Err(invalid_guid()) }
}

fn invalid_guid() -> Error {
    Error::invalid("guid", "Invalid GUID").code("INVALID_PARAMS")
}

/// Lists become their elements, texts of JSON what they say, wrapped notifications themselves.
fn unwrap(kind: Option<i64>, data: Value, depth: u8, notices: &mut Vec<Notice>) {
    match data {
        Value::Array(elements) if depth < MAX_DEPTH => {
            for element in elements {
                unwrap(kind, element, depth + 1, notices);
            }
        }
        Value::String(text) if depth < MAX_DEPTH => match serde_json::from_str(&text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => unwrap(kind, inner, depth + 1, notices),
            _ => notices.push(Notice { kind, data: Value::String(text) }),
        },
        Value::Object(mut fields)
            if depth < MAX_DEPTH && fields.contains_key("notify_type") && fields.contains_key("data") =>
        {
            let kind = fields.get("notify_type").and_then(wire::number);
            let data = fields.remove("data").unwrap_or_default();
            unwrap(kind, data, depth + 1, notices);
        }
        data => notices.push(Notice { kind, data }),
    }
}

impl Notice {
    /// Reads what it says.
    pub(super) fn news(&self) -> News {
        let Value::Object(fields) = &self.data else {
            // A logout needs no details.
            return if self.is_connection() { News::Connection } else { News::Unknown };
        };
        let fields = wire::Fields(fields);
        // The two sorts of accounts number their types alike and mean different things: the shape decides.
        if personal::is_message(fields) {
            return personal::said(fields).map_or(News::Unknown, |said| News::Said(Box::new(said)));
        }
        match self.kind {
            Some(kind::MESSAGE | kind::MESSAGES) => {
                wecom::said(fields).map_or(News::Unknown, |said| News::Said(Box::new(said)))
            }
            Some(kind::CONTACT_CONFIRMED | kind::FRIEND_CHANGED) => {
                Person::read(fields).map_or(News::Unknown, |person| News::Person(Box::new(person)))
            }
            Some(
                kind @ (kind::ROOM_NAME
                | kind::MEMBERS_ADDED
                | kind::MEMBERS_REMOVED
                | kind::KICKED
                | kind::LEFT
                | kind::ROOM_CREATED
                | kind::ROOM_DISMISSED
                | kind::ROOM_INFO),
            ) => RoomNews::read(kind, fields).map_or(News::Unknown, |room| News::Room(Box::new(room))),
            _ if self.is_connection() => News::Connection,
            _ => News::Unknown,
        }
    }

    fn is_connection(&self) -> bool {
        matches!(
            self.kind,
            Some(
                kind::READY
                    | kind::QR
                    | kind::LOGIN
                    | kind::LOGOUT
                    | kind::INITIALISED
                    | kind::HEARTBEAT_LOST
                    | kind::SESSION_OVER
                    | kind::LOGIN_FAILED
                    | kind::CONTACTS_SYNCED
                    | kind::REPLACED
                    | kind::VERIFICATION
            )
        )
    }

    /// What it must stay in order with; `None`: everything else of the device.
    pub(super) fn conversation(&self) -> Option<String> {
        match self.news() {
            News::Said(said) => Some(said.conversation()),
            News::Room(room) => Some(format!("R:{}", room.id)),
            News::Person(_) | News::Connection | News::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<Callback> {
        Callback::read(body.to_string().as_bytes())
    }

    #[test]
    fn only_a_guid_is_demanded() {
        for bad in
            [json!({}), json!([]), json!("x"), json!(1), json!({"guid": ""}), json!({"guid": 5}), json!({"guid": null})]
        {
            let error = read(&bad).expect_err("no GUID");
            assert_eq!((error.code.as_ref(), error.message.as_ref()), ("INVALID_PARAMS", "Invalid GUID"), "{bad}");
        }
        assert!(Callback::read(b"not json").is_err() && Callback::read(b"").is_err());
        for taken in [
            json!({"guid": "g"}),
            json!({"guid": "g", "notify_type": "what", "data": 7}),
            json!({"guid": "g", "notify_type": 11010, "data": null}),
            json!({"guid": "g", "notify_type": 11013, "data": []}),
            json!({"guid": " g ", "notify_type": 999_999, "data": {"x": [1]}}),
        ] {
            let callback = read(&taken).expect("taken");
            assert_eq!((callback.guid.as_str(), callback.notices.len()), ("g", 1), "{taken}");
            assert_eq!(callback.notices[0].news(), News::Unknown, "{taken}");
        }
    }

    #[test]
    fn lists_of_every_type_become_single_notices() {
        let many = read(&json!({"guid": "g", "notify_type": "11013", "data": [
            {"id": 1, "sender": "a", "receiver": "b", "content": "x", "msg_type": 2},
            {"notify_type": 1001, "data": {"roomid": "5", "room_name": "n", "sendtime": 1}},
            "{\"id\":2,\"sender\":\"b\",\"receiver\":\"a\",\"content\":\"y\",\"msg_type\":2}",
            [],
            null,
        ]}))
        .expect("reads");
        let said: Vec<bool> = many.notices.iter().map(|notice| matches!(notice.news(), News::Said(_))).collect();
        assert_eq!(said, [true, false, true, false]);
        assert!(matches!(many.notices[1].news(), News::Room(_)));
        assert_eq!(
            many.notices[0].conversation(),
            many.notices[2].conversation(),
            "both directions are one conversation"
        );
    }

    #[test]
    fn the_personal_form_may_come_bare() {
        let bare = json!({"guid": "g", "notify_type": 1010, "from_username": "wxid_a", "to_username": "wxid_me",
                          "msg_id": 9007199254740993_i64, "msg_type": 1, "content": "hi", "create_time": 1});
        let callback = read(&bare).expect("reads");
        let News::Said(said) = callback.notices[0].news() else { panic!("a message") };
        assert_eq!((said.id.as_str(), said.sender.as_str()), ("9007199254740993", "wxid_a"));
    }

    #[test]
    fn a_logout_needs_no_details() {
        let logout = read(&json!({"guid": "g", "notify_type": 11004})).expect("reads");
        assert_eq!(logout.notices[0].news(), News::Connection);
    }
}
