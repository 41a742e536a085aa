//! Messages that a simulated phone writes: encrypted for every linked device that must see them, and put into the inboxes of
//! the phones at the other end.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use buffa::MessageField;
use wacore::messages::{MessageUtils, wrap_device_sent};
use wacore::send::{media_type_from_message, stanza_type_from_message};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{SenderKeyDistributionMessage, protocol_message};

use crate::clock::now_secs;
use crate::content;
use crate::device::{Class, Envelope};
use crate::keys::{Encrypted, address};
use crate::phone::{Addressing, Received, Sent};
use crate::state::State;
use crate::topology;

/// A message within one account, from the phone to a linked device.
#[derive(Default)]
pub(crate) struct Peerwise {
    pub(crate) id: Option<String>,
}

/// Everything about a message but its ciphertexts.
struct Draft<'a> {
    /// The author's phone number.
    author: &'a str,
    id: &'a str,
    message: &'a wa::Message,
    at: u64,
    /// Set when a device asked for the message again: how often.
    retry: Option<u32>,
}

/// A new message id as phones make them.
pub(crate) fn new_id() -> String {
    format!("3A{}", hex::encode_upper(rand::random::<[u8; 9]>()))
}

/// A chat as the control API names it: a phone number, or a full address.
pub(crate) fn parse_chat(text: &str) -> Result<Jid> {
    if text.contains('@') {
        text.parse().map_err(|error| anyhow!("{text} is not an address: {error:?}"))
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(Jid::pn(text.to_owned()))
    } else {
        bail!("{text:?} is neither a phone number nor an address")
    }
}

/// The phone `author` writes `message` to a chat. Returns the message's id.
pub(crate) fn send(
    state: &mut State,
    author: &str,
    chat: &Jid,
    message: wa::Message,
    id: Option<String>,
) -> Result<String> {
    state.phone(author)?;
    let id = id.unwrap_or_else(new_id);
    let draft = Draft { author, id: &id, message: &message, at: now_secs(), retry: None };
    if chat.server == Server::Group {
        to_group(state, &draft, chat)?;
    } else {
        to_user(state, &draft, chat)?;
    }
    state.phone_mut(author)?.remember_sent(Sent { id: id.clone(), to: chat.clone(), message });
    Ok(id)
}

fn to_user(state: &mut State, draft: &Draft<'_>, chat: &Jid) -> Result<()> {
    let target = state
        .pn_of(chat)
        .filter(|pn| state.phones.contains_key(pn))
        .ok_or_else(|| anyhow!("{chat} is nobody's number"))?;
    if target != draft.author {
        arrive(state, draft, &target, &format!("{}@s.whatsapp.net", draft.author))?;
        for device in state.device_ids(&target) {
            user_to_device(state, draft, &target, device)?;
        }
    }
    for device in state.device_ids(draft.author) {
        copy_to_own_device(state, draft, chat, device)?;
    }
    Ok(())
}

/// Puts a message into the inbox of a phone.
fn arrive(state: &mut State, draft: &Draft<'_>, target: &str, chat: &str) -> Result<()> {
    let mut described = content::describe(draft.message);
    content::open_vote(state, target, draft.author, draft.message, &mut described.content);
    state.phone_mut(target)?.receive(Received {
        seq: 0,
        copies: 1,
        id: draft.id.to_owned(),
        chat: chat.to_owned(),
        from: draft.author.to_owned(),
        device: 0,
        from_me: false,
        kind: described.kind,
        text: described.text,
        content: described.content,
        at: draft.at,
        message: draft.message.clone(),
    });
    Ok(())
}

fn user_to_device(state: &mut State, draft: &Draft<'_>, target: &str, device: u16) -> Result<()> {
    let encrypted = encrypt_for(
        state,
        draft.author,
        target,
        device,
        &MessageUtils::encode_and_pad(draft.message),
        draft.retry.is_some(),
    )?;
    let phone = state.phone(draft.author)?;
    let mut head = head(draft, &phone.name);
    head = match phone.addressing {
        Addressing::Pn => head.attr("from", phone.pn_jid()).attr("sender_lid", phone.lid_jid()),
        Addressing::Lid => head.attr("from", phone.lid_jid()).attr("sender_pn", phone.pn_jid()),
    };
    let node = head.children([enc(draft, encrypted)]).build();
    queue(state, draft, target, device, None, node);
    Ok(())
}

