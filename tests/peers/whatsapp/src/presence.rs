//! Presence, chat states and calls: stanzas that are not kept.

use anyhow::Result;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::clock::now_secs;
use crate::device::{Class, Envelope};
use crate::dispatch::send;
use crate::phone::StateSeen;
use crate::stanza::{attr, first_child, jid};
use crate::state::{ConnId, State};

/// Handles a `<presence>` of a linked device: its own state, or a subscription.
pub(crate) fn presence(state: &mut State, pn: &str, device: u16, node: &Node) {
    let kind = attr(node, "type").unwrap_or_else(|| "available".to_owned());
    match kind.as_str() {
        "subscribe" | "unsubscribe" => {
            let Some(watched) = jid(node, "to").and_then(|jid| state.pn_of(&jid)) else {
                return;
            };
            if let Some(linked) = state.device_mut(pn, device) {
                if kind == "subscribe" {
                    linked.watches.insert(watched);
                } else {
                    linked.watches.remove(&watched);
                }
            }
        }
        _ => {
            let available = kind == "available";
            if let Some(name) = attr(node, "name").filter(|name| !name.is_empty())
                && let Some(phone) = state.phones.get_mut(pn)
            {
                phone.name = name;
            }
            if let Some(linked) = state.device_mut(pn, device) {
                linked.available = available;
            }
            if let Some(phone) = state.phones.get_mut(pn) {
                phone.see_state(StateSeen { from: pn.to_owned(), state: kind, chat: None, at: now_secs() });
            }
        }
    }
}

/// Handles a `<chatstate>` of a linked device: the phones in the chat see it.
pub(crate) fn chat_state(state: &mut State, pn: &str, node: &Node) {
    let Some(to) = jid(node, "to") else { return };
    let what = first_child(node).map_or("paused", |child| match child.tag.as_ref() {
        "composing" if attr(child, "media").as_deref() == Some("audio") => "recording",
        "composing" => "composing",
        _ => "paused",
    });
    let (viewers, chat) = match to.server {
        Server::Group => (
            state
                .groups
                .get(to.user.as_str())
                .map(|group| {
                    group.members.iter().map(|member| member.pn.clone()).filter(|member| member != pn).collect()
                })
                .unwrap_or_default(),
            to.to_string(),
        ),
        _ => (state.pn_of(&to).into_iter().collect::<Vec<_>>(), format!("{pn}@s.whatsapp.net")),
    };
    for viewer in viewers {
        if let Some(phone) = state.phones.get_mut(&viewer) {
            phone.see_state(StateSeen {
                from: pn.to_owned(),
                state: what.to_owned(),
                chat: Some(chat.clone()),
                at: now_secs(),
            });
        }
    }
}

/// A phone comes or goes: devices that watch it are told.
pub(crate) fn show_presence(state: &mut State, pn: &str, available: bool) -> Result<usize> {
    let phone = state.phone(pn)?;
    let mut builder = NodeBuilder::new("presence").attr("from", phone.own_jid());
    if !available {
        builder = builder.attr("type", "unavailable").attr("last", now_secs());
    }
    let node = builder.build();
    let mut told = 0;
    for phone in state.phones.values() {
        for device in phone.devices.values() {
            if device.watches.contains(pn) {
                device.send_now(node.clone());
                told += 1;
            }
        }
    }
    Ok(told)
}

/// A phone types, records or stops: the linked devices of the others in the chat see it.
pub(crate) fn show_chat_state(state: &mut State, pn: &str, chat: &Jid, what: &str) -> Result<()> {
    let phone = state.phone(pn)?;
    let child = match what {
        "composing" => NodeBuilder::new("composing").build(),
        "recording" => NodeBuilder::new("composing").attr("media", "audio").build(),
        _ => NodeBuilder::new("paused").build(),
    };
    let own = phone.own_jid();
    let builder = NodeBuilder::new("chatstate");
    let (node, viewers): (Node, Vec<String>) = if chat.server == Server::Group {
        let members = state
            .groups
            .get(chat.user.as_str())
            .map(|group| group.members.iter().map(|member| member.pn.clone()).collect())
            .unwrap_or_default();
        (builder.attr("from", chat).attr("participant", own).children([child]).build(), members)
    } else {
        (builder.attr("from", own).children([child]).build(), state.pn_of(chat).into_iter().collect())
    };
    for viewer in viewers.iter().filter(|viewer| *viewer != pn) {
        if let Some(phone) = state.phones.get(viewer) {
            for device in phone.devices.values() {
                device.send_now(node.clone());
            }
        }
    }
    Ok(())
}

/// A call of one phone to another, as its linked devices hear of it.
pub(crate) struct Ring<'a> {
    pub(crate) caller: &'a str,
    pub(crate) callee: &'a str,
    pub(crate) call: &'a str,
    pub(crate) video: bool,
}

/// `<call><offer/></call>` for the callee's linked devices.
pub(crate) fn ring(state: &mut State, ring: &Ring<'_>) -> Result<()> {
    let caller = state.phone(ring.caller)?;
    let mut media = vec![NodeBuilder::new("audio").attr("enc", "opus").attr("rate", "16000").build()];
    if ring.video {
        media.push(NodeBuilder::new("video").attr("enc", "vp8").build());
    }
    let offer = NodeBuilder::new("offer")
        .attr("call-id", ring.call)
        .attr("call-creator", caller.pn_jid())
        .attr("caller_pn", caller.pn_jid())
        .children(media)
        .build();
    to_callee(state, ring, offer)
}

/// `<call><terminate/></call>`: the caller gave up, or it was answered elsewhere.
pub(crate) fn hang_up(state: &mut State, ring: &Ring<'_>, reason: Option<&str>) -> Result<()> {
    let caller = state.phone(ring.caller)?;
    let mut builder = NodeBuilder::new("terminate").attr("call-id", ring.call).attr("call-creator", caller.pn_jid());
    if let Some(reason) = reason {
        builder = builder.attr("reason", reason);
    }
    to_callee(state, ring, builder.build())
}

fn to_callee(state: &mut State, ring: &Ring<'_>, action: Node) -> Result<()> {
    let id = state.stanza_id();
    let caller = state.phone(ring.caller)?;
    let node = NodeBuilder::new("call")
        .attr("from", caller.pn_jid())
        .attr("id", id.as_str())
        .attr("t", now_secs())
        .attr("notify", caller.name.as_str())
        .children([action])
        .build();
    state.phone(ring.callee)?;
    state.deliver_to_account(ring.callee, None, &Envelope::of(Class::Call, &id, ring.caller, None), &node);
    Ok(())
}

/// Handles a `<call>` of a linked device: the other phone sees what it does (rejects, for instance).
pub(crate) fn call(state: &mut State, conn: ConnId, pn: &str, node: &Node) {
    let (Some(id), Some(to)) = (attr(node, "id"), jid(node, "to")) else {
        return;
    };
    send(state, conn, NodeBuilder::new("ack").attr("class", "call").attr("id", id).attr("from", &to).build());
    let Some(action) = first_child(node).map(|child| child.tag.to_string()) else {
        return;
    };
    let Some(other) = state.pn_of(&to) else { return };
    if let Some(phone) = state.phones.get_mut(&other) {
        phone.see_state(StateSeen { from: pn.to_owned(), state: format!("call:{action}"), chat: None, at: now_secs() });
    }
}
