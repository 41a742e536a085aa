//! The `im` instance of a user: it carries webhooks and the event log for the user's IM messages. At most one each.

use serde_json::json;

use super::{group, people};
use crate::{
    address::Platform,
    app::App,
    capability::Transport,
    domain::{
        instance::{self, Instance, Mode},
        register::{self, Claim, New},
        user::{self, User},
    },
    error::{Error, Result},
    id::{InstanceId, UserId},
    store::{Item, Read, keys},
};

/// Address prefix of groups, where the gateway's routes want one text for whom to write to.
pub const GROUP: &str = "g:";

/// Makes the user's instance durable.
///
/// Errors: `IM_INSTANCE_EXISTS` (409): the user has one.
pub async fn create(app: &App, user: &User, mut instance: Instance) -> Result<Instance> {
    instance.address = Some(user.id.to_string());
    // Nobody has to pair it: it can send from the start.
    instance.paired = true;
    // One that was deleted frees its place.
    if let Some(old) = claimed(app, &user.id).await?
        && old != instance.id
        && instance::find(app, &old).await?.is_none()
    {
        release(app, &user.id, &old).await?;
    }
    let item = Item::new(keys::im_instance(&user.id), &json!({ "v": 1, "instance": instance.id }))?;
    let taken = Error::conflict("IM_INSTANCE_EXISTS", "You have an instance of this platform already");
    register::create(app, instance, Some(Claim { item, taken })).await
}

/// The user's instance, made if there is none.
pub async fn find_or_create(app: &App, user: &User) -> Result<Instance> {
    if let Some(found) = find(app, &user.id).await? {
        return Ok(found);
    }
    let new = New {
        id: InstanceId::new(app.ids.short()),
        user: user.id.clone(),
        platform: Platform::Im,
        transport: Transport::Embedded,
        mode: Mode::Live,
    };
    let mut instance = register::row(app, new);
    "IM".clone_into(&mut instance.name);
    match create(app, user, instance).await {
        Ok(instance) => Ok(instance),
        Err(error) if error.code == "IM_INSTANCE_EXISTS" => {
            find(app, &user.id).await?.ok_or_else(|| Error::unavailable("the instance was there a moment ago"))
        }
        Err(error) => Err(error),
    }
}

/// The user's instance.
pub async fn find(app: &App, user: &UserId) -> Result<Option<Instance>> {
    match claimed(app, user).await? {
        Some(id) => instance::find(app, &id).await,
        None => Ok(None),
    }
}

/// Whom a text means that a send of this instance is for: names become ids, so that a chat has one address. Other platforms'
/// addresses, and those of the sandbox, stay as they are.
///
/// Errors: 404 for an unknown user or group.
pub async fn recipient(app: &App, instance: &Instance, field: &'static str, to: String) -> Result<String> {
    if instance.platform != Platform::Im || instance.mode != Mode::Live {
        return Ok(to);
    }
    if let Some(id) = to.strip_prefix(GROUP) {
        let group = group::find(app, id).await?.ok_or_else(|| group::unknown().field(field))?;
        return Ok(format!("{GROUP}{}", group.id));
    }
    let user = user::find(app, &instance.user_id).await?.ok_or_else(people::unknown)?;
    let peer = people::find(app, &user, &to).await?.ok_or_else(|| people::unknown().field(field))?;
    Ok(peer.id.to_string())
}

async fn claimed(app: &App, user: &UserId) -> Result<Option<InstanceId>> {
    let item = app.store.get(&keys::im_instance(user), Read::Strong).await?;
    Ok(item.and_then(|item| item.str("instance").map(InstanceId::new)))
}

async fn release(app: &App, user: &UserId, id: &InstanceId) -> Result<()> {
    use crate::store::{CommitError, Cond, Unit, Write};
    let write = Write::delete(keys::im_instance(user)).only_if(Cond::eq("instance", id.as_str()));
    match app.store.commit(Unit::write(write)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The instances of those among `users` who have one, in order.
pub(super) async fn of_users(app: &App, users: &[UserId]) -> Result<Vec<(UserId, Instance)>> {
    let mut found = Vec::new();
    for users in users.chunks(100) {
        let claims: Vec<_> = users.iter().map(keys::im_instance).collect();
        let claims = app.store.batch_get(&claims, Read::Strong).await?;
        let with: Vec<(&UserId, InstanceId)> = users
            .iter()
            .zip(claims)
            .filter_map(|(user, item)| Some((user, InstanceId::new(item?.str("instance")?))))
            .collect();
        if with.is_empty() {
            continue;
        }
        let rows: Vec<_> = with.iter().map(|(_, id)| keys::instance(id)).collect();
        for ((user, _), row) in with.into_iter().zip(app.store.batch_get(&rows, Read::Strong).await?) {
            let instance = row.map(Item::into::<Instance>).transpose()?;
            if let Some(instance) = instance.filter(|instance| !instance.deleting) {
                found.push((user.clone(), instance));
            }
        }
    }
    Ok(found)
}
