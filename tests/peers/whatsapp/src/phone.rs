//! A simulated phone: an account with its keys, its linked devices, and what arrived at it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wacore_binary::{Jid, Node};
use waproto::whatsapp as wa;

use crate::app_state::AppState;
use crate::clock::now_secs;
use crate::device::Device;
use crate::keys::PhoneKeys;
use crate::login::failure;

/// So many arrived messages are kept for each phone; the oldest go first.
const INBOX: usize = 2_000;

/// So many receipts, and so many states, are kept for each phone.
const SEEN: usize = 5_000;

/// So many own messages are kept, for devices that ask for one again.
const SENT: usize = 200;

/// Which of its two addresses a phone writes under.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Addressing {
    /// The phone number, with the LID beside it.
    #[default]
    Pn,
    /// The LID, with the phone number beside it.
    Lid,
}

/// What a phone tells the sender of a message without being asked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AutoReceipts {
    /// Nothing: receipts are sent through the control API.
    None,
    /// That it arrived.
    #[default]
    Delivered,
    /// That it arrived, and at once that it was read.
    Read,
}

/// Why the server refuses every login of an account.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ban {
    /// The `reason` of `<failure>`: 401 logged out, 402 temporary ban, 403 locked, 405 outdated, 503 …
    pub(crate) reason: u16,
    /// With 402: the code of the ban.
    #[serde(default)]
    pub(crate) code: Option<u16>,
    /// With 402: for how many seconds.
    #[serde(default)]
    pub(crate) expire: Option<u64>,
}

impl Ban {
    pub(crate) fn failure(&self) -> Node {
        let mut node = failure(self.reason, &[("location", "lla")]);
        if let Some(code) = self.code {
            node.attrs.insert("code", code.to_string());
        }
        if let Some(expire) = self.expire {
            node.attrs.insert("expire", expire.to_string());
        }
        node
    }
}

/// A message that arrived at the phone, or that a linked device wrote in its name.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Received {
    /// Grows by one with each entry of this inbox.
    pub(crate) seq: u64,
    pub(crate) id: String,
    /// `<number>@s.whatsapp.net` or `<id>@g.us`: the other side, also for messages of one's own.
    pub(crate) chat: String,
    /// The author's phone number.
    pub(crate) from: String,
    /// The author's device; 0 is a phone.
    pub(crate) device: u16,
    /// Written by a linked device of this very account.
    pub(crate) from_me: bool,
    /// Name of the message's kind, as in the protocol: `conversation`, `imageMessage`, ….
    pub(crate) kind: String,
    /// Text or caption.
    pub(crate) text: Option<String>,
    /// What else the kind says; see the README.
    pub(crate) content: Value,
    /// Seconds since the epoch.
    pub(crate) at: u64,
    /// How often it arrived: a phone shows a message once, however often it is sent under the same id.
    pub(crate) copies: u32,
    #[serde(skip)]
    pub(crate) message: wa::Message,
}

/// A receipt that a linked device of somebody else sent for a message of this account.
#[derive(Clone, Serialize)]
pub(crate) struct ReceiptSeen {
    pub(crate) id: String,
    /// The receipt's `type`; `delivered` when it has none.
    pub(crate) kind: String,
    /// The phone number of the sender.
    pub(crate) from: String,
    pub(crate) device: u16,
    pub(crate) chat: String,
    pub(crate) at: u64,
}

/// Presence or chat state that linked devices of others showed to this phone.
#[derive(Clone, Serialize)]
pub(crate) struct StateSeen {
    pub(crate) from: String,
    /// `available`, `unavailable`, `composing`, `paused`, `recording`.
    pub(crate) state: String,
    pub(crate) chat: Option<String>,
    pub(crate) at: u64,
}

/// A message of this phone's own, for devices that ask for it again.
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) to: Jid,
    pub(crate) message: wa::Message,
}

