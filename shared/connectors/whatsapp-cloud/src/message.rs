//! Our messages in the form that `POST /{number}/messages` takes.

use serde_json::{Value, json};
use shared::{
    address::{Jid, Server},
    connector::Outgoing,
    domain::content::{Content, Media, MediaKind},
};

/// Why a message has no such form: what its sender reads.
type No = &'static str;

/// The message. `media` is the platform's id of its media, if it has any.
pub(crate) fn body(outgoing: &Outgoing, media: Option<&str>) -> Result<Value, No> {
    if outgoing.view_once {
        return Err("viewOnce is not possible with the Cloud API");
    }
    let mut body = json!({
        "recipient_type": "individual",
        // Comes back with each status of the message.
        "biz_opaque_callback_data": outgoing.id,
    });
    let (field, to) = recipient(&outgoing.to)?;
    body[field] = json!(to);
    let (kind, content) = content(outgoing, media)?;
    body["type"] = json!(kind);
    body[kind] = content;
    if let Some(quoted) = &outgoing.quoted
        && kind != "reaction"
    {
        body["context"] = json!({ "message_id": known(outgoing, quoted)? });
    }
    Ok(body)
}

/// How the platform is told whom it goes to: by number, or by the id under which it hides one.
fn recipient(to: &str) -> Result<(&'static str, String), No> {
    let jid: Jid = to.parse().map_err(|_| "the recipient is not a phone number")?;
    match jid.server() {
        Server::Person => Ok(("to", jid.user().to_owned())),
        Server::Scoped => Ok(("recipient", jid.user().to_owned())),
        Server::Group | Server::Lid | Server::Newsletter => Err("the Cloud API reaches phone numbers only"),
    }
}

/// The platform's id of the message that this one refers to by `id`. Ours is what a message of ours has until it was sent.
fn known<'a>(outgoing: &'a Outgoing, id: &'a str) -> Result<&'a str, No> {
    let id = outgoing.about.as_ref().map_or(id, |about| about.id.as_str());
    if id.starts_with('~') { Err("the message that it refers to was not sent yet") } else { Ok(id) }
}

fn content(outgoing: &Outgoing, media: Option<&str>) -> Result<(&'static str, Value), No> {
    Ok(match &outgoing.content {
        Content::Text { text } => {
            ("text", json!({ "body": text, "preview_url": outgoing.link_preview.unwrap_or(false) }))
        }
        Content::Media { media_kind, media: ours } => {
            (media_kind.name(), of_media(*media_kind, ours, media.ok_or("the media was not uploaded")?))
        }
        Content::Location { latitude, longitude, name, address } => {
            let mut location = json!({ "latitude": latitude, "longitude": longitude });
            set(&mut location, "name", name.as_deref());
            set(&mut location, "address", address.as_deref());
            ("location", location)
        }
        Content::Contact { name, phone } => {
            let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
            let phone = json!({ "phone": phone, "type": "CELL", "wa_id": digits });
            ("contacts", json!([{ "name": { "formatted_name": name, "first_name": name }, "phones": [phone] }]))
        }
        Content::Reaction { target, emoji } => {
            ("reaction", json!({ "message_id": known(outgoing, target)?, "emoji": emoji }))
        }
        Content::Template { name, language, components } => {
            let components: Value = serde_json::from_str(components).map_err(|_| "the components are not JSON")?;
            ("template", json!({ "name": name, "language": { "code": language }, "components": components }))
        }
        Content::Poll { .. }
        | Content::Edit { .. }
        | Content::Revoke { .. }
        | Content::Other { .. }
        | Content::Foreign { .. } => return Err("the Cloud API cannot send this"),
    })
}

fn of_media(kind: MediaKind, media: &Media, id: &str) -> Value {
    let mut body = json!({ "id": id });
    let caption = media.caption.as_deref();
    match kind {
        MediaKind::Image | MediaKind::Video => set(&mut body, "caption", caption),
        MediaKind::Document => {
            set(&mut body, "caption", caption);
            set(&mut body, "filename", media.filename.as_deref());
        }
        // They have none.
        MediaKind::Audio | MediaKind::Sticker => {}
    }
    body
}

