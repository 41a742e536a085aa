//! Message notifications of WeCom accounts.

use serde_json::{Map, Value};

use super::{
    said::{Said, What},
    wire::{self, Fields},
};
use crate::domain::content::Content;

const REVOKE: i64 = 1;
const TEXT: i64 = 2;
const LOCATION: i64 = 3;
const LINK: i64 = 4;
const IMAGE: i64 = 5;
const VOICE: i64 = 6;
const VIDEO: i64 = 7;
const FILE: i64 = 8;
const GIF: i64 = 10;
const CARD: i64 = 11;
const READ: i64 = 1012;

/// Bit of `flag`: the message was taken back.
const FLAG_REVOKED: i64 = 32;

/// What else a message may carry and is worth keeping: where its bytes are, what a link shows.
const DETAILS: &[&str] = &[
    "cdn",
    "file_name",
    "file_size",
    "voice_time",
    "url",
    "title",
    "desc",
    "image_url",
    "username",
    "nickname",
    "avatar",
    "appid",
    "at_list",
];

/// `None` if it cannot be told which message of which conversation it is.
pub(super) fn said(fields: Fields<'_>) -> Option<Said> {
    let said = Said {
        id: fields.id(&["id", "msgid", "msg_id"]),
        appinfo: fields.id(&["appinfo"]),
        seq: fields.id(&["seq"]),
        sender: fields.id(&["sender"]),
        receiver: fields.id(&["receiver"]),
        room: fields.id(&["roomid", "room_id"]).trim_start_matches("R:").to_owned(),
        at: fields.time(&["sendtime", "send_time", "timestamp"]),
        name: fields.text(&["sender_name", "sendername"]),
        what: what(fields)?,
    };
    let identified = !said.id.is_empty() || !said.appinfo.is_empty();
    let placed = !said.room.is_empty() || (!said.sender.is_empty() && !said.receiver.is_empty());
    (identified && placed).then_some(said)
}

fn what(fields: Fields<'_>) -> Option<What> {
    let kind = kind_of(fields);
    let target = fields.id(&["referid", "refer_id"]);
    match kind {
        // Without what it is about it says nothing.
        REVOKE | READ if target.is_empty() => None,
        REVOKE => Some(What::Revoke(vec![target])),
        READ => Some(What::Read(target)),
        _ => {
            let quoted = Some(fields.text(&["quote_appinfo"])).filter(|quoted| !quoted.is_empty());
            let revoked = fields.number(&["flag"]).is_some_and(|flag| flag & FLAG_REVOKED != 0);
            Some(What::Message { content: content(kind, fields), quoted, revoked })
        }
    }
}

/// `msg_type`; where that is absent or says nothing, what the raw `content_type` stands for.
fn kind_of(fields: Fields<'_>) -> i64 {
    match fields.number(&["msg_type"]) {
        Some(kind @ (1..=16 | 1011 | READ)) => kind,
        kind => match fields.number(&["content_type", "contenttype"]) {
            Some(2) => TEXT,
            Some(6 | 48) => LOCATION,
            Some(43) => VIDEO,
            Some(101) => IMAGE,
            Some(104) => GIF,
            None if kind.is_none() && fields.get("content").is_some() => TEXT,
            _ => -1,
        },
    }
}

fn content(kind: i64, fields: Fields<'_>) -> Content {
    let text = plain(fields.get("content"));
    let name = match kind {
        TEXT => return Content::Text { text },
        LOCATION => return location(text, fields),
        LINK => "link",
        IMAGE => "image",
        VOICE => "audio",
        VIDEO => "video",
        FILE => "document",
        GIF => "sticker",
        CARD => "contact",
        _ => "other",
    };
    let text = if text.is_empty() { fields.text(&["title", "file_name", "desc"]) } else { text };
    let text = match fields.get("cdn").and_then(Fields::of) {
        Some(cdn) if text.is_empty() => cdn.text(&["file_name"]),
        _ => text,
    };
    Content::Foreign { name: name.into(), text, detail: detail(fields) }
}

/// The text; `content` may itself be JSON such as `{"msg": "…"}`.
fn plain(content: Option<&Value>) -> String {
    let inner = |fields: Fields<'_>| fields.get("msg").and_then(wire::text);
    match content {
        None => String::new(),
        Some(Value::String(text)) => {
            let json = text.starts_with('{').then(|| serde_json::from_str::<Map<String, Value>>(text).ok()).flatten();
            json.and_then(|fields| inner(Fields(&fields))).unwrap_or_else(|| text.clone())
        }
        Some(Value::Object(fields)) => {
            inner(Fields(fields)).unwrap_or_else(|| Value::Object(fields.clone()).to_string())
        }
        Some(other) => wire::text(other).unwrap_or_else(|| other.to_string()),
    }
}

