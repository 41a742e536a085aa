//! Messages that linked devices write: decrypted for the phones, passed on to other linked devices.

use anyhow::{Context as _, Result, anyhow};
use wacore::messages::{MessageUtils, unwrap_device_sent};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message;

use crate::clock::now_secs;
use crate::device::{Class, Envelope, device_jid};
use crate::dispatch::send;
use crate::keys::address;
use crate::outbound::{group_key, written_by};
use crate::phone::Received;
use crate::receipts::{self, Outgoing};
use crate::stanza::{attr, bytes, children, jid};
use crate::state::{ConnId, State};
use crate::{companion, content};

/// Who wrote a message, and where to.
struct Origin<'a> {
    pn: &'a str,
    device: u16,
    id: String,
    chat: Jid,
    at: u64,
    node: &'a Node,
}

impl Origin<'_> {
    fn is_group(&self) -> bool {
        self.chat.server == Server::Group
    }
}

/// Handles a `<message>` of a linked device.
pub(crate) fn message(state: &mut State, conn: ConnId, pn: &str, device: u16, node: &Node) {
    let (Some(id), Some(chat)) = (attr(node, "id"), jid(node, "to")) else {
        tracing::warn!("a message of {pn}:{device} without id or address");
        return;
    };
    state.stats.messages_from_clients += 1;
    let origin = Origin { pn, device, id, chat, at: now_secs(), node };
    if let Some(error) = refusal(state, &origin) {
        state.stats.refused_messages += 1;
        acknowledge(state, conn, &origin, Some(error));
        return;
    }
    let chat = state.pn_of(&origin.chat).unwrap_or_else(|| origin.chat.user.to_string());
    let is_new = state.phones.get_mut(pn).is_some_and(|phone| phone.ids_seen.insert((chat, origin.id.clone())));
    if !is_new {
        state.stats.duplicate_messages += 1;
    }
    acknowledge(state, conn, &origin, None);
    if let Err(error) = route(state, &origin) {
        tracing::warn!("message {} of {pn}:{device}: {error:#}", origin.id);
    }
}

/// The error that this message is answered with: one that was asked for, or because nobody is there.
fn refusal(state: &mut State, origin: &Origin<'_>) -> Option<u16> {
    let to_others = state.pn_of(&origin.chat).as_deref() != Some(origin.pn);
    if to_others && let Some(error) = state.phones.get_mut(origin.pn).and_then(|phone| phone.refusals.pop_front()) {
        return Some(error);
    }
    if is_locked_out(state, origin) {
        return Some(463);
    }
    match origin.chat.server {
        Server::Group => match state.groups.get(origin.chat.user.as_str()) {
            None => Some(404),
            Some(group) if !group.is_member(origin.pn) => Some(401),
            Some(group) if group.announce && !group.is_admin(origin.pn) => Some(405),
            Some(_) => None,
        },
        Server::Pn | Server::Lid => {
            let known = state.pn_of(&origin.chat).is_some_and(|pn| state.phones.contains_key(&pn));
            (!known).then_some(404)
        }
        _ => None,
    }
}

/// Whether this goes to a stranger, one whose phone has never written to the author, while the author may write to none.
fn is_locked_out(state: &State, origin: &Origin<'_>) -> bool {
    let Some(author) = state.phones.get(origin.pn) else { return false };
    let target = match origin.chat.server {
        Server::Pn | Server::Lid => state.pn_of(&origin.chat).and_then(|pn| state.phones.get(&pn)),
        _ => None,
    };
    let is_author = |to: &Jid| to.user == author.pn || to.user == author.lid;
    author.time_lock.is_some_and(|until| until > now_secs())
        && target.is_some_and(|target| target.pn != author.pn && !target.sent.iter().any(|sent| is_author(&sent.to)))
}

fn acknowledge(state: &State, conn: ConnId, origin: &Origin<'_>, error: Option<u16>) {
    let mut builder = NodeBuilder::new("ack")
        .attr("class", "message")
        .attr("id", origin.id.as_str())
        .attr("from", &origin.chat)
        .attr("t", origin.at);
    if let Some(error) = error {
        builder = builder.attr("error", error);
    }
    send(state, conn, builder.build());
}

