//! What a message says, the same over all platforms, stored and queued in this form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::MediaId;

/// Media of a message. The bytes are in the media store, under the instance and `media_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Media {
    pub media_id: MediaId,
    pub mime: String,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

impl MediaKind {
    /// What a MIME type is sent as: image, video and audio as such, anything else as a document.
    pub fn of(mime: &str) -> Self {
        match mime.split('/').next() {
            Some("image") => Self::Image,
            Some("video") => Self::Video,
            Some("audio") => Self::Audio,
            _ => Self::Document,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }
}

/// The content of a message. `kind()` is its `type` on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Content {
    Text {
        text: String,
    },
    Media {
        media_kind: MediaKind,
        #[serde(flatten)]
        media: Media,
    },
    Location {
        latitude: f64,
        longitude: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    Contact {
        name: String,
        phone: String,
    },
    Poll {
        question: String,
        options: Vec<String>,
        multiple: bool,
    },
    /// An empty emoji takes a reaction back.
    Reaction {
        target: String,
        emoji: String,
    },
    Edit {
        target: String,
        text: String,
    },
    Revoke {
        target: String,
    },
    /// A text that the platform keeps and has approved, with what is put into its gaps. Only sent, never received.
    Template {
        name: String,
        /// Code of the translation: `en_US`.
        language: String,
        /// What fills the gaps, as the platform has it: a JSON array, kept as a text, since neither its depth nor its numbers are
        /// ours to judge.
        components: String,
    },
    /// Something that the platform has and this schema does not; `name` is the platform's word for it.
    Other {
        name: String,
    },
    /// Something whose text is known and whose bytes, if it has any, are still with the platform.
    Foreign {
        /// What kind it is: one of ours (`image`, `audio`, `document`, …) or `link`.
        name: String,
        text: String,
        /// What the platform says of it: where the bytes are, what a link shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Value>,
    },
}

impl Content {
    pub fn kind(&self) -> &str {
        match self {
            Self::Text { .. } => "text",
            Self::Media { media_kind, .. } => media_kind.name(),
            Self::Location { .. } => "location",
            Self::Contact { .. } => "contact",
            Self::Poll { .. } => "poll",
            Self::Reaction { .. } => "reaction",
            Self::Edit { .. } => "edit",
            Self::Revoke { .. } => "revoke",
            Self::Template { .. } => "template",
            Self::Other { .. } => "other",
            Self::Foreign { name, .. } => name,
        }
    }

    /// Whether it is a message of its own in the chat's history (and in the counts), or only changes another one.
    pub fn is_message(&self) -> bool {
        !matches!(self, Self::Reaction { .. } | Self::Edit { .. } | Self::Revoke { .. })
    }

    /// The text that stands for it in lists and webhooks.
    pub fn text(&self) -> &str {
        match self {
            Self::Text { text } | Self::Edit { text, .. } | Self::Foreign { text, .. } => text,
            Self::Media { media, .. } => media.caption.as_deref().unwrap_or(""),
            Self::Location { name, .. } => name.as_deref().unwrap_or(""),
            Self::Contact { name, .. } | Self::Template { name, .. } => name,
            Self::Poll { question, .. } => question,
            Self::Reaction { emoji, .. } => emoji,
            Self::Revoke { .. } | Self::Other { .. } => "",
        }
    }

    pub fn media(&self) -> Option<&Media> {
        match self {
            Self::Media { media, .. } => Some(media),
            _ => None,
        }
    }

    /// The message that this one reacts to, edits or revokes.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Reaction { target, .. } | Self::Edit { target, .. } | Self::Revoke { target } => Some(target),
            _ => None,
        }
    }

    /// The `messageType` of seed 001: our own by kind, received ones by the key that WhatsApp's protocol has for them.
    pub fn whatsapp_type(&self, from_me: bool) -> &str {
        if from_me {
            return self.kind();
        }
        match self {
            Self::Text { .. } => "conversation",
            Self::Media { media_kind: MediaKind::Image, .. } => "imageMessage",
            Self::Media { media_kind: MediaKind::Video, .. } => "videoMessage",
            Self::Media { media_kind: MediaKind::Audio, .. } => "audioMessage",
            Self::Media { media_kind: MediaKind::Document, .. } => "documentMessage",
            Self::Media { media_kind: MediaKind::Sticker, .. } => "stickerMessage",
            Self::Location { .. } => "locationMessage",
            Self::Contact { .. } => "contactMessage",
            Self::Poll { .. } => "pollCreationMessage",
            Self::Reaction { .. } => "reactionMessage",
            Self::Edit { .. } => "editedMessage",
            Self::Revoke { .. } => "protocolMessage",
            Self::Template { .. } => "templateMessage",
            Self::Foreign { name, .. } => match name.as_str() {
                // Its bytes are elsewhere, which makes it no other kind.
                "image" => "imageMessage",
                "video" => "videoMessage",
                "audio" => "audioMessage",
                "document" => "documentMessage",
                "sticker" => "stickerMessage",
                name => name,
            },
            Self::Other { name } => name,
        }
    }
}
