//! What a message of WhatsApp says. No I/O: tables and readings of the protocol's own types.

use serde_json::{Map, Value, json};
use shared::domain::content::{Content, MediaKind};
use whatsapp_rust::{
    download::DownloadParams,
    proto_helpers::MessageExt as _,
    wacore::download::MediaType,
    waproto::whatsapp::{self as wa, message::protocol_message::Type},
};

use crate::store::Poll;

/// What becomes of a message.
pub(crate) enum Said {
    Content(Content),
    /// Its bytes are at WhatsApp.
    Media(Box<Part>),
    /// A poll to vote on: the options are needed to read the votes.
    Poll(Content, Poll),
    Vote(Vote),
    /// Traffic between devices: keys, state, requests. Never shown to anybody.
    Nothing,
}

/// Media of a message that is not fetched yet.
pub(crate) struct Part {
    pub(crate) kind: MediaKind,
    /// Its name in the protocol, such as `imageMessage`.
    pub(crate) name: &'static str,
    pub(crate) mime: String,
    pub(crate) filename: Option<String>,
    pub(crate) caption: Option<String>,
    /// `None`: the message does not say where.
    pub(crate) at: Option<DownloadParams>,
}

/// A vote, still encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) poll: String,
    /// Who made the poll, where the vote says so; otherwise we did, or the one we talk to.
    pub(crate) creator: Option<String>,
    pub(crate) of_voter: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) iv: Vec<u8>,
}

/// Reads a message. Wrappers (own devices, disappearing, view once) are taken off.
pub(crate) fn said(message: &wa::Message) -> Said {
    let message = message.get_base_message();
    if let Some(protocol) = message.protocol_message.as_option() {
        return changed(protocol);
    }
    if let Some(edited) = message.edited_message.as_option().and_then(|wrapped| wrapped.message.as_option()) {
        return edited.protocol_message.as_option().map_or(Said::Nothing, changed);
    }
    if let Some(text) = message.conversation.as_ref().filter(|text| !text.is_empty()) {
        return Said::Content(Content::Text { text: text.clone() });
    }
    if let Some(extended) = message.extended_text_message.as_option() {
        return Said::Content(Content::Text { text: extended.text.clone().unwrap_or_default() });
    }
    if let Some(part) = part(message) {
        return Said::Media(Box::new(part));
    }
    if let Some(poll) = poll(message) {
        let options: Vec<String> =
            poll.options.iter().map(|option| option.option_name.clone().unwrap_or_default()).collect();
        let question = poll.name.clone().unwrap_or_default();
        let multiple = poll.selectable_options_count != Some(1);
        let kept = Poll { question: question.clone(), options: options.clone() };
        return Said::Poll(Content::Poll { question, options, multiple }, kept);
    }
    if let Some(update) = message.poll_update_message.as_option() {
        return vote(update).map_or(Said::Nothing, Said::Vote);
    }
    plain(message).or_else(|| foreign(message)).map_or(Said::Nothing, Said::Content)
}

/// An edit, or a message that was taken back; everything else of this kind is between devices.
fn changed(protocol: &wa::message::ProtocolMessage) -> Said {
    let Some(target) = protocol.key.as_option().and_then(|key| key.id.clone()) else { return Said::Nothing };
    match protocol.r#type {
        Some(Type::REVOKE) => Said::Content(Content::Revoke { target }),
        Some(Type::MESSAGE_EDIT) => {
            let text = protocol.edited_message.as_option().and_then(text_of).unwrap_or_default();
            Said::Content(Content::Edit { target, text })
        }
        _ => Said::Nothing,
    }
}

/// The text of a message, or the caption of its media.
fn text_of(message: &wa::Message) -> Option<String> {
    let message = message.get_base_message();
    message.text_content().or_else(|| message.get_caption()).map(str::to_owned)
}

