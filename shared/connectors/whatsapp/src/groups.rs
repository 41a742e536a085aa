//! Groups: what may be asked of them.

use serde_json::{Value, json};
use shared::{
    Error, Result,
    clock::Millis,
    connector::{ContactInfo, GroupChange, Request, Update},
};
use whatsapp_rust::{
    Client, GroupCreateOptions, GroupError, GroupMetadata, GroupParticipant, GroupParticipantOptions, GroupSubject,
    Jid, ParticipantChangeResponse,
};

use crate::{asks, line::Inner, outgoing::jid, people};

pub(crate) async fn ask(inner: &Inner, client: &Client, request: Request) -> Result<Value> {
    let groups = client.groups();
    match request {
        Request::Groups => {
            let all = groups.get_participating().await.map_err(refusal)?;
            let mut all: Vec<Value> = all.values().map(shown).collect();
            all.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
            Ok(json!({ "groups": all }))
        }
        Request::GroupCreate { subject, participants } => {
            let subject = GroupSubject::new(subject).map_err(|error| Error::invalid("subject", error.to_string()))?;
            let mut options = GroupCreateOptions::new(subject.as_str());
            for participant in people(&participants)? {
                options = options.with_participant(GroupParticipantOptions::new(participant));
            }
            let group = groups.create_group(options).await.map_err(refusal)?.metadata;
            tell(inner, &group.id, &group.subject).await?;
            Ok(shown(&group))
        }
        Request::GroupParticipants { group, change, participants } => {
            let (id, all) = (jid("group", &group)?, people(&participants)?);
            let answered = match change {
                GroupChange::Add => groups.add_participants(&id, &all).await,
                GroupChange::Remove => groups.remove_participants(&id, &all).await,
                GroupChange::Promote => groups.promote_participants(&id, &all).await,
                GroupChange::Demote => groups.demote_participants(&id, &all).await,
            };
            let refused: Vec<_> = answered.map_err(refusal)?.iter().filter_map(not_done).collect();
            let mut group = groups.get_metadata(&id).await.map(|group| shown(&group)).map_err(refusal)?;
            if !refused.is_empty() {
                group["refused"] = refused.into();
            }
            Ok(group)
        }
        Request::GroupSubject { group, subject } => {
            let id = jid("group", &group)?;
            let new = GroupSubject::new(&subject).map_err(|error| Error::invalid("subject", error.to_string()))?;
            groups.set_subject(&id, new).await.map_err(refusal)?;
            tell(inner, &id, &subject).await?;
            groups.get_metadata(&id).await.map(|group| shown(&group)).map_err(refusal)
        }
        Request::GroupInvite { group } => {
            let link = groups.get_invite_link(&jid("group", &group)?, false).await.map_err(refusal)?;
            let code = link.rsplit('/').next().unwrap_or(&link);
            Ok(json!({ "code": code, "link": format!("https://chat.whatsapp.com/{code}") }))
        }
        Request::GroupLeave { group } => {
            groups.leave(&jid("group", &group)?).await.map_err(refusal)?;
            Ok(json!({ "success": true }))
        }
        _ => Err(Error::internal("not a request about groups")),
    }
}

pub(crate) fn refusal(error: GroupError) -> Error {
    match error {
        GroupError::Iq(error) => asks::refusal(error),
        GroupError::InvalidRequest(text) => Error::invalid("group", text),
        other => Error::unavailable(other),
    }
}

fn people(addresses: &[String]) -> Result<Vec<Jid>> {
    addresses.iter().map(|address| jid("participants", address)).collect()
}

/// A group is a contact, under its newest name.
async fn tell(inner: &Inner, id: &Jid, subject: &str) -> Result<()> {
    let Some(address) = people::address(id) else { return Ok(()) };
    let contact = ContactInfo { address, name: subject.to_owned(), avatar: String::new(), is_group: true };
    inner.emit.emit(Update::Contacts(vec![contact])).await
}

/// The address of somebody, by phone if that is known.
fn person(jid: &Jid, phone: Option<&Jid>) -> Option<String> {
    phone.and_then(people::address).or_else(|| people::address(jid))
}

/// Somebody who was not added, removed, promoted or demoted, and why: WhatsApp's code, and what it means.
fn not_done(one: &ParticipantChangeResponse) -> Option<Value> {
    let code = one.error.as_deref()?;
    let reason = match code {
        "401" | "403" => "not_allowed",
        "404" => "not_there",
        "408" => "left_lately",
        "409" => "already_there",
        _ => "refused",
    };
    Some(json!({ "id": person(&one.jid, one.phone_number.as_ref()), "code": code, "reason": reason }))
}

fn shown(group: &GroupMetadata) -> Value {
    let participant = |one: &GroupParticipant| {
        json!({
            "id": person(&one.jid, one.phone_number.as_ref()),
            "lid": one.lid.as_ref().or(Some(&one.jid)).filter(|jid| jid.is_lid()).and_then(people::address),
            "admin": one.is_admin(),
        })
    };
    json!({
        "id": people::address(&group.id),
        "subject": group.subject,
        "description": group.description,
        "owner": group.creator.as_ref().and_then(|creator| person(creator, group.creator_pn.as_ref())),
        "participants": group.participants.iter().map(participant).collect::<Vec<_>>(),
        "size": group.size.map_or(group.participants.len(), |size| size as usize),
        "createdAt": group.creation_time.and_then(|at| i64::try_from(at).ok()).map(|at| Millis(at * 1000).iso()),
    })
}
