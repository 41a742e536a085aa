//! A linked device as the server sees it: its public keys, its connection, and what it has not acknowledged yet.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::keys::PublicBundle;
use crate::state::{ConnId, Out, Outbox};

/// How many stanzas of a backlog are sent before the client asks for more, as the real server does.
const PRIMER: usize = 5;

/// Where a logged-in connection stands.
pub(crate) enum Stage {
    /// Logged in; waits for the client's `<active/>`.
    Passive,
    /// The backlog is being delivered: what is left of it, and how many there were.
    Draining { left: VecDeque<u64>, total: usize },
    /// Everything is sent as it comes.
    Live,
}

/// The current connection of a device.
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) outbox: Outbox,
    pub(crate) stage: Stage,
}

impl Link {
    pub(crate) fn send(&self, node: Node) {
        // A closed receiver means that the connection is going down; what matters stays in `pending`.
        self.outbox.send(Out::Node(Box::new(node))).ok();
    }
}

/// The kinds of stanza a client acknowledges, by the `class` of its ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Message,
    Receipt,
    Notification,
    Call,
}

impl Class {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "message" => Self::Message,
            "receipt" => Self::Receipt,
            "notification" => Self::Notification,
            "call" => Self::Call,
            _ => return None,
        })
    }
}

/// A stanza that the device has not acknowledged.
pub(crate) struct Pending {
    seq: u64,
    pub(crate) class: Class,
    pub(crate) id: String,
    /// The phone number or group that the acknowledgement names; `None` for the server's own.
    pub(crate) from: Option<String>,
    /// The phone number of the author within a group.
    pub(crate) participant: Option<String>,
    node: Node,
    /// The connection it was last written to.
    sent_on: Option<ConnId>,
    /// How often it was written.
    pub(crate) deliveries: u32,
}

/// Address and identity of a stanza that must be acknowledged.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) class: Class,
    pub(crate) id: String,
    pub(crate) from: Option<String>,
    pub(crate) participant: Option<String>,
}

impl Envelope {
    /// Of something that `who` (a phone number) wrote, directly or to a group.
    pub(crate) fn of(class: Class, id: &str, who: &str, group: Option<&Jid>) -> Self {
        Self {
            class,
            id: id.to_owned(),
            from: Some(group.map_or_else(|| who.to_owned(), |group| group.user.to_string())),
            participant: group.map(|_| who.to_owned()),
        }
    }
}

/// A linked device.
pub(crate) struct Device {
    pub(crate) id: u16,
    pub(crate) key_index: u32,
    /// The client's Noise key: a login under another one is refused.
    pub(crate) noise_key: [u8; 32],
    /// Its public keys; `prekey` is always `None` here, one-time keys are in `prekeys`.
    pub(crate) bundle: PublicBundle,
    pub(crate) prekeys: VecDeque<(u32, [u8; 32])>,
    /// One-time prekeys accepted so far.
    pub(crate) prekeys_uploaded: u64,
    /// `ADVSignedDeviceIdentity`, signed by account and device.
    pub(crate) signed_identity: Vec<u8>,
    pub(crate) link: Option<Link>,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) logins: u32,
    /// Whether the client says it is `available`.
    pub(crate) available: bool,
    /// Whose presence it asked for (phone numbers).
    pub(crate) watches: HashSet<String>,
    next_seq: u64,
}

impl Device {
    pub(crate) fn new(
        id: u16,
        key_index: u32,
        noise_key: [u8; 32],
        bundle: PublicBundle,
        signed_identity: Vec<u8>,
    ) -> Self {
        Self {
            id,
            key_index,
            noise_key,
            bundle,
            prekeys: VecDeque::new(),
            prekeys_uploaded: 0,
            signed_identity,
            link: None,
            pending: VecDeque::new(),
            logins: 0,
            available: false,
            watches: HashSet::new(),
            next_seq: 0,
        }
    }

    /// The keys for one new session; takes a one-time prekey if there is one.
    pub(crate) fn take_bundle(&mut self) -> PublicBundle {
        PublicBundle { prekey: self.prekeys.pop_front(), ..self.bundle.clone() }
    }