/// A simulated phone.
pub(crate) struct Phone {
    pub(crate) pn: String,
    /// The user part of its LID.
    pub(crate) lid: String,
    pub(crate) name: String,
    pub(crate) about: String,
    /// `smba`, `android`, `iphone`: what pair-success says.
    pub(crate) platform: String,
    pub(crate) created: u64,
    pub(crate) raw_id: u32,
    pub(crate) keys: PhoneKeys,
    pub(crate) addressing: Addressing,
    pub(crate) receipts: AutoReceipts,
    pub(crate) devices: BTreeMap<u16, Device>,
    last_device: u16,
    pub(crate) inbox: VecDeque<Received>,
    next_seq: u64,
    pub(crate) receipts_seen: VecDeque<ReceiptSeen>,
    pub(crate) states_seen: VecDeque<StateSeen>,
    pub(crate) sent: VecDeque<Sent>,
    /// Errors for the next messages that this account's devices send.
    pub(crate) refusals: VecDeque<u16>,
    /// Until then it may not write to strangers (error 463), in seconds since 1970.
    pub(crate) time_lock: Option<u64>,
    /// (chat, id) of every message that this account's devices sent.
    pub(crate) ids_seen: HashSet<(String, String)>,
    /// Devices that know this phone's sender key of a group.
    pub(crate) key_holders: HashMap<String, HashSet<(String, u16)>>,
    pub(crate) app_state: AppState,
    pub(crate) ban: Option<Ban>,
    /// Profile picture: id and where it is served.
    pub(crate) picture: Option<(u64, String)>,
    pub(crate) blocked: Vec<Jid>,
    /// Accounts that asked for this one's devices: they hear of changes.
    pub(crate) asked_by: BTreeSet<String>,
    /// Linking a device asks for a passkey, which no client of the tests has.
    pub(crate) passkey: bool,
}

impl Phone {
    pub(crate) fn new(pn: String, lid: String, name: String) -> Result<Self> {
        Ok(Self {
            keys: PhoneKeys::generate()?,
            app_state: AppState::new(&name)?,
            pn,
            lid,
            name,
            about: "Hey there!".to_owned(),
            platform: "android".to_owned(),
            created: now_secs(),
            raw_id: rand::random::<u32>() >> 1,
            addressing: Addressing::default(),
            receipts: AutoReceipts::default(),
            devices: BTreeMap::new(),
            last_device: 0,
            inbox: VecDeque::new(),
            next_seq: 0,
            receipts_seen: VecDeque::new(),
            states_seen: VecDeque::new(),
            sent: VecDeque::new(),
            refusals: VecDeque::new(),
            time_lock: None,
            ids_seen: HashSet::new(),
            key_holders: HashMap::new(),
            ban: None,
            picture: None,
            blocked: Vec::new(),
            asked_by: BTreeSet::new(),
            passkey: false,
        })
    }

    /// Number and key index for a device that is about to be linked.
    pub(crate) fn next_device(&mut self) -> (u16, u32) {
        self.last_device += 1;
        (self.last_device, u32::from(self.last_device))
    }

    /// The highest key index given out so far.
    pub(crate) fn current_key_index(&self) -> u32 {
        u32::from(self.last_device)
    }

    pub(crate) fn pn_jid(&self) -> Jid {
        Jid::pn(self.pn.clone())
    }

    pub(crate) fn lid_jid(&self) -> Jid {
        Jid::lid(self.lid.clone())
    }

    /// The LID or the phone number.
    pub(crate) fn jid_in(&self, by_lid: bool) -> Jid {
        if by_lid { self.lid_jid() } else { self.pn_jid() }
    }

    /// The address that it writes under.
    pub(crate) fn own_jid(&self) -> Jid {
        self.jid_in(self.addressing == Addressing::Lid)
    }

    /// Keeps what arrived.
    pub(crate) fn receive(&mut self, mut received: Received) {
        let earlier = self.inbox.iter_mut().rev().find(|earlier| {
            earlier.id == received.id && earlier.chat == received.chat && earlier.from == received.from
        });
        if let Some(earlier) = earlier {
            earlier.copies += 1;
            return;
        }
        self.next_seq += 1;
        received.seq = self.next_seq;
        self.inbox.push_back(received);
        if self.inbox.len() > INBOX {
            self.inbox.pop_front();
        }
    }

    /// Keeps a receipt for one of its messages.
    pub(crate) fn see_receipt(&mut self, receipt: ReceiptSeen) {
        self.receipts_seen.push_back(receipt);
        if self.receipts_seen.len() > SEEN {
            self.receipts_seen.pop_front();
        }
    }

    /// Keeps what somebody else showed.
    pub(crate) fn see_state(&mut self, state: StateSeen) {
        self.states_seen.push_back(state);
        if self.states_seen.len() > SEEN {
            self.states_seen.pop_front();
        }
    }

    /// Keeps an own message for repetition.
    pub(crate) fn remember_sent(&mut self, sent: Sent) {
        self.sent.push_back(sent);
        if self.sent.len() > SENT {
            self.sent.pop_front();
        }
    }
}
