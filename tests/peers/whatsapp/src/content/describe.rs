//! What a message says, as JSON for tests to look at.

use serde_json::{Value, json};
use wacore::download::MediaType;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message;

/// A message in words.
pub(crate) struct Described {
    /// The name of the field it is in, as in the protocol; empty for one without content of its own.
    pub(crate) kind: String,
    /// Text or caption.
    pub(crate) text: Option<String>,
    pub(crate) content: Value,
}

/// Where a message's media are, and how they are opened.
pub(crate) struct MediaRef {
    pub(crate) kind: MediaType,
    pub(crate) direct_path: String,
    pub(crate) media_key: Vec<u8>,
}

/// Describes a message; wrappers (view once, ephemeral, with caption) are taken off.
pub(crate) fn describe(message: &wa::Message) -> Described {
    let (inner, view_once) = unwrap(message);
    let mut described = kind_of(inner);
    add_view_once(&mut described.content, view_once);
    described
}

/// Takes wrappers off; says whether one of them was "view once".
fn unwrap(message: &wa::Message) -> (&wa::Message, bool) {
    let mut inner = message;
    let mut view_once = false;
    loop {
        let once = [&inner.view_once_message, &inner.view_once_message_v2, &inner.view_once_message_v2_extension]
            .into_iter()
            .find_map(|field| field.as_option());
        let other = [&inner.ephemeral_message, &inner.document_with_caption_message, &inner.edited_message]
            .into_iter()
            .find_map(|field| field.as_option());
        view_once |= once.is_some();
        match once.or(other).and_then(|wrapper| wrapper.message.as_option()) {
            Some(wrapped) => inner = wrapped,
            None => return (inner, view_once),
        }
    }
}

fn described(kind: &str, text: Option<&String>, content: Value) -> Described {
    let content = match content {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    };
    Described { kind: kind.to_owned(), text: text.cloned(), content }
}

/// What is said of every kind of media, more of its own, and what the message refers to.
macro_rules! media {
    ($media:expr, { $($own:tt)* }) => {{
        let mut content = json!({
            "mimetype": $media.mimetype,
            "fileLength": $media.file_length,
            "sha256": $media.file_sha256.as_ref().map(hex::encode),
            "directPath": $media.direct_path,
            $($own)*
        });
        add_context(&mut content, $media.context_info.as_option());
        content
    }};
}

fn kind_of(message: &wa::Message) -> Described {
    if let Some(text) = &message.conversation {
        return described("conversation", Some(text), json!({}));
    }
    if let Some(extended) = message.extended_text_message.as_option() {
        let mut content = json!({
            "title": extended.title,
            "matchedText": extended.matched_text,
        });
        add_context(&mut content, extended.context_info.as_option());
        return described("extendedTextMessage", extended.text.as_ref(), content);
    }
    if let Some(image) = message.image_message.as_option() {
        let mut content = media!(image, {"width": image.width, "height": image.height});
        add_view_once(&mut content, image.view_once == Some(true));
        return described("imageMessage", image.caption.as_ref(), content);
    }
    if let Some(video) = message.video_message.as_option() {
        let mut content = media!(video, {"seconds": video.seconds});
        add_view_once(&mut content, video.view_once == Some(true));
        return described("videoMessage", video.caption.as_ref(), content);
    }
    if let Some(audio) = message.audio_message.as_option() {
        let mut content = media!(audio, {"seconds": audio.seconds, "ptt": audio.ptt});
        add_view_once(&mut content, audio.view_once == Some(true));
        return described("audioMessage", None, content);
    }
    if let Some(document) = message.document_message.as_option() {
        let content = media!(document, {"fileName": document.file_name, "title": document.title});
        return described("documentMessage", document.caption.as_ref(), content);
    }
    if let Some(sticker) = message.sticker_message.as_option() {
        return described("stickerMessage", None, media!(sticker, {"animated": sticker.is_animated}));
    }
    if let Some(location) = message.location_message.as_option() {
        let mut content = json!({
            "latitude": location.degrees_latitude,
            "longitude": location.degrees_longitude,
            "name": location.name,
            "address": location.address,
        });
        add_context(&mut content, location.context_info.as_option());
        return described("locationMessage", None, content);
    }
    if let Some(contact) = message.contact_message.as_option() {
        let mut content = json!({"name": contact.display_name, "vcard": contact.vcard});
        add_context(&mut content, contact.context_info.as_option());
        return described("contactMessage", None, content);
    }
    if let Some(contacts) = message.contacts_array_message.as_option() {
        let list: Vec<Value> = contacts
            .contacts
            .iter()
            .map(|contact| json!({"name": contact.display_name, "vcard": contact.vcard}))
            .collect();
        return described("contactsArrayMessage", None, json!({"contacts": list}));
    }
    if let Some(reaction) = message.reaction_message.as_option() {
        let content = json!({
            "emoji": reaction.text,
            "target": key_json(reaction.key.as_option()),
        });
        return described("reactionMessage", None, content);
    }
    if let Some(poll) = super::poll_of(message) {
        let options: Vec<&Option<String>> = poll.options.iter().map(|option| &option.option_name).collect();
        let content = json!({
            "name": poll.name,
            "options": options,
            "selectable": poll.selectable_options_count,
        });
        return described("pollCreationMessage", poll.name.as_ref(), content);
    }
    if let Some(update) = message.poll_update_message.as_option() {
        let content = json!({"poll": key_json(update.poll_creation_message_key.as_option())});
        return described("pollUpdateMessage", None, content);
    }
    if let Some(protocol) = message.protocol_message.as_option() {
        return protocol_message(protocol);
    }
    described(other_kind(message), None, json!({}))
}

