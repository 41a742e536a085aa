//! Where a stanza of a client goes, by its tag.

use wacore_binary::Node;

use crate::device::Class;
use crate::stanza::{attr, jid};
use crate::state::{ConnId, Out, Peer, State};
use crate::world::Shared;
use crate::{inbound, iq, pairing, presence, receipts};

/// Handles one stanza.
pub(crate) fn stanza(world: &Shared, conn: ConnId, node: &Node) {
    let mut state = world.state();
    let Some(connection) = state.conns.get(&conn) else {
        return;
    };
    match &connection.peer {
        Peer::Registering(_) => registering(world, &mut state, conn, node),
        Peer::Device { pn, device } => {
            let (pn, device) = (pn.clone(), *device);
            linked(world, &mut state, conn, &pn, device, node);
        }
    }
}

/// Sends on a connection, whoever it belongs to.
pub(crate) fn send(state: &State, conn: ConnId, node: Node) {
    if let Some(connection) = state.conns.get(&conn) {
        // A closed receiver means that the connection is going down.
        connection.outbox.send(Out::Node(Box::new(node))).ok();
    }
}

fn registering(world: &Shared, state: &mut State, conn: ConnId, node: &Node) {
    if node.tag != "iq" {
        return;
    }
    match attr(node, "type").as_deref() {
        Some("result") => pairing::signed(world, state, conn, node),
        Some("error") => pairing::rejected(state, conn, node),
        _ => iq::of_registering(state, conn, node),
    }
}

fn linked(world: &Shared, state: &mut State, conn: ConnId, pn: &str, device: u16, node: &Node) {
    match node.tag.as_ref() {
        "iq" => iq::of_device(world, state, conn, pn, device, node),
        "message" => inbound::message(state, conn, pn, device, node),
        "receipt" => receipts::from_client(state, conn, pn, device, node),
        "ack" => ack(state, pn, device, node),
        "ib" => {
            if let Some(batch) = node.get_optional_child("offline_batch") {
                let count = attr(batch, "count").and_then(|count| count.parse().ok()).unwrap_or(0);
                if let Some(device) = state.device_mut(pn, device) {
                    device.drain(count);
                }
            }
        }
        "presence" => presence::presence(state, pn, device, node),
        "chatstate" => presence::chat_state(state, pn, node),
        "call" => presence::call(state, conn, pn, node),
        "notification" => {}
        other => tracing::warn!("a stanza <{other}> from {pn}:{device} is not understood"),
    }
}

/// The client acknowledges something that we sent.
fn ack(state: &mut State, pn: &str, device: u16, node: &Node) {
    if let Some(error) = attr(node, "error") {
        *state.stats.nacks.entry(error).or_default() += 1;
    }
    let Some(class) = attr(node, "class").as_deref().and_then(Class::parse) else {
        return;
    };
    let Some(id) = attr(node, "id") else { return };
    receipts::acknowledge(state, pn, device, class, &[id], jid(node, "to").as_ref(), jid(node, "participant").as_ref());
}
