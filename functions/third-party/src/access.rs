//! Who may come in (spec/http.md, "third-party"), and how far: open in open mode, else with credentials, unless
//! `THIRD_PARTY_AUTH` says otherwise.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts, RawPathParams},
    http::request::Parts,
};
use shared::{
    Error,
    address::Platform,
    app::{App, AppState},
    config::ThirdPartyAuth,
    domain::{
        access::{Caller, Scope},
        instance::Instance,
        user,
    },
    edge::{OpenMode, Reject},
    id::{InstanceId, UserId},
};

/// The platforms of seed 000.
const PLATFORMS: [Platform; 4] = [Platform::Whatsapp, Platform::Telegram, Platform::Wechat, Platform::Signal];
/// Characters of an id of ours at the most.
const MAX_ID: usize = 64;

/// A caller who was let in, and the platform of the path.
///
/// Rejects: 401 where credentials are needed; 404 for a platform that seed 000 does not know.
#[derive(Debug)]
pub(crate) struct Access {
    /// `None`: anybody, who reaches everything.
    pub(crate) caller: Option<Caller>,
    pub(crate) platform: Platform,
}

impl FromRequestParts<AppState> for Access {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        let caller = <Caller as OptionalFromRequestParts<AppState>>::from_request_parts(parts, app).await?;
        if caller.is_none() {
            let open = match app.config.third_party_auth {
                Some(ThirdPartyAuth::Off) => true,
                Some(ThirdPartyAuth::Key) => false,
                None => matches!(OpenMode::from_request_parts(parts, app).await, Ok(OpenMode(true))),
            };
            if !open {
                return Err(Error::unauthenticated("Unauthorized").into());
            }
        }
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| unsupported(""))?;
        let name = params.iter().find(|(name, _)| *name == "platform").map_or("", |(_, value)| value);
        let platform = PLATFORMS.into_iter().find(|platform| platform.as_str() == name);
        Ok(Self { caller, platform: platform.ok_or_else(|| unsupported(name))? })
    }
}

fn unsupported(name: &str) -> Error {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::not_found(format!("Platform {name} not supported")).code("PLATFORM_NOT_SUPPORTED")
}

impl Access {
    /// Errors with 403 for a key without the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Error> {
        self.caller.as_ref().map_or(Ok(()), |caller| caller.require(scope))
    }

    /// Errors with 403 for somebody else's instance.
    pub(crate) fn require_instance(&self, instance: &Instance) -> Result<(), Error> {
        self.caller.as_ref().map_or(Ok(()), |caller| caller.require_instance(&instance.user_id, &instance.id))
    }

    /// Whether the credential is for this instance, whoever owns it.
    pub(crate) fn covers(&self, instance: &InstanceId) -> bool {
        self.caller.as_ref().is_none_or(|caller| caller.covers(instance))
    }

    /// The user that `userId` names. Errors with 403 for anybody but oneself, unless one is an administrator; with 404 if there
    /// is no such user.
    pub(crate) async fn user(&self, app: &App, id: &str) -> Result<UserId, Error> {
        let user = UserId::new(id.trim());
        if user.as_str().is_empty() {
            return Err(Error::invalid("userId", "userId must not be empty"));
        }
        if let Some(caller) = &self.caller
            && *caller.id() != user
            && !caller.is_admin()
        {
            return Err(Error::forbidden("You do not have access to this user").field("userId"));
        }
        // Keys are bounded, and no id of ours is that long.
        let known = user.as_str().len() <= MAX_ID && user::find(app, &user).await?.is_some();
        if known { Ok(user) } else { Err(Error::not_found("User not found").code("USER_NOT_FOUND").field("userId")) }
    }
}
