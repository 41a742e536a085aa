//! Message notifications of personal WeChat accounts.

use serde_json::json;

use super::{
    said::{Said, What},
    wire::{Fields, element},
};
use crate::domain::content::Content;

const TEXT: i64 = 1;
const IMAGE: i64 = 3;
const VOICE: i64 = 34;
const VIDEO: i64 = 43;
const EMOJI: i64 = 47;
const LOCATION: i64 = 48;
const APP: i64 = 49;
const REVOKE: i64 = 10002;

/// What ends the name of a room.
const ROOM: &str = "@chatroom";

/// Whether these are the fields of such a message.
pub(super) fn is_message(fields: Fields<'_>) -> bool {
    let has = |name| fields.get(name).is_some();
    has("msg_id") && (has("from_username") || has("to_username") || has("chatroom"))
}

/// `None` if it cannot be told which message of which conversation it is.
pub(super) fn said(fields: Fields<'_>) -> Option<Said> {
    let (from, to) = (fields.id(&["from_username"]), fields.id(&["to_username"]));
    let named = fields.id(&["chatroom"]);
    let room =
        [&named, &from, &to].into_iter().find(|name| !name.is_empty() && (*name == &named || name.ends_with(ROOM)));
    let room = room.cloned().unwrap_or_default();
    let text = fields.text(&["content"]);
    let mut sender = fields.id(&["chatroom_sender"]);
    let mut text = text.as_str();
    if room.is_empty() {
        sender.clone_from(&from);
    } else if let Some((writer, rest)) = prefixed(text)
        && (sender.is_empty() || sender == writer)
    {
        sender = writer.to_owned();
        text = rest;
    }
    if sender.is_empty() && from != room {
        sender.clone_from(&from);
    }
    let said = Said {
        id: fields.id(&["msg_id"]),
        appinfo: String::new(),
        seq: fields.id(&["seq", "msg_seq"]),
        sender,
        receiver: to,
        room,
        at: fields.time(&["create_time", "timestamp"]),
        name: fields.text(&["sender_name", "from_nickname", "nickname"]),
        what: what(fields, text)?,
    };
    let placed = !said.room.is_empty() || (!said.sender.is_empty() && !said.receiver.is_empty());
    (!said.id.is_empty() && placed).then_some(said)
}

/// In rooms the text begins with who wrote it: `wxid:\n`.
fn prefixed(text: &str) -> Option<(&str, &str)> {
    let (writer, rest) = text.split_once(":\n")?;
    let name = !writer.is_empty() && writer.len() <= 64 && !writer.chars().any(|c| c.is_whitespace() || c == '<');
    name.then_some((writer, rest))
}

fn what(fields: Fields<'_>, text: &str) -> Option<What> {
    let kind = fields.number(&["msg_type"]).unwrap_or(TEXT);
    let content = match kind {
        TEXT => Content::Text { text: text.to_owned() },
        IMAGE => foreign("image", "", text),
        VOICE => foreign("audio", "", text),
        VIDEO => foreign("video", "", text),
        EMOJI => foreign("sticker", "", text),
        LOCATION => location(text),
        APP => app(text),
        REVOKE if text.contains("revokemsg") => {
            // It names the message by both of its ids; which of them we know it by depends on who sent it.
            let ids = ["newmsgid", "msgid"].iter().filter_map(|name| element(text, name));
            let ids: Vec<String> = ids.filter(|id| !id.is_empty() && id != "0").collect();
            return (!ids.is_empty()).then_some(What::Revoke(ids));
        }
        _ => Content::Foreign { name: "other".into(), text: text.to_owned(), detail: Some(json!({ "msgType": kind })) },
    };
    Some(What::Message { content, quoted: None, revoked: false })
}

fn foreign(name: &str, text: &str, xml: &str) -> Content {
    let detail = (!xml.is_empty()).then(|| json!({ "xml": xml }));
    Content::Foreign { name: name.into(), text: text.to_owned(), detail }
}

fn location(xml: &str) -> Content {
    let degrees = |name: &str, most: f64| {
        let number = attribute(xml, name)?.parse::<f64>().ok()?;
        (number.is_finite() && number.abs() <= most).then_some(number)
    };
    let some = |name| attribute(xml, name).filter(|text| !text.is_empty());
    match (degrees("x", 90.0), degrees("y", 180.0)) {
        (Some(latitude), Some(longitude)) => {
            Content::Location { latitude, longitude, name: some("poiname"), address: some("label") }
        }
        _ => foreign("location", "", xml),
    }
}

