//! What a message of a callback says, in our form. Knows neither network nor store.

use serde_json::{Value, json};
use shared::{
    address::{Jid, Server},
    clock::Millis,
    domain::content::{Content, MediaKind},
    store::Doc,
};

use crate::media::Attached;

/// A message as a callback tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// Address of who wrote.
    pub(crate) sender: String,
    /// The other address of the same person, where both are told.
    pub(crate) also: Option<String>,
    /// Address of the chat: the sender's, or a group's.
    pub(crate) chat: String,
    /// Written by the account itself, on its phone.
    pub(crate) from_me: bool,
    pub(crate) name: String,
    pub(crate) said: Said,
    pub(crate) quoted: Option<String>,
    /// What its event shows beside all this: an object, or null.
    pub(crate) facts: Value,
    pub(crate) at: Millis,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Content(Content),
    Media(Attached),
}

impl Told {
    /// `message` and `contact` as the platform puts them beside each other. `None`: it does not say who wrote what, when.
    pub(crate) fn read(message: &Value, contact: &Value) -> Option<Self> {
        let id = text(&message["id"])?.to_owned();
        let phone = [&message["from"], &contact["wa_id"]].into_iter().find_map(|value| person(text(value)?));
        let scoped = [&message["from_user_id"], &contact["user_id"]].into_iter().find_map(|value| scoped(text(value)?));
        let (sender, also) = match (phone, scoped) {
            (Some(phone), scoped) => (phone, scoped),
            (None, Some(scoped)) => (scoped, None),
            (None, None) => return None,
        };
        let profile = &contact["profile"];
        let name = [&profile["name"], &profile["username"]].into_iter().find_map(|value| text(value));
        let quoted = text(&message["context"]["id"]).map(str::to_owned);
        let chat = text(&message["group_id"]).map_or_else(|| sender.clone(), |group| format!("{group}@g.us"));
        Some(Self {
            id,
            sender,
            also,
            chat,
            from_me: false,
            name: name.unwrap_or_default().to_owned(),
            said: said(message),
            quoted,
            facts: facts(message),
            at: at(&message["timestamp"])?,
        })
    }

    /// What was written with the WhatsApp Business app under the same number. `None`: it does not say what to whom, when.
    pub(crate) fn echo(message: &Value) -> Option<Self> {
        let chat = [text(&message["to"]).and_then(person), text(&message["to_user_id"]).and_then(scoped)];
        Some(Self {
            id: text(&message["id"])?.to_owned(),
            sender: person(text(&message["from"])?)?,
            also: None,
            chat: chat.into_iter().flatten().next()?,
            from_me: true,
            name: String::new(),
            said: said(message),
            quoted: text(&message["context"]["id"]).map(str::to_owned),
            facts: facts(message),
            at: at(&message["timestamp"])?,
        })
    }

    pub(crate) fn is_group(&self) -> bool {
        !self.from_me && self.chat != self.sender
    }
}

/// The words are those that the other transport has.
fn facts(message: &Value) -> Value {
    let mut facts = Doc::new();
    let context = &message["context"];
    if context["forwarded"] == true || context["frequently_forwarded"] == true {
        facts.insert("forwarded".into(), true.into());
    }
    if message["audio"]["voice"] == true {
        facts.insert("voice".into(), true.into());
    }
    // The advertisement that somebody came from.
    if message["referral"].is_object() {
        facts.insert("referral".into(), message["referral"].clone());
    }
    if facts.is_empty() { Value::Null } else { facts.into() }
}

