//! Login of a linked device, and everything that ends a connection.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::clock::now_secs;
use crate::device::{Link, Stage};
use crate::dispatch::send;
use crate::state::{ConnId, Out, Peer, State};

/// Answers a connection that names a linked device: `<success>`, or `<failure>` with the reason.
pub(crate) fn login(state: &mut State, conn: ConnId, client_static: &[u8; 32]) {
    let Some(connection) = state.conns.get(&conn) else {
        return;
    };
    let outbox = connection.outbox.clone();
    let Peer::Device { pn, device } = &connection.peer else {
        return;
    };
    let (pn, device) = (pn.clone(), *device);

    if let Some(refusal) = refusal(state, &pn, device, client_static) {
        state.stats.refused_logins += 1;
        send(state, conn, refusal);
        close(state, conn);
        return;
    }
    state.stats.logins += 1;
    replace(state, &pn, device);
    let Some(phone) = state.phones.get_mut(&pn) else {
        return;
    };
    let lid = Jid::lid_device(phone.lid.clone(), device);
    let Some(linked) = phone.devices.get_mut(&device) else {
        return;
    };
    linked.logins += 1;
    linked.available = false;
    linked.watches.clear();
    let link = Link { conn, outbox, stage: Stage::Passive };
    link.send(
        NodeBuilder::new("success")
            .attr("t", now_secs())
            .attr("props", 27)
            .attr("location", "lla")
            .attr("lid", lid)
            .attr("creation", phone.created)
            .build(),
    );
    linked.link = Some(link);
}

/// Why this login is refused, if it is.
fn refusal(state: &State, pn: &str, device: u16, client_static: &[u8; 32]) -> Option<Node> {
    let logged_out = || Some(failure(401, &[("location", "lla")]));
    let Some(phone) = state.phones.get(pn) else {
        return logged_out();
    };
    if let Some(ban) = &phone.ban {
        return Some(ban.failure());
    }
    match phone.devices.get(&device) {
        Some(device) if device.noise_key == *client_static => None,
        _ => logged_out(),
    }
}

/// `<failure reason="…">`.
pub(crate) fn failure(reason: u16, more: &[(&'static str, &str)]) -> Node {
    let mut builder = NodeBuilder::new("failure").attr("reason", reason);
    for (name, value) in more {
        builder = builder.attr(name, *value);
    }
    builder.build()
}

/// Ends the device's present connection because another one took its place.
pub(crate) fn replace(state: &mut State, pn: &str, device: u16) -> bool {
    end(state, pn, device, conflict("replaced"))
}

/// Ends the device's present connection with a stream error. `false` if there is none.
pub(crate) fn end(state: &mut State, pn: &str, device: u16, stream_error: Node) -> bool {
    let Some(link) = state.device_mut(pn, device).and_then(|device| device.link.take()) else {
        return false;
    };
    link.send(stream_error);
    link.outbox.send(Out::Close).ok();
    true
}

/// `<stream:error><conflict type="…"/></stream:error>`.
pub(crate) fn conflict(kind: &str) -> Node {
    NodeBuilder::new("stream:error").children([NodeBuilder::new("conflict").attr("type", kind).build()]).build()
}

/// `<stream:error code="…"/>`.
pub(crate) fn stream_error(code: u16) -> Node {
    NodeBuilder::new("stream:error").attr("code", code).build()
}

/// Ends a connection after what was queued for it.
pub(crate) fn close(state: &State, conn: ConnId) {
    if let Some(connection) = state.conns.get(&conn) {
        connection.outbox.send(Out::Close).ok();
    }
}

/// The connection of a device is no more.
pub(crate) fn gone(state: &mut State, pn: &str, device: u16, conn: ConnId) {
    if let Some(linked) = state.device_mut(pn, device)
        && linked.link.as_ref().is_some_and(|link| link.conn == conn)
    {
        linked.link = None;
        linked.available = false;
    }
}
