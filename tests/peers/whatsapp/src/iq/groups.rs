//! `w:g2`: groups as clients ask for them and change them.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, Server};

use super::{Answer, Asker, BAD_REQUEST, NOT_FOUND};
use crate::group::{self, Change, Founding};
use crate::phone::Addressing;
use crate::stanza::{attr, bytes, children, jid};
use crate::state::State;

const FORBIDDEN: super::Refusal = (403, "forbidden");

pub(super) fn answer(state: &mut State, asker: Asker<'_>, node: &Node, child: &Node, is_set: bool) -> Option<Answer> {
    let to = jid(node, "to")?;
    if to.server == Server::Group && !to.user.is_empty() {
        return of_group(state, asker, to.user.as_str(), child, is_set);
    }
    Some(match (is_set, child.tag.as_ref()) {
        (false, "participating") => Ok(vec![participating(state, asker)]),
        (false, "query") => Ok(vec![several(state, child)]),
        (true, "create") => create(state, asker, child),
        (true, "leave") => leave(state, asker, child),
        (_, "invite") => invitation(state, asker, child, is_set),
        _ => return None,
    })
}

fn of_group(state: &mut State, asker: Asker<'_>, id: &str, child: &Node, is_set: bool) -> Option<Answer> {
    let Some(known) = state.groups.get(id) else {
        return Some(Err(NOT_FOUND));
    };
    if !known.is_member(asker.pn) {
        return Some(Err(FORBIDDEN));
    }
    let admin = known.is_admin(asker.pn);
    let open = admin || !known.locked;
    if !is_set {
        return Some(match child.tag.as_ref() {
            "query" => Ok(group::info(state, id).into_iter().collect()),
            "invite" if admin => Ok(vec![invite_node(&known.invite)]),
            "invite" => Err(FORBIDDEN),
            _ => return None,
        });
    }
    let change = match child.tag.as_ref() {
        "add" | "remove" | "promote" | "demote" if !admin => return Some(Err(FORBIDDEN)),
        tag @ ("add" | "remove" | "promote" | "demote") => {
            return Some(participants(state, asker, id, tag, child));
        }
        "subject" if open => Change::Subject(text(child)),
        "description" if open => {
            Change::Description(attr(child, "id").unwrap_or_default(), child.get_optional_child("body").map(text))
        }
        "announcement" if admin => Change::Announce(true),
        "not_announcement" if admin => Change::Announce(false),
        "locked" if admin => Change::Locked(true),
        "unlocked" if admin => Change::Locked(false),
        "not_ephemeral" if admin => Change::Ephemeral(0),
        "ephemeral" if admin => {
            Change::Ephemeral(attr(child, "expiration").and_then(|seconds| seconds.parse().ok()).unwrap_or(0))
        }
        "invite" if admin => {
            let invite = group::new_invite();
            let node = invite_node(&invite);
            if let Some(known) = state.groups.get_mut(id) {
                known.invite = invite;
            }
            return Some(Ok(vec![node]));
        }
        "subject" | "description" | "announcement" | "not_announcement" | "locked" | "unlocked" | "ephemeral"
        | "not_ephemeral" | "invite" => return Some(Err(FORBIDDEN)),
        _ => return None,
    };
    Some(group::change(state, asker.pn, id, change).map(|_| Vec::new()).map_err(|_| BAD_REQUEST))
}

