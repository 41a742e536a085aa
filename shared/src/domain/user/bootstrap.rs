//! The first start: an administrator from the `ADMIN_*` settings, and the life of `ADMIN_API_KEY`.

use serde::{Deserialize, Serialize};

use super::{NewUser, Role, create, find};
use crate::{
    app::App,
    config::Config,
    crypto,
    error::{Error, Result},
    id::UserId,
    redact::Secret,
    store::{CommitError, Cond, Item, Read, Store, Write, keys},
};

/// E-mail of the first administrator unless `ADMIN_EMAIL` is set.
const DEFAULT_EMAIL: &str = "admin@example.com";

/// What the operator must be told once, after the first start.
#[derive(Debug)]
pub struct FirstStart {
    pub email: String,
    /// Only if it was generated.
    pub password: Option<Secret>,
    pub api_key: Secret,
}

/// `keys::first_admin`: who the first administrator is, and which `ADMIN_API_KEY` is in force.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    user: UserId,
    /// SHA-256 of the configured key, as in `keys::foreign_api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_key_hash: Option<String>,
}

/// Makes the first administrator if there is none, and brings `ADMIN_API_KEY` into force (or out of it, when it was changed
/// or removed). Any number of processes may do this at once; the one that makes the administrator gets `Some`.
pub async fn bootstrap(app: &App) -> Result<Option<FirstStart>> {
    let configured = app.config.admin_api_key.as_ref().map(|key| crypto::sha256_hex(key.reveal()));
    if let Some(marker) = marker(app).await? {
        follow_api_key(app, marker, configured).await?;
        return Ok(None);
    }

    let id = UserId::new(app.ids.short());
    let email = app.config.admin_email.clone().unwrap_or_else(|| DEFAULT_EMAIL.into());
    let generated = match app.config.admin_password {
        Some(_) => None,
        None => Some(Secret::new(&crypto::random_text()?[..20])),
    };
    let password = match (&app.config.admin_password, &generated) {
        (Some(password), _) | (None, Some(password)) => password.clone(),
        (None, None) => return Err(Error::internal("no password for the first administrator")),
    };
    let new = NewUser {
        id: Some(id.clone()),
        email: email.clone(),
        username: None,
        password,
        first_name: app.config.admin_first_name.clone(),
        last_name: app.config.admin_last_name.clone(),
        role: Role::Admin,
    };
    // The marker is the gate: whoever writes it first makes the administrator.
    let mut also = vec![Write::create(Item::new(
        keys::first_admin(),
        &Marker { user: id.clone(), api_key_hash: configured.clone() },
    )?)];
    if let Some(hash) = &configured {
        also.push(foreign_key(hash, &id)?);
    }
    match create(app, new, also).await {
        Ok(user) => Ok(Some(FirstStart { email, password: generated, api_key: user.api_key(app) })),
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(CommitError::Store(error)) if error.code == "EMAIL_TAKEN" => Err(Error::invalid(
            "ADMIN_EMAIL",
            format!("ADMIN_EMAIL: {email} belongs to another user, choose another address for the first administrator"),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Whether [`bootstrap`] would find nothing to do. One read.
pub async fn is_settled(store: &dyn Store, config: &Config) -> Result<bool> {
    let configured = config.admin_api_key.as_ref().map(|key| crypto::sha256_hex(key.reveal()));
    let marker = store.get(&keys::first_admin(), Read::Strong).await?.map(Item::into::<Marker>).transpose()?;
    Ok(marker.is_some_and(|marker| marker.api_key_hash == configured))
}

/// The first administrator, who owns what arrives for nobody else. `None` before the first start.
pub async fn first_admin(app: &App) -> Result<Option<super::User>> {
    match marker(app).await? {
        Some(marker) => find(app, &marker.user).await,
        None => Ok(None),
    }
}

async fn marker(app: &App) -> Result<Option<Marker>> {
    app.store.get(&keys::first_admin(), Read::Strong).await?.map(Item::into).transpose()
}

/// Exchanges the key in force for the configured one, in one transaction.
async fn follow_api_key(app: &App, marker: Marker, configured: Option<String>) -> Result<()> {
    if marker.api_key_hash == configured {
        return Ok(());
    }
    let unchanged = match &marker.api_key_hash {
        Some(hash) => Cond::eq("apiKeyHash", hash.as_str()),
        None => Cond::lacks("apiKeyHash"),
    };
    let mut writes = Vec::with_capacity(3);
    if let Some(old) = &marker.api_key_hash {
        writes.push(Write::delete(keys::foreign_api_key(old)));
    }
    if let Some(new) = &configured {
        writes.push(foreign_key(new, &marker.user)?);
    }
    let now = Marker { user: marker.user, api_key_hash: configured };
    writes.push(Write::put(Item::new(keys::first_admin(), &now)?).only_if(unchanged));
    match app.store.transact(writes).await {
        // Another process with the same configuration was faster.
        Ok(()) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn foreign_key(hash: &str, user: &UserId) -> Result<Write> {
    Ok(Write::put(Item::new(keys::foreign_api_key(hash), &serde_json::json!({ "user": user }))?))
}
