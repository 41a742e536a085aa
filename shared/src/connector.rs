//! The trait that every platform's connector implements, and what goes through it.
//!
//! A connector gets commands and emits updates. `emit(update).await` returns when the update is durable, and only then may the
//! connector acknowledge to its platform; it never waits for webhooks. It sees no store but [`SessionStore`]: a key-value store
//! of its own instance, encrypted, and fenced by the owner's epoch.

mod told;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::told::{Happening, HistoryPage, OldMessage, What};
use crate::{
    address::Platform,
    capability::{Capability, Transport},
    clock::Millis,
    domain::content::Content,
    error::{Error, Result},
    id::{InstanceId, JobId},
    redact::Secret,
};

/// Version of the queue bodies that carry a [`Command`].
pub const COMMAND_VERSION: u32 = 1;

/// What a worker shall do with an instance, as it lies in the command queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub v: u32,
    pub instance: InstanceId,
    #[serde(flatten)]
    pub action: Action,
}

impl Command {
    pub fn new(instance: InstanceId, action: Action) -> Self {
        Self { v: COMMAND_VERSION, instance, action }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Action {
    /// Send the message whose row is at `message` (a sort key).
    Send { message: String, accepted: Millis, deadline: Millis, outgoing: Box<Outgoing> },
    /// The instance is new, or wanted again: connect it.
    Start,
    /// Its settings changed: read them again.
    Reconfigure,
    /// Drop the line and connect anew; a logged-out instance starts pairing.
    Reconnect,
    /// Tell the platform, forget the session.
    Logout,
    /// Log out, close, and delete everything, as job `job`.
    Delete { job: JobId },
    /// Ask the platform something and put the answer into job `job`.
    Ask { job: JobId, request: Request },
    /// Close the line for good, and put the session where job `job` then says.
    ExportSession { job: JobId },
    /// Take the session over that lies in this parcel (`domain::moving`), and connect with it, as job `job`.
    ImportSession { job: JobId, parcel: String },
    /// The platform has called us. What it said, as `Connector::callback` takes it: parts of one conversation, in their order.
    Callback { parts: Vec<Value> },
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// The platform's id where the client chooses it, else ours.
    pub id: String,
    /// Canonical address (`shared::address`).
    pub to: String,
    pub content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// How long "typing" is shown before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub typing_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_preview: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub view_once: bool,
    /// The message that it answers, or that its content refers to. Looked up before the attempt.
    #[serde(skip)]
    pub about: Option<About>,
}

/// What platforms must be told of a message that another one refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The platform's id.
    pub id: String,
    pub from_me: bool,
    /// Address of its sender; empty for our own.
    pub sender: String,
    /// The text that stands for it.
    pub text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Something that only the platform can answer or do at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Request {
    PairingCode {
        phone: String,
    },
    Check {
        phones: Vec<String>,
    },
    ProfilePicture {
        address: String,
    },
    SyncContacts,
    MarkRead {
        chat: String,
        messages: Vec<String>,
        /// Show that an answer is being written, where the platform ties that to reading.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        typing: bool,
    },
    Typing {
        chat: String,
        on: bool,
    },
    Groups,
    GroupCreate {
        subject: String,
        participants: Vec<String>,
    },
    GroupParticipants {
        group: String,
        change: GroupChange,
        participants: Vec<String>,
    },
    GroupSubject {
        group: String,
        subject: String,
    },
    GroupInvite {
        group: String,
    },
    GroupLeave {
        group: String,
    },
    /// Tell of this contact's presence for a while ([`What::PresenceUpdated`]).
    WatchPresence {
        address: String,
    },
    /// Phone → LID or LID → phone.
    Lid {
        address: String,
    },
    /// Plays the phone network: sandbox instances only.
    Sandbox {
        play: Play,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupChange {
    Add,
    Remove,
    Promote,
    Demote,
}

/// What a user lets the simulated phone network do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "play", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Play {
    Scan {
        phone: Option<String>,
        name: Option<String>,
    },
    /// Somebody writes. `id` names the message: given twice, it is one. Where the platform names messages, the network turns it
    /// into an id of that kind.
    Receive {
        id: String,
        from: String,
        chat: String,
        name: Option<String>,
        content: Content,
        at: Millis,
    },
    /// The line breaks, and comes back after `seconds`.
    Disconnect {
        seconds: u64,
    },
    /// The phone removes the linked device.
    Logout,
}

/// How an attempt to send ended. Stays typed up to the retry decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// The platform has it. `id` where the platform assigns ids.
    Accepted { id: Option<String>, at: Millis },
    /// The platform refuses this message for good.
    Rejected { reason: String },
    /// Not now, for this message only: a rate limit.
    Later { after: Duration },
    /// There is no line: park it until there is.
    NoLine,
    /// It may or may not have arrived, and repeating it could double it.
    Unknown,
}

/// A receipt step of messages that we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipt {
    Delivered,
    Read,
}

/// What became of a message that we sent, as a platform tells it that names messages itself.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageReport {
    /// The platform's id.
    pub id: String,
    /// Our id of it ([`Outgoing::id`]), where the platform gives that back: then a report finds a message whose sending was cut
    /// off before the platform's id was known.
    pub ours: Option<String>,
    /// Address of the chat.
    pub chat: String,
    pub what: Reported,
    pub at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// The platform has it, and takes it further.
    Sent,
    Delivered,
    Read,
    /// It had been taken, and will not arrive.
    Failed {
        reason: String,
    },
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The platform's id; unique within (chat, sender) only.
    pub id: String,
    /// Address of the chat.
    pub chat: String,
    /// Address of the sender; ours for what we wrote on another device.
    pub sender: String,
    pub from_me: bool,
    pub push_name: String,
    pub is_group: bool,
    pub content: Content,
    pub quoted: Option<String>,
    pub at: Millis,
    /// What its event shows beside all this: an object, such as whom it mentions, or null.
    pub facts: Value,
}

