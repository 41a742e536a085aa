//! The caller as an extractor: a handler that names a [`Caller`] in its signature is only reached by one.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts},
    http::{Extensions, HeaderMap, header, request::Parts},
};

use super::{Reject, observe::LogFields};
use crate::{
    app::AppState,
    domain::access::{self, Caller, Presented},
    error::Error,
    redact::Secret,
};

/// The address that a request came from, where it is not the socket's: put into the request's extensions by whoever knows
/// better (API Gateway's source address). `X-Forwarded-For` is not looked at: anybody can write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIp(pub IpAddr);

/// Answers leave as a whole, and not later than 20 s after the request came: put into the request's extensions where that is
/// so (API Gateway).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeAnswers;

/// The caller's address, if it is known.
pub fn peer_ip(extensions: &Extensions) -> Option<IpAddr> {
    let gateway = extensions.get::<PeerIp>().map(|PeerIp(address)| *address);
    gateway.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip()))
}

/// The address as an extractor, for routes that are open to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(peer_ip(&parts.extensions)))
    }
}

/// What the headers show: a bearer token decides, else the key. `None`: nothing.
pub fn presented(headers: &HeaderMap) -> Result<Option<Presented>, Error> {
    let text = |name: &str| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Error::unauthenticated("Unauthorized")),
        },
    };
    let bearer = text(header::AUTHORIZATION.as_str())?.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if let Some(token) = bearer {
        return Ok(Some(Presented::Bearer(Secret::new(token))));
    }
    if let Some(key) = text("x-api-key")? {
        return Ok(Some(Presented::ApiKey(Secret::new(key))));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Error::unauthenticated("Unauthorized"));
    }
    Ok(None)
}

/// What the request showed, for answers that outlive it: they ask again whether it still holds.
#[derive(Debug, Clone)]
pub struct Credential {
    presented: Option<Presented>,
    peer: Option<IpAddr>,
}

impl Credential {
    /// Who shows it, if it still is a credential.
    pub async fn caller(&self, app: &AppState) -> Option<Caller> {
        access::authenticate(app, self.presented.as_ref()?, self.peer).await.ok()
    }
}

impl<S: Sync> FromRequestParts<S> for Credential {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Reject> {
        Ok(Self { presented: presented(&parts.headers)?, peer: peer_ip(&parts.extensions) })
    }
}

/// Authenticates the request, at most once: later extractors find the caller in the extensions. Counts the request against
/// the credential's rate limit.
async fn authenticate(parts: &mut Parts, app: &AppState) -> Result<Option<Caller>, Reject> {
    if let Some(caller) = parts.extensions.get::<Caller>() {
        return Ok(Some(caller.clone()));
    }
    let Some(presented) = presented(&parts.headers)? else { return Ok(None) };
    let caller = access::authenticate(app, &presented, peer_ip(&parts.extensions)).await?;
    if let Some(fields) = parts.extensions.get::<LogFields>() {
        fields.set_user(caller.id());
    }
    app.rate.take(&caller.credential, app.clock.monotonic())?;
    parts.extensions.insert(caller.clone());
    Ok(Some(caller))
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        authenticate(parts, app).await?.ok_or_else(|| {
            // The original's texts: these routes took keys only.
            let keys_only = parts.uri.path().starts_with("/api/whatsapp/");
            Error::unauthenticated(if keys_only { "API key is required" } else { "Unauthorized" }).into()
        })
    }
}

/// `None` when nothing was presented; a bad credential is refused all the same.
impl OptionalFromRequestParts<AppState> for Caller {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Option<Self>, Reject> {
        authenticate(parts, app).await
    }
}

/// A caller who may act as an administrator; others get 403 `Access denied`.
#[derive(Debug, Clone)]
pub struct Admin(pub Caller);

impl FromRequestParts<AppState> for Admin {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        let caller = <Caller as FromRequestParts<AppState>>::from_request_parts(parts, app).await?;
        caller.require_admin()?;
        Ok(Self(caller))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn shown(pairs: &[(&'static str, &'static str)]) -> Result<Option<(bool, String)>, Error> {
        let headers =
            pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        Ok(presented(&headers.collect())?.map(|presented| match presented {
            Presented::Bearer(text) => (true, text.reveal().to_owned()),
            Presented::ApiKey(text) => (false, text.reveal().to_owned()),
        }))
    }

    #[test]
    fn a_bearer_token_decides() {
        let both = [("authorization", "bearer a.b.c"), ("x-api-key", "k")];
        assert_eq!(shown(&both).expect("reads"), Some((true, "a.b.c".into())));
        let other = [("authorization", "Basic eA=="), ("x-api-key", "k")];
        assert_eq!(shown(&other).expect("reads"), Some((false, "k".into())));
        assert_eq!(shown(&[]).expect("reads"), None);
        assert!(shown(&[("authorization", "Basic eA==")]).is_err());
    }
}
