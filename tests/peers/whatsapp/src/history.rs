//! History that a phone hands to a linked device: chats with old messages, compressed, encrypted, and announced.

use std::io::Write as _;

use anyhow::{Result, anyhow};
use buffa::{Message as _, MessageField};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Deserialize;
use wacore::download::MediaType;
use wacore_binary::{Jid, Server};
use waproto::whatsapp as wa;
use waproto::whatsapp::history_sync::HistorySyncType;
use waproto::whatsapp::message::{HistorySyncNotification, ProtocolMessage, protocol_message};
use waproto::whatsapp::{Conversation, HistorySync, HistorySyncMsg, Pushname, WebMessageInfo};

use crate::clock::now_secs;
use crate::companion::protocol;
use crate::content::{self, Spec};
use crate::outbound::{self, Peerwise, new_id, parse_chat};
use crate::state::State;

/// Payloads up to this size may travel within the announcement.
const INLINE_LIMIT: usize = 64 * 1024;

/// Which part of the history it is.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    InitialBootstrap,
    Recent,
    Full,
    PushName,
    OnDemand,
}

impl Kind {
    fn of_payload(self) -> HistorySyncType {
        match self {
            Self::InitialBootstrap => HistorySyncType::INITIAL_BOOTSTRAP,
            Self::Recent => HistorySyncType::RECENT,
            Self::Full => HistorySyncType::FULL,
            Self::PushName => HistorySyncType::PUSH_NAME,
            Self::OnDemand => HistorySyncType::ON_DEMAND,
        }
    }

    fn of_announcement(self) -> wa::message::HistorySyncType {
        use wa::message::HistorySyncType as Announced;
        match self {
            Self::InitialBootstrap => Announced::INITIAL_BOOTSTRAP,
            Self::Recent => Announced::RECENT,
            Self::Full => Announced::FULL,
            Self::PushName => Announced::PUSH_NAME,
            Self::OnDemand => Announced::ON_DEMAND,
        }
    }
}

