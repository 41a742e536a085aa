//! Groups: members, subject, how members are addressed.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::clock::now_secs;
use crate::device::{Class, Envelope};
use crate::outbound;
use crate::phone::Addressing;
use crate::state::State;

/// A member of a group.
#[derive(Clone)]
pub(crate) struct Member {
    /// Phone number.
    pub(crate) pn: String,
    pub(crate) admin: bool,
}

/// A group.
pub(crate) struct Group {
    /// The part before `@g.us`.
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) description: Option<(String, String)>,
    /// Phone number of who made it.
    pub(crate) creator: String,
    pub(crate) created: u64,
    pub(crate) subject_at: u64,
    pub(crate) subject_by: String,
    pub(crate) members: Vec<Member>,
    /// Whether members appear under their LID or their phone number.
    pub(crate) addressing: Addressing,
    pub(crate) invite: String,
    /// Only admins may write.
    pub(crate) announce: bool,
    /// Only admins may change subject and description.
    pub(crate) locked: bool,
    /// Disappearing messages, in seconds; 0 is off.
    pub(crate) ephemeral: u32,
}

impl Group {
    pub(crate) fn jid(&self) -> Jid {
        Jid::group(self.id.clone())
    }

    pub(crate) fn is_member(&self, pn: &str) -> bool {
        self.members.iter().any(|member| member.pn == pn)
    }

    pub(crate) fn is_admin(&self, pn: &str) -> bool {
        self.members.iter().any(|member| member.pn == pn && member.admin)
    }
}

/// What somebody does to a group.
pub(crate) enum Change {
    Add(Vec<String>),
    Remove(Vec<String>),
    Promote(Vec<String>),
    Demote(Vec<String>),
    Subject(String),
    /// Id and text; `None` removes it.
    Description(String, Option<String>),
    Announce(bool),
    Locked(bool),
    Ephemeral(u32),
}

/// What a new group is made of.
pub(crate) struct Founding {
    pub(crate) subject: String,
    pub(crate) description: Option<(String, String)>,
    /// Phone numbers of the others.
    pub(crate) members: Vec<String>,
    pub(crate) addressing: Addressing,
}

/// Makes a group and tells its members. Returns the part before `@g.us`.
pub(crate) fn found(state: &mut State, creator: &str, founding: Founding) -> Result<String> {
    state.phone(creator)?;
    for member in &founding.members {
        state.phone(member)?;
    }
    let now = now_secs();
    let id = format!("120363{:012}", state.next_number());
    let mut members = vec![Member { pn: creator.to_owned(), admin: true }];
    for pn in founding.members {
        if !members.iter().any(|member| member.pn == pn) {
            members.push(Member { pn, admin: false });
        }
    }
    state.groups.insert(
        id.clone(),
        Group {
            id: id.clone(),
            subject: founding.subject,
            description: founding.description,
            creator: creator.to_owned(),
            created: now,
            subject_at: now,
            subject_by: creator.to_owned(),
            members,
            addressing: founding.addressing,
            invite: new_invite(),
            announce: false,
            locked: false,
            ephemeral: 0,
        },
    );
    let create = NodeBuilder::new("create")
        .attr("type", "new")
        .attr("key", format!("key-{id}"))
        .children(info(state, &id))
        .build();
    let everybody = member_numbers(state, &id);
    notify(state, creator, &id, create, &everybody)?;
    Ok(id)
}

/// A random code for an invitation link.
pub(crate) fn new_invite() -> String {
    hex::encode(rand::random::<[u8; 11]>())
}

/// Applies a change and tells everybody concerned. Returns the phone numbers that it touched.
pub(crate) fn change(state: &mut State, actor: &str, id: &str, change: Change) -> Result<Vec<String>> {
    let before = member_numbers(state, id);
    let group = state.groups.get_mut(id).ok_or_else(|| anyhow!("there is no group {id}"))?;
    let mut touched = Vec::new();
    let (tag, mut content): (&'static str, NodeBuilder) = match change {
        Change::Add(numbers) => {
            for pn in numbers {
                if !group.is_member(&pn) {
                    group.members.push(Member { pn: pn.clone(), admin: false });
                    touched.push(pn);
                }
            }
            ("add", NodeBuilder::new("add"))
        }
        Change::Remove(numbers) => {
            group.members.retain(|member| {
                let goes = numbers.contains(&member.pn);
                if goes {
                    touched.push(member.pn.clone());
                }
                !goes
            });
            ("remove", NodeBuilder::new("remove"))
        }
        Change::Promote(numbers) => {
            touched = group.set_admin(&numbers, true);
            ("promote", NodeBuilder::new("promote"))
        }
        Change::Demote(numbers) => {
            touched = group.set_admin(&numbers, false);
            ("demote", NodeBuilder::new("demote"))
        }
        Change::Subject(subject) => {
            group.subject.clone_from(&subject);
            group.subject_at = now_secs();
            actor.clone_into(&mut group.subject_by);
            ("subject", NodeBuilder::new("subject").attr("subject", subject).attr("s_t", group.subject_at))
        }
        Change::Description(description_id, text) => {
            group.description = text.clone().map(|text| (description_id.clone(), text));
            let builder = NodeBuilder::new("description").attr("id", description_id);
            (
                "description",
                match text {
                    Some(text) => builder.children([NodeBuilder::new("body").bytes(text.into_bytes()).build()]),
                    None => builder.children([NodeBuilder::new("delete").build()]),
                },
            )
        }
        Change::Announce(on) => {
            group.announce = on;
            let tag = if on { "announcement" } else { "not_announcement" };
            (tag, NodeBuilder::new(tag))
        }
        Change::Locked(on) => {
            group.locked = on;
            let tag = if on { "locked" } else { "unlocked" };
            (tag, NodeBuilder::new(tag))
        }
        Change::Ephemeral(seconds) => {
            group.ephemeral = seconds;
            if seconds == 0 {
                ("not_ephemeral", NodeBuilder::new("not_ephemeral"))
            } else {
                ("ephemeral", NodeBuilder::new("ephemeral").attr("expiration", seconds))
            }
        }
    };
    if matches!(tag, "add" | "remove" | "promote" | "demote") {
        content = content.children(touched.iter().map(|pn| participant(state, id, pn, None)));
    }
    let mut concerned = before;
    concerned.extend(touched.iter().cloned());
    concerned.sort();
    concerned.dedup();
    notify(state, actor, id, content.build(), &concerned)?;
    if tag == "remove" {
        let all: BTreeSet<String> = concerned.into_iter().collect();
        let jid = Jid::group(id.to_owned());
        outbound::rotate_sender_keys(state, &jid, &all);
    }
    Ok(touched)
}

