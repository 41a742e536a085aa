//! Groups of the simulated network: rows, and what one may ask of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    Error, Result,
    address::{self, Platform},
    connector::{ContactInfo, GroupChange, Request, Update, unsupported},
    crypto,
    store::{CommitError, Cond, Item, Key, Query, Read, Unit, Write, keys},
};

use crate::{line::Inner, network::Network, people};

const MAX_GROUPS: usize = 500;
const TRIES: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    id: String,
    subject: String,
    owner: String,
    participants: Vec<Participant>,
    created_at: String,
    /// Counts changes: a change is written only over the state that it was made of.
    #[serde(rename = "rev")]
    revision: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Participant {
    id: String,
    admin: bool,
}

impl Group {
    fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "subject": self.subject,
            "owner": self.owner,
            "participants": self.participants,
            "size": self.participants.len(),
            "createdAt": self.created_at,
        })
    }
}

pub(crate) async fn ask(inner: &Inner, request: Request) -> Result<Value> {
    let network = &inner.network;
    if !network.capability.groups {
        return Err(unsupported("a group"));
    }
    match request {
        Request::Groups => {
            let partition = keys::sandbox(&network.instance, "groups");
            let page = network.store.query(Query::table(partition).limit(MAX_GROUPS)).await?;
            let groups =
                page.items.into_iter().map(|item| Ok(item.into::<Group>()?.shown())).collect::<Result<Vec<_>>>()?;
            Ok(json!({ "groups": groups }))
        }
        Request::GroupCreate { subject, participants } => {
            let group = create(network, subject, &participants).await?;
            tell(inner, &group).await?;
            Ok(group.shown())
        }
        Request::GroupParticipants { group, change, participants } => {
            let people = canonical(network, &participants)?;
            edit(network, &group, |found| apply(found, change, &people)).await.map(|group| group.shown())
        }
        Request::GroupSubject { group, subject } => {
            let group = edit(network, &group, |found| found.subject.clone_from(&subject)).await?;
            tell(inner, &group).await?;
            Ok(group.shown())
        }
        Request::GroupInvite { group } => {
            let found = load(network, &group).await?;
            // The same code for as long as the group lives.
            let code: String =
                crypto::sha256_hex(format!("{}/{}", network.instance, found.id)).chars().take(22).collect();
            let link = match network.platform() {
                Platform::Telegram => format!("https://t.me/+{code}"),
                Platform::Signal => format!("https://signal.group/#{code}"),
                _ => format!("https://chat.whatsapp.com/{code}"),
            };
            Ok(json!({ "code": code, "link": link }))
        }
        Request::GroupLeave { group } => {
            let found = load(network, &group).await?;
            network.store.commit(Unit::write(Write::delete(key(network, &found.id)))).await?;
            Ok(json!({ "success": true }))
        }
        _ => Err(Error::internal("not a request about groups")),
    }
}

/// A group is a contact, under its newest name.
async fn tell(inner: &Inner, group: &Group) -> Result<()> {
    let contact =
        ContactInfo { address: group.id.clone(), name: group.subject.clone(), avatar: String::new(), is_group: true };
    inner.emit.emit(Update::Contacts(vec![contact])).await
}

fn key(network: &Network, id: &str) -> Key {
    Key::new(keys::sandbox(&network.instance, "groups"), id)
}

fn canonical(network: &Network, people: &[String]) -> Result<Vec<String>> {
    people.iter().map(|text| address::canonical(network.platform(), "participants", text, true)).collect()
}

async fn own(network: &Network) -> Result<String> {
    let number = network.phone().await?.number.unwrap_or_default();
    Ok(people::at(network.platform(), &number))
}

/// An id in the platform's manner.
fn new_id(platform: Platform, digits: u64) -> Result<String> {
    Ok(match platform {
        Platform::Whatsapp => format!("120363{digits:012}@g.us"),
        Platform::Telegram => format!("-100{:010}", digits % 10_000_000_000),
        Platform::Signal => STANDARD.encode(crypto::random()?),
        Platform::Wecom => format!("R:{digits:012}"),
        Platform::Wechat => format!("{digits:012}@chatroom"),
        Platform::Im => format!("group{digits:012}"),
    })
}

async fn create(network: &Network, subject: String, participants: &[String]) -> Result<Group> {
    let owner = own(network).await?;
    let mut members = vec![Participant { id: owner.clone(), admin: true }];
    for id in canonical(network, participants)? {
        if !members.iter().any(|member| member.id == id) {
            members.push(Participant { id, admin: false });
        }
    }
    let created_at = network.clock.now().iso();
    for _ in 0..TRIES {
        let digits =
            u64::from_be_bytes(crypto::random()?.first_chunk().copied().unwrap_or_default()) % 1_000_000_000_000;
        let group = Group {
            id: new_id(network.platform(), digits)?,
            subject: subject.clone(),
            owner: owner.clone(),
            participants: members.clone(),
            created_at: created_at.clone(),
            revision: 1,
        };
        match network.store.commit(Unit::write(Write::create(Item::new(key(network, &group.id), &group)?))).await {
            Ok(_) => return Ok(group),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::unavailable("no free group id"))
}

async fn load(network: &Network, group: &str) -> Result<Group> {
    match network.store.get(&key(network, group), Read::Strong).await? {
        Some(item) => item.into(),
        None => Err(Error::not_found("Group not found").code("GROUP_NOT_FOUND")),
    }
}

async fn edit(network: &Network, id: &str, mut change: impl FnMut(&mut Group)) -> Result<Group> {
    for _ in 0..TRIES {
        let mut group = load(network, id).await?;
        let before = group.revision;
        change(&mut group);
        group.revision += 1;
        let write = Write::put(Item::new(key(network, id), &group)?).only_if(Cond::eq("rev", before));
        match network.store.commit(Unit::write(write)).await {
            Ok(_) => return Ok(group),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::unavailable("the group is being changed by somebody else"))
}

fn apply(group: &mut Group, change: GroupChange, people: &[String]) {
    match change {
        GroupChange::Add => {
            for id in people {
                if !group.participants.iter().any(|member| member.id == *id) {
                    group.participants.push(Participant { id: id.clone(), admin: false });
                }
            }
        }
        GroupChange::Remove => group.participants.retain(|member| !people.contains(&member.id)),
        GroupChange::Promote | GroupChange::Demote => {
            for member in group.participants.iter_mut().filter(|member| people.contains(&member.id)) {
                member.admin = change == GroupChange::Promote;
            }
        }
    }
}
