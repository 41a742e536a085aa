//! Queries of clients, by namespace.

mod groups;
mod keys;
mod mex;
mod usync;

pub(crate) use usync::key_index_list;

use wacore::iq::mediaconn::{HostType, MediaConnHostExtended, MediaConnResponseExtended};
use wacore::iq::props::PropsResponse;
use wacore::protocol::ProtocolNode as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::app_state::changed_notification;
use crate::clock::now_secs;
use crate::device::{Class, Envelope};
use crate::dispatch::send;
use crate::stanza::{attr, bytes, children, first_child, iq_error, iq_result, jid};
use crate::state::{ConnId, State};
use crate::unlink;
use crate::world::Shared;
use crate::{login, pairing};

/// Code and text of an error.
type Refusal = (u16, &'static str);

/// What a query leads to: content of the result, or an error.
type Answer = Result<Vec<Node>, Refusal>;

/// The asking device.
#[derive(Clone, Copy)]
struct Asker<'a> {
    pn: &'a str,
    device: u16,
}

const BAD_REQUEST: Refusal = (400, "bad-request");
const NOT_FOUND: Refusal = (404, "item-not-found");

/// An iq on a connection that is not linked yet.
pub(crate) fn of_registering(state: &mut State, conn: ConnId, node: &Node) {
    let Some(id) = attr(node, "id") else { return };
    count(state, node);
    let request = node.get_optional_child("link_code_companion_reg");
    let stage = request.and_then(|request| attr(request, "stage"));
    let answer = match (request, stage.as_deref()) {
        (Some(request), Some("companion_hello")) => match pairing::companion_hello(state, conn, request) {
            Ok(answer) => iq_result(&id, [answer]),
            Err(error) => {
                tracing::info!("pairing by code is refused: {error:#}");
                iq_error(&id, 400, "bad-request")
            }
        },
        (Some(request), Some("companion_finish")) => {
            // Answered before pair-success, as the client expects.
            send(state, conn, iq_result(&id, []));
            if let Err(error) = pairing::companion_finish(state, conn, request) {
                tracing::info!("pairing by code failed: {error:#}");
            }
            return;
        }
        _ if is_ping(node) => iq_result(&id, []),
        _ => unknown(state, node, &id),
    };
    send(state, conn, answer);
}

/// An iq of a linked device.
pub(crate) fn of_device(world: &Shared, state: &mut State, conn: ConnId, pn: &str, device: u16, node: &Node) {
    let kind = attr(node, "type").unwrap_or_default();
    if kind != "get" && kind != "set" {
        return;
    }
    let Some(id) = attr(node, "id") else { return };
    count(state, node);
    let asker = Asker { pn, device };
    match answer(world, state, asker, node) {
        Some(Ok(content)) => send(state, conn, iq_result(&id, content)),
        Some(Err((code, text))) => send(state, conn, iq_error(&id, code, text)),
        None => {
            let error = unknown(state, node, &id);
            send(state, conn, error);
        }
    }
    afterwards(state, asker, node);
}

fn is_ping(node: &Node) -> bool {
    attr(node, "xmlns").as_deref() == Some("w:p")
}

fn name_of(node: &Node) -> String {
    let namespace = attr(node, "xmlns").unwrap_or_default();
    match first_child(node) {
        Some(child) => format!("{namespace}/{}", child.tag),
        None => namespace,
    }
}

fn count(state: &mut State, node: &Node) {
    *state.stats.iqs.entry(name_of(node)).or_default() += 1;
}

fn unknown(state: &mut State, node: &Node, id: &str) -> Node {
    let name = name_of(node);
    tracing::warn!("the iq {name} is not known");
    *state.stats.unknown_iqs.entry(name).or_default() += 1;
    iq_error(id, 501, "feature-not-implemented")
}

/// The answer, or `None` for a query that the fake does not know.
fn answer(world: &Shared, state: &mut State, asker: Asker<'_>, node: &Node) -> Option<Answer> {
    let is_set = attr(node, "type").as_deref() == Some("set");
    let child = first_child(node);
    let child_tag = child.map_or("", |child| child.tag.as_ref());
    let namespace = attr(node, "xmlns").unwrap_or_default();
    Some(match namespace.as_str() {
        "w:p" | "passive" | "w:stats" | "urn:xmpp:whatsapp:dirty" => Ok(Vec::new()),
        "encrypt" => return keys::answer(state, asker, node, child, is_set),
        "usync" => usync::answer(state, asker, child?),
        "w:g2" => return groups::answer(state, asker, node, child?, is_set),
        "abt" => Ok(vec![props()]),
        "w:m" => Ok(vec![media_conn(world)]),
        "w:sync:app:state" => {
            let phone = state.phones.get_mut(asker.pn)?;
            let (answer, changed) = phone.app_state.sync(child?);
            tell_of_changes(state, asker.pn, Some(asker.device), &changed);
            Ok(vec![answer])
        }
        "blocklist" => blocklist(state, asker, child),
        "privacy" => privacy(child, child_tag, is_set),
        "status" => status(state, asker, child, is_set),
        "w:profile:picture" => picture(state, asker, node, is_set),
        "w:mex" => return mex::answer(state, asker, child?),
        "md" if child_tag == "remove-companion-device" => Ok(Vec::new()),
        "disappearing_mode" | "w:biz" | "tos" | "w:web" | "urn:xmpp:whatsapp:account" => Ok(Vec::new()),
        _ => return None,
    })
}

