//! Everybody's groups.

use axum::{Extension, extract::State};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::{App, AppState},
    domain::{
        audit::{self, Action, Note},
        compose,
        im::{
            group::{self, Group, MAX_SUBSCRIBERS},
            people::display_name,
        },
        user::{self, MAX_NAME, User, check_avatar},
    },
    edge::{Admin, Json, Json2, envelope, observe::RequestId, query::Params},
    id::UserId,
};

use crate::{Answer, people};

/// Groups whose members are counted side by side.
const AT_ONCE: usize = 16;

fn view(group: &Group, members: u64) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "avatar": group.avatar,
        "creatorId": group.owner,
        "memberCount": members,
        "lastSeq": group.last_seq,
        "createdAt": group.created_at.iso(),
    })
}

async fn counted(app: &App, group: Group) -> Result<Value> {
    Ok(view(&group, group::member_count(app, &group.key).await?))
}

/// `GET /api/admin/groups`: oldest first.
pub(crate) async fn list_admin_groups(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let (limit, cursor) = (params.limit(200, 50)?, params.cursor("cursor")?);
    let (groups, next) = group::list(&app, limit, cursor).await?;
    let groups: Vec<Value> =
        stream::iter(groups.into_iter().map(|group| counted(&app, group))).buffered(AT_ONCE).try_collect().await?;
    Ok(envelope::chat_ok(json!({ "groups": groups, "nextCursor": next.map(|next| next.encode()) })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    id: String,
    name: Option<String>,
    avatar: Option<String>,
    creator_id: String,
}

/// `POST /api/admin/group/create`. The creator's own group again: changes what is given.
pub(crate) async fn create_admin_group(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json(body): Json<Create>,
) -> Answer {
    let Create { id, name, avatar, creator_id } = body;
    group::check_id("id", &id)?;
    if let Some(name) = &name {
        compose::bounded("name", name, MAX_NAME)?;
    }
    if let Some(avatar) = &avatar {
        check_avatar("avatar", avatar)?;
    }
    let creator = people::find(&app, "creatorId", &creator_id).await?;
    let note = Note { action: Action::GroupCreate, target: id.clone(), details: json!({ "creatorId": creator.id }) };
    let save = group::save(&app, &creator, &id, name.as_deref(), avatar.as_deref());
    let (group, _) = audit::during(&app, &caller, &request, note, save).await?;
    Ok(envelope::chat_ok(counted(&app, group).await?))
}

/// Which group is meant.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Named {
    id: Option<String>,
    group_id: Option<String>,
}

impl Named {
    async fn find(self, app: &App) -> Result<Group> {
        let id = self.id.or(self.group_id).ok_or_else(|| Error::invalid("id", "id is required"))?;
        group::find(app, &id).await?.ok_or_else(|| group::unknown().field("id"))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Members {
    members: Vec<String>,
}

impl Members {
    async fn find(self, app: &App) -> Result<Vec<UserId>> {
        people::find_all(app, "members", &self.members, MAX_SUBSCRIBERS).await
    }
}

/// `POST /api/admin/group/members/add` → `{added}`.
pub(crate) async fn add_members(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json2(named, members): Json2<Named, Members>,
) -> Answer {
    let (group, users) = (named.find(&app).await?, members.find(&app).await?);
    let note = Note { action: Action::MembersAdd, target: group.id.clone(), details: json!({ "members": users }) };
    let added = audit::during(&app, &caller, &request, note, group::add(&app, &group, &users)).await?;
    Ok(envelope::chat_ok(json!({ "added": added })))
}

/// `POST /api/admin/group/members/remove` → `{removed}`.
pub(crate) async fn remove_members(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json2(named, members): Json2<Named, Members>,
) -> Answer {
    let (group, users) = (named.find(&app).await?, members.find(&app).await?);
    let note = Note { action: Action::MembersRemove, target: group.id.clone(), details: json!({ "members": users }) };
    let removed = audit::during(&app, &caller, &request, note, group::remove(&app, &group, &users)).await?;
    Ok(envelope::chat_ok(json!({ "removed": removed })))
}

/// `POST /api/admin/group/delete`.
pub(crate) async fn delete_group(
    State(app): State<AppState>,
    Admin(caller): Admin,
    Extension(RequestId(request)): Extension<RequestId>,
    Json(named): Json<Named>,
) -> Answer {
    let group = named.find(&app).await?;
    let note = Note { action: Action::GroupDelete, target: group.id.clone(), details: json!({}) };
    audit::during(&app, &caller, &request, note, group::delete(&app, &group)).await?;
    Ok(envelope::chat_ok(json!({ "id": group.id })))
}

/// `GET /api/admin/group/members?id`: by user id.
pub(crate) async fn list_members(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let text = |name: &str| params.text(name).map(str::to_owned);
    let (limit, cursor) = (params.limit(500, 100)?, params.cursor("cursor")?);
    let group = Named { id: text("id"), group_id: text("groupId") }.find(&app).await?;
    let (ids, next) = group::members(&app, &group.key, limit, cursor).await?;
    let members: Vec<_> = user::find_all(&app, &ids).await?.iter().map(|user| member(&group, user)).collect();
    Ok(envelope::chat_ok(json!({ "members": members, "nextCursor": next.map(|next| next.encode()) })))
}

fn member(group: &Group, user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username.as_deref().unwrap_or_default(),
        "nickname": display_name(user),
        "avatar": user.avatar,
        "owner": group.owner == user.id,
    })
}
