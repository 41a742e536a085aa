//! Groups: made and changed by phones.

use anyhow::anyhow;
use axum::Json;
use axum::extract::{Path, State as Shares};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refused, Reply};
use crate::group::{self, Change, Founding, Group};
use crate::phone::Addressing;
use crate::world::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    creator: String,
    subject: String,
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    addressing: Addressing,
    description: Option<String>,
}

pub(crate) async fn post_groups(
    Shares(world): Shares<Shared>,
    Json(new): Json<NewGroup>,
) -> Reply<(StatusCode, Json<Value>)> {
    let mut state = world.state();
    let description = new.description.map(|text| (hex::encode_upper(rand::random::<[u8; 8]>()), text));
    let id = group::found(
        &mut state,
        &new.creator,
        Founding { subject: new.subject, description, members: new.members, addressing: new.addressing },
    )?;
    let shown = state.groups.get(&id).map(show);
    Ok((StatusCode::CREATED, Json(json!(shown))))
}

pub(crate) async fn get_group(Shares(world): Shares<Shared>, Path(id): Path<String>) -> Reply<Json<Value>> {
    let state = world.state();
    let group = state.groups.get(bare(&id)).ok_or_else(|| Refused::not_found(format!("there is no group {id}")))?;
    Ok(Json(show(group)))
}

/// The part before `@g.us`.
fn bare(id: &str) -> &str {
    id.strip_suffix("@g.us").unwrap_or(id)
}

fn show(group: &Group) -> Value {
    let members: Vec<Value> =
        group.members.iter().map(|member| json!({ "phone": member.pn, "admin": member.admin })).collect();
    json!({
        "id": group.jid().to_string(),
        "subject": group.subject,
        "description": group.description.as_ref().map(|(_, text)| text),
        "creator": group.creator,
        "members": members,
        "addressing": group.addressing,
        "invite": group.invite,
        "announce": group.announce,
        "locked": group.locked,
        "ephemeral": group.ephemeral,
    })
}

/// Who does it, and what the action needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    actor: String,
    #[serde(default)]
    phones: Vec<String>,
    subject: Option<String>,
    description: Option<String>,
    on: Option<bool>,
    seconds: Option<u32>,
}

pub(crate) async fn post_action(
    Shares(world): Shares<Shared>,
    Path((id, action)): Path<(String, String)>,
    Json(request): Json<Action>,
) -> Reply<Json<Value>> {
    let change = match action.as_str() {
        "add" => Change::Add(request.phones),
        "remove" => Change::Remove(request.phones),
        "promote" => Change::Promote(request.phones),
        "demote" => Change::Demote(request.phones),
        "leave" => Change::Remove(vec![request.actor.clone()]),
        "subject" => Change::Subject(request.subject.ok_or_else(|| anyhow!("which subject?"))?),
        "description" => Change::Description(hex::encode_upper(rand::random::<[u8; 8]>()), request.description),
        "announce" => Change::Announce(request.on.unwrap_or(true)),
        "locked" => Change::Locked(request.on.unwrap_or(true)),
        "ephemeral" => Change::Ephemeral(request.seconds.unwrap_or(0)),
        other => return Err(Refused::not_found(format!("groups have no action {other}"))),
    };
    let mut state = world.state();
    let touched = group::change(&mut state, &request.actor, bare(&id), change)?;
    Ok(Json(json!({ "phones": touched })))
}