    /// Queues a stanza until it is acknowledged, and sends it if the device is there.
    pub(crate) fn deliver(&mut self, envelope: Envelope, node: Node) {
        self.next_seq += 1;
        let mut pending = Pending {
            seq: self.next_seq,
            class: envelope.class,
            id: envelope.id,
            from: envelope.from,
            participant: envelope.participant,
            node,
            sent_on: None,
            deliveries: 0,
        };
        if let Some(link) = &self.link
            && matches!(link.stage, Stage::Live)
        {
            pending.write(link, None);
        }
        self.pending.push_back(pending);
    }

    /// Sends a stanza that nobody acknowledges, or drops it if the device is not there.
    pub(crate) fn send_now(&self, node: Node) {
        if let Some(link) = &self.link
            && matches!(link.stage, Stage::Live)
        {
            link.send(node);
        }
    }

    /// The client became active: announces the backlog and sends the first part of it.
    pub(crate) fn become_active(&mut self) {
        let Some(link) = &mut self.link else { return };
        let total = self.pending.len();
        let of = |class: Class| self.pending.iter().filter(|p| p.class == class).count();
        link.send(
            NodeBuilder::new("ib")
                .children([NodeBuilder::new("offline_preview")
                    .attr("count", total)
                    .attr("message", of(Class::Message))
                    .attr("receipt", of(Class::Receipt))
                    .attr("notification", of(Class::Notification))
                    .attr("call", of(Class::Call))
                    .attr("appdata", 0)
                    .build()])
                .build(),
        );
        link.stage = Stage::Draining { left: self.pending.iter().map(|pending| pending.seq).collect(), total };
        self.drain(PRIMER);
    }

    /// Sends up to `count` stanzas of the backlog; after the last one says so and goes live.
    pub(crate) fn drain(&mut self, count: usize) {
        let Some(link) = &mut self.link else { return };
        let Stage::Draining { left, total } = &mut link.stage else {
            return;
        };
        let total = *total;
        let batch: Vec<u64> = left.drain(..count.min(left.len())).collect();
        let finished = left.is_empty();
        let first = total - left.len() - batch.len();
        for (offset, seq) in batch.into_iter().enumerate() {
            // Acknowledged in the meantime: nothing to send.
            if let Some(pending) = self.pending.iter_mut().find(|pending| pending.seq == seq) {
                pending.write(link, Some(first + offset));
            }
        }
        if !finished {
            return;
        }
        link.send(NodeBuilder::new("ib").children([NodeBuilder::new("offline").attr("count", total).build()]).build());
        link.stage = Stage::Live;
        for pending in &mut self.pending {
            if pending.sent_on != Some(link.conn) {
                pending.write(link, None);
            }
        }
    }

    /// Takes back what the client acknowledged. `from` and `participant` are what its stanza names, as phone numbers or group.
    pub(crate) fn acknowledge(
        &mut self,
        class: Class,
        id: &str,
        from: Option<&str>,
        participant: Option<&str>,
    ) -> bool {
        let position = self.pending.iter().position(|pending| {
            pending.class == class
                && pending.id == id
                && agree(pending.from.as_deref(), from)
                && agree(pending.participant.as_deref(), participant)
        });
        position.and_then(|position| self.pending.remove(position)).is_some()
    }
}

impl Pending {
    fn write(&mut self, link: &Link, offline: Option<usize>) {
        let mut node = self.node.clone();
        if let Some(number) = offline {
            node.attrs.insert("offline", number.to_string());
        }
        self.sent_on = Some(link.conn);
        self.deliveries += 1;
        link.send(node);
    }
}

/// Two optional names agree unless both are there and differ.
fn agree(ours: Option<&str>, theirs: Option<&str>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    }
}

/// The address of a device of an account: PN or LID form.
pub(crate) fn device_jid(user: &str, lid: bool, device: u16) -> Jid {
    if lid { Jid::lid_device(user.to_owned(), device) } else { Jid::pn_device(user.to_owned(), device) }
}
