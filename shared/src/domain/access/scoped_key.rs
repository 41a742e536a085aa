//! Scoped API keys: for part of an account, shown once, revocable one by one.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{Caller, Grant, Scope, allow_list};
use crate::{
    app::App,
    clock::Millis,
    crypto,
    error::{Error, Result},
    id::{InstanceId, KeyId, UserId},
    redact::Secret,
    store::{CommitError, Cond, Item, Query, Range, Read, Source, Unit, Write, keys},
};

/// Keys per user at the most.
const MAX: u64 = 200;

/// The key's row, `keys::scoped_key`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopedKey {
    pub v: u32,
    pub id: KeyId,
    pub name: String,
    /// SHA-256 of the secret part, which is 256 random bits.
    pub secret_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_ids: Option<BTreeSet<InstanceId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<BTreeSet<Scope>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<String>,
    pub created_at: Millis,
}

/// What [`create`] needs.
#[derive(Debug)]
pub struct NewKey {
    pub id: KeyId,
    pub name: String,
    pub instance_ids: Option<BTreeSet<InstanceId>>,
    pub scopes: Option<BTreeSet<Scope>>,
    pub expires_at: Option<Millis>,
    pub allowed_ips: Vec<String>,
}

/// Makes a key; the second part of the answer is the text to show, once.
///
/// A repeat under the same id (of a request whose answer was lost) replaces the secret, which nobody has seen.
/// Errors: `Invalid` by the limits; `NotFound`, `Forbidden` for instances that are not the caller's to give.
pub async fn create(app: &App, caller: &Caller, new: NewKey) -> Result<(ScopedKey, Secret)> {
    let name = new.name.trim().to_owned();
    if !(1..=100).contains(&name.chars().count()) {
        return Err(Error::invalid("name", "name must have 1 to 100 characters"));
    }
    let now = app.clock.now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("expiresAt", "expiresAt must be in the future"));
    }
    let allowed_ips = allow_list::parse("allowedIps", &new.allowed_ips)?;
    check_instances(app, caller, new.instance_ids.as_ref()).await?;
    let (pk, prefix) = keys::scoped_keys(caller.id());
    if app.store.count(Source::Table(pk), Range::Prefix(prefix)).await? >= MAX {
        return Err(Error::conflict("TOO_MANY_KEYS", format!("An account has at most {MAX} scoped keys")));
    }

    let secret = crypto::random_text()?;
    let key = ScopedKey {
        v: 1,
        id: new.id,
        name,
        secret_hash: crypto::sha256_hex(&secret),
        instance_ids: new.instance_ids,
        scopes: new.scopes,
        expires_at: new.expires_at,
        allowed_ips,
        created_at: now,
    };
    let text = Secret::new(format!("tk_{}_{}_{secret}", caller.id(), key.id));
    let item = Item::new(keys::scoped_key(caller.id(), &key.id), &key)?;
    app.store.commit(Unit::write(Write::put(item))).await?;
    Ok((key, text))
}

async fn check_instances(app: &App, caller: &Caller, ids: Option<&BTreeSet<InstanceId>>) -> Result<()> {
    let Some(ids) = ids else { return Ok(()) };
    if !(1..=100).contains(&ids.len()) {
        return Err(Error::invalid("instanceIds", "instanceIds must name 1 to 100 instances"));
    }
    let wanted: Vec<_> = ids.iter().map(keys::instance).collect();
    let found = app.store.batch_get(&wanted, Read::Strong).await?;
    for (id, item) in ids.iter().zip(found) {
        let owner = item.as_ref().and_then(|item| item.str("userId")).map(UserId::new);
        let owner = owner.ok_or_else(|| Error::not_found(format!("Instance {id} not found")).field("instanceIds"))?;
        caller.require_instance(&owner, id)?;
    }
    Ok(())
}

/// The user's keys, oldest first, expired ones included.
pub async fn list(app: &App, user: &UserId) -> Result<Vec<ScopedKey>> {
    let (pk, prefix) = keys::scoped_keys(user);
    // One page: [`MAX`] is below the size of one.
    let page = app.store.query(Query::table(pk).prefix(prefix).limit(1000)).await?;
    page.items.into_iter().map(Item::into).collect()
}

/// Revokes a key, at once.
pub async fn revoke(app: &App, user: &UserId, id: &KeyId) -> Result<()> {
    let write = Write::delete(keys::scoped_key(user, id)).only_if(Cond::Exists);
    match app.store.commit(Unit::write(write)).await {
        Ok(_) => {
            app.realtime.look(user).await;
            Ok(())
        }
        Err(CommitError::Conflict { .. }) => Err(Error::not_found("API key not found").code("KEY_NOT_FOUND")),
        Err(error) => Err(error.into()),
    }
}

/// The caller that such a key stands for: one batch read of user and key. `None` if it is not valid.
pub(super) async fn verify(
    app: &App,
    user: &UserId,
    id: &KeyId,
    secret: &str,
    peer: Option<IpAddr>,
) -> Result<Option<Caller>> {
    let wanted = [keys::user(user), keys::scoped_key(user, id)];
    let mut found = app.store.batch_get(&wanted, Read::Strong).await?.into_iter();
    let (Some(Some(user)), Some(Some(key))) = (found.next(), found.next()) else { return Ok(None) };
    let key: ScopedKey = key.into()?;
    let expired = key.expires_at.is_some_and(|at| at <= app.clock.now());
    if expired || !crypto::same(crypto::sha256_hex(secret), &key.secret_hash) {
        return Ok(None);
    }
    allow_list::check(&key.allowed_ips, peer)?;
    let credential = format!("k:{id}");
    let grant = Grant::Scoped { key: key.id, scopes: key.scopes, instances: key.instance_ids };
    Ok(Some(Caller { user: user.into()?, grant, credential }))
}