fn protocol_message(protocol: &wa::message::ProtocolMessage) -> Described {
    let target = key_json(protocol.key.as_option());
    match protocol.r#type {
        Some(protocol_message::Type::MESSAGE_EDIT) => {
            let edited = protocol.edited_message.as_option().map(describe);
            let text = edited.as_ref().and_then(|edited| edited.text.clone());
            described(
                "protocolMessage",
                text.as_ref(),
                json!({"type": "edit", "target": target, "kind": edited.map(|edited| edited.kind)}),
            )
        }
        Some(protocol_message::Type::REVOKE) => {
            described("protocolMessage", None, json!({"type": "revoke", "target": target}))
        }
        other => {
            described("protocolMessage", None, json!({"type": other.map(|kind| format!("{kind:?}")), "target": target}))
        }
    }
}

/// The kind of a message that is not described further.
fn other_kind(message: &wa::Message) -> &'static str {
    if message.live_location_message.is_set() {
        "liveLocationMessage"
    } else if message.group_invite_message.is_set() {
        "groupInviteMessage"
    } else if message.pin_in_chat_message.is_set() {
        "pinInChatMessage"
    } else if message.keep_in_chat_message.is_set() {
        "keepInChatMessage"
    } else if message.event_message.is_set() {
        "eventMessage"
    } else if message.secret_encrypted_message.is_set() {
        "secretEncryptedMessage"
    } else if message.sender_key_distribution_message.is_set() {
        ""
    } else {
        "unknown"
    }
}

fn key_json(key: Option<&wa::MessageKey>) -> Value {
    key.map_or(Value::Null, |key| {
        json!({
            "id": key.id,
            "fromMe": key.from_me,
            "chat": key.remote_jid,
            "participant": key.participant,
        })
    })
}

fn add_view_once(content: &mut Value, view_once: bool) {
    if view_once && let Value::Object(fields) = content {
        fields.insert("viewOnce".to_owned(), json!(true));
    }
}

fn add_context(content: &mut Value, context: Option<&wa::ContextInfo>) {
    let (Some(context), Value::Object(fields)) = (context, content) else {
        return;
    };
    if let Some(id) = &context.stanza_id {
        let quoted = context.quoted_message.as_option().map(describe);
        fields.insert(
            "quoted".to_owned(),
            json!({
                "id": id,
                "participant": context.participant,
                "text": quoted.as_ref().and_then(|quoted| quoted.text.clone()),
                "kind": quoted.map(|quoted| quoted.kind),
            }),
        );
    }
    if !context.mentioned_jid.is_empty() {
        fields.insert("mentions".to_owned(), json!(context.mentioned_jid));
    }
    if context.is_forwarded == Some(true) {
        fields.insert("forwarded".to_owned(), json!(true));
    }
}

/// The media of a message.
pub(crate) fn media_of(message: &wa::Message) -> Option<MediaRef> {
    let (message, _) = unwrap(message);
    let found = |kind, direct_path: &Option<String>, media_key: &Option<Vec<u8>>| {
        Some(MediaRef { kind, direct_path: direct_path.clone()?, media_key: media_key.clone()? })
    };
    if let Some(media) = message.image_message.as_option() {
        found(MediaType::Image, &media.direct_path, &media.media_key)
    } else if let Some(media) = message.video_message.as_option() {
        found(MediaType::Video, &media.direct_path, &media.media_key)
    } else if let Some(media) = message.audio_message.as_option() {
        found(MediaType::Audio, &media.direct_path, &media.media_key)
    } else if let Some(media) = message.document_message.as_option() {
        found(MediaType::Document, &media.direct_path, &media.media_key)
    } else if let Some(media) = message.sticker_message.as_option() {
        found(MediaType::Sticker, &media.direct_path, &media.media_key)
    } else {
        None
    }
}