/// A contact as the platform tells of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactInfo {
    pub address: String,
    pub name: String,
    pub avatar: String,
    pub is_group: bool,
}

/// Why a line closed (`connection_closed.reason`, spec/http.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Closed {
    Logout,
    Replaced,
    Banned,
    Unreachable,
    Restart,
    Error,
}

impl Closed {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Replaced => "replaced",
            Self::Banned => "banned",
            Self::Unreachable => "unreachable",
            Self::Restart => "restart",
            Self::Error => "error",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        [Self::Logout, Self::Replaced, Self::Banned, Self::Unreachable, Self::Restart, Self::Error]
            .into_iter()
            .find(|reason| reason.name() == name)
    }

    /// Whether the supervisor tries again by itself.
    pub fn will_reconnect(self) -> bool {
        matches!(self, Self::Unreachable | Self::Restart | Self::Error)
    }
}

/// What a connector tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A QR code to scan; replaces the one before.
    Qr {
        code: String,
    },
    /// Nobody scanned: pairing stopped until somebody asks again.
    PairingExpired,
    /// Pairing stopped for a reason that the user must be told: one word or two, such as `passkey_required`.
    PairingRefused {
        reason: &'static str,
    },
    /// The line is up. `address` is the account's own, `aliases` are others that lead to it (a bot's username), `name` is its
    /// display name.
    Opened {
        address: String,
        aliases: Vec<String>,
        name: String,
    },
    /// The line is down.
    Closed {
        reason: Closed,
    },
    /// The platform does not accept the account's credentials (any more): nothing will do until somebody gives others, or asks
    /// for another try. `reason` is a word such as `token_expired`, `detail` what the platform says.
    Unauthorized {
        reason: &'static str,
        detail: String,
    },
    Received(Box<Incoming>),
    Receipt {
        messages: Vec<String>,
        chat: String,
        receipt: Receipt,
        at: Millis,
    },
    Reported(Box<MessageReport>),
    Contacts(Vec<ContactInfo>),
    /// Two addresses of one chat: the phone id and the LID.
    SameChat {
        address: String,
        also: String,
    },
    Happened(Box<Happening>),
    History(Box<HistoryPage>),
    /// The platform lets the account do less than others for a while. `reason` is a word such as `reachout_timelock`.
    Restricted {
        reason: &'static str,
        /// When it is over.
        until: Millis,
    },
}

/// What a connector needs to know of its account.
#[derive(Debug, Clone)]
pub struct Account {
    pub instance: InstanceId,
    pub platform: Platform,
    pub transport: Transport,
    /// The user's credentials for the platform, as JSON.
    pub credentials: Option<Secret>,
    pub proxy: Option<Secret>,
    /// The account's own address, if it was connected before.
    pub address: Option<String>,
}

/// A change of session state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionChange {
    pub key: String,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
    /// From then on the value may disappear by itself; until it has, it is still returned.
    pub until: Option<Millis>,
}

/// Session state of one instance: opaque values under keys, encrypted, fenced by the owner's epoch.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Writes or deletes (`None`) all of these, or none. At most 50 at once.
    async fn put(&self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        self.write(changes.into_iter().map(|(key, value)| SessionChange { key, value, until: None }).collect()).await
    }
    /// [`SessionStore::put`], for values that may have an end. No key twice.
    async fn write(&self, changes: Vec<SessionChange>) -> Result<()>;
    /// Keys that begin with `prefix`, in order, with their values; at most `limit` after `after`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>>;
    /// Everything of the instance.
    async fn clear(&self) -> Result<()>;
}

/// Takes the updates of one instance.
#[async_trait]
pub trait Emit: Send + Sync + 'static {
    /// Returns when the update is durable. An error means that it is not: do not acknowledge it to the platform.
    async fn emit(&self, update: Update) -> Result<()>;
    /// A sign of life from the platform: resets the watchdog. Cheap.
    fn frame(&self);
}

/// One connected account. Dropping it closes the socket.
#[async_trait]
pub trait Line: Send + Sync + 'static {
    async fn send(&self, outgoing: &Outgoing) -> Sent;

    async fn ask(&self, request: Request) -> Result<Value>;

    /// Unlinks at the platform, then closes.
    async fn logout(&self) -> Result<()>;

    /// Closes in good order; emits nothing more.
    async fn close(&self);
}

/// A platform's connector: opens lines. `open` returns at once; what happens on the line comes as updates.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    fn capability(&self) -> Capability;

    async fn open(
        &self,
        account: Account,
        session: Arc<dyn SessionStore>,
        emit: Arc<dyn Emit>,
    ) -> Result<Arc<dyn Line>>;

    /// Takes what the platform called us with ([`Action::Callback`]), and emits it. Returns when all of it is durable; may be
    /// given the same again. There need not be a line: what has been said has been said.
    ///
    /// Errors: something of it is not durable. What the connector makes nothing of is no error.
    async fn callback(&self, _account: Account, _emit: Arc<dyn Emit>, _parts: &[Value]) -> Result<()> {
        Err(unsupported("a callback"))
    }
}

/// The answer of a connector that does not have what is asked.
pub fn unsupported(what: &str) -> Error {
    Error::invalid("instance", format!("{what} is not possible on this platform")).code("NOT_SUPPORTED")
}
