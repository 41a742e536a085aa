//! Messages of simulated phones, from JSON.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::MessageField;
use serde::Deserialize;
use wacore::download::MediaType;
use wacore::poll::{compute_option_hash, encrypt_poll_vote_with_secret};
use wacore_binary::{Jid, Server};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::poll_creation_message::Option as PollOption;
use waproto::whatsapp::message::{
    AudioMessage, ContactMessage, ContactsArrayMessage, DocumentMessage, ExtendedTextMessage, FutureProofMessage,
    ImageMessage, LocationMessage, PollCreationMessage, PollEncValue, PollUpdateMessage, ProtocolMessage,
    ReactionMessage, StickerMessage, VideoMessage, protocol_message,
};

use super::{known, poll_of, secret_of};
use crate::clock::{now_millis, now_secs};
use crate::media::Uploaded;
use crate::state::State;

/// A message to be written: exactly one kind, and what can come with it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Spec {
    text: Option<String>,
    image: Option<MediaSpec>,
    video: Option<MediaSpec>,
    audio: Option<MediaSpec>,
    document: Option<MediaSpec>,
    sticker: Option<MediaSpec>,
    location: Option<LocationSpec>,
    contact: Option<ContactSpec>,
    contacts: Option<Vec<ContactSpec>>,
    reaction: Option<ReactionSpec>,
    edit: Option<EditSpec>,
    revoke: Option<TargetSpec>,
    poll: Option<PollSpec>,
    vote: Option<VoteSpec>,
    /// Any message, encoded and in base64.
    proto: Option<String>,
    /// The message that this one answers.
    quoted: Option<TargetSpec>,
    /// Phone numbers that are mentioned.
    mentions: Vec<String>,
    /// With image, video or audio: can be seen once.
    view_once: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MediaSpec {
    /// The file in base64.
    data: Option<String>,
    /// Instead of `data`: so many made-up bytes.
    size: Option<usize>,
    mimetype: Option<String>,
    caption: Option<String>,
    file_name: Option<String>,
    seconds: Option<u32>,
    width: Option<u32>,
    height: Option<u32>,
    ptt: Option<bool>,
    animated: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocationSpec {
    latitude: f64,
    longitude: f64,
    name: Option<String>,
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactSpec {
    name: String,
    phone: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetSpec {
    id: String,
    /// Phone number of the author; found out when the phone knows the message.
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReactionSpec {
    id: String,
    /// Empty takes the reaction back.
    emoji: String,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditSpec {
    id: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PollSpec {
    name: String,
    options: Vec<String>,
    /// How many may be chosen; 0 is any number.
    #[serde(default = "one")]
    selectable: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoteSpec {
    id: String,
    options: Vec<String>,
}

/// Makes the message that `author` writes to `chat`.
pub(crate) fn build(state: &mut State, author: &str, chat: &Jid, spec: &Spec) -> Result<wa::Message> {
    let context = context_info(state, author, chat, spec)?;
    let mut message = kind(state, author, chat, spec, context)?;
    if spec.view_once {
        message = wa::Message {
            view_once_message_v2: MessageField::some(FutureProofMessage { message: MessageField::some(message) }),
            ..Default::default()
        };
    }
    Ok(message)
}

/// A message with an uploaded file: what every such kind has, and the fields of its own.
macro_rules! media_message {
    ($message:ident, $kind:ident, $mimetype:literal, $state:expr, $media:expr, $context:expr, { $($own:tt)* }) => {{
        let file = upload($state, $media, MediaType::$kind)?;
        MessageField::some($message {
            url: Some(file.url),
            direct_path: Some(file.direct_path),
            media_key: Some(file.media_key),
            file_sha256: Some(file.file_sha256),
            file_enc_sha256: Some(file.file_enc_sha256),
            file_length: Some(file.file_length),
            media_key_timestamp: Some(now_secs().cast_signed()),
            mimetype: Some(mimetype($media, $mimetype)),
            context_info: $context,
            $($own)*
            ..Default::default()
        })
    }};
}

fn kind(
    state: &mut State,
    author: &str,
    chat: &Jid,
    spec: &Spec,
    context: MessageField<wa::ContextInfo>,
) -> Result<wa::Message> {
    let mut message = wa::Message::default();
    if let Some(text) = &spec.text {
        if context.is_set() {
            message.extended_text_message = MessageField::some(ExtendedTextMessage {
                text: Some(text.clone()),
                context_info: context,
                ..Default::default()
            });
        } else {
            message.conversation = Some(text.clone());
        }
    } else if let Some(media) = &spec.image {
        message.image_message = media_message!(ImageMessage, Image, "image/jpeg", state, media, context, {
            caption: media.caption.clone(),
            width: media.width.or(Some(64)),
            height: media.height.or(Some(64)),
            view_once: spec.view_once.then_some(true),
        });
    } else if let Some(media) = &spec.video {
        message.video_message = media_message!(VideoMessage, Video, "video/mp4", state, media, context, {
            caption: media.caption.clone(),
            seconds: media.seconds.or(Some(3)),
            width: media.width,
            height: media.height,
            view_once: spec.view_once.then_some(true),
        });
    } else if let Some(media) = &spec.audio {
        message.audio_message = media_message!(AudioMessage, Audio, "audio/ogg; codecs=opus", state, media, context, {
            seconds: media.seconds.or(Some(3)),
            ptt: media.ptt,
            view_once: spec.view_once.then_some(true),
        });
    } else if let Some(media) = &spec.document {
        message.document_message = media_message!(DocumentMessage, Document, "application/octet-stream", state, media, context, {
            file_name: media.file_name.clone(),
            title: media.file_name.clone(),
            caption: media.caption.clone(),
        });
    } else if let Some(media) = &spec.sticker {
        message.sticker_message = media_message!(StickerMessage, Sticker, "image/webp", state, media, context, {
            is_animated: media.animated,
        });
    } else if let Some(location) = &spec.location {
        message.location_message = MessageField::some(LocationMessage {
            degrees_latitude: Some(location.latitude),
            degrees_longitude: Some(location.longitude),
            name: location.name.clone(),
            address: location.address.clone(),
            context_info: context,
            ..Default::default()
        });
    } else if let Some(contact) = &spec.contact {
        message.contact_message = MessageField::some(ContactMessage { context_info: context, ..card(contact) });
    } else if let Some(contacts) = &spec.contacts {
        message.contacts_array_message = MessageField::some(ContactsArrayMessage {
            display_name: Some(format!("{} contacts", contacts.len())),
            contacts: contacts.iter().map(card).collect(),
            context_info: context,
        });
    } else if let Some(reaction) = &spec.reaction {
        message.reaction_message = MessageField::some(ReactionMessage {
            key: MessageField::some(key(state, author, chat, &reaction.id, reaction.from.as_deref())?),
            text: Some(reaction.emoji.clone()),
            sender_timestamp_ms: Some(now_millis().cast_signed()),
            ..Default::default()
        });
    } else if let Some(edit) = &spec.edit {
        message.protocol_message = MessageField::some(ProtocolMessage {
            key: MessageField::some(key(state, author, chat, &edit.id, Some(author))?),
            r#type: Some(protocol_message::Type::MESSAGE_EDIT),
            edited_message: MessageField::some(wa::Message {
                conversation: Some(edit.text.clone()),
                ..Default::default()
            }),
            timestamp_ms: Some(now_millis().cast_signed()),
            ..Default::default()
        });
    } else if let Some(target) = &spec.revoke {
        let from = target.from.as_deref().unwrap_or(author);
        message.protocol_message = MessageField::some(ProtocolMessage {
            key: MessageField::some(key(state, author, chat, &target.id, Some(from))?),
            r#type: Some(protocol_message::Type::REVOKE),
            ..Default::default()
        });
    } else if let Some(poll) = &spec.poll {
        let creation = MessageField::some(PollCreationMessage {
            name: Some(poll.name.clone()),
            options: poll
                .options
                .iter()
                .map(|name| PollOption { option_name: Some(name.clone()), ..Default::default() })
                .collect(),
            selectable_options_count: Some(poll.selectable),
            context_info: context,
            ..Default::default()
        });
        // Clients distinguish by field whether one or several may be chosen.
        if poll.selectable == 1 {
            message.poll_creation_message_v3 = creation;
        } else {
            message.poll_creation_message = creation;
        }
        message.message_context_info = MessageField::some(wa::MessageContextInfo {
            message_secret: Some(rand::random::<[u8; 32]>().to_vec()),
            ..Default::default()
        });
    } else if let Some(vote) = &spec.vote {
        message.poll_update_message = MessageField::some(self::vote(state, author, chat, vote)?);
    } else if let Some(proto) = &spec.proto {
        let bytes = BASE64_STANDARD.decode(proto).context("proto in base64")?;
        message = waproto::codec::message_decode(&bytes).context("proto")?;
    } else {
        bail!(
            "a message needs one of text, image, video, audio, document, sticker, location, contact, contacts, reaction, edit, revoke, poll, vote, proto"
        );
    }
    Ok(message)
}

fn mimetype(media: &MediaSpec, usual: &str) -> String {
    media.mimetype.clone().unwrap_or_else(|| usual.to_owned())
}

fn upload(state: &mut State, media: &MediaSpec, kind: MediaType) -> Result<Uploaded> {
    let plain = match (&media.data, media.size) {
        (Some(data), _) => BASE64_STANDARD.decode(data).context("data in base64")?,
        (None, Some(size)) => (0..size).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect(),
        (None, None) => b"a small file of the fake".to_vec(),
    };
    state.media.upload(&plain, kind)
}

fn card(contact: &ContactSpec) -> ContactMessage {
    let ContactSpec { name, phone } = contact;
    ContactMessage {
        display_name: Some(name.clone()),
        vcard: Some(format!(
            "BEGIN:VCARD\nVERSION:3.0\nN:;{name};;;\nFN:{name}\nTEL;type=CELL;waid={phone}:+{phone}\nEND:VCARD"
        )),
        ..Default::default()
    }
}

/// Points at another message of the chat, as the author sees it.
fn key(state: &State, author: &str, chat: &Jid, id: &str, from: Option<&str>) -> Result<wa::MessageKey> {
    let writer = writer(state, author, id, from)?;
    let own = writer == author;
    let by_lid = by_lid(state, author, chat);
    Ok(wa::MessageKey {
        // Each side names the other one's address.
        remote_jid: Some(chat.to_string()),
        from_me: Some(own),
        id: Some(id.to_owned()),
        participant: (chat.server == Server::Group && !own)
            .then(|| state.phone(&writer).map(|phone| phone.jid_in(by_lid).to_string()))
            .transpose()?,
    })
}

/// Phone number of who wrote the message `id`.
fn writer(state: &State, author: &str, id: &str, from: Option<&str>) -> Result<String> {
    if let Some(from) = from {
        return Ok(from.to_owned());
    }
    known(state.phone(author)?, id)
        .map(|known| known.author.to_owned())
        .ok_or_else(|| anyhow!("{author} does not know the message {id}: say `from`"))
}

/// Whether people in this chat go by their LID.
fn by_lid(state: &State, author: &str, chat: &Jid) -> bool {
    use crate::phone::Addressing;
    match state.groups.get(chat.user.as_str()) {
        Some(group) if chat.server == Server::Group => group.addressing == Addressing::Lid,
        _ => state.phones.get(author).is_some_and(|phone| phone.addressing == Addressing::Lid),
    }
}

fn context_info(state: &State, author: &str, chat: &Jid, spec: &Spec) -> Result<MessageField<wa::ContextInfo>> {
    if spec.quoted.is_none() && spec.mentions.is_empty() {
        return Ok(MessageField::default());
    }
    let by_lid = by_lid(state, author, chat);
    let mut context = wa::ContextInfo::default();
    if let Some(quoted) = &spec.quoted {
        let writer = writer(state, author, &quoted.id, quoted.from.as_deref())?;
        context.stanza_id = Some(quoted.id.clone());
        context.participant = Some(state.phone(&writer)?.jid_in(by_lid).to_string());
        let message =
            known(state.phone(author)?, &quoted.id).map_or_else(wa::Message::default, |known| known.message.clone());
        context.quoted_message = MessageField::some(message);
    }
    for mentioned in &spec.mentions {
        context.mentioned_jid.push(state.phone(mentioned)?.jid_in(by_lid).to_string());
    }
    Ok(MessageField::some(context))
}

fn vote(state: &State, author: &str, chat: &Jid, vote: &VoteSpec) -> Result<PollUpdateMessage> {
    let phone = state.phone(author)?;
    let poll = known(phone, &vote.id).ok_or_else(|| anyhow!("{author} does not know the poll {}", vote.id))?;
    let secret = secret_of(poll.message).context("a poll without secret")?;
    let offered = poll_of(poll.message).context("not a poll")?;
    for name in &vote.options {
        if !offered.options.iter().any(|option| option.option_name.as_ref() == Some(name)) {
            bail!("the poll has no option {name:?}");
        }
    }
    let by_lid = by_lid(state, author, chat);
    let hashes: Vec<Vec<u8>> = vote.options.iter().map(|name| compute_option_hash(name).to_vec()).collect();
    let (payload, iv) = encrypt_poll_vote_with_secret(
        &hashes,
        secret,
        &vote.id,
        &state.phone(poll.author)?.jid_in(by_lid).to_string(),
        &phone.jid_in(by_lid).to_string(),
    )?;
    Ok(PollUpdateMessage {
        poll_creation_message_key: MessageField::some(key(state, author, chat, &vote.id, Some(poll.author))?),
        vote: MessageField::some(PollEncValue { enc_payload: Some(payload), enc_iv: Some(iv.to_vec()) }),
        sender_timestamp_ms: Some(now_millis().cast_signed()),
        ..Default::default()
    })
}