fn text(node: &Node) -> String {
    bytes(node).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

fn invite_node(code: &str) -> Node {
    NodeBuilder::new("invite").attr("code", code).build()
}

fn participating(state: &State, asker: Asker<'_>) -> Node {
    let own: Vec<Node> = state
        .groups
        .values()
        .filter(|group| group.is_member(asker.pn))
        .filter_map(|group| group::info(state, &group.id))
        .collect();
    NodeBuilder::new("groups").children(own).build()
}

fn several(state: &State, query: &Node) -> Node {
    let found = children(query).iter().filter_map(|wanted| jid(wanted, "jid")).map(|jid| {
        group::info(state, jid.user.as_str())
            .unwrap_or_else(|| NodeBuilder::new("group").attr("id", jid.user.as_str()).attr("error", "404").build())
    });
    NodeBuilder::new("groups").children(found).build()
}

/// The phone numbers of `<participant>` children, and those that nobody has.
fn named(state: &State, node: &Node) -> (Vec<String>, Vec<Node>) {
    let mut numbers = Vec::new();
    let mut unknown = Vec::new();
    for participant in node.get_children_by_tag("participant") {
        let Some(jid) = jid(participant, "jid") else {
            continue;
        };
        match state.pn_of(&jid).filter(|pn| state.phones.contains_key(pn)) {
            Some(pn) => numbers.push(pn),
            None => unknown.push(NodeBuilder::new("participant").attr("jid", &jid).attr("error", "404").build()),
        }
    }
    (numbers, unknown)
}

fn create(state: &mut State, asker: Asker<'_>, create: &Node) -> Answer {
    let (members, _) = named(state, create);
    let description = create.get_optional_child("description").map(|description| {
        (
            attr(description, "id").unwrap_or_default(),
            description.get_optional_child("body").map(text).unwrap_or_default(),
        )
    });
    // New groups follow the account's own addressing.
    let addressing = state.phones.get(asker.pn).map_or(Addressing::Pn, |phone| phone.addressing);
    let id = group::found(
        state,
        asker.pn,
        Founding { subject: attr(create, "subject").unwrap_or_default(), description, members, addressing },
    )
    .map_err(|_| BAD_REQUEST)?;
    Ok(group::info(state, &id).into_iter().collect())
}

fn leave(state: &mut State, asker: Asker<'_>, leave: &Node) -> Answer {
    let mut left = Vec::new();
    for wanted in children(leave) {
        let id = jid(wanted, "id").ok_or(BAD_REQUEST)?;
        group::change(state, asker.pn, id.user.as_str(), Change::Remove(vec![asker.pn.to_owned()]))
            .map_err(|_| NOT_FOUND)?;
        left.push(NodeBuilder::new("group").attr("id", &id).build());
    }
    Ok(vec![NodeBuilder::new("leave").children(left).build()])
}

fn participants(state: &mut State, asker: Asker<'_>, id: &str, tag: &str, child: &Node) -> Answer {
    let (numbers, unknown) = named(state, child);
    let change = match tag {
        "add" => Change::Add(numbers.clone()),
        "remove" => Change::Remove(numbers.clone()),
        "promote" => Change::Promote(numbers.clone()),
        _ => Change::Demote(numbers.clone()),
    };
    group::change(state, asker.pn, id, change).map_err(|_| BAD_REQUEST)?;
    let by_lid = state.groups.get(id).is_some_and(|group| group.addressing == Addressing::Lid);
    let done = numbers.iter().filter_map(|pn| {
        let phone = state.phones.get(pn)?;
        Some(NodeBuilder::new("participant").attr("jid", phone.jid_in(by_lid)).build())
    });
    let answers: Vec<Node> = done.chain(unknown).collect();
    Ok(vec![NodeBuilder::new_dynamic(tag.to_owned()).children(answers).build()])
}

/// An invitation's code: what it leads to, or to join by it.
fn invitation(state: &mut State, asker: Asker<'_>, invite: &Node, is_set: bool) -> Answer {
    let code = attr(invite, "code").ok_or(BAD_REQUEST)?;
    let id = state.groups.values().find(|group| group.invite == code).map(|group| group.id.clone()).ok_or(NOT_FOUND)?;
    if !is_set {
        return Ok(group::info(state, &id).into_iter().collect());
    }
    group::change(state, asker.pn, &id, Change::Add(vec![asker.pn.to_owned()])).map_err(|_| BAD_REQUEST)?;
    let jid = state.groups.get(&id).ok_or(NOT_FOUND)?.jid();
    Ok(vec![NodeBuilder::new("group").attr("jid", jid).build()])
}
