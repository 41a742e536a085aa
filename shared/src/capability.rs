//! What a platform can do, as data. HTTP functions read it to refuse early; workers and connectors to behave; users through
//! `GET /api/instances/{id}/capabilities`. Instead of `if platform ==` there is a field here.

use serde::{Deserialize, Serialize};

use crate::{
    address::Platform,
    error::{Error, Result},
};

/// How an account is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Web,
    Cloud,
    Bot,
    Official,
    Ilink,
    SignalCli,
    Juhe,
    Embedded,
    Wukongim,
}

/// Who names a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// The sender: the id is final before the first attempt, and a repeated attempt is harmless.
    Client,
    /// The platform, after the fact: an attempt whose outcome is unknown must not be repeated.
    Platform,
}

/// Within what a message id of the platform is unique. (Senders may clash everywhere: see `domain::message`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdScope {
    Account,
    /// Every chat counts for itself, or ids are moments.
    Chat,
}

/// The capability record of a platform and transport.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    pub platform: Platform,
    pub transport: Transport,
    pub message_ids: Ids,
    pub message_id_scope: IdScope,
    /// Receipts that the platform tells of: `delivered`, `read`.
    pub receipts: &'static [&'static str],
    /// Whether there is a contact list to fetch, beyond the people seen in messages.
    pub contact_list: bool,
    /// Content types that can be sent.
    pub sends: &'static [&'static str],
    pub qr_pairing: bool,
    pub pairing_code: bool,
    pub typing: bool,
    pub groups: bool,
    pub mark_read: bool,
    /// Media that can be looked at once.
    pub view_once: bool,
    /// Characters of a text at the most.
    pub max_text: usize,
}

const EVERYTHING: &[&str] = &[
    "text", "image", "video", "audio", "document", "sticker", "location", "contact", "poll", "reaction", "edit",
    "revoke",
];
const BOT: &[&str] =
    &["text", "image", "video", "audio", "document", "location", "contact", "poll", "reaction", "edit", "revoke"];
const SIGNAL: &[&str] = &["text", "image", "video", "audio", "document", "contact", "reaction", "edit", "revoke"];
const PLAIN: &[&str] = &["text", "image", "video", "audio", "document"];
const CLOUD: &[&str] =
    &["text", "image", "video", "audio", "document", "sticker", "location", "contact", "reaction", "template"];
const WECOM: &[&str] = &["text", "image", "video", "audio", "document", "location", "revoke"];
const IM: &[&str] = &["text"];

/// The transport that a platform has when none is named (spec/http.md, "instances").
pub fn default_transport(platform: Platform) -> Transport {
    match platform {
        Platform::Whatsapp => Transport::Web,
        Platform::Telegram => Transport::Bot,
        Platform::Wechat => Transport::Ilink,
        Platform::Signal => Transport::SignalCli,
        Platform::Wecom => Transport::Juhe,
        Platform::Im => Transport::Embedded,
    }
}

/// The record of a platform and transport; an error for pairs that do not exist.
pub fn capability(platform: Platform, transport: Transport) -> Result<Capability> {
    let base = Capability {
        platform,
        transport,
        message_ids: Ids::Client,
        message_id_scope: IdScope::Account,
        receipts: &["delivered", "read"],
        contact_list: true,
        sends: EVERYTHING,
        qr_pairing: false,
        pairing_code: false,
        typing: true,
        groups: true,
        mark_read: true,
        view_once: false,
        max_text: 65_536,
    };
    Ok(match (platform, transport) {
        (Platform::Whatsapp, Transport::Web) => {
            Capability { qr_pairing: true, pairing_code: true, view_once: true, ..base }
        }
        // It shows typing only with the receipt of a message that was read (`Request::MarkRead`).
        (Platform::Whatsapp, Transport::Cloud) => Capability {
            message_ids: Ids::Platform,
            contact_list: false,
            sends: CLOUD,
            typing: false,
            groups: false,
            max_text: 4096,
            ..base
        },
        (Platform::Telegram, Transport::Bot) => Capability {
            message_ids: Ids::Platform,
            message_id_scope: IdScope::Chat,
            receipts: &[],
            contact_list: false,
            sends: BOT,
            mark_read: false,
            max_text: 4096,
            ..base
        },
        (Platform::Wechat, Transport::Official | Transport::Ilink) => Capability {
            message_ids: Ids::Platform,
            receipts: &[],
            contact_list: transport == Transport::Official,
            sends: PLAIN,
            qr_pairing: transport == Transport::Ilink,
            groups: false,
            mark_read: false,
            max_text: 2048,
            ..base
        },
        // An id is the moment of sending, and signal-cli chooses it.
        (Platform::Signal, Transport::SignalCli) => Capability {
            message_ids: Ids::Platform,
            message_id_scope: IdScope::Chat,
            qr_pairing: true,
            sends: SIGNAL,
            view_once: true,
            ..base
        },
        (Platform::Wecom, Transport::Juhe) => Capability {
            message_ids: Ids::Platform,
            receipts: &[],
            sends: WECOM,
            qr_pairing: true,
            typing: false,
            mark_read: false,
            max_text: 4096,
            ..base
        },
        (Platform::Im, Transport::Embedded | Transport::Wukongim) => Capability {
            sends: IM,
            receipts: &[],
            contact_list: false,
            typing: false,
            mark_read: false,
            max_text: 10_000,
            ..base
        },
        _ => return Err(Error::invalid("transport", format!("{platform} has no such transport"))),
    })
}
