//! Channels: groups and their members, and what a user calls a peer.

use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error, Result,
    app::AppState,
    domain::{
        access::{Caller, Scope},
        compose,
        im::{Type, conversation, group},
        user::{MAX_NAME, check_avatar},
    },
    edge::{Json, Json2, envelope},
};

use crate::{
    Answer,
    target::{self, Target},
};

#[derive(Debug, Deserialize)]
pub(crate) struct Looks {
    name: Option<String>,
    avatar: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Members {
    subscribers: Option<Vec<String>>,
}

impl Members {
    fn names(self) -> Result<Vec<String>> {
        self.subscribers.ok_or_else(|| Error::invalid("subscribers", "subscribers is required"))
    }
}

/// `POST …/channel/create`. Of one's own group again: changes what is given. Of a peer: what the caller calls it.
pub(crate) async fn create_channel(
    State(app): State<AppState>,
    caller: Caller,
    Json2(target, looks): Json2<Target, Looks>,
) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    let of = target.named()?;
    if let Some(name) = &looks.name {
        compose::bounded("name", name, MAX_NAME)?;
    }
    if let Some(avatar) = &looks.avatar {
        check_avatar("avatar", avatar)?;
    }
    let (name, avatar) = (looks.name.as_deref(), looks.avatar.as_deref());
    let data = match of.kind {
        Type::Person => {
            let channel = target::person(&app, &caller, &of.id).await?;
            conversation::rename(&app, caller.id(), &channel, name, avatar).await?;
            json!({
                "channelId": channel.id(),
                "channelType": of.kind.number(),
                "name": name.unwrap_or_default(),
                "avatar": avatar.unwrap_or_default(),
            })
        }
        Type::Group => {
            group::check_id("channelId", &of.id)?;
            let (group, _) = group::save(&app, &caller.user, &of.id, name, avatar).await?;
            json!({
                "channelId": group.id,
                "channelType": of.kind.number(),
                "name": group.name,
                "avatar": group.avatar,
            })
        }
    };
    Ok(envelope::im_ok(data))
}

/// `POST …/channel/delete`. Of a peer: hides the conversation from the caller, until the next message.
pub(crate) async fn delete_channel(State(app): State<AppState>, caller: Caller, Json(target): Json<Target>) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    let of = target.named()?;
    let id = match of.kind {
        Type::Person => {
            let channel = target::person(&app, &caller, &of.id).await?;
            conversation::hide(&app, caller.id(), &channel).await?;
            channel.id().to_owned()
        }
        Type::Group => {
            let group = target::group(&app, &of.id).await?;
            group::require_owner(&group, caller.id(), caller.is_admin())?;
            group::delete(&app, &group).await?;
            group.id
        }
    };
    Ok(envelope::im_ok(json!({ "channelId": id })))
}

/// `POST …/channel/subscriber/add`: by the owner or an administrator. A person channel has no subscribers to add.
pub(crate) async fn add_subscribers(
    State(app): State<AppState>,
    caller: Caller,
    Json2(target, members): Json2<Target, Members>,
) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    let (of, names) = (target.named()?, members.names()?);
    let added = match of.kind {
        Type::Person => {
            target::person(&app, &caller, &of.id).await?;
            group::resolve(&app, &caller.user, "subscribers", &names).await?;
            0
        }
        Type::Group => {
            let group = target::group(&app, &of.id).await?;
            group::require_owner(&group, caller.id(), caller.is_admin())?;
            let users = group::resolve(&app, &caller.user, "subscribers", &names).await?;
            group::add(&app, &group, &users).await?
        }
    };
    Ok(envelope::im_ok(json!({ "added": added })))
}

/// `POST …/channel/subscriber/remove`: by the owner or an administrator; anybody may remove himself.
pub(crate) async fn remove_subscribers(
    State(app): State<AppState>,
    caller: Caller,
    Json2(target, members): Json2<Target, Members>,
) -> Answer {
    caller.require_account(Scope::MessagesSend)?;
    let (of, names) = (target.named()?, members.names()?);
    let removed = match of.kind {
        Type::Person => {
            target::person(&app, &caller, &of.id).await?;
            group::resolve(&app, &caller.user, "subscribers", &names).await?;
            0
        }
        Type::Group => {
            let group = target::group(&app, &of.id).await?;
            let users = group::resolve(&app, &caller.user, "subscribers", &names).await?;
            if users != [caller.id().clone()] {
                group::require_owner(&group, caller.id(), caller.is_admin())?;
            }
            group::remove(&app, &group, &users).await?
        }
    };
    Ok(envelope::im_ok(json!({ "removed": removed })))
}
