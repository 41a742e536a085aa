//! Groups.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use shared::{
    Error,
    app::AppState,
    connector::{GroupChange, Request},
    domain::{access::Scope, compose, instance::Instance, job},
    edge::{Json, Owned, OwnedWhatsapp, Reject},
};

use crate::ask::ask;

fn group_of(instance: &Instance, id: &str) -> Result<String, Error> {
    let id = if id.contains('@') { id.to_owned() } else { format!("{id}@g.us") };
    let group = compose::recipient(instance, "groupId", &id)?;
    if !group.ends_with("@g.us") {
        return Err(Error::invalid("groupId", "groupId must be a group, such as 1234567890@g.us"));
    }
    Ok(group)
}

fn people(instance: &Instance, participants: &[String]) -> Result<Vec<String>, Error> {
    if !(1..=1024).contains(&participants.len()) {
        return Err(Error::invalid("participants", "participants must have 1 to 1024 entries"));
    }
    participants.iter().map(|phone| compose::recipient(instance, "participants", phone)).collect()
}

/// `GET …/groups` → `{groups: [{id, subject, participants}]}`.
pub(crate) async fn list_groups(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    ask(&app, &instance, "groups", Request::Groups).await
}

/// `GET …/groups/{groupId}`: one of them.
pub(crate) async fn get_group(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    let group = group_of(&instance, &id)?;
    if !instance.paired {
        return Err(Error::conflict("INSTANCE_NOT_READY", format!("Instance {} not ready", instance.id)).into());
    }
    match job::ask(&app, &instance, "groups", Request::Groups, job::WAIT).await? {
        job::Answer::Done(answer) => {
            let groups = answer["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found = groups.iter().find(|one| one["id"] == group.as_str());
            let found = found.ok_or_else(|| Error::not_found("Group not found").code("GROUP_NOT_FOUND"))?;
            Ok(axum::Json(found.clone()).into_response())
        }
        job::Answer::Later(id) => {
            Ok((StatusCode::ACCEPTED, axum::Json(serde_json::json!({ "jobId": id }))).into_response())
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Create {
    subject: String,
    participants: Vec<String>,
}

/// `POST …/groups {subject, participants[]}` → 201, the group.
pub(crate) async fn create_group(
    State(app): State<AppState>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Create>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let subject = compose::text("subject", &body.subject, 100)?;
    let participants = people(&instance, &body.participants)?;
    let mut response = ask(&app, &instance, "group_create", Request::GroupCreate { subject, participants }).await?;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
pub(crate) struct Participants {
    action: GroupChange,
    participants: Vec<String>,
}

/// `POST …/groups/{groupId}/participants {action: add|remove|promote|demote, participants[]}`.
pub(crate) async fn change_participants(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Participants>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.with(Scope::MessagesSend)?;
    let group = group_of(&instance, &id)?;
    let participants = people(&instance, &body.participants)?;
    let request = Request::GroupParticipants { group, change: body.action, participants };
    ask(&app, &instance, "group_participants", request).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Subject {
    subject: String,
}

/// `PUT …/groups/{groupId}/subject {subject}`.
pub(crate) async fn set_subject(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
    Json(body): Json<Subject>,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let group = group_of(&instance, &id)?;
    let subject = compose::text("subject", &body.subject, 100)?;
    ask(&app, &instance, "group_subject", Request::GroupSubject { group, subject }).await
}

/// `GET …/groups/{groupId}/invite` → `{code, link}`.
pub(crate) async fn get_invite(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    let group = group_of(&instance, &id)?;
    ask(&app, &instance, "group_invite", Request::GroupInvite { group }).await
}

/// `POST …/groups/{groupId}/leave`.
pub(crate) async fn leave_group(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    OwnedWhatsapp(owned): OwnedWhatsapp,
) -> Result<Response, Reject> {
    let instance = owned.with(Scope::MessagesSend)?.instance;
    let group = group_of(&instance, &id)?;
    ask(&app, &instance, "group_leave", Request::GroupLeave { group }).await
}