/// Brings every ciphertext where it belongs.
fn route(state: &mut State, origin: &Origin<'_>) -> Result<()> {
    let shared: Vec<&Node> = origin.node.get_children_by_tag("enc").collect();
    let addressed: Vec<(Jid, Vec<&Node>)> = origin
        .node
        .get_optional_child("participants")
        .into_iter()
        .flat_map(children)
        .filter_map(|to| Some((jid(to, "jid")?, to.get_children_by_tag("enc").collect())))
        .collect();

    if origin.is_group() {
        return route_group(state, origin, &addressed, &shared);
    }
    for (target, encs) in &addressed {
        deliver(state, origin, target, encs);
    }
    // A message to a single device carries its ciphertext directly.
    if addressed.is_empty() && !shared.is_empty() {
        deliver(state, origin, &origin.chat.clone(), &shared);
    }
    Ok(())
}

fn deliver(state: &mut State, origin: &Origin<'_>, target: &Jid, encs: &[&Node]) {
    let Some(pn) = state.pn_of(target) else {
        tracing::warn!("message {} is also for the unknown {target}", origin.id);
        return;
    };
    if target.device == 0 {
        to_phone(state, origin, &pn, encs);
    } else {
        to_device(state, origin, &pn, target.device, encs);
    }
}

fn route_group(
    state: &mut State,
    origin: &Origin<'_>,
    addressed: &[(Jid, Vec<&Node>)],
    shared: &[&Node],
) -> Result<()> {
    let members: Vec<String> = state
        .groups
        .get(origin.chat.user.as_str())
        .ok_or_else(|| anyhow!("there is no group {}", origin.chat))?
        .members
        .iter()
        .map(|member| member.pn.clone())
        .collect();
    let for_device = |state: &State, pn: &str, device: u16| -> Vec<&Node> {
        addressed
            .iter()
            .filter(|(target, _)| target.device == device && state.pn_of(target).as_deref() == Some(pn))
            .flat_map(|(_, encs)| encs.iter().copied())
            .chain(shared.iter().copied())
            .collect()
    };
    for member in &members {
        let encs = for_device(state, member, 0);
        if !encs.is_empty() {
            to_phone(state, origin, member, &encs);
        }
        for device in state.device_ids(member) {
            if (member.as_str(), device) == (origin.pn, origin.device) {
                continue;
            }
            let encs = for_device(state, member, device);
            if !encs.is_empty() {
                to_device(state, origin, member, device, &encs);
            }
        }
    }
    Ok(())
}