/// The author's own linked devices see what the phone wrote.
fn copy_to_own_device(state: &mut State, draft: &Draft<'_>, chat: &Jid, device: u16) -> Result<()> {
    let wrapped = wrap_device_sent(draft.message.clone(), chat.to_string());
    let encrypted = encrypt_for(
        state,
        draft.author,
        draft.author,
        device,
        &MessageUtils::encode_and_pad(&wrapped),
        draft.retry.is_some(),
    )?;
    let phone = state.phone(draft.author)?;
    let from = match chat.server {
        Server::Lid => phone.lid_jid(),
        _ => phone.pn_jid(),
    };
    let node =
        head(draft, &phone.name).attr("from", from).attr("recipient", chat).children([enc(draft, encrypted)]).build();
    queue(state, draft, draft.author, device, None, node);
    Ok(())
}

fn to_group(state: &mut State, draft: &Draft<'_>, chat: &Jid) -> Result<()> {
    let group = state.groups.get(chat.user.as_str()).ok_or_else(|| anyhow!("there is no group {chat}"))?;
    if !group.is_member(draft.author) {
        bail!("{} is not a member of {chat}", draft.author);
    }
    let members: Vec<String> = group.members.iter().map(|member| member.pn.clone()).collect();
    for member in &members {
        if member != draft.author {
            arrive(state, draft, member, &chat.to_string())?;
        }
    }
    let padded = MessageUtils::encode_and_pad(draft.message);
    let own = address(draft.author, 0);
    let key = state.phone_mut(draft.author)?.keys.announce_sender_key(&group_key(chat), &own)?;
    let secret = state.phone_mut(draft.author)?.keys.group_encrypt(&group_key(chat), &own, &padded)?;
    for member in &members {
        for device in state.device_ids(member) {
            group_to_device(state, draft, chat, member, device, &key, secret.clone())?;
        }
    }
    Ok(())
}

/// The name under which sender keys of a group are kept.
pub(crate) fn group_key(chat: &Jid) -> String {
    chat.to_non_ad_string()
}

fn group_to_device(
    state: &mut State,
    draft: &Draft<'_>,
    chat: &Jid,
    member: &str,
    device: u16,
    announcement: &[u8],
    secret: Vec<u8>,
) -> Result<()> {
    let holder = (member.to_owned(), device);
    let knows = !state.phone_mut(draft.author)?.key_holders.entry(group_key(chat)).or_default().insert(holder);
    let mut children = Vec::new();
    if !knows {
        let announced = wa::Message {
            sender_key_distribution_message: MessageField::some(SenderKeyDistributionMessage {
                group_id: Some(chat.to_string()),
                axolotl_sender_key_distribution_message: Some(announcement.to_vec()),
            }),
            ..Default::default()
        };
        let encrypted =
            encrypt_for(state, draft.author, member, device, &MessageUtils::encode_and_pad(&announced), false)?;
        children.push(enc(draft, encrypted));
    }
    children.push(enc(draft, Encrypted { kind: "skmsg", bytes: secret }));
    let node = group_head(state, draft, chat)?.children(children).build();
    queue(state, draft, member, device, Some(chat), node);
    Ok(())
}

/// The attributes of a group message as members' devices see it.
fn group_head(state: &State, draft: &Draft<'_>, chat: &Jid) -> Result<NodeBuilder> {
    let addressing = state.groups.get(chat.user.as_str()).map_or(Addressing::Pn, |group| group.addressing);
    let phone = state.phone(draft.author)?;
    let head = head(draft, &phone.name).attr("from", chat);
    Ok(written_by(head, addressing, phone.pn_jid(), phone.lid_jid()))
}

/// Adds who wrote a group message, under both addresses.
pub(crate) fn written_by(head: NodeBuilder, addressing: Addressing, pn: Jid, lid: Jid) -> NodeBuilder {
    match addressing {
        Addressing::Pn => head.attr("participant", pn).attr("addressing_mode", "pn").attr("participant_lid", lid),
        Addressing::Lid => head.attr("participant", lid).attr("addressing_mode", "lid").attr("participant_pn", pn),
    }
}

/// Protocol traffic from the phone to one of its devices.
pub(crate) fn to_own_device(
    state: &mut State,
    pn: &str,
    device: u16,
    message: &wa::Message,
    options: Peerwise,
) -> Result<String> {
    let id = options.id.unwrap_or_else(new_id);
    let encrypted = encrypt_for(state, pn, pn, device, &MessageUtils::encode_and_pad(message), false)?;
    let phone = state.phone_mut(pn)?;
    let draft = Draft { author: pn, id: &id, message, at: now_secs(), retry: None };
    let node = head(&draft, &phone.name)
        .attr("from", phone.pn_jid())
        .attr("category", "peer")
        .children([enc(&draft, encrypted)])
        .build();
    let to = phone.pn_jid();
    phone.remember_sent(Sent { id: id.clone(), to, message: message.clone() });
    queue(state, &draft, pn, device, None, node);
    Ok(id)
}

