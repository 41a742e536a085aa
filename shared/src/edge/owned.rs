//! Tenancy in the types: a handler cannot hold an [`Instance`] that was not checked against its caller.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use super::Reject;
use crate::{
    address::Platform,
    app::AppState,
    domain::{
        access::{Caller, Scope},
        instance::{self, Instance},
        limits::OfUser,
    },
    error::Error,
    id::InstanceId,
};

/// Put into a request's extensions by who wants to know afterwards which instance its handler was let to.
#[derive(Debug, Clone, Default)]
pub struct Reached(Arc<OnceLock<InstanceId>>);

impl Reached {
    pub fn instance(&self) -> Option<&InstanceId> {
        self.0.get()
    }
}

/// The instance that `{instanceId}` of the path names, and the caller who may use it.
///
/// Rejects: 401 without credentials, 404 for an unknown instance, 403 for another user's.
#[derive(Debug)]
pub struct Owned {
    pub instance: Instance,
    pub caller: Caller,
}

impl Owned {
    /// The instance, if the credential has the scope.
    pub fn with(self, scope: Scope) -> Result<Self, Reject> {
        self.caller.require(scope)?;
        Ok(self)
    }

    /// The quotas of the instance's user, where that is the caller.
    pub fn user_limits(&self) -> OfUser {
        if self.caller.user.id == self.instance.user_id {
            OfUser::Known(self.caller.user.limits.clone())
        } else {
            OfUser::Unread
        }
    }

    /// Errors with 400 `SANDBOX_ONLY` for an instance that is connected to a real platform.
    pub fn sandbox(self) -> Result<Self, Reject> {
        if self.instance.mode != instance::Mode::Sandbox {
            return Err(Error::invalid("instanceId", "This works with sandbox instances only")
                .code("SANDBOX_ONLY")
                .into());
        }
        Ok(self)
    }
}

impl FromRequestParts<AppState> for Owned {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        let caller = <Caller as FromRequestParts<AppState>>::from_request_parts(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| instance::unknown())?;
        let id = params
            .iter()
            .find(|(name, _)| *name == "instanceId")
            .map(|(_, value)| InstanceId::new(value))
            .ok_or_else(|| Error::internal("the route has no {instanceId}"))?;
        let instance = instance::find(app, &id).await?.ok_or_else(instance::unknown)?;
        caller.require_instance(&instance.user_id, &instance.id)?;
        if let Some(Reached(reached)) = parts.extensions.get() {
            reached.get_or_init(|| instance.id.clone());
        }
        Ok(Self { instance, caller })
    }
}

/// [`Owned`], for the routes of seed 001: 400 `WRONG_PLATFORM` for an instance of another platform.
#[derive(Debug)]
pub struct OwnedWhatsapp(pub Owned);

impl FromRequestParts<AppState> for OwnedWhatsapp {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        let owned = Owned::from_request_parts(parts, app).await?;
        if owned.instance.platform != Platform::Whatsapp {
            let message = format!("This instance is on {}, not on whatsapp", owned.instance.platform);
            return Err(Error::invalid("instanceId", message).code("WRONG_PLATFORM").into());
        }
        Ok(Self(owned))
    }
}
