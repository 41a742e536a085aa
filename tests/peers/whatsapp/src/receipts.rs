//! Receipts: those that clients send for what arrived at them, and those that simulated phones send for what clients wrote.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::clock::now_secs;
use crate::device::{Class, Envelope};
use crate::dispatch::send;
use crate::keys::PublicBundle;
use crate::outbound;
use crate::phone::{AutoReceipts, ReceiptSeen};
use crate::stanza::{attr, child_bytes, children, jid, uint};
use crate::state::{ConnId, State};

/// Receipts that a client sends instead of an ack: the message is in its hands.
const CONSUMED: [&str; 4] = ["", "inactive", "sender", "peer_msg"];

/// Handles a `<receipt>` of a linked device.
pub(crate) fn from_client(state: &mut State, conn: ConnId, pn: &str, device: u16, node: &Node) {
    let (Some(id), Some(to)) = (attr(node, "id"), jid(node, "to")) else {
        return;
    };
    let kind = attr(node, "type").unwrap_or_default();
    send(state, conn, ack_of(node, &id, &to));
    let participant = jid(node, "participant");
    let author = participant.as_ref().or(Some(&to)).and_then(|jid| state.pn_of(jid));

    if kind == "retry" {
        state.stats.retry_receipts += 1;
        if let Some(author) = author {
            repeat(state, &author, pn, device, &id, node);
        }
        return;
    }
    let mut ids = vec![id];
    if let Some(list) = node.get_optional_child("list") {
        ids.extend(children(list).iter().filter_map(|item| attr(item, "id")));
    }
    if node.get_optional_child("offer").is_some() {
        // A call's offer is acknowledged by a receipt as well.
        acknowledge(state, pn, device, Class::Call, &ids, Some(&to), None);
        return;
    }
    if CONSUMED.contains(&kind.as_str()) {
        acknowledge(state, pn, device, Class::Message, &ids, Some(&to), participant.as_ref());
    }
    let Some(author) = author else { return };
    if author != pn {
        seen(state, &author, pn, device, &kind, &to, &ids);
        pass_on(state, &author, pn, &kind, &to, &ids);
    }
}

fn ack_of(node: &Node, id: &str, to: &Jid) -> Node {
    let mut builder = NodeBuilder::new("ack").attr("class", "receipt").attr("id", id).attr("from", to);
    for name in ["type", "participant"] {
        if let Some(value) = attr(node, name) {
            builder = builder.attr(name, value);
        }
    }
    builder.build()
}

/// Takes acknowledged stanzas out of a device's queue.
pub(crate) fn acknowledge(
    state: &mut State,
    pn: &str,
    device: u16,
    class: Class,
    ids: &[impl AsRef<str>],
    from: Option<&Jid>,
    participant: Option<&Jid>,
) {
    let name = |state: &State, jid: &Jid| match jid.server {
        Server::Group => Some(jid.user.to_string()),
        _ => state.pn_of(jid),
    };
    let from = from.and_then(|jid| name(state, jid));
    let participant = participant.and_then(|jid| name(state, jid));
    for id in ids {
        let found = state
            .device_mut(pn, device)
            .is_some_and(|device| device.acknowledge(class, id.as_ref(), from.as_deref(), participant.as_deref()));
        if found {
            let kind = match class {
                Class::Message => "message",
                Class::Receipt => "receipt",
                Class::Notification => "notification",
                Class::Call => "call",
            };
            *state.stats.acknowledged.entry(kind).or_default() += 1;
        } else {
            state.stats.needless_acks += 1;
        }
    }
}

/// The author's phone sees the receipt.
fn seen(state: &mut State, author: &str, pn: &str, device: u16, kind: &str, chat: &Jid, ids: &[String]) {
    let chat = match chat.server {
        Server::Group => chat.to_string(),
        _ => format!("{pn}@s.whatsapp.net"),
    };
    let Some(phone) = state.phones.get_mut(author) else {
        return;
    };
    for id in ids {
        phone.see_receipt(ReceiptSeen {
            id: id.clone(),
            kind: if kind.is_empty() { "delivered" } else { kind }.to_owned(),
            from: pn.to_owned(),
            device,
            chat: chat.clone(),
            at: now_secs(),
        });
    }
}

/// The author's linked devices see it as well.
fn pass_on(state: &mut State, author: &str, reader: &str, kind: &str, chat: &Jid, ids: &[String]) {
    let kind = match kind {
        "" => "",
        "read" | "played" => kind,
        // What concerns only the reader's own account.
        _ => return,
    };
    to_author(state, kind, &Outgoing { reader, author, chat, ids });
}

/// A receipt of a phone for messages that linked devices wrote.
pub(crate) struct Outgoing<'a> {
    /// Phone number of who got the messages.
    pub(crate) reader: &'a str,
    /// Phone number of who wrote them.
    pub(crate) author: &'a str,
    /// The chat as the author addressed it.
    pub(crate) chat: &'a Jid,
    pub(crate) ids: &'a [String],
}