/// A device could not read a message of `author`: encrypts it anew, within a new session.
pub(crate) fn resend(state: &mut State, author: &str, id: &str, target: &str, device: u16, count: u32) -> Result<()> {
    let sent = state
        .phone(author)?
        .sent
        .iter()
        .rev()
        .find(|sent| sent.id == id)
        .ok_or_else(|| anyhow!("{author} has no message {id} to repeat"))?;
    let (to, message) = (sent.to.clone(), sent.message.clone());
    let draft = Draft { author, id, message: &message, at: now_secs(), retry: Some(count) };
    if to.server == Server::Group {
        let encrypted = encrypt_for(state, author, target, device, &MessageUtils::encode_and_pad(&message), true)?;
        // The key is announced again with the next message.
        if let Some(holders) = state.phone_mut(author)?.key_holders.get_mut(&group_key(&to)) {
            holders.remove(&(target.to_owned(), device));
        }
        let node = group_head(state, &draft, &to)?.children([enc(&draft, encrypted)]).build();
        queue(state, &draft, target, device, Some(&to), node);
        Ok(())
    } else if target == author && message.protocol_message.is_set() {
        to_own_device(state, author, device, &message, Peerwise { id: Some(id.to_owned()) }).map(|_| ())
    } else if target == author {
        copy_to_own_device(state, &draft, &to, device)
    } else {
        user_to_device(state, &draft, target, device)
    }
}

fn head(draft: &Draft<'_>, name: &str) -> NodeBuilder {
    let mut builder = NodeBuilder::new("message")
        .attr("id", draft.id)
        .attr("type", stanza_type_from_message(draft.message))
        .attr("t", draft.at)
        .attr("notify", name);
    if let Some(edit) = edit_attribute(draft.message) {
        builder = builder.attr("edit", edit);
    }
    builder
}

/// What a stanza says about an edit or a revocation.
fn edit_attribute(message: &wa::Message) -> Option<&'static str> {
    match message.protocol_message.as_option()?.r#type? {
        protocol_message::Type::MESSAGE_EDIT => Some("1"),
        protocol_message::Type::REVOKE => Some("7"),
        _ => None,
    }
}

fn enc(draft: &Draft<'_>, encrypted: Encrypted) -> Node {
    let mut builder = NodeBuilder::new("enc").attr("v", "2").attr("type", encrypted.kind);
    if let Some(kind) = media_type_from_message(draft.message) {
        builder = builder.attr("mediatype", kind);
    }
    if let Some(count) = draft.retry {
        builder = builder.attr("count", count);
    }
    builder.bytes(encrypted.bytes).build()
}

fn queue(state: &mut State, draft: &Draft<'_>, target: &str, device: u16, group: Option<&Jid>, node: Node) {
    state.stats.messages_to_clients += 1;
    if let Some(device) = state.device_mut(target, device) {
        device.deliver(Envelope::of(Class::Message, draft.id, draft.author, group), node);
    }
}

/// Encrypts for one linked device, within the session there is or a new one.
fn encrypt_for(
    state: &mut State,
    author: &str,
    target: &str,
    device: u16,
    padded: &[u8],
    afresh: bool,
) -> Result<Encrypted> {
    let peer = address(target, device);
    if afresh || !state.phone(author)?.keys.has_session(&peer) {
        let bundle =
            state.device_mut(target, device).ok_or_else(|| anyhow!("{target} has no device {device}"))?.take_bundle();
        topology::prekey_was_taken(state, target, device);
        state.phone_mut(author)?.keys.start_session(&peer, device, &bundle)?;
    }
    state
        .phone_mut(author)?
        .keys
        .encrypt(&peer, padded)
        .with_context(|| format!("{author} writing to {target}:{device}"))
}

/// The phones and devices that a group's sender keys must be announced to again, since a member left.
pub(crate) fn rotate_sender_keys(state: &mut State, group: &Jid, members: &BTreeSet<String>) {
    let key = group_key(group);
    for member in members {
        if let Some(phone) = state.phones.get_mut(member) {
            phone.key_holders.remove(&key);
            phone.keys.forget_sender_key(&key, &address(member, 0));
        }
    }
}