fn plain(message: &wa::Message) -> Option<Content> {
    if let Some(reaction) = message.reaction_message.as_option() {
        let target = reaction.key.as_option()?.id.clone()?;
        return Some(Content::Reaction { target, emoji: reaction.text.clone().unwrap_or_default() });
    }
    if let Some(place) = message.location_message.as_option() {
        return Some(Content::Location {
            latitude: place.degrees_latitude.unwrap_or_default(),
            longitude: place.degrees_longitude.unwrap_or_default(),
            name: place.name.clone().filter(|name| !name.is_empty()),
            address: place.address.clone().filter(|address| !address.is_empty()),
        });
    }
    if let Some(place) = message.live_location_message.as_option() {
        return Some(Content::Location {
            latitude: place.degrees_latitude.unwrap_or_default(),
            longitude: place.degrees_longitude.unwrap_or_default(),
            name: place.caption.clone().filter(|caption| !caption.is_empty()),
            address: None,
        });
    }
    let contact = message.contact_message.as_option();
    let many = || message.contacts_array_message.as_option().and_then(|many| many.contacts.first());
    contact.or_else(many).map(|contact| Content::Contact {
        name: contact.display_name.clone().unwrap_or_default(),
        phone: contact.vcard.as_deref().and_then(phone_of).unwrap_or_default(),
    })
}

/// The first number of a vCard, as it is known to WhatsApp if it says so.
fn phone_of(vcard: &str) -> Option<String> {
    let line = vcard.lines().find(|line| line.to_ascii_uppercase().contains("TEL"))?;
    let (name, number) = line.split_once(':')?;
    let known = name.split(';').find_map(|part| part.to_ascii_lowercase().strip_prefix("waid=").map(str::to_owned));
    Some(known.map_or_else(|| number.trim().to_owned(), |digits| format!("+{digits}")))
}

fn poll(message: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    let all = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
        &message.poll_creation_message_v6,
    ];
    all.into_iter().find_map(|poll| poll.as_option())
}

fn vote(update: &wa::message::PollUpdateMessage) -> Option<Vote> {
    let (key, vote) = (update.poll_creation_message_key.as_option()?, update.vote.as_option()?);
    Some(Vote {
        poll: key.id.clone()?,
        creator: key.participant.clone(),
        of_voter: key.from_me.unwrap_or(false),
        payload: vote.enc_payload.clone()?,
        iv: vote.enc_iv.clone()?,
    })
}

macro_rules! part {
    ($message:expr, $kind:expr, $type:expr, $name:expr, $file:expr, $caption:expr) => {
        Part {
            kind: $kind,
            name: $name,
            mime: $message.mimetype.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
            filename: $file.filter(|name: &String| !name.is_empty()),
            caption: $caption.filter(|caption: &String| !caption.is_empty()),
            at: match (&$message.direct_path, &$message.media_key, &$message.file_sha256, &$message.file_enc_sha256) {
                // The sender's word, which the crate puts behind the host's name: it must not become another host.
                (Some(path), Some(key), Some(plain), Some(encrypted)) if path.starts_with('/') => {
                    Some(DownloadParams::encrypted(
                        path.clone(),
                        key,
                        plain,
                        encrypted,
                        $message.file_length.unwrap_or_default(),
                        $type,
                    ))
                }
                _ => None,
            },
        }
    };
}

fn part(message: &wa::Message) -> Option<Part> {
    if let Some(image) = message.image_message.as_option() {
        return Some(part!(image, MediaKind::Image, MediaType::Image, "imageMessage", None, image.caption.clone()));
    }
    if let Some(video) = message.video_message.as_option() {
        return Some(part!(video, MediaKind::Video, MediaType::Video, "videoMessage", None, video.caption.clone()));
    }
    if let Some(video) = message.ptv_message.as_option() {
        return Some(part!(video, MediaKind::Video, MediaType::Video, "ptvMessage", None, video.caption.clone()));
    }
    if let Some(audio) = message.audio_message.as_option() {
        return Some(part!(audio, MediaKind::Audio, MediaType::Audio, "audioMessage", None, None));
    }
    if let Some(sticker) = message.sticker_message.as_option() {
        return Some(part!(sticker, MediaKind::Sticker, MediaType::Sticker, "stickerMessage", None, None));
    }
    let document = message.document_message.as_option()?;
    let name = document.file_name.clone().or_else(|| document.title.clone());
    Some(part!(document, MediaKind::Document, MediaType::Document, "documentMessage", name, document.caption.clone()))
}

