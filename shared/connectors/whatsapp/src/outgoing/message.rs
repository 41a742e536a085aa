//! Content as a message of WhatsApp.

use std::sync::Arc;

use shared::{
    address::{self, Platform},
    connector::{About, Outgoing},
    crypto,
    domain::content::{Content, MediaKind},
};
use whatsapp_rust::{
    Client, Jid,
    buffa::MessageField,
    media::{self, AudioOptions, DocumentOptions, ImageOptions, VideoOptions},
    upload::UploadResponse,
    waproto::whatsapp::{self as wa, message::protocol_message::Type},
};

use super::{Trouble, media::uploaded, reason};
use crate::{line::Inner, people, store::Poll};

/// The message for this send; media are uploaded on the way.
pub(super) async fn build(inner: &Inner, client: &Arc<Client>, outgoing: &Outgoing) -> Result<wa::Message, Trouble> {
    let message = match &outgoing.content {
        Content::Media { media_kind, media } => {
            let upload = uploaded(inner, client, *media_kind, &media.media_id).await?;
            with_media(*media_kind, upload, &media.mime, media.filename.clone(), media.caption.clone())
        }
        content => plain(content, outgoing, &own(client))?,
    };
    if let Content::Poll { question, options, .. } = &outgoing.content {
        inner.store.keep_poll(&outgoing.id, &Poll { question: question.clone(), options: options.clone() });
    }
    let message = in_context(message, context(outgoing, &own(client)));
    let message = with_secret(message, &outgoing.content, || inner.store.secret_of(&outgoing.id));
    Ok(if outgoing.view_once { once(message) } else { message })
}

/// Our own address, as others are told of it.
fn own(client: &Client) -> String {
    client.pn().map(|jid| jid.to_non_ad_string()).unwrap_or_default()
}

pub(super) fn plain(content: &Content, outgoing: &Outgoing, own: &str) -> Result<wa::Message, Trouble> {
    Ok(match content {
        Content::Text { text } => text_message(text),
        Content::Location { latitude, longitude, name, address } => wa::Message {
            location_message: MessageField::some(wa::message::LocationMessage {
                degrees_latitude: Some(*latitude),
                degrees_longitude: Some(*longitude),
                name: name.clone(),
                address: address.clone(),
                ..Default::default()
            }),
            ..Default::default()
        },
        Content::Contact { name, phone } => wa::Message {
            contact_message: MessageField::some(wa::message::ContactMessage {
                display_name: Some(name.clone()),
                vcard: Some(vcard(name, phone)),
                ..Default::default()
            }),
            ..Default::default()
        },
        Content::Poll { question, options, multiple } => poll(question, options, *multiple),
        Content::Reaction { emoji, .. } => wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: MessageField::some(key(outgoing, own)?),
                text: Some(emoji.clone()),
                sender_timestamp_ms: Some(now()),
                ..Default::default()
            }),
            ..Default::default()
        },
        Content::Edit { text, .. } => protocol(wa::message::ProtocolMessage {
            key: MessageField::some(key(outgoing, own)?),
            r#type: Some(Type::MESSAGE_EDIT),
            edited_message: MessageField::some(text_message(text)),
            timestamp_ms: Some(now()),
            ..Default::default()
        }),
        Content::Revoke { .. } => protocol(wa::message::ProtocolMessage {
            key: MessageField::some(key(outgoing, own)?),
            r#type: Some(Type::REVOKE),
            ..Default::default()
        }),
        Content::Media { .. } | Content::Template { .. } | Content::Other { .. } | Content::Foreign { .. } => {
            return Err(Trouble::refused(reason::FAILED));
        }
    })
}

fn now() -> i64 {
    whatsapp_rust::wacore::time::now_millis()
}

fn protocol(message: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(message), ..Default::default() }
}

/// As text with a place for context, since plain text has none.
fn text_message(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..Default::default() }
}

