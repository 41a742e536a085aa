//! Who is calling, and what the credential allows. Credentials are read strongly on every request: nothing cached outlives a
//! revocation.

pub mod allow_list;
pub mod scoped_key;
pub mod token;

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::user::{self, Role, User};
use crate::{
    app::App,
    crypto,
    error::{Error, Result},
    id::{InstanceId, KeyId, UserId},
    redact::Secret,
    store::{Item, Read, keys},
};

/// What a scoped key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "messages:send")]
    MessagesSend,
    #[serde(rename = "messages:read")]
    MessagesRead,
    #[serde(rename = "instances:manage")]
    InstancesManage,
    #[serde(rename = "stats:read")]
    StatsRead,
    /// What the administrator's role allows, if the user has it.
    #[serde(rename = "admin")]
    Admin,
}

/// How far a credential reaches within what its user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A JWT or the account's own API key: everything.
    Full,
    Scoped {
        key: KeyId,
        /// `None`: every scope.
        scopes: Option<BTreeSet<Scope>>,
        /// `None`: every instance of the user.
        instances: Option<BTreeSet<InstanceId>>,
    },
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: User,
    pub grant: Grant,
    /// Names the credential without revealing it: for rate limits and logs.
    pub credential: String,
}

impl Caller {
    pub fn id(&self) -> &UserId {
        &self.user.id
    }

    /// Errors with `Forbidden` unless the credential has the scope.
    pub fn require(&self, scope: Scope) -> Result<()> {
        match &self.grant {
            Grant::Scoped { scopes: Some(scopes), .. } if !scopes.contains(&scope) => {
                Err(denied("SCOPE_REQUIRED", "This API key does not have the scope for that"))
            }
            // A key for some instances does not administer all of them.
            Grant::Scoped { instances: Some(_), .. } if scope == Scope::Admin => Err(access_denied()),
            Grant::Full | Grant::Scoped { .. } => Ok(()),
        }
    }

    /// [`Caller::require`] for what belongs to the account and to no instance, such as its IM: a key for some instances has
    /// nothing to do there.
    pub fn require_account(&self, scope: Scope) -> Result<()> {
        self.require(scope)?;
        if self.is_limited_to_instances() {
            return Err(denied("SCOPE_REQUIRED", "This API key is for some instances only"));
        }
        Ok(())
    }

    /// Errors with `Forbidden` for scoped keys: they must not change the account that they were made to protect.
    pub fn require_full(&self) -> Result<()> {
        match self.grant {
            Grant::Full => Ok(()),
            Grant::Scoped { .. } => Err(denied("SCOPE_REQUIRED", "This needs a login or the account's own API key")),
        }
    }

    /// Whether the caller may act as an administrator.
    pub fn is_admin(&self) -> bool {
        self.user.role == Role::Admin && self.require(Scope::Admin).is_ok()
    }

    /// Errors with `Forbidden` (`Access denied`) unless the caller may act as an administrator.
    pub fn require_admin(&self) -> Result<()> {
        if self.is_admin() { Ok(()) } else { Err(access_denied()) }
    }

    /// Errors with `Forbidden` unless the instance of `owner` is within the caller's reach. Administrators pass ownership.
    pub fn require_instance(&self, owner: &UserId, instance: &InstanceId) -> Result<()> {
        let own = *owner == self.user.id || self.is_admin();
        if own && self.covers(instance) {
            Ok(())
        } else {
            Err(denied("FORBIDDEN", "You do not have access to this instance"))
        }
    }

    /// Whether the credential is for this instance, whoever owns it.
    pub fn covers(&self, instance: &InstanceId) -> bool {
        match &self.grant {
            Grant::Scoped { instances: Some(instances), .. } => instances.contains(instance),
            Grant::Full | Grant::Scoped { instances: None, .. } => true,
        }
    }

    /// Whether the credential is for some instances only: such a key creates none.
    pub fn is_limited_to_instances(&self) -> bool {
        matches!(&self.grant, Grant::Scoped { instances: Some(_), .. })
    }
}

fn denied(code: &'static str, message: &'static str) -> Error {
    Error::forbidden(message).code(code)
}

fn access_denied() -> Error {
    Error::forbidden("Access denied")
}

/// What a request shows.
#[derive(Debug, Clone)]
pub enum Presented {
    /// `Authorization: Bearer`: a JWT, or an API key.
    Bearer(Secret),
    /// `x-api-key`.
    ApiKey(Secret),
}