/// The value of an attribute, wherever it is.
fn attribute(xml: &str, name: &str) -> Option<String> {
    let at = xml.find(&format!(" {name}=\""))? + name.len() + 3;
    let rest = &xml[at..];
    Some(rest[..rest.find('"')?].to_owned())
}

/// Links, files, and what else is shown as a card. An answer that quotes is a text.
fn app(xml: &str) -> Content {
    let title = element(xml, "title").unwrap_or_default();
    match element(xml, "type").and_then(|kind| kind.parse::<i64>().ok()) {
        Some(57) => Content::Text { text: title },
        Some(6 | 74) => foreign("document", &title, xml),
        Some(4 | 5) => foreign("link", &title, xml),
        _ => foreign("other", &title, xml),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &serde_json::Value) -> Option<Said> {
        let fields = Fields::of(data).expect("an object");
        assert!(is_message(fields));
        said(fields)
    }

    #[test]
    fn private_messages_and_rooms() {
        let private = read(&json!({"from_username": "wxid_a", "to_username": "wxid_me", "chatroom": "", "msg_id": 5,
                                   "msg_type": 1, "content": "a:\nb", "create_time": 1_700_000_000}))
        .expect("a message");
        assert_eq!((private.sender.as_str(), private.room.as_str()), ("wxid_a", ""));
        let text = |said: &Said| match &said.what {
            What::Message { content, .. } => content.text().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(text(&private), "a:\nb", "only rooms name the writer in the text");
        let room = read(&json!({"from_username": "1@chatroom", "to_username": "wxid_me", "msg_id": "6", "msg_type": 1,
                                "content": "wxid_b:\nhello"}))
        .expect("a message");
        assert_eq!((room.room.as_str(), room.sender.as_str(), text(&room).as_str()), ("1@chatroom", "wxid_b", "hello"));
        let own = read(&json!({"from_username": "wxid_me", "to_username": "1@chatroom", "msg_id": 7, "msg_type": 1,
                               "content": "hi"}))
        .expect("a message");
        assert_eq!((own.room.as_str(), own.sender.as_str()), ("1@chatroom", "wxid_me"));
        let other = read(&json!({"from_username": "1@chatroom", "chatroom": "1@chatroom", "chatroom_sender": "wxid_c",
                                 "msg_id": 8, "msg_type": 1, "content": "note:\nthis stays"}))
        .expect("a message");
        assert_eq!((other.sender.as_str(), text(&other).as_str()), ("wxid_c", "note:\nthis stays"));
    }

    #[test]
    fn a_revocation_names_both_ids() {
        let xml = "<sysmsg type=\"revokemsg\"><revokemsg><msgid>11</msgid><newmsgid>22</newmsgid></revokemsg></sysmsg>";
        let said =
            read(&json!({"from_username": "a", "to_username": "b", "msg_id": 9, "msg_type": 10002, "content": xml}));
        assert_eq!(said.expect("a revocation").what, What::Revoke(vec!["22".into(), "11".into()]));
        let nothing = json!({"from_username": "a", "to_username": "b", "msg_id": 9, "msg_type": 10002, "content": "<revokemsg/>"});
        assert_eq!(read(&nothing), None);
    }

    #[test]
    fn cards_are_links_files_or_answers() {
        let kind = |n: i64| {
            let content = app(&format!("<msg><appmsg><title>t</title><type>{n}</type></appmsg></msg>"));
            (content.kind().to_owned(), content.text().to_owned())
        };
        assert_eq!(kind(5), ("link".into(), "t".into()));
        assert_eq!(kind(6), ("document".into(), "t".into()));
        assert_eq!(kind(57), ("text".into(), "t".into()));
        assert_eq!(kind(2000), ("other".into(), "t".into()));
        let place = location("<msg><location x=\"30.1\" y=\"120.2\" label=\"street\" poiname=\"cafe\"/></msg>");
        assert_eq!((place.kind(), place.text()), ("location", "cafe"));
    }
}
