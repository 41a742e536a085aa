//! What a socket that a gateway holds is to be told, as work of the job queue: a group per socket, so what concerns it happens
//! one after the other, whoever it comes from, and only one process at a time speaks to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Frame;
use crate::{
    domain::job::{self, Work},
    error::Result,
    id::{InstanceId, SocketId, UserId},
    store::{Cursor, Enqueue},
};

/// Bytes of a frame that a note carries; a larger message is read from its channel.
const MOST_CARRIED: usize = 96 * 1024;

/// Where a client stands, by chat and instance (see `functions/realtime`).
pub type After = BTreeMap<String, u64>;

/// One thing to do for a socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Note {
    /// A credential was shown.
    Auth {
        /// Sealed.
        credential: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// The client said something before it was known who it is.
    Said { text: String },
    /// The time for showing a credential is over.
    Deadline,
    /// The client goes on where it says that it is.
    Resume { after: After },
    /// Read on in these logs.
    Read(Reading),
    /// A frame for everybody concerned.
    Push(Pushed),
    /// The log of this instance has grown.
    Grew { instance: InstanceId },
    /// Look whether the credential still holds, and which instances there are. `behind`: read their logs, too.
    Look {
        #[serde(default)]
        behind: bool,
    },
}

/// What is left to be read for a client that is behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Channels' logs.
    pub chats: Vec<String>,
    pub instances: Vec<InstanceId>,
    /// The search for channels that the client did not name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Others>,
    /// Whether the client waits for word that it has caught up.
    #[serde(default)]
    pub told: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Others {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The client's number for them.
    pub seq: u64,
    pub named: BTreeSet<String>,
}

/// A [`Frame`] on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default)]
    pub seq: u64,
    /// Who wrote the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UserId>,
    /// The writer's number for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `None`: too large to be carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Pushed {
    pub fn new(frame: &Frame) -> Self {
        // Frames are made from text.
        let text = String::from_utf8_lossy(&frame.text).into_owned();
        Self {
            channel: frame.place.as_ref().map(|place| place.channel.to_string()),
            seq: frame.place.as_ref().map_or(0, |place| place.seq),
            from: frame.from.clone(),
            client_id: frame.client_id.as_deref().map(str::to_owned),
            text: (frame.place.is_none() || text.len() <= MOST_CARRIED).then_some(text),
        }
    }

    /// Of a message: who wrote it, and the writer's number for it.
    pub fn writer(&self) -> Option<(&UserId, &str)> {
        Some((self.from.as_ref()?, self.client_id.as_deref()?))
    }
}

/// The queue group of a socket.
pub fn group(socket: &SocketId) -> String {
    format!("ws/{socket}")
}

/// Work for a socket.
pub fn work(socket: &SocketId, note: Note) -> Work {
    Work::Socket { socket: socket.clone(), note: Box::new(note) }
}

/// The queue message of a note. `dedup`: the same is queued once within five minutes.
pub fn message(socket: &SocketId, dedup: String, note: Note) -> Result<Enqueue> {
    job::background(group(socket), dedup, work(socket, note))
}