/// One portion of history, as the control API describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Portion {
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    chats: Vec<OldChat>,
    /// Made-up chats beside those in `chats`.
    generate: Option<Generate>,
    chunk_order: Option<u32>,
    progress: Option<u32>,
    pub(crate) device: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldChat {
    chat: String,
    name: Option<String>,
    unread: Option<u32>,
    #[serde(default)]
    messages: Vec<OldMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldMessage {
    /// Phone number of the author.
    from: String,
    message: Spec,
    id: Option<String>,
    /// Seconds since the epoch.
    at: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generate {
    chats: u32,
    messages: u32,
}

/// Sends a portion to a linked device. Returns the id of the announcement and how many messages there are in it.
pub(crate) fn send(state: &mut State, pn: &str, device: u16, portion: Portion) -> Result<(String, usize)> {
    let kind = portion.kind;
    let (chunk_order, progress) = (portion.chunk_order, portion.progress);
    let history = history_of(state, pn, portion)?;
    let messages = history.conversations.iter().map(|conversation| conversation.messages.len()).sum();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&history.encode_to_vec())?;
    let compressed = encoder.finish()?;

    let mut notification = HistorySyncNotification {
        sync_type: Some(kind.of_announcement()),
        chunk_order,
        progress,
        ..Default::default()
    };
    let inline = compressed.len() <= INLINE_LIMIT && matches!(kind, Kind::InitialBootstrap);
    if inline {
        notification.file_length = Some(compressed.len() as u64);
        notification.initial_hist_bootstrap_inline_payload = Some(compressed);
    } else {
        let file = state.media.upload(&compressed, MediaType::History)?;
        notification.file_sha256 = Some(file.file_sha256);
        notification.file_length = Some(file.file_length);
        notification.media_key = Some(file.media_key);
        notification.file_enc_sha256 = Some(file.file_enc_sha256);
        notification.direct_path = Some(file.direct_path);
    }
    let message = protocol(ProtocolMessage {
        r#type: Some(protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    });
    let id = outbound::to_own_device(state, pn, device, &message, Peerwise::default())?;
    Ok((id, messages))
}

fn history_of(state: &mut State, pn: &str, portion: Portion) -> Result<HistorySync> {
    let mut conversations = Vec::new();
    let mut names: Vec<Pushname> = Vec::new();
    for old in portion.chats {
        let chat = parse_chat(&old.chat)?;
        let mut messages = Vec::with_capacity(old.messages.len());
        for message in old.messages {
            name_of(state, &message.from, &mut names);
            messages.push(old_message(state, pn, &chat, message)?);
        }
        conversations.push(conversation(&chat, old.name, old.unread, messages));
    }
    if let Some(generate) = &portion.generate {
        for number in 0..generate.chats {
            let chat = Jid::pn(format!("1999{number:07}"));
            let messages = (0..generate.messages)
                .map(|at| {
                    web_message(&Line {
                        chat: &chat,
                        id: format!("OLD{number:06}{at:06}"),
                        from_me: at % 2 == 0,
                        participant: None,
                        at: now_secs().saturating_sub(u64::from(generate.messages - at) * 60),
                        message: wa::Message {
                            conversation: Some(format!("old message {at} of chat {number}")),
                            ..Default::default()
                        },
                        name: None,
                    })
                })
                .collect();
            conversations.push(conversation(&chat, None, None, messages));
        }
    }
    Ok(HistorySync {
        sync_type: portion.kind.of_payload(),
        conversations,
        chunk_order: portion.chunk_order,
        progress: portion.progress,
        pushnames: names,
        ..Default::default()
    })
}

fn name_of(state: &State, from: &str, names: &mut Vec<Pushname>) {
    let id = format!("{from}@s.whatsapp.net");
    if let Some(phone) = state.phones.get(from)
        && !names.iter().any(|known| known.id.as_ref() == Some(&id))
    {
        names.push(Pushname { id: Some(id), pushname: Some(phone.name.clone()) });
    }
}

fn old_message(state: &mut State, pn: &str, chat: &Jid, old: OldMessage) -> Result<HistorySyncMsg> {
    let from_me = old.from == pn;
    // From the author's side, the chat is with the owner of the history.
    let seen_from_author = if from_me || chat.server == Server::Group { chat.clone() } else { Jid::pn(pn.to_owned()) };
    let author = state.phones.get(&old.from).ok_or_else(|| anyhow!("there is no phone {}", old.from))?;
    let (name, author_jid) = (author.name.clone(), author.pn_jid());
    let message = content::build(state, &old.from, &seen_from_author, &old.message)?;
    Ok(web_message(&Line {
        chat,
        id: old.id.unwrap_or_else(new_id),
        from_me,
        participant: (chat.server == Server::Group && !from_me).then(|| author_jid.to_string()),
        at: old.at.unwrap_or_else(now_secs),
        message,
        name: (!from_me).then_some(name),
    }))
}

struct Line<'a> {
    chat: &'a Jid,
    id: String,
    from_me: bool,
    participant: Option<String>,
    at: u64,
    message: wa::Message,
    name: Option<String>,
}

fn web_message(line: &Line<'_>) -> HistorySyncMsg {
    HistorySyncMsg {
        message: MessageField::some(WebMessageInfo {
            key: MessageField::some(wa::MessageKey {
                remote_jid: Some(line.chat.to_string()),
                from_me: Some(line.from_me),
                id: Some(line.id.clone()),
                participant: line.participant.clone(),
            }),
            message: MessageField::some(line.message.clone()),
            message_timestamp: Some(line.at),
            status: Some(wa::web_message_info::Status::READ),
            participant: line.participant.clone(),
            push_name: line.name.clone(),
            ..Default::default()
        }),
        msg_order_id: Some(line.at),
    }
}

fn conversation(chat: &Jid, name: Option<String>, unread: Option<u32>, messages: Vec<HistorySyncMsg>) -> Conversation {
    let last = messages.iter().filter_map(|message| message.message.message_timestamp).max();
    Conversation {
        id: chat.to_string(),
        messages,
        name,
        unread_count: unread,
        last_msg_timestamp: last,
        conversation_timestamp: last,
        ..Default::default()
    }
}