/// What a phone sends by itself when a message arrives.
pub(crate) fn automatic(state: &mut State, automatic: AutoReceipts, receipt: &Outgoing<'_>) {
    match automatic {
        AutoReceipts::None => {}
        AutoReceipts::Delivered => to_author(state, "", receipt),
        AutoReceipts::Read => {
            to_author(state, "", receipt);
            to_author(state, "read", receipt);
        }
    }
}

/// Queues `<receipt>` for every linked device of the author.
pub(crate) fn to_author(state: &mut State, kind: &str, receipt: &Outgoing<'_>) {
    let Some((first, rest)) = receipt.ids.split_first() else {
        return;
    };
    let Some(reader) = state.phones.get(receipt.reader) else {
        return;
    };
    let is_group = receipt.chat.server == Server::Group;
    let (reader_pn, reader_lid) = (reader.pn_jid(), reader.lid_jid());
    let by_lid = match state.groups.get(receipt.chat.user.as_str()) {
        Some(group) if is_group => group.addressing == crate::phone::Addressing::Lid,
        _ => receipt.chat.server == Server::Lid,
    };
    let reader_jid = if by_lid { reader_lid } else { reader_pn };
    let mut builder = NodeBuilder::new("receipt").attr("id", first.as_str()).attr("t", now_secs());
    builder = if is_group {
        builder.attr("from", receipt.chat).attr("participant", reader_jid)
    } else {
        builder.attr("from", reader_jid)
    };
    if !kind.is_empty() {
        builder = builder.attr("type", kind);
    }
    if !rest.is_empty() {
        builder = builder.children([NodeBuilder::new("list")
            .children(rest.iter().map(|id| NodeBuilder::new("item").attr("id", id.as_str()).build()))
            .build()]);
    }
    let node = builder.build();
    let envelope = Envelope::of(Class::Receipt, first, receipt.reader, is_group.then_some(receipt.chat));
    state.deliver_to_account(receipt.author, None, &envelope, &node);
}

/// A phone could not decrypt: asks the author's device to encrypt anew.
pub(crate) fn ask_again(state: &mut State, reader: &str, author: &str, device: u16, id: &str, chat: &Jid) {
    let Ok(phone) = state.phone_mut(reader) else {
        return;
    };
    let Ok(bundle) = phone.keys.mint_bundle() else {
        return;
    };
    let (pn, lid) = (phone.pn_jid(), phone.lid_jid());
    let is_group = chat.server == Server::Group;
    let reader_jid = if chat.server == Server::Lid { lid } else { pn };
    let mut builder = NodeBuilder::new("receipt").attr("id", id).attr("type", "retry").attr("t", now_secs());
    builder = if is_group {
        builder.attr("from", chat).attr("participant", reader_jid)
    } else {
        builder.attr("from", reader_jid)
    };
    let node = builder
        .children([
            NodeBuilder::new("retry").attr("v", "1").attr("count", "1").attr("id", id).attr("t", now_secs()).build(),
            NodeBuilder::new("registration").bytes(bundle.registration_id.to_be_bytes().to_vec()).build(),
        ])
        .build();
    if let Some(device) = state.device_mut(author, device) {
        device.deliver(Envelope::of(Class::Receipt, id, reader, is_group.then_some(chat)), node);
    }
}

/// A client could not decrypt: its keys may be in the receipt, and the message is encrypted anew.
fn repeat(state: &mut State, author: &str, pn: &str, device: u16, id: &str, node: &Node) {
    let count = node
        .get_optional_child("retry")
        .and_then(|retry| attr(retry, "count"))
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    if let Some(bundle) = bundle_of(node)
        && let Some(linked) = state.device_mut(pn, device)
    {
        // The prekey in the receipt was made for this purpose: it comes first.
        if let Some(prekey) = bundle.prekey {
            linked.prekeys.push_front(prekey);
        }
        linked.bundle = PublicBundle { prekey: None, ..bundle };
    }
    if let Err(error) = outbound::resend(state, author, id, pn, device, count) {
        tracing::warn!("{pn}:{device} asks again for {id}: {error:#}");
    }
}

/// The keys in a retry receipt.
fn bundle_of(node: &Node) -> Option<PublicBundle> {
    let keys = node.get_optional_child("keys")?;
    let signed = keys.get_optional_child("skey")?;
    let prekey = keys
        .get_optional_child("key")
        .and_then(|key| Some((uint(child_bytes(key, "id")?), child_bytes(key, "value")?.try_into().ok()?)));
    Some(PublicBundle {
        registration_id: uint(child_bytes(node, "registration")?),
        identity: child_bytes(keys, "identity")?.try_into().ok()?,
        signed_prekey_id: uint(child_bytes(signed, "id")?),
        signed_prekey: child_bytes(signed, "value")?.try_into().ok()?,
        signed_prekey_signature: child_bytes(signed, "signature")?.to_vec(),
        prekey,
    })
}