fn set(object: &mut Value, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use shared::{connector::About, id::MediaId};

    use super::*;

    fn outgoing(content: Content) -> Outgoing {
        Outgoing {
            id: "~01K".into(),
            to: "15551234567@s.whatsapp.net".into(),
            content,
            quoted: None,
            mentions: Vec::new(),
            typing_ms: 0,
            link_preview: None,
            view_once: false,
            about: None,
        }
    }

    fn media(kind: MediaKind) -> Content {
        let media = Media {
            media_id: MediaId::new("m"),
            mime: "x/y".into(),
            size: 1,
            filename: Some("f.pdf".into()),
            caption: Some("c".into()),
        };
        Content::Media { media_kind: kind, media }
    }

    #[test]
    fn every_kind_has_its_form() {
        let of = |content: Content| body(&outgoing(content), Some("77")).expect("has a form");
        let text = of(Content::Text { text: "hi".into() });
        assert_eq!(
            text,
            json!({ "recipient_type": "individual", "biz_opaque_callback_data": "~01K", "to": "15551234567",
                    "type": "text", "text": { "body": "hi", "preview_url": false } })
        );
        assert_eq!(of(media(MediaKind::Image))["image"], json!({ "id": "77", "caption": "c" }));
        assert_eq!(of(media(MediaKind::Audio))["audio"], json!({ "id": "77" }));
        assert_eq!(of(media(MediaKind::Sticker))["sticker"], json!({ "id": "77" }));
        let document = json!({ "id": "77", "caption": "c", "filename": "f.pdf" });
        assert_eq!(of(media(MediaKind::Document))["document"], document);
        let place = Content::Location { latitude: 1.5, longitude: -2.0, name: Some("N".into()), address: None };
        assert_eq!(of(place)["location"], json!({ "latitude": 1.5, "longitude": -2.0, "name": "N" }));
        let card = of(Content::Contact { name: "Ada".into(), phone: "+1 555-0".into() });
        assert_eq!(card["contacts"][0]["phones"][0], json!({ "phone": "+1 555-0", "type": "CELL", "wa_id": "15550" }));
        let reaction = of(Content::Reaction { target: "wamid.x".into(), emoji: String::new() });
        assert_eq!(reaction["reaction"], json!({ "message_id": "wamid.x", "emoji": "" }));
        let template = Content::Template { name: "hi".into(), language: "en".into(), components: "[{}]".into() };
        assert_eq!(of(template)["template"], json!({ "name": "hi", "language": { "code": "en" }, "components": [{}] }));
    }

    #[test]
    fn answers_name_what_they_answer_and_hidden_numbers_their_id() {
        let mut reply = outgoing(Content::Text { text: "hi".into() });
        reply.quoted = Some("wamid.q".into());
        reply.to = "US.13491208655302741918@bsuid".into();
        let ours = About { id: "wamid.q".into(), from_me: true, sender: String::new(), text: "q".into() };
        let renamed = Outgoing { quoted: Some("~01J".into()), about: Some(ours), ..reply.clone() };
        assert_eq!(body(&renamed, None).expect("has a form")["context"], json!({ "message_id": "wamid.q" }));
        let body = body(&reply, None).expect("has a form");
        assert_eq!(body["context"], json!({ "message_id": "wamid.q" }));
        assert_eq!((&body["recipient"], &body["to"]), (&json!("US.13491208655302741918"), &Value::Null));
    }

    #[test]
    fn what_the_platform_cannot_do_is_said() {
        let text = || outgoing(Content::Text { text: "hi".into() });
        for bad in [
            Outgoing { to: "123456-789@g.us".into(), ..text() },
            Outgoing { view_once: true, ..text() },
            Outgoing { quoted: Some("~01K".into()), ..text() },
            outgoing(Content::Revoke { target: "x".into() }),
            outgoing(Content::Poll { question: "q".into(), options: Vec::new(), multiple: false }),
        ] {
            assert!(body(&bad, None).is_err(), "{bad:?}");
        }
    }
}