fn vcard(name: &str, phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    let escaped: String =
        name.chars().flat_map(|c| if matches!(c, ',' | ';' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    let escaped = escaped.replace(['\r', '\n'], " ");
    format!("BEGIN:VCARD\nVERSION:3.0\nN:;{escaped};;;\nFN:{escaped}\nTEL;type=CELL;waid={digits}:+{digits}\nEND:VCARD")
}

/// One choice and several are two versions of the same message.
fn poll(question: &str, options: &[String], multiple: bool) -> wa::Message {
    let option = |name: &String| wa::message::poll_creation_message::Option {
        option_name: Some(name.clone()),
        ..Default::default()
    };
    let poll = wa::message::PollCreationMessage {
        name: Some(question.to_owned()),
        options: options.iter().map(option).collect(),
        selectable_options_count: Some(u32::from(!multiple)),
        ..Default::default()
    };
    if multiple {
        wa::Message { poll_creation_message: MessageField::some(poll), ..Default::default() }
    } else {
        wa::Message { poll_creation_message_v3: MessageField::some(poll), ..Default::default() }
    }
}

/// The key of the message that this one is about.
fn key(outgoing: &Outgoing, own: &str) -> Result<wa::MessageKey, Trouble> {
    let about = outgoing.about.as_ref().ok_or_else(|| Trouble::refused(reason::UNKNOWN_TARGET))?;
    Ok(wa::MessageKey {
        remote_jid: Some(outgoing.to.clone()),
        from_me: Some(about.from_me),
        id: Some(about.id.clone()),
        // Who wrote it, where several do.
        participant: outgoing.to.ends_with("@g.us").then(|| writer(about, own)),
    })
}

fn writer(about: &About, own: &str) -> String {
    if about.from_me { own.to_owned() } else { about.sender.clone() }
}

/// What it answers, and whom it mentions.
fn context(outgoing: &Outgoing, own: &str) -> Option<wa::ContextInfo> {
    let refers = outgoing.content.target().is_some();
    let answered = outgoing.about.as_ref().filter(|_| outgoing.quoted.is_some() && !refers);
    if answered.is_none() && outgoing.mentions.is_empty() {
        return None;
    }
    let mut context = wa::ContextInfo { mentioned_jid: outgoing.mentions.clone(), ..Default::default() };
    if let Some(about) = answered {
        context.stanza_id = Some(about.id.clone());
        context.participant = Some(writer(about, own)).filter(|writer| !writer.is_empty());
        context.quoted_message = MessageField::some(text_message(&about.text));
    }
    Some(context)
}

pub(super) fn in_context(mut message: wa::Message, context: Option<wa::ContextInfo>) -> wa::Message {
    let Some(context) = context else { return message };
    if let Some(text) = message.conversation.take() {
        message.extended_text_message = MessageField::some(wa::message::ExtendedTextMessage {
            text: Some(text),
            context_info: MessageField::some(context),
            ..Default::default()
        });
        return message;
    }
    let place = message
        .image_message
        .as_option_mut()
        .map(|m| &mut m.context_info)
        .or_else(|| message.video_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.audio_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.document_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.sticker_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.location_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.contact_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.poll_creation_message.as_option_mut().map(|m| &mut m.context_info))
        .or_else(|| message.poll_creation_message_v3.as_option_mut().map(|m| &mut m.context_info));
    if let Some(place) = place {
        *place = MessageField::some(context);
    }
    message
}

/// Votes are encrypted with a secret of the poll. It follows from the id, so that a poll that is sent again has the same.
fn with_secret(mut message: wa::Message, content: &Content, secret: impl FnOnce() -> Vec<u8>) -> wa::Message {
    if matches!(content, Content::Poll { .. }) {
        message.message_context_info =
            MessageField::some(wa::MessageContextInfo { message_secret: Some(secret()), ..Default::default() });
    }
    message
}

/// Media that are shown once carry the mark themselves, in a wrapper of its own.
fn once(mut message: wa::Message) -> wa::Message {
    if let Some(image) = message.image_message.as_option_mut() {
        image.view_once = Some(true);
    } else if let Some(video) = message.video_message.as_option_mut() {
        video.view_once = Some(true);
    } else if let Some(audio) = message.audio_message.as_option_mut() {
        audio.view_once = Some(true);
    } else {
        return message;
    }
    let wrapped = wa::message::FutureProofMessage { message: MessageField::some(message) };
    wa::Message { view_once_message: MessageField::some(wrapped), ..Default::default() }
}

fn with_media(
    kind: MediaKind,
    upload: UploadResponse,
    mime: &str,
    file_name: Option<String>,
    caption: Option<String>,
) -> wa::Message {
    let mimetype = Some(mime.to_owned());
    match kind {
        MediaKind::Image => media::image_message(upload, ImageOptions { caption, mimetype, ..Default::default() }),
        MediaKind::Video => media::video_message(upload, VideoOptions { caption, mimetype, ..Default::default() }),
        MediaKind::Audio => {
            // Opus in Ogg is what phones record: shown as a voice message.
            let ptt = Some(mime.starts_with("audio/ogg"));
            media::audio_message(upload, AudioOptions { mimetype, ptt, ..Default::default() })
        }
        MediaKind::Document => {
            let title = file_name.clone();
            let options = DocumentOptions { mimetype, file_name, title, caption, ..Default::default() };
            media::document_message(upload, options)
        }
        MediaKind::Sticker => wa::Message {
            sticker_message: MessageField::some(wa::message::StickerMessage {
                url: Some(upload.url),
                direct_path: Some(upload.direct_path),
                media_key: Some(upload.media_key.to_vec()),
                file_sha256: Some(upload.file_sha256.to_vec()),
                file_enc_sha256: Some(upload.file_enc_sha256.to_vec()),
                file_length: Some(upload.file_length),
                media_key_timestamp: Some(upload.media_key_timestamp),
                mimetype,
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

/// A secret of 32 bytes that follows from a key and the id of a message.
pub(crate) fn secret(key: &[u8; 32], id: &str) -> Vec<u8> {
    crypto::hmac(key, &["message secret", id]).to_vec()
}

/// Who is meant by a number or an address, for whoever asks the platform.
pub(crate) fn jid(field: &'static str, text: &str) -> shared::Result<Jid> {
    let address = address::canonical(Platform::Whatsapp, field, text, false)?;
    people::jid(&address).ok_or_else(|| shared::Error::invalid(field, format!("{field} is not an address of WhatsApp")))
}