/// What happens after the answer went out.
fn afterwards(state: &mut State, asker: Asker<'_>, node: &Node) {
    let Some(child) = first_child(node) else {
        return;
    };
    match (attr(node, "xmlns").as_deref(), child.tag.as_ref()) {
        (Some("passive"), "active") => {
            if let Some(device) = state.device_mut(asker.pn, asker.device) {
                device.become_active();
            }
        }
        (Some("md"), "remove-companion-device") => {
            let device = jid(child, "jid").map_or(asker.device, |jid| jid.device);
            login::end(state, asker.pn, device, login::conflict("device_removed"));
            unlink::forget_device(state, asker.pn, device);
        }
        _ => {}
    }
}

/// Experiment switches: none is set, so clients use their defaults.
fn props() -> Node {
    PropsResponse {
        ab_key: Some("fake".to_owned()),
        hash: Some("fake-1".to_owned()),
        refresh: Some(24 * 3600),
        refresh_id: Some(1),
        delta_update: false,
        experiment_props: Vec::new(),
    }
    .into_node()
}

/// Media are served by the fake itself.
fn media_conn(world: &Shared) -> Node {
    let mut host = MediaConnHostExtended::simple(world.media_host.to_string(), HostType::Primary);
    host.upload = true;
    host.download = true;
    MediaConnResponseExtended {
        auth: "fake-auth".to_owned(),
        ttl: 3600,
        auth_ttl: Some(21_600),
        max_buckets: Some(12),
        ip_token: None,
        set_ip_token: None,
        hosts: vec![host],
    }
    .into_node()
}

/// Tells linked devices of an account that collections of its app state changed.
pub(crate) fn tell_of_changes(state: &mut State, pn: &str, except: Option<u16>, changed: &[&'static str]) {
    if changed.is_empty() {
        return;
    }
    let id = state.stanza_id();
    let notification = changed_notification(&id, Jid::new("", Server::Pn), changed);
    let envelope = Envelope { class: Class::Notification, id, from: None, participant: None };
    state.deliver_to_account(pn, except, &envelope, &notification);
}

fn blocklist(state: &mut State, asker: Asker<'_>, change: Option<&Node>) -> Answer {
    let phone = state.phones.get_mut(asker.pn).ok_or(NOT_FOUND)?;
    if let Some(item) = change.filter(|child| child.tag == "item") {
        let who = jid(item, "jid").ok_or(BAD_REQUEST)?.to_non_ad();
        phone.blocked.retain(|blocked| *blocked != who);
        if attr(item, "action").as_deref() == Some("block") {
            phone.blocked.push(who);
        }
    }
    let items = phone.blocked.iter().map(|who| NodeBuilder::new("item").attr("jid", who).build());
    Ok(vec![NodeBuilder::new("list").attr("dhash", "fake").children(items).build()])
}

fn privacy(child: Option<&Node>, child_tag: &str, is_set: bool) -> Answer {
    if child_tag == "tokens" {
        return Ok(Vec::new());
    }
    if is_set && let Some(wanted) = child {
        let changed = children(wanted).iter().map(|category| {
            NodeBuilder::new("category")
                .attr("name", attr(category, "name").unwrap_or_default())
                .attr("value", attr(category, "value").unwrap_or_default())
                .attr("dhash", "fake")
                .build()
        });
        return Ok(vec![NodeBuilder::new("privacy").children(changed).build()]);
    }
    let settings = [
        ("readreceipts", "all"),
        ("last", "all"),
        ("online", "all"),
        ("profile", "all"),
        ("status", "all"),
        ("groupadd", "all"),
        ("calladd", "all"),
    ];
    Ok(vec![
        NodeBuilder::new("privacy")
            .children(
                settings
                    .map(|(name, value)| NodeBuilder::new("category").attr("name", name).attr("value", value).build()),
            )
            .build(),
    ])
}

fn status(state: &mut State, asker: Asker<'_>, child: Option<&Node>, is_set: bool) -> Answer {
    let phone = state.phones.get_mut(asker.pn).ok_or(NOT_FOUND)?;
    if is_set && let Some(text) = child.and_then(bytes) {
        phone.about = String::from_utf8_lossy(text).into_owned();
    }
    Ok(Vec::new())
}

/// Whose profile picture: `target`, or the group in `to`, or one's own.
fn picture(state: &mut State, asker: Asker<'_>, node: &Node, is_set: bool) -> Answer {
    let target = jid(node, "target").or_else(|| jid(node, "to").filter(|jid| !jid.user.is_empty()));
    let pn = match &target {
        Some(jid) => state.pn_of(jid),
        None => Some(asker.pn.to_owned()),
    };
    if is_set {
        let uploaded = node.get_optional_child("picture").and_then(bytes).map(<[u8]>::to_vec);
        let Some(pn) = pn else {
            return Ok(Vec::new());
        };
        let number = state.next_number();
        let kept = uploaded.map(|picture| state.media.keep(picture.into()).0);
        let phone = state.phones.get_mut(&pn).ok_or(NOT_FOUND)?;
        phone.picture = kept.map(|url| (number, url));
        return Ok(phone.picture.iter().map(|(id, _)| NodeBuilder::new("picture").attr("id", *id).build()).collect());
    }
    let picture = pn.and_then(|pn| state.phones.get(&pn)).and_then(|phone| phone.picture.clone()).ok_or(NOT_FOUND)?;
    Ok(vec![
        NodeBuilder::new("picture")
            .attr("id", picture.0)
            .attr("type", "image")
            .attr("url", picture.1)
            .attr("direct_path", "/picture")
            .attr("t", now_secs())
            .build(),
    ])
}
