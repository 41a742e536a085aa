//! What the server tells devices about devices: that somebody linked or unlinked one, and that their own prekeys run low.

use wacore_binary::builder::NodeBuilder;

use crate::clock::now_secs;
use crate::device::{Class, Envelope, device_jid};
use crate::iq::key_index_list;
use crate::stanza::server_jid;
use crate::state::State;

/// With so few one-time prekeys left, the server asks for more.
const PREKEYS_LOW: usize = 5;

/// A device was linked to an account or removed from it: those who ever asked for the account's devices are told.
pub(crate) fn tell_of_device(state: &mut State, pn: &str, device: u16, key_index: u32, linked: bool) {
    let id = state.stanza_id();
    let Some(phone) = state.phones.get(pn) else {
        return;
    };
    let element = NodeBuilder::new("device")
        .attr("jid", device_jid(&phone.pn, false, device))
        .attr("lid", device_jid(&phone.lid, true, device))
        .attr("key-index", key_index)
        .build();
    let operation = if linked {
        NodeBuilder::new("add").children([element, key_index_list(phone)])
    } else {
        let list = NodeBuilder::new("key-index-list").attr("ts", now_secs()).build();
        NodeBuilder::new("remove").children([element, list])
    };
    let node = NodeBuilder::new("notification")
        .attr("from", phone.pn_jid())
        .attr("lid", phone.lid_jid())
        .attr("type", "devices")
        .attr("id", id.as_str())
        .attr("t", now_secs())
        .children([operation.build()])
        .build();
    let mut told: Vec<String> = phone.asked_by.iter().cloned().collect();
    told.push(pn.to_owned());
    let envelope = Envelope::of(Class::Notification, &id, pn, None);
    for account in told {
        state.deliver_to_account(&account, (account == pn).then_some(device), &envelope, &node);
    }
}

/// A one-time prekey of a device was handed out: asks for more when few are left.
pub(crate) fn prekey_was_taken(state: &mut State, pn: &str, device: u16) {
    let left = match state.device_mut(pn, device) {
        // A device that never uploaded any (it was just linked) will do so by itself.
        Some(linked) if linked.prekeys_uploaded > 0 => linked.prekeys.len(),
        _ => return,
    };
    if left != PREKEYS_LOW && left != 0 {
        return;
    }
    let id = state.stanza_id();
    let node = NodeBuilder::new("notification")
        .attr("from", server_jid())
        .attr("type", "encrypt")
        .attr("id", id.as_str())
        .attr("t", now_secs())
        .children([NodeBuilder::new("count").attr("value", left).build()])
        .build();
    if let Some(linked) = state.device_mut(pn, device) {
        linked.deliver(Envelope { class: Class::Notification, id, from: None, participant: None }, node);
    }
}