/// Kinds that the schema has no place for, by their name in the protocol, with what text they have.
fn foreign(message: &wa::Message) -> Option<Content> {
    let known = |name: &str, text: Option<String>| {
        Some(match text.filter(|text| !text.is_empty()) {
            Some(text) => Content::Foreign { name: name.to_owned(), text, detail: None },
            None => Content::Other { name: name.to_owned() },
        })
    };
    if let Some(reply) = message.template_button_reply_message.as_option() {
        return known("templateButtonReplyMessage", reply.selected_display_text.clone());
    }
    if let Some(reply) = message.list_response_message.as_option() {
        return known("listResponseMessage", reply.title.clone());
    }
    if let Some(reply) = message.buttons_response_message.as_option() {
        return known("buttonsResponseMessage", reply.selected_button_id.clone());
    }
    if let Some(invite) = message.group_invite_message.as_option() {
        return known("groupInviteMessage", invite.group_name.clone());
    }
    if let Some(event) = message.event_message.as_option() {
        return known("eventMessage", event.name.clone());
    }
    if let Some(interactive) = message.interactive_message.as_option() {
        return known("interactiveMessage", interactive.body.as_option().and_then(|body| body.text.clone()));
    }
    let others = [
        (message.template_message.is_set(), "templateMessage"),
        (message.buttons_message.is_set(), "buttonsMessage"),
        (message.list_message.is_set(), "listMessage"),
        (message.interactive_response_message.is_set(), "interactiveResponseMessage"),
        (message.product_message.is_set(), "productMessage"),
        (message.order_message.is_set(), "orderMessage"),
        (message.invoice_message.is_set(), "invoiceMessage"),
        (message.send_payment_message.is_set(), "sendPaymentMessage"),
        (message.request_payment_message.is_set(), "requestPaymentMessage"),
        (message.payment_invite_message.is_set(), "paymentInviteMessage"),
        (message.pin_in_chat_message.is_set(), "pinInChatMessage"),
        (message.album_message.is_set(), "albumMessage"),
        (message.sticker_pack_message.is_set(), "stickerPackMessage"),
        (message.comment_message.is_set(), "commentMessage"),
        (message.enc_comment_message.is_set(), "encCommentMessage"),
        (message.enc_reaction_message.is_set(), "encReactionMessage"),
        (message.enc_event_response_message.is_set(), "encEventResponseMessage"),
        (message.newsletter_admin_invite_message.is_set(), "newsletterAdminInviteMessage"),
        (message.call_log_messsage.is_set(), "callLogMesssage"),
        (message.call.is_set(), "call"),
        (message.scheduled_call_creation_message.is_set(), "scheduledCallCreationMessage"),
        (message.poll_result_snapshot_message.is_set(), "pollResultSnapshotMessage"),
    ];
    others.into_iter().find(|(is_it, _)| *is_it).and_then(|(_, name)| known(name, None))
}

/// The context of a message: what it answers, whom it mentions.
pub(crate) fn context(message: &wa::Message) -> Option<&wa::ContextInfo> {
    let message = message.get_base_message();
    let all = [
        message.extended_text_message.as_option().map(|m| &m.context_info),
        message.image_message.as_option().map(|m| &m.context_info),
        message.video_message.as_option().map(|m| &m.context_info),
        message.ptv_message.as_option().map(|m| &m.context_info),
        message.audio_message.as_option().map(|m| &m.context_info),
        message.document_message.as_option().map(|m| &m.context_info),
        message.sticker_message.as_option().map(|m| &m.context_info),
        message.location_message.as_option().map(|m| &m.context_info),
        message.live_location_message.as_option().map(|m| &m.context_info),
        message.contact_message.as_option().map(|m| &m.context_info),
        message.contacts_array_message.as_option().map(|m| &m.context_info),
        poll(message).map(|m| &m.context_info),
    ];
    all.into_iter().flatten().find_map(|context| context.as_option())
}

/// What the event shows beside the content.
pub(crate) fn facts(message: &wa::Message, mentions: &[String]) -> Map<String, Value> {
    let mut facts = Map::new();
    if !mentions.is_empty() {
        facts.insert("mentions".into(), json!(mentions));
    }
    if message.is_view_once() {
        facts.insert("viewOnce".into(), true.into());
    }
    let base = message.get_base_message();
    if base.audio_message.as_option().is_some_and(|audio| audio.ptt == Some(true)) {
        facts.insert("voice".into(), true.into());
    }
    if context(message).is_some_and(|context| context.is_forwarded == Some(true)) {
        facts.insert("forwarded".into(), true.into());
    }
    facts
}