/// Decrypts for the phone `pn`, and lets it react.
fn to_phone(state: &mut State, origin: &Origin<'_>, pn: &str, encs: &[&Node]) {
    let mut failed = None;
    for enc in encs {
        match decrypt(state, origin, pn, enc) {
            Ok(message) => {
                if let Err(error) = at_phone(state, origin, pn, message) {
                    tracing::warn!("message {} at {pn}: {error:#}", origin.id);
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        state.stats.undecryptable += 1;
        tracing::debug!("message {} at {pn} asks for repetition: {error:#}", origin.id);
        receipts::ask_again(state, pn, origin.pn, origin.device, &origin.id, &origin.chat);
    }
}

fn decrypt(state: &mut State, origin: &Origin<'_>, pn: &str, enc: &Node) -> Result<wa::Message> {
    let kind = attr(enc, "type").context("an enc without type")?;
    let ciphertext = bytes(enc).context("an enc without content")?;
    let peer = address(origin.pn, origin.device);
    let keys = &mut state.phone_mut(pn)?.keys;
    let padded = if kind == "skmsg" {
        keys.group_decrypt(&group_key(&origin.chat), &peer, ciphertext)?
    } else {
        keys.decrypt(&peer, &kind, ciphertext)?
    };
    let plain = MessageUtils::unpad_message_ref(&padded, 2)?;
    Ok(waproto::codec::message_decode(plain)?)
}

/// A decrypted message at a phone.
fn at_phone(state: &mut State, origin: &Origin<'_>, pn: &str, message: wa::Message) -> Result<()> {
    let from_me = pn == origin.pn;
    let destination = message.device_sent_message.as_option().and_then(|sent| sent.destination_jid.clone());
    let message = unwrap_device_sent(message);

    if let Some(announced) = message.sender_key_distribution_message.as_option()
        && let Some(key) = &announced.axolotl_sender_key_distribution_message
    {
        let peer = address(origin.pn, origin.device);
        state.phone_mut(pn)?.keys.accept_sender_key(&group_key(&origin.chat), &peer, key)?;
    }
    if from_me
        && let Some(protocol) = message.protocol_message.as_option()
        && protocol.r#type == Some(protocol_message::Type::APP_STATE_SYNC_KEY_REQUEST)
    {
        return companion::share_app_state_key(state, pn, origin.device);
    }
    let described = content::describe(&message);
    if described.kind.is_empty() {
        return Ok(());
    }
    let chat = if origin.is_group() {
        origin.chat.to_string()
    } else if from_me {
        let other = destination.and_then(|jid| jid.parse::<Jid>().ok()).unwrap_or_else(|| origin.chat.clone());
        user_chat(state, &other)
    } else {
        format!("{}@s.whatsapp.net", origin.pn)
    };
    let mut described = described;
    content::open_vote(state, pn, origin.pn, &message, &mut described.content);
    let phone = state.phone_mut(pn)?;
    let automatic = phone.receipts;
    phone.receive(Received {
        seq: 0,
        copies: 1,
        id: origin.id.clone(),
        chat,
        from: origin.pn.to_owned(),
        device: origin.device,
        from_me,
        kind: described.kind,
        text: described.text,
        content: described.content,
        at: origin.at,
        message,
    });
    if !from_me {
        receipts::automatic(
            state,
            automatic,
            &Outgoing { reader: pn, author: origin.pn, chat: &origin.chat, ids: std::slice::from_ref(&origin.id) },
        );
    }
    Ok(())
}

/// `<number>@s.whatsapp.net` for either address of a user.
fn user_chat(state: &State, jid: &Jid) -> String {
    state.pn_of(jid).map_or_else(|| jid.to_non_ad_string(), |pn| format!("{pn}@s.whatsapp.net"))
}

/// Passes ciphertexts on to a linked device as they are.
fn to_device(state: &mut State, origin: &Origin<'_>, pn: &str, device: u16, encs: &[&Node]) {
    let Some(author) = state.phones.get(origin.pn) else {
        return;
    };
    let mut head = NodeBuilder::new("message")
        .attr("id", origin.id.as_str())
        .attr("type", attr(origin.node, "type").unwrap_or_default())
        .attr("t", origin.at)
        .attr("notify", author.name.as_str());
    for name in ["edit", "category"] {
        if let Some(value) = attr(origin.node, name) {
            head = head.attr(name, value);
        }
    }
    let (lid, pn_jid) = (device_jid(&author.lid, true, origin.device), device_jid(&author.pn, false, origin.device));
    let group = state.groups.get(origin.chat.user.as_str());
    head = if let Some(group) = group.filter(|_| origin.is_group()) {
        written_by(head.attr("from", &origin.chat), group.addressing, pn_jid, lid)
    } else if origin.chat.server == Server::Lid {
        head.attr("from", lid).attr("sender_pn", author.pn_jid())
    } else {
        head.attr("from", pn_jid).attr("sender_lid", author.lid_jid())
    };
    if pn == origin.pn && !origin.is_group() {
        head = head.attr("recipient", origin.chat.to_non_ad());
    }
    let mut content: Vec<Node> = encs.iter().map(|enc| (*enc).clone()).collect();
    if let Some(identity) = origin.node.get_optional_child("device-identity") {
        content.push(identity.clone());
    }
    let node = head.children(content).build();
    state.stats.messages_to_clients += 1;
    let group = origin.is_group().then_some(&origin.chat);
    let envelope = Envelope::of(Class::Message, &origin.id, origin.pn, group);
    if let Some(device) = state.device_mut(pn, device) {
        device.deliver(envelope, node);
    }
}
