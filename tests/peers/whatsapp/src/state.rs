//! Everything the fake knows: phones, their linked devices, groups, connections. One lock holds it all; it lives as long as the
//! process, so clients may come and go.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, anyhow};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use wacore_binary::{Jid, Node, Server};

use crate::device::{Device, Envelope};
use crate::group::Group;
use crate::media::MediaStore;
use crate::pairing::{CodePairing, Registration};
use crate::phone::Phone;
use crate::stats::Stats;

/// What is written to a connection.
pub(crate) enum Out {
    /// A stanza.
    Node(Box<Node>),
    /// End the connection after what was queued before.
    Close,
}

/// The writing end of a connection.
pub(crate) type Outbox = UnboundedSender<Out>;

/// Number of a connection, never reused within a process.
pub(crate) type ConnId = u64;

/// Who is at the other end of a connection.
pub(crate) enum Peer {
    /// A client that wants to be linked.
    Registering(Box<Registration>),
    /// A linked device.
    Device { pn: String, device: u16 },
}

/// An open connection after its handshake.
pub(crate) struct Conn {
    pub(crate) outbox: Outbox,
    pub(crate) peer: Peer,
    /// Ends the connection's tasks without a word, as a broken network does.
    pub(crate) abort: AbortHandle,
}

/// A network outage that was asked for.
pub(crate) struct Cut {
    pub(crate) until: Instant,
    /// Only these phones; empty: everybody.
    pub(crate) phones: Vec<String>,
    /// Connections stay, but nothing passes.
    pub(crate) silent: bool,
}

impl Cut {
    /// `None` is a connection whose owner is not known (yet).
    fn concerns(&self, phone: Option<&str>) -> bool {
        self.phones.is_empty() || phone.is_some_and(|phone| self.phones.iter().any(|other| other == phone))
    }
}

/// The whole state.
#[derive(Default)]
pub(crate) struct State {
    /// By phone number.
    pub(crate) phones: BTreeMap<String, Phone>,
    /// LID user → phone number.
    pub(crate) lids: HashMap<String, String>,
    /// By the part before `@g.us`.
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) conns: HashMap<ConnId, Conn>,
    /// Pairing ref of a QR → the connection that shows it.
    pub(crate) refs: HashMap<String, ConnId>,
    /// Pairings by code in progress, by phone number.
    pub(crate) codes: HashMap<String, CodePairing>,
    pub(crate) media: MediaStore,
    pub(crate) stats: Stats,
    pub(crate) cut: Option<Cut>,
    next: u64,
}

impl State {
    /// Nothing but the address where media will be served.
    pub(crate) fn new(media_host: SocketAddr) -> Self {
        Self { media: MediaStore::new(media_host), ..Self::default() }
    }

    /// A number that was never returned before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// An id for a stanza of the server's own.
    pub(crate) fn stanza_id(&mut self) -> String {
        format!("srv-{}", self.next_number())
    }

    /// The phone number behind a user's address, PN or LID. `None` for groups and unknown LIDs.
    pub(crate) fn pn_of(&self, jid: &Jid) -> Option<String> {
        match jid.server {
            Server::Pn => Some(jid.user.to_string()),
            Server::Lid => self.lids.get(jid.user.as_str()).cloned(),
            _ => None,
        }
    }

    pub(crate) fn phone(&self, pn: &str) -> Result<&Phone> {
        self.phones.get(pn).ok_or_else(|| anyhow!("there is no phone {pn}"))
    }

    pub(crate) fn phone_mut(&mut self, pn: &str) -> Result<&mut Phone> {
        self.phones.get_mut(pn).ok_or_else(|| anyhow!("there is no phone {pn}"))
    }

    pub(crate) fn device_mut(&mut self, pn: &str, device: u16) -> Option<&mut Device> {
        self.phones.get_mut(pn)?.devices.get_mut(&device)
    }

    /// Numbers of the linked devices of an account.
    pub(crate) fn device_ids(&self, pn: &str) -> Vec<u16> {
        self.phones.get(pn).map(|phone| phone.devices.keys().copied().collect()).unwrap_or_default()
    }

    /// Queues a stanza for every linked device of an account but `except`.
    pub(crate) fn deliver_to_account(&mut self, pn: &str, except: Option<u16>, envelope: &Envelope, node: &Node) {
        let devices = self.phones.get_mut(pn).into_iter().flat_map(|phone| phone.devices.values_mut());
        for device in devices.filter(|device| Some(device.id) != except) {
            device.deliver(envelope.clone(), node.clone());
        }
    }

    /// The outage that concerns a phone now, if there is one.
    pub(crate) fn outage(&mut self, phone: Option<&str>) -> Option<&Cut> {
        if self.cut.as_ref().is_some_and(|cut| Instant::now() >= cut.until) {
            self.cut = None;
        }
        self.cut.as_ref().filter(|cut| cut.concerns(phone))
    }

    /// Until when nothing passes on a connection that is still open.
    pub(crate) fn silent_until(&mut self, conn: ConnId) -> Option<Instant> {
        self.cut.as_ref()?;
        let phone = match self.conns.get(&conn).map(|conn| &conn.peer) {
            Some(Peer::Device { pn, .. }) => Some(pn.clone()),
            _ => None,
        };
        self.outage(phone.as_deref()).filter(|cut| cut.silent).map(|cut| cut.until)
    }
}