/// Finds out who presents this credential, from the address `peer`.
///
/// Errors: `Unauthenticated` for anything that is not a valid credential of an enabled user; `Forbidden` when it may not be
/// used from that address (an unknown address is on no list).
pub async fn authenticate(app: &App, presented: &Presented, peer: Option<IpAddr>) -> Result<Caller> {
    let (text, bearer) = match presented {
        Presented::Bearer(text) => (text.reveal(), true),
        Presented::ApiKey(text) => (text.reveal(), false),
    };
    let found = match ApiKey::parse(text) {
        Some(ApiKey::Account { user, secret }) => account_key(app, &user, secret).await?,
        Some(ApiKey::Scoped { user, key, secret }) => scoped_key::verify(app, &user, &key, secret, peer).await?,
        None if bearer && text.bytes().filter(|byte| *byte == b'.').count() == 2 => {
            let caller = token::verify(app, text).await?.ok_or_else(|| Error::unauthenticated("Unauthorized"))?;
            return admit(caller, peer);
        }
        None => foreign_key(app, text).await?,
    };
    let caller = found.ok_or_else(|| Error::unauthenticated("Invalid API key").code("INVALID_API_KEY"))?;
    admit(caller, peer)
}

/// The rules that hold for every kind of credential.
fn admit(caller: Caller, peer: Option<IpAddr>) -> Result<Caller> {
    if caller.user.disabled {
        return Err(Error::unauthenticated("Unauthorized").code("USER_DISABLED"));
    }
    allow_list::check(&caller.user.allowed_ips, peer)?;
    Ok(caller)
}

/// The layouts of the keys that we hand out. The secret is base64url and may hold `_`, so lengths tell them apart.
#[derive(Debug, PartialEq, Eq)]
enum ApiKey<'a> {
    /// `tk_{user}_{secret}`
    Account { user: UserId, secret: &'a str },
    /// `tk_{user}_{key}_{secret}`
    Scoped { user: UserId, key: KeyId, secret: &'a str },
}

const ID: usize = 16;
const SECRET: usize = 43;

impl<'a> ApiKey<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("tk_").filter(|rest| rest.is_ascii())?;
        let (user, rest) = rest.split_at_checked(ID)?;
        let rest = rest.strip_prefix('_')?;
        let user = UserId::new(user);
        if rest.len() == SECRET {
            return Some(Self::Account { user, secret: rest });
        }
        let (key, secret) = rest.split_at_checked(ID)?;
        let secret = secret.strip_prefix('_').filter(|secret| secret.len() == SECRET)?;
        Some(Self::Scoped { user, key: KeyId::new(key), secret })
    }
}

async fn account_key(app: &App, id: &UserId, secret: &str) -> Result<Option<Caller>> {
    let Some(user) = user::find(app, id).await? else { return Ok(None) };
    let right = app.keyring.api_key(id.as_str(), user.api_key_version);
    let credential = format!("u:{id}");
    Ok(crypto::same(right, secret).then_some(Caller { user, grant: Grant::Full, credential }))
}

/// Keys that were not made by us, found by their hash.
async fn foreign_key(app: &App, text: &str) -> Result<Option<Caller>> {
    let hash = crypto::sha256_hex(text);
    let Some(item) = app.store.get(&keys::foreign_api_key(&hash), Read::Strong).await? else { return Ok(None) };
    let id = owner_of(&item)?;
    let user = user::find(app, &id).await?;
    let credential = format!("u:{id}");
    Ok(user.map(|user| Caller { user, grant: Grant::Full, credential }))
}

fn owner_of(item: &Item) -> Result<UserId> {
    item.str("user").map(UserId::new).ok_or_else(|| Error::internal(format!("{} names no user", item.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_length() {
        let secret = "_".repeat(SECRET);
        let account = format!("tk_0123456789abcdef_{secret}");
        assert_eq!(
            ApiKey::parse(&account),
            Some(ApiKey::Account { user: UserId::new("0123456789abcdef"), secret: &secret })
        );
        let scoped = format!("tk_0123456789abcdef_fedcba9876543210_{secret}");
        assert_eq!(
            ApiKey::parse(&scoped),
            Some(ApiKey::Scoped {
                user: UserId::new("0123456789abcdef"),
                key: KeyId::new("fedcba9876543210"),
                secret: &secret
            })
        );
        for other in ["", "tk_", "tk_0123456789abcdef", "tk_0123456789abcdef_", "my own key", "tk_éééééééé_x"] {
            assert_eq!(ApiKey::parse(other), None, "{other}");
        }
    }
}