/// Seconds, as a text or as a number.
fn at(timestamp: &Value) -> Option<Millis> {
    let seconds = match timestamp {
        Value::String(text) => text.parse::<i64>().ok()?,
        other => other.as_i64()?,
    };
    Some(Millis(seconds.saturating_mul(1000)))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The address of a number.
pub(crate) fn person(digits: &str) -> Option<String> {
    digits.parse::<Jid>().ok().filter(|jid| jid.server() == Server::Person).map(|jid| jid.to_string())
}

/// The address of somebody whose number is hidden.
pub(crate) fn scoped(id: &str) -> Option<String> {
    let address = format!("{id}@{}", Server::Scoped.as_str());
    address.parse::<Jid>().ok().map(|jid| jid.to_string())
}

fn said(message: &Value) -> Said {
    let kind = message["type"].as_str().unwrap_or("unknown");
    let object = &message[kind];
    let media = |kind: MediaKind| Attached::read(kind, object).map(Said::Media);
    let attached = match kind {
        "image" => media(MediaKind::Image),
        "video" => media(MediaKind::Video),
        "audio" | "voice" => media(MediaKind::Audio),
        "document" => media(MediaKind::Document),
        "sticker" => media(MediaKind::Sticker),
        _ => None,
    };
    attached.unwrap_or_else(|| Said::Content(content(kind, object, message)))
}

fn content(kind: &str, object: &Value, message: &Value) -> Content {
    let string = |value: &Value| text(value).map(str::to_owned);
    let foreign = |name: &str, said: Option<String>, detail: &Value| Content::Foreign {
        name: name.to_owned(),
        text: said.unwrap_or_default(),
        detail: (!detail.is_null()).then(|| detail.clone()),
    };
    match kind {
        "text" => Content::Text { text: string(&object["body"]).unwrap_or_default() },
        "location" => match (object["latitude"].as_f64(), object["longitude"].as_f64()) {
            (Some(latitude), Some(longitude)) => Content::Location {
                latitude,
                longitude,
                name: string(&object["name"]),
                address: string(&object["address"]),
            },
            _ => Content::Other { name: kind.to_owned() },
        },
        "contacts" => contacts(object),
        "reaction" => match string(&object["message_id"]) {
            // Without an emoji it is taken back.
            Some(target) => Content::Reaction { target, emoji: string(&object["emoji"]).unwrap_or_default() },
            None => Content::Other { name: kind.to_owned() },
        },
        "edit" => match (string(&object["original_message_id"]), &object["message"]) {
            (Some(target), new) => {
                let kind = new["type"].as_str().unwrap_or("text");
                let said = [&new[kind]["body"], &new[kind]["caption"]].into_iter().find_map(string);
                Content::Edit { target, text: said.unwrap_or_default() }
            }
            (None, _) => Content::Other { name: kind.to_owned() },
        },
        "revoke" => match string(&object["original_message_id"]) {
            Some(target) => Content::Revoke { target },
            None => Content::Other { name: kind.to_owned() },
        },
        // Somebody tapped on what we had offered. The words are WhatsApp's own, as the other transport has them.
        "button" => foreign("templateButtonReplyMessage", string(&object["text"]), object),
        "interactive" => {
            let kind = object["type"].as_str().unwrap_or_default();
            let name = match kind {
                "button_reply" => "buttonsResponseMessage",
                "list_reply" => "listResponseMessage",
                _ => "interactiveResponseMessage",
            };
            let reply = &object[kind];
            foreign(name, [&reply["title"], &reply["body"]].into_iter().find_map(string), object)
        }
        "order" => foreign("orderMessage", string(&object["text"]), object),
        "system" => foreign(kind, string(&object["body"]), object),
        // The platform says that it cannot show it here, and why.
        "unsupported" | "unknown" => match &message["errors"] {
            Value::Null => Content::Other { name: "unsupported".into() },
            errors => {
                let errors = json!({ "errors": errors });
                Content::Foreign { name: "unsupported".into(), text: String::new(), detail: Some(errors) }
            }
        },
        other => Content::Other { name: other.chars().take(64).collect() },
    }
}

/// One card with one number is a contact as everywhere; all else stays as the platform has it.
fn contacts(list: &Value) -> Content {
    let cards = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |card: &Value| text(&card["name"]["formatted_name"]).unwrap_or_default().to_owned();
    if let [card] = cards
        && let Some([phone]) = card["phones"].as_array().map(Vec::as_slice)
        && let Some(phone) = [&phone["phone"], &phone["wa_id"]].into_iter().find_map(text)
    {
        return Content::Contact { name: name(card), phone: phone.to_owned() };
    }
    let names: Vec<String> = cards.iter().map(name).filter(|name| !name.is_empty()).collect();
    Content::Foreign {
        name: "contactsArrayMessage".into(),
        text: names.join(", "),
        detail: Some(json!({ "contacts": list })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, object: &Value) -> Content {
        let message =
            json!({ "from": "15551234567", "id": "wamid.x", "timestamp": "1700000000", "type": kind, kind: object });
        match Told::read(&message, &Value::Null).expect("is told").said {
            Said::Content(content) => content,
            Said::Media(media) => panic!("{media:?}"),
        }
    }

    #[test]
    fn who_wrote_when_in_answer_to_what() {
        let message = json!({
            "from": "15551234567", "id": "wamid.x", "timestamp": "1700000000", "type": "text", "text": { "body": "hi" },
            "context": { "from": "1", "id": "wamid.q", "forwarded": true },
        });
        let contact = json!({ "profile": { "name": "Ada" }, "wa_id": "15551234567", "user_id": "US.134" });
        let told = Told::read(&message, &contact).expect("is told");
        assert_eq!((told.id.as_str(), told.name.as_str(), told.at), ("wamid.x", "Ada", Millis(1_700_000_000_000)));
        assert_eq!((told.sender.as_str(), told.also.as_deref()), ("15551234567@s.whatsapp.net", Some("US.134@bsuid")));
        assert_eq!((told.chat == told.sender, told.quoted.as_deref()), (true, Some("wamid.q")));
        assert_eq!(told.facts, json!({ "forwarded": true }));

        let hidden = json!({ "from_user_id": "US.134", "id": "w", "timestamp": 1_700_000_000, "type": "text" });
        let told = Told::read(&hidden, &json!({ "profile": { "username": "ada" } })).expect("is told");
        assert_eq!((told.sender.as_str(), told.also, told.name.as_str()), ("US.134@bsuid", None, "ada"));
        for bad in [
            json!({}),
            json!({ "from": "1x", "id": "w", "timestamp": "1" }),
            json!({ "from": "15551234567", "id": "w" }),
        ] {
            assert_eq!(Told::read(&bad, &Value::Null), None, "{bad}");
        }
    }

    #[test]
    fn kinds_without_media() {
        assert_eq!(read("text", &json!({ "body": "hi" })), Content::Text { text: "hi".into() });
        let place =
            read("location", &json!({ "latitude": 1.5, "longitude": 2, "name": "N", "address": "A", "url": "u" }));
        assert!(matches!(place, Content::Location { longitude, .. } if longitude == 2.0), "{place:?}");
        let card = json!([{ "name": { "formatted_name": "Ada" }, "phones": [{ "phone": "+1 555", "wa_id": "1555" }] }]);
        assert_eq!(read("contacts", &card), Content::Contact { name: "Ada".into(), phone: "+1 555".into() });
        let two = json!([card[0], { "name": { "formatted_name": "Bob" } }]);
        assert!(
            matches!(read("contacts", &two), Content::Foreign { name, text, .. } if name == "contactsArrayMessage" && text == "Ada, Bob")
        );
        let back = read("reaction", &json!({ "message_id": "wamid.t" }));
        assert_eq!(back, Content::Reaction { target: "wamid.t".into(), emoji: String::new() });
        let button = json!({ "payload": "p", "text": "Yes" });
        assert!(matches!(read("button", &button), Content::Foreign { text, detail: Some(_), .. } if text == "Yes"));
        let list = json!({ "type": "list_reply", "list_reply": { "id": "1", "title": "First", "description": "d" } });
        assert!(matches!(read("interactive", &list), Content::Foreign { text, .. } if text == "First"));
        let edit =
            json!({ "original_message_id": "wamid.t", "message": { "type": "image", "image": { "caption": "new" } } });
        assert_eq!(read("edit", &edit), Content::Edit { target: "wamid.t".into(), text: "new".into() });
        let revoke = json!({ "original_message_id": "wamid.t" });
        assert_eq!(read("revoke", &revoke), Content::Revoke { target: "wamid.t".into() });
        assert_eq!(read("ephemeral", &Value::Null), Content::Other { name: "ephemeral".into() });
        assert_eq!(read("image", &json!({})), Content::Other { name: "image".into() });
    }

    #[test]
    fn what_the_phone_wrote_is_our_own() {
        let echo = json!({
            "from": "15550001111", "to": "15551234567", "id": "w", "timestamp": 1, "type": "text", "text": { "body": "hi" },
        });
        let told = Told::echo(&echo).expect("is told");
        assert_eq!((told.from_me, told.chat.as_str(), told.is_group()), (true, "15551234567@s.whatsapp.net", false));
        assert_eq!(Told::echo(&json!({ "from": "15550001111", "id": "w", "timestamp": 1 })), None);
    }

    #[test]
    fn media_is_where_the_platform_has_it() {
        let message = json!({
            "from": "15551234567", "id": "w", "timestamp": "1", "type": "document",
            "document": { "id": "9", "mime_type": "application/pdf", "sha256": "x", "filename": "f.pdf", "caption": "c" },
        });
        let Said::Media(media) = Told::read(&message, &Value::Null).expect("is told").said else { panic!("media") };
        assert_eq!(
            (media.kind, media.id.as_str(), media.filename.as_deref()),
            (MediaKind::Document, "9", Some("f.pdf"))
        );
    }
}