impl Group {
    fn set_admin(&mut self, numbers: &[String], admin: bool) -> Vec<String> {
        let mut touched = Vec::new();
        for member in &mut self.members {
            if numbers.contains(&member.pn) {
                member.admin = admin;
                touched.push(member.pn.clone());
            }
        }
        touched
    }
}

fn member_numbers(state: &State, id: &str) -> Vec<String> {
    state.groups.get(id).map(|group| group.members.iter().map(|member| member.pn.clone()).collect()).unwrap_or_default()
}

/// `<group>` as queries and notifications show it; nothing if there is no such group.
pub(crate) fn info(state: &State, id: &str) -> Option<Node> {
    let group = state.groups.get(id)?;
    let by_lid = group.addressing == Addressing::Lid;
    let own = |pn: &str| state.phones.get(pn).map_or_else(|| Jid::pn(pn.to_owned()), |phone| phone.jid_in(by_lid));
    let mut children: Vec<Node> =
        group.members.iter().map(|member| participant(state, id, &member.pn, member.admin.then_some(group))).collect();
    if let Some((description, text)) = &group.description {
        children.push(
            NodeBuilder::new("description")
                .attr("id", description.as_str())
                .children([NodeBuilder::new("body").bytes(text.as_bytes()).build()])
                .build(),
        );
    }
    if group.announce {
        children.push(NodeBuilder::new("announcement").build());
    }
    if group.locked {
        children.push(NodeBuilder::new("locked").build());
    }
    if group.ephemeral > 0 {
        children.push(NodeBuilder::new("ephemeral").attr("expiration", group.ephemeral).build());
    }
    Some(
        NodeBuilder::new("group")
            .attr("id", group.id.as_str())
            .attr("subject", group.subject.as_str())
            .attr("addressing_mode", if by_lid { "lid" } else { "pn" })
            .attr("creator", own(&group.creator))
            .attr("creation", group.created)
            .attr("s_t", group.subject_at)
            .attr("s_o", own(&group.subject_by))
            .attr("size", group.members.len())
            .children(children)
            .build(),
    )
}

/// `<participant>`; `admin` is the group if the member is an admin of it.
fn participant(state: &State, id: &str, pn: &str, admin: Option<&Group>) -> Node {
    let by_lid = state.groups.get(id).is_some_and(|group| group.addressing == Addressing::Lid);
    let mut builder = NodeBuilder::new("participant");
    match state.phones.get(pn) {
        Some(phone) if by_lid => {
            builder = builder.attr("jid", phone.lid_jid()).attr("phone_number", phone.pn_jid());
        }
        Some(phone) => {
            builder = builder.attr("jid", phone.pn_jid()).attr("lid", phone.lid_jid());
        }
        None => builder = builder.attr("jid", Jid::pn(pn.to_owned())),
    }
    if let Some(group) = admin {
        let kind = if group.creator == pn { "superadmin" } else { "admin" };
        builder = builder.attr("type", kind);
    }
    builder.build()
}

/// `<notification type="w:gp2">` for the linked devices of all these phones.
fn notify(state: &mut State, actor: &str, id: &str, content: Node, concerned: &[String]) -> Result<()> {
    let notification_id = state.stanza_id();
    let by_lid = state.groups.get(id).is_some_and(|group| group.addressing == Addressing::Lid);
    let phone = state.phone(actor)?;
    let mut builder = NodeBuilder::new("notification")
        .attr("from", Jid::group(id.to_owned()))
        .attr("type", "w:gp2")
        .attr("id", notification_id.as_str())
        .attr("t", now_secs())
        .attr("notify", phone.name.as_str())
        .attr("participant", phone.jid_in(by_lid));
    if by_lid {
        builder = builder.attr("addressing_mode", "lid").attr("participant_pn", phone.pn_jid());
    }
    let node = builder.children([content]).build();
    let envelope =
        Envelope { class: Class::Notification, id: notification_id, from: Some(id.to_owned()), participant: None };
    for pn in concerned {
        state.deliver_to_account(pn, None, &envelope, &node);
    }
    Ok(())
}