fn location(text: String, fields: Fields<'_>) -> Content {
    let degrees = |names: &[&str], most: f64| {
        let number = fields.text(names).parse::<f64>().ok()?;
        (number.is_finite() && number.abs() <= most).then_some(number)
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    match (degrees(&["latitude", "lat"], 90.0), degrees(&["longitude", "lng"], 180.0)) {
        (Some(latitude), Some(longitude)) => Content::Location {
            latitude,
            longitude,
            name: some(fields.text(&["title", "name"])).or(some(text)),
            address: some(fields.text(&["address"])),
        },
        _ => Content::Foreign { name: "location".into(), text, detail: detail(fields) },
    }
}

fn detail(fields: Fields<'_>) -> Option<Value> {
    let kept: Map<String, Value> =
        DETAILS.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(name)?.clone()))).collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Millis;

    fn read(data: &Value) -> Option<Said> {
        said(Fields::of(data).expect("an object"))
    }

    #[test]
    fn the_sample_of_the_service_is_read() {
        let said = read(&json!({
            "seq": "7272646", "id": "1067188", "appinfo": "CAUQ", "sender": "16888", "receiver": "788", "roomid": "0",
            "sendtime": 1711649467, "sender_name": "张三", "content_type": 2, "referid": "0", "flag": 16777216,
            "content": "你好", "at_list": [], "quote_content": "", "quote_appinfo": "", "send_flag": 1, "msg_type": 2
        }))
        .expect("a message");
        assert_eq!((said.id.as_str(), said.appinfo.as_str(), said.seq.as_str()), ("1067188", "CAUQ", "7272646"));
        assert_eq!((said.sender.as_str(), said.receiver.as_str(), said.room.as_str()), ("16888", "788", ""));
        assert_eq!(said.at, Some(Millis(1_711_649_467_000)));
        assert_eq!((said.peer(None), said.peer(Some("16888")), said.peer(Some("788"))), ("16888", "788", "16888"));
        let text = Content::Text { text: "你好".into() };
        assert_eq!(said.what, What::Message { content: text, quoted: None, revoked: false });
    }

    #[test]
    fn msg_type_decides_and_content_type_stands_in() {
        let name = |extra: Value| {
            let mut data = json!({"id": 1, "sender": 2, "receiver": 3, "content": "x"});
            data.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
            match read(&data).expect("a message").what {
                What::Message { content, .. } => content.kind().to_owned(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(name(json!({"msg_type": 5, "content_type": 2})), "image");
        assert_eq!(name(json!({"msg_type": 2, "content_type": 101})), "text");
        assert_eq!(name(json!({"content_type": 101})), "image");
        assert_eq!(name(json!({"msg_type": 77, "content_type": 43})), "video");
        assert_eq!(name(json!({"msg_type": 77})), "other");
        assert_eq!(name(json!({})), "text");
        assert_eq!(name(json!({"msg_type": 1, "referid": 9})), "Revoke([\"9\"])");
        assert_eq!(name(json!({"msg_type": "1012", "referid": "9"})), "Read(\"9\")");
        assert_eq!(name(json!({"msg_type": 3, "longitude": "120.1", "latitude": 30.2})), "location");
        assert_eq!(name(json!({"msg_type": 3, "longitude": "x", "latitude": 95})), "location");
    }

    #[test]
    fn what_cannot_be_placed_is_no_message() {
        for data in [
            json!({"sender": 2, "receiver": 3, "content": "no id"}),
            json!({"id": 1, "receiver": 3}),
            json!({"id": 1, "sender": 2, "roomid": "0"}),
            json!({"id": 1, "sender": 2, "receiver": 3, "msg_type": 1, "referid": "0"}),
            json!({"id": [1], "sender": 2, "receiver": 3}),
        ] {
            assert_eq!(read(&data), None, "{data}");
        }
    }

    #[test]
    fn content_may_be_json_itself() {
        assert_eq!(plain(Some(&json!("{\"msg\":\"hello\"}"))), "hello");
        assert_eq!(plain(Some(&json!("{\"other\":1}"))), "{\"other\":1}");
        assert_eq!(plain(Some(&json!({"msg": "hello"}))), "hello");
        assert_eq!(plain(Some(&json!("{not json"))), "{not json");
        assert_eq!(plain(Some(&json!(7))), "7");
    }
}
